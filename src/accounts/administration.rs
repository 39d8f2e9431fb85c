//! What admins do with accounts: list them, change roles, disable them; and how a shop gets its first admin.

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::ReturnDocument;

use super::filter::{UserCursor, UserFilter};
use super::service::{Accounts, ending_tokens, this_machine};
use crate::config::{AdminCredentials, Secret};
use crate::error::{Error, Result};
use crate::http::page::{Page, PageRequest};
use crate::model::audit::{Action, Actor};
use crate::model::id::Id;
use crate::model::user::{Role, User};
use crate::store::document::parse;
use crate::store::{BATCH_ITEMS, collect};

/// What may become of an account; `None` stays as it is.
#[derive(Debug, Clone, Copy)]
pub struct UserChange {
    pub role: Option<Role>,
    pub disabled: Option<bool>,
    pub hide_name: Option<bool>,
}

/// No account has the id.
pub const NO_USER: Error = Error::NotFound { detail: "No account has this id." };

impl Accounts {
    /// A page of the accounts that match, the newest first.
    ///
    /// # Errors
    /// `overloaded` when too many searches run, and those of `Store::read`.
    pub async fn list(&self, filter: &UserFilter, page: &PageRequest<UserCursor>) -> Result<Page<User>> {
        let _permit = match filter.words.is_empty() {
            true => None,
            false => Some(self.store.search_permit(&self.searches).await?),
        };
        let users = self.store.users.clone_with_type::<RawDocumentBuf>();
        let find =
            users.find(filter.query(page.after.as_ref())).sort(doc! { "_id": -1 }).limit(page.query_limit());
        let find = find.batch_size(BATCH_ITEMS).max_time(self.store.read_max());
        let found = self.store.read(|session| collect(find, session)).await?;
        let page = Page::of(found, page.limit, |last| UserCursor::after(last));
        Ok(page.filter_map(|document| parse(&document)))
    }

    /// Changes the role of an account, disables or enables it, hides its name or shows it again. The last ends all its tokens,
    /// because they carry the name. `actor` must be an admin.
    ///
    /// # Errors
    /// `not_found`; `last_admin`; `forbidden` if the actor is no admin any more; those of `Store::transact`.
    pub async fn change(&self, id: Id, change: UserChange, actor: Actor) -> Result<User> {
        let entry = self.entry(&actor, Action::UserChanged, id);
        let (users, audit) = (self.store.users.clone(), self.store.audit.clone());
        let changed = self
            .store
            .transact(move |session| {
                let (users, audit, entry) = (users.clone(), audit.clone(), entry.clone());
                let actor = actor.user;
                Box::pin(async move {
                    if let Some(actor) = actor {
                        let actor = users.find_one(doc! { "_id": actor }).session(&mut *session).await?;
                        // A token of another provider needs no account.
                        if actor.is_some_and(|actor| !actor.is_active_admin()) {
                            return Err(Error::FORBIDDEN.into());
                        }
                    }
                    let before = users.find_one(doc! { "_id": id }).session(&mut *session).await?;
                    let before = before.ok_or(NO_USER)?;
                    let (role, disabled) =
                        (change.role.unwrap_or(before.role), change.disabled.unwrap_or(before.disabled));
                    let hide_name = change.hide_name.unwrap_or(before.hide_name);
                    if (role, disabled, hide_name) == (before.role, before.disabled, before.hide_name) {
                        return Ok(before);
                    }
                    if before.is_active_admin() && (role != Role::Admin || disabled) {
                        // Another admin has to stay, and is touched: of two transactions that each rely on the other's
                        // admin, or on the same one, one is run again.
                        let mut other = active_admins();
                        other.insert("_id", doc! { "$ne": id });
                        let touched = doc! { "$inc": { "stayedAdmin": 1_i64 } };
                        let stays = users.find_one_and_update(other, touched).session(&mut *session).await?;
                        if stays.is_none() {
                            return Err(Error::LastAdmin.into());
                        }
                    }
                    let mut update = match hide_name == before.hide_name {
                        true => doc! { "$currentDate": { "accessChangedAt": { "$type": "timestamp" } } },
                        false => ending_tokens(),
                    };
                    update.insert(
                        "$set",
                        doc! { "role": role.name(), "disabled": disabled, "hideName": hide_name },
                    );
                    let updated =
                        users.find_one_and_update(doc! { "_id": id }, update).session(&mut *session);
                    let after = updated.return_document(ReturnDocument::After).await?.ok_or(NO_USER)?;
                    let entry = entry.with_change(access(&before), access(&after));
                    audit.insert_one(entry).session(session).await?;
                    Ok(after)
                })
            })
            .await?;
        self.access.note_account(&changed);
        if change.hide_name == Some(true) {
            self.hide_in_purchases(changed.id).await?;
        }
        Ok(changed)
    }

