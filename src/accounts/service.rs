//! Registers accounts, logs users in, and creates the first admin.

use std::sync::Arc;

use mongodb::bson::{DateTime, Document, doc, oid::ObjectId};

use super::login_failures::LoginFailures;
use super::passwords::Passwords;
use crate::config::{AccountsLimits, AdminCredentials, Secret};
use crate::error::{Error, Result};
use crate::http::peer::PeerAddress;
use crate::metrics::Metrics;
use crate::model::user::{Role, User};
use crate::store::{Store, failure};

pub struct Accounts {
    store: Store,
    passwords: Passwords,
    login_failures: LoginFailures,
}

impl Accounts {
    /// # Errors
    /// Those of `Passwords::new`.
    pub fn new(store: Store, limits: &AccountsLimits, metrics: Arc<Metrics>) -> Result<Self> {
        let passwords = Passwords::new(limits, metrics)?;
        Ok(Self { store, passwords, login_failures: LoginFailures::new(limits) })
    }

    /// Creates an account. `email` must be in lower case.
    ///
    /// # Errors
    /// `email_taken`, `overloaded`, and those of `Store::write`.
    pub async fn register(&self, name: String, email: String, password: Secret, role: Role) -> Result<User> {
        // This check saves a hash for a taken address; the unique index decides.
        if self.find_by_email(&email).await?.is_some() {
            return Err(Error::EmailTaken);
        }
        let password_hash = self.passwords.hash(password).await?;
        let user =
            User { id: ObjectId::new(), name, email, password_hash, role, created_at: DateTime::now() };
        let users = self.store.users.clone();
        self.store
            .write(async move {
                match users.insert_one(&user).await {
                    Ok(_) => Ok(user),
                    Err(error) if failure::is_duplicate_key(&error) => Err(Error::EmailTaken),
                    Err(error) => Err(failure::of_write(&error)),
                }
            })
            .await
    }

    /// The user with these credentials. `email` must be in lower case.
    ///
    /// # Errors
    /// `invalid_credentials`, after the same time whether the account exists or not; `rate_limited` after too many of
    /// these; `overloaded`.
    pub async fn log_in(&self, address: PeerAddress, email: &str, password: Secret) -> Result<User> {
        // Dropped on every way out except a wrong password, and then it does not count.
        let attempt = self.login_failures.begin(address, email).await?;
        let user = self.find_by_email(email).await?;
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let right = self.passwords.verify(password, hash).await?;
        if !right && attempt.was_wrong() {
            warn_of_limit(user.as_ref());
        }
        user.filter(|_| right).ok_or(Error::InvalidCredentials)
    }

    /// # Errors
    /// Those of `Store::read`.
    pub async fn find(&self, id: ObjectId) -> Result<Option<User>> {
        self.find_one(doc! { "_id": id }).await
    }

    /// Creates the admin, unless a user with that address exists.
    ///
    /// # Errors
    /// Those of `register`.
    pub async fn ensure_admin(&self, credentials: &AdminCredentials) -> Result<()> {
        let name = "Admin".to_owned();
        let email = credentials.email.clone();
        match self.register(name, email, credentials.password.clone(), Role::Admin).await {
            Ok(_) => Ok(()),
            Err(Error::EmailTaken) => self.compare_admin(credentials).await,
            Err(error) => Err(error),
        }
    }

    /// Warns when the existing account differs from the settings, which do not change it.
    async fn compare_admin(&self, credentials: &AdminCredentials) -> Result<()> {
        let Some(user) = self.find_by_email(&credentials.email).await? else { return Ok(()) };
        let user_id = user.id.to_hex();
        if user.role != Role::Admin {
            tracing::warn!(
                user_id,
                "the address of ADMIN_EMAIL belongs to user {user_id}, who is not an admin; the role is not changed"
            );
        } else if !self.passwords.verify(credentials.password.clone(), Some(user.password_hash)).await? {
            tracing::warn!(
                user_id,
                "ADMIN_PASSWORD is not the password of the admin with the address of ADMIN_EMAIL, user {user_id}: it \
                 is only used when the account is created. To create another admin, set another ADMIN_EMAIL"
            );
        }
        Ok(())
    }

    /// The address of the oldest admin account; `None` when there is no admin.
    ///
    /// # Errors
    /// Those of `Store::read`.
    pub async fn admin_email(&self) -> Result<Option<String>> {
        let oldest = self.store.users.find_one(doc! { "role": "admin" }).sort(doc! { "_id": 1 });
        let read = |mut session| async move { oldest.session(&mut session).await };
        let admin = self.store.read(read).await?;
        Ok(admin.map(|admin| admin.email))
    }

    async fn find_one(&self, query: Document) -> Result<Option<User>> {
        let found = self.store.users.find_one(query);
        self.store.read(|mut session| async move { found.session(&mut session).await }).await
    }

    async fn find_by_email(&self, email: &str) -> Result<Option<User>> {
        self.find_one(doc! { "email": email }).await
    }
}

/// Logs only the id of an existing account, never an address: addresses are private.
fn warn_of_limit(user: Option<&User>) {
    const REFUSED: &str = "too many wrong passwords, further logins are refused for a while";
    match user.map(|user| user.id.to_hex()) {
        Some(user_id) => tracing::warn!(user_id, "{REFUSED}: user {user_id}"),
        None => tracing::warn!("{REFUSED}: no such account"),
    }
}
