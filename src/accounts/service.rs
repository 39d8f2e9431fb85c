//! Registers accounts, logs users in and out, changes passwords. What admins do with accounts is in `administration`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use mongodb::bson::{Bson, DateTime, Document, Timestamp as OperationTime, doc};
use mongodb::options::ReturnDocument;

use super::access::{Access, check_account, token_key, user_key};
use super::current_user::CurrentUser;
use super::login_failures::{LoginFailures, Try};
use super::passwords::Passwords;
use crate::config::{AccountsLimits, Secret};
use crate::error::{Error, Result};
use crate::http::client::Client;
use crate::metrics::Metrics;
use crate::model::audit::{Action, Actor, AuditEntry};
use crate::model::email;
use crate::model::ended_token::EndedToken;
use crate::model::id::Id;
use crate::model::network::Network;
use crate::model::user::{Role, User};
use crate::store::heartbeat::Heartbeat;
use crate::store::{Store, collect, failure};

/// The latest moment that a date in MongoDB is shown as, in milliseconds: the end of the year 9999.
const LAST_MOMENT_MS: i64 = 253_402_300_799_999;
/// In an inserted document the database replaces it by its logical clock.
const NOW: OperationTime = OperationTime { time: 0, increment: 0 };

pub struct Accounts {
    pub(super) store: Store,
    pub(super) heartbeat: Heartbeat,
    pub(super) access: Access,
    pub(super) passwords: Passwords,
    login_failures: LoginFailures,
    pub(super) searches: tokio::sync::Semaphore,
}

impl Accounts {
    /// # Errors
    /// Those of `Passwords::new`.
    pub fn new(
        store: Store,
        heartbeat: Heartbeat,
        access: Access,
        limits: &AccountsLimits,
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        Ok(Self {
            store,
            heartbeat,
            access,
            passwords: Passwords::new(limits, metrics)?,
            login_failures: LoginFailures::new(limits),
            searches: tokio::sync::Semaphore::new(limits.user_searches_in_flight_max),
        })
    }