    /// Creates an admin's account. `email` must be in lower case.
    ///
    /// # Errors
    /// `email_taken`, and those of `register`.
    pub async fn create_admin(&self, name: String, email: String, password: Secret) -> Result<User> {
        self.create(
            this_machine(),
            (name, email, Role::Admin),
            password,
            Action::AdminCreated,
            Actor::default(),
        )
        .await
    }

    /// Makes an existing account an admin's, enabled, with this password and perhaps another name. All its tokens end, so
    /// that whoever had it before has it no more. `None` if no account has the address.
    ///
    /// # Errors
    /// `overloaded`, and those of `Store::transact`.
    pub async fn promote(&self, email: &str, name: Option<String>, password: Secret) -> Result<Option<User>> {
        let Some(account) = self.find_by_email(email).await? else { return Ok(None) };
        let mut set = doc! {
            "role": Role::Admin.name(), "disabled": false, "passwordHash": self.passwords.hash(this_machine(), password).await?,
        };
        set.extend(name.map(|name| ("name".to_owned(), name.into())));
        let mut update = ending_tokens();
        update.insert("$set", set);
        let entry = self.entry(&Actor::default(), Action::AdminPromoted, account.id);
        let entry =
            move |before: &User, after: &User| entry.clone().with_change(access(before), access(after));
        let promoted = self.change_account(doc! { "_id": account.id }, update, entry).await?;
        promoted.iter().for_each(|account| self.access.note_account(account));
        Ok(promoted)
    }

    /// Creates the admin of the settings, unless a user with that address exists.
    ///
    /// # Errors
    /// Those of `create_admin`.
    pub async fn ensure_admin(&self, credentials: &AdminCredentials) -> Result<()> {
        let name = "Admin".to_owned();
        let email = credentials.email.clone();
        match self.create_admin(name, email, credentials.password.clone()).await {
            Ok(_) => Ok(()),
            Err(Error::EmailTaken) => self.compare_admin(credentials).await,
            Err(error) => Err(error),
        }
    }

    /// Warns when the existing account differs from the settings, which do not change it.
    async fn compare_admin(&self, credentials: &AdminCredentials) -> Result<()> {
        let Some(user) = self.find_by_email(&credentials.email).await? else { return Ok(()) };
        let user_id = user.id.to_hex();
        if !user.is_active_admin() {
            tracing::warn!(
                user_id,
                "the address of ADMIN_EMAIL belongs to user {user_id}, who is not an admin or is disabled; the account is \
                 not changed. `flash-sale admin promote` with that address makes it an admin's, with a new password"
            );
        } else if !self
            .passwords
            .verify(this_machine(), credentials.password.clone(), Some(user.password_hash))
            .await?
        {
            tracing::warn!(
                user_id,
                "ADMIN_PASSWORD is not the password of the admin with the address of ADMIN_EMAIL, user {user_id}: it \
                 is only used when the account is created. `flash-sale admin promote` sets a new one"
            );
        }
        Ok(())
    }

    /// The address of the oldest admin who can log in; `None` when there is no admin.
    ///
    /// # Errors
    /// Those of `Store::read`.
    pub async fn admin_email(&self) -> Result<Option<String>> {
        let oldest = self.store.users.find_one(active_admins()).sort(doc! { "_id": 1 });
        let read = |mut session| async move { oldest.session(&mut session).await };
        let admin = self.store.read(read).await?;
        Ok(admin.map(|admin| admin.email))
    }
}

/// The query for what [`User::is_active_admin`] says of an account.
fn active_admins() -> Document {
    doc! { "role": Role::Admin.name(), "disabled": { "$ne": true } }
}

/// What the audit log keeps of an account.
fn access(user: &User) -> Document {
    doc! { "role": user.role.name(), "disabled": user.disabled, "hideName": user.hide_name }
}