    /// Whether a new password is hard to guess for those who know `own`: the name and the address of its owner, and the
    /// name of the shop. If not, why not, in words. `network` is that of the client who waits for it.
    ///
    /// # Errors
    /// `overloaded`.
    pub async fn check_strength(
        &self,
        network: Network,
        password: Secret,
        own: Vec<String>,
    ) -> Result<Result<(), &'static str>> {
        self.passwords.check_strength(network, password, own).await
    }

    /// Creates a customer's account for a client of this network. `email` must be in lower case.
    ///
    /// # Errors
    /// `email_taken`, `overloaded`, and those of `Store::transact`.
    pub async fn register(
        &self,
        network: Network,
        name: String,
        email: String,
        password: Secret,
        actor: Actor,
    ) -> Result<User> {
        let account = (name, email, Role::Customer);
        self.create(network, account, password, Action::UserRegistered, actor).await
    }

    /// Creates an account. The actor is the user, if it is nobody else.
    pub(super) async fn create(
        &self,
        network: Network,
        (name, email, role): (String, String, Role),
        password: Secret,
        action: Action,
        actor: Actor,
    ) -> Result<User> {
        // This check saves a hash for a taken address; the unique index decides.
        if self.find_by_email(&email).await?.is_some() {
            return Err(Error::EmailTaken);
        }
        let password_hash = self.passwords.hash(network, password).await?;
        let user = User::new(name, email, password_hash, role, DateTime::now());
        let actor = if action == Action::UserRegistered { actor.of(user.id) } else { actor };
        let entry = self.entry(&actor, action, user.id).with_change(doc! {}, doc! { "role": role.name() });
        let (users, audit) = (self.store.users.clone(), self.store.audit.clone());
        let created = user.clone();
        self.store
            .transact(move |session| {
                let (users, audit, user, entry) = (users.clone(), audit.clone(), user.clone(), entry.clone());
                Box::pin(async move {
                    match users.insert_one(&user).session(&mut *session).await {
                        Err(error) if failure::is_duplicate_key(&error) => {
                            return Err(Error::EmailTaken.into());
                        }
                        inserted => inserted?,
                    };
                    audit.insert_one(&entry).session(session).await?;
                    Ok(())
                })
            })
            .await?;
        Ok(created)
    }

    /// The user with these credentials. `email` must be in lower case.
    ///
    /// # Errors
    /// `invalid_credentials`, after the same time whether the account exists or not; `rate_limited` after too many of
    /// these; `account_disabled`, only for the right password; `overloaded`, `database_unavailable`.
    pub async fn log_in(&self, client: Client, email: &str, password: Secret, actor: Actor) -> Result<User> {
        // Dropped on every way out except a wrong password, and then it does not count.
        // All ways to write an address share its limit.
        let mailbox = email::canonical(email);
        let mailbox = mailbox.as_deref().unwrap_or(email);
        let attempt = self.login_failures.begin(client.bounded_network(), mailbox).await?;
        let user = self.find_by_email(email).await?;
        let right = self.is_right(attempt, client.network, password, user.as_ref()).await?;
        let user = user.filter(|_| right).ok_or(Error::InvalidCredentials)?;
        match self.note_login(&user, actor).await {
            Ok(Some(user)) => Ok(user),
            // While the password was compared the account was disabled, or got another password.
            Ok(None) => match self.find(user.id).await? {
                Some(user) if user.disabled => Err(Error::AccountDisabled),
                _ => Err(Error::InvalidCredentials),
            },
            // Nothing that matters was changed.
            Err(Error::OutcomeUnknown { .. }) => Err(Error::DatabaseUnavailable),
            Err(error) => Err(error),
        }
    }

    /// Whether the password is the account's; a wrong one counts. Without an account it takes as long.
    async fn is_right(
        &self,
        attempt: Try<'_>,
        network: Network,
        password: Secret,
        account: Option<&User>,
    ) -> Result<bool> {
        let hash = account.map(|account| account.password_hash.clone());
        let right = self.passwords.verify(network, password, hash).await?;
        match right {
            true => attempt.was_right(),
            false if attempt.was_wrong() => warn_of_limit(account),
            false => {}
        }
        Ok(right)
    }

    /// Notes the login in the account, and returns the account as it is now; `None` if it may not log in any more. A login
    /// of the staff is in the audit log as well.
    async fn note_login(&self, user: &User, actor: Actor) -> Result<Option<User>> {
        let users = self.store.users.clone();
        let as_compared =
            doc! { "_id": user.id, "passwordHash": &user.password_hash, "disabled": { "$ne": true } };
        let logged_in = doc! { "$currentDate": { "lastLoginAt": true } };
        if !user.role.is_staff() {
            let time_max = self.store.write_wait_max();
            let update = async move {
                let update = users.find_one_and_update(as_compared, logged_in).max_time(time_max);
                update.return_document(ReturnDocument::After).await.map_err(|error| failure::of_write(&error))
            };
            return self.store.write(update).await;
        }
        let entry = self.entry(&actor.of(user.id), Action::UserLoggedIn, user.id);
        self.change_account(as_compared, logged_in, move |_, _| entry.clone()).await
    }

    /// Changes the account that matches, and writes what was done into the audit log. `None` if there is none.
    pub(super) async fn change_account(
        &self,
        matching: Document,
        update: Document,
        entry: impl Fn(&User, &User) -> AuditEntry + Clone + Send + Sync + 'static,
    ) -> Result<Option<User>> {
        let (users, audit) = (self.store.users.clone(), self.store.audit.clone());
        self.store
            .transact(move |session| {
                let (users, audit, entry) = (users.clone(), audit.clone(), entry.clone());
                let (matching, update) = (matching.clone(), update.clone());
                Box::pin(async move {
                    let Some(before) = users.find_one(matching.clone()).session(&mut *session).await? else {
                        return Ok(None);
                    };
                    let updated = users.find_one_and_update(matching, update).session(&mut *session);
                    let Some(after) = updated.return_document(ReturnDocument::After).await? else {
                        return Ok(None);
                    };
                    audit.insert_one(entry(&before, &after)).session(session).await?;
                    Ok(Some(after))
                })
            })
            .await
    }

    /// Ends the token that `user` has sent.
    ///
    /// # Errors
    /// Those of `Store::transact`.
    pub async fn log_out(&self, user: &CurrentUser, actor: Actor) -> Result<()> {
        let expires_at_ms = user.token.expires_at_ms.min(LAST_MOMENT_MS);
        let ended = EndedToken {
            key: token_key(user.token.fingerprint),
            user_id: user.id,
            ended_at: NOW,
            expires_at: Some(DateTime::from_millis(expires_at_ms)),
            tokens_valid_from: None,
        };
        let entry = self.entry(&actor.of(user.id), Action::UserLoggedOut, user.id);
        self.end(ended, entry).await
    }

    /// Ends all tokens of `user`, who need not have an account.
    ///
    /// # Errors
    /// Those of `Store::transact`.
    pub async fn log_out_everywhere(&self, user: &CurrentUser, actor: Actor) -> Result<()> {
        let entry = self.entry(&actor.of(user.id), Action::UserLoggedOutEverywhere, user.id);
        let account = {
            let entry = entry.clone();
            self.change_account(doc! { "_id": user.id }, ending_tokens(), move |_, _| entry.clone()).await?
        };
        if let Some(account) = account {
            self.access.note_account(&account);
            return Ok(());
        }
        let all = EndedToken {
            key: user_key(user.id),
            user_id: user.id,
            ended_at: NOW,
            expires_at: None,
            tokens_valid_from: Some(self.heartbeat.database_time().into()),
        };
        self.end(all, entry).await
    }

    /// Ends a token, or all of a user, in one transaction with the entry in the audit log.
    async fn end(&self, ended: EndedToken, entry: AuditEntry) -> Result<()> {
        let (tokens, audit) = (self.store.ended_tokens.clone(), self.store.audit.clone());
        let new = ended.clone();
        self.store
            .transact(move |session| {
                let (tokens, audit, ended, entry) =
                    (tokens.clone(), audit.clone(), new.clone(), entry.clone());
                Box::pin(async move {
                    let key = doc! { "_id": &ended.key };
                    // Not an upsert: in a transaction some versions of MongoDB fail at it.
                    match tokens.find_one(key.clone()).session(&mut *session).await? {
                        None => drop(tokens.insert_one(&ended).session(&mut *session).await?),
                        // Two requests have ended the same token.
                        Some(_) if ended.expires_at.is_some() => return Ok(()),
                        Some(_) => {
                            let update = doc! {
                                "$max": { "tokensValidFrom": ended.tokens_valid_from },
                                "$currentDate": { "endedAt": { "$type": "timestamp" } },
                            };
                            tokens.update_one(key, update).session(&mut *session).await?;
                        }
                    }
                    audit.insert_one(&entry).session(session).await?;
                    Ok(())
                })
            })
            .await?;
        self.access.note_ended(&ended);
        Ok(())
    }

    /// Gives the account of `user` a new password, and ends all its tokens. `shops_own` are words that make a password
    /// easy to guess.
    ///
    /// # Errors
    /// `not_found` without an account; `invalid_credentials` if `current` is wrong, and `rate_limited` after too many of
    /// these; `validation_failed` if `new` is easy to guess; `overloaded`, and those of `Store::transact`.
    pub async fn change_password(
        &self,
        user: &CurrentUser,
        client: Client,
        (current, new): (Secret, Secret),
        shops_own: &[String],
        actor: Actor,
    ) -> Result<User> {
        let account = self.find(user.id).await?.ok_or(Error::NO_ACCOUNT)?;
        check_account(&account, user)?;
        let mailbox = account.email_canonical.as_deref().unwrap_or(&account.email);
        let attempt = self.login_failures.begin(client.bounded_network(), mailbox).await?;
        if !self.is_right(attempt, client.network, current, Some(&account)).await? {
            return Err(Error::InvalidCredentials);
        }
        let own = shops_own.iter().chain([&account.name, &account.email]).cloned().collect();
        if let Err(problem) = self.check_strength(client.network, new.clone(), own).await? {
            return Err(Error::invalid("newPassword", problem));
        }
        let as_compared = doc! {
            "_id": user.id, "passwordHash": account.password_hash, "disabled": { "$ne": true },
            "tokenGeneration": generation(account.token_generation),
        };
        let mut update = ending_tokens();
        update.insert("$set", doc! { "passwordHash": self.passwords.hash(client.network, new).await? });
        let entry = self.entry(&actor.of(user.id), Action::UserPasswordChanged, user.id);
        let changed = self.change_account(as_compared, update, move |_, _| entry.clone()).await?;
        // Somebody else has changed the password meanwhile, ended the tokens, or disabled the account.
        let changed = changed.ok_or(Error::InvalidCredentials)?;
        self.access.note_account(&changed);
        Ok(changed)
    }

    /// # Errors
    /// Those of `Store::read`.
    pub async fn find(&self, id: Id) -> Result<Option<User>> {
        self.find_one(doc! { "_id": id }).await
    }

    pub(super) async fn find_one(&self, query: Document) -> Result<Option<User>> {
        let found = self.store.users.find_one(query);
        self.store.read(|mut session| async move { found.session(&mut session).await }).await
    }

    /// The account with this address, or else the one with the same canonical form: who can read the mail of one can
    /// read that of the other. Accounts of earlier versions may share it; then each is found by its own address.
    pub(super) async fn find_by_email(&self, email: &str) -> Result<Option<User>> {
        let Some(mailbox) = email::canonical(email) else {
            return self.find_one(doc! { "email": email }).await;
        };
        let query = doc! { "$or": [{ "email": email }, { "emailCanonical": mailbox }] };
        let found = self.store.users.find(query);
        let mut found = self.store.read(|session| collect(found, session)).await?;
        let exact = found.iter().position(|user| user.email == email);
        Ok(if found.is_empty() { None } else { Some(found.swap_remove(exact.unwrap_or(0))) })
    }

    /// An entry of the audit log about an account.
    pub(super) fn entry(&self, actor: &Actor, action: Action, account: Id) -> AuditEntry {
        AuditEntry::new(actor, action, account, self.heartbeat.database_time().into())
    }
}

/// The update that ends all tokens of an account.
pub(super) fn ending_tokens() -> Document {
    doc! {
        "$inc": { "tokenGeneration": 1_i64 },
        "$currentDate": { "tokensValidFrom": true, "accessChangedAt": { "$type": "timestamp" } },
    }
}

/// The condition that an account has this token generation. Accounts of earlier versions have none, which means 0.
pub(super) fn generation(generation: i64) -> Document {
    match generation {
        0 => doc! { "$in": [0_i64, Bson::Null] },
        generation => doc! { "$eq": generation },
    }
}

/// Where the admin of the settings comes from, and those of the command line.
pub(super) fn this_machine() -> Network {
    Network::of(Ipv4Addr::LOCALHOST.into())
}

/// Logs only the id of an existing account, never an address: addresses are private.
fn warn_of_limit(user: Option<&User>) {
    const REFUSED: &str =
        "too many wrong passwords, further logins from that network are refused for a while";
    match user.map(|user| user.id.to_hex()) {
        Some(user_id) => tracing::warn!(user_id, "{REFUSED}: user {user_id}"),
        None => tracing::warn!("{REFUSED}: no such account"),
    }
}
