//! Accounts: registering, logging in, and the first admin.

use mongodb::bson::{DateTime, doc, oid::ObjectId};

use super::login_failures::LoginFailures;
use super::passwords::Passwords;
use crate::config::{AccountsLimits, AdminCredentials, Secret};
use crate::error::{Error, Result};
use crate::http::peer::PeerAddress;
use crate::model::user::{Role, User};
use crate::store::{Store, failure};

/// The accounts and what guards them.
pub struct Accounts {
    store: Store,
    passwords: Passwords,
    login_failures: LoginFailures,
}

impl Accounts {
    /// The accounts in `store`.
    ///
    /// # Errors
    /// `internal`, when the system gives no threads for passwords.
    pub fn new(store: Store, limits: &AccountsLimits) -> Result<Self> {
        Ok(Self { store, passwords: Passwords::new(limits)?, login_failures: LoginFailures::new(limits) })
    }

    /// Makes an account. `email` is in lower case.
    ///
    /// # Errors
    /// `email_taken`, `overloaded`, and those of a write.
    pub async fn register(&self, name: String, email: String, password: Secret, role: Role) -> Result<User> {
        // Asked first, as it is cheaper than a hash; the unique index decides.
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

    /// The account that the credentials open. `email` is in lower case.
    ///
    /// # Errors
    /// `invalid_credentials`, in the same time whether the account exists or not; `rate_limited` after too many of
    /// them; `overloaded`.
    pub async fn log_in(&self, address: PeerAddress, email: &str, password: Secret) -> Result<User> {
        // Dropped on every way out but a wrong password: then it does not count.
        let attempt = self.login_failures.begin(address, email).await?;
        let user = self.find_by_email(email).await?;
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let right = self.passwords.verify(password, hash).await?;
        if !right && attempt.was_wrong() {
            warn_of_limit(user.as_ref());
        }
        user.filter(|_| right).ok_or(Error::InvalidCredentials)
    }

    /// The account with this id.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn find(&self, id: ObjectId) -> Result<Option<User>> {
        self.store.read(async { self.store.users.find_one(doc! { "_id": id }).await }).await
    }

    /// Makes the admin, unless there is a user with that address.
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

    /// Tells when the account that is there is not what the settings say: they do not change it.
    async fn compare_admin(&self, credentials: &AdminCredentials) -> Result<()> {
        let Some(user) = self.find_by_email(&credentials.email).await? else { return Ok(()) };
        let user_id = user.id.to_hex();
        if user.role != Role::Admin {
            tracing::warn!(
                user_id,
                "the user with the address of ADMIN_EMAIL is there already, and is no admin: user {user_id}"
            );
        } else if !self.passwords.verify(credentials.password.clone(), Some(user.password_hash)).await? {
            tracing::warn!(
                user_id,
                "ADMIN_PASSWORD is not the password of the admin with the address of ADMIN_EMAIL, user {user_id}: it is only \
                 used when the account is made. Another ADMIN_EMAIL makes another admin"
            );
        }
        Ok(())
    }

    /// The address of the admin who has been here longest; none when nobody may create products.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn admin_email(&self) -> Result<Option<String>> {
        let oldest = self.store.users.find_one(doc! { "role": "admin" }).sort(doc! { "_id": 1 });
        let admin = self.store.read(async { oldest.await }).await?;
        Ok(admin.map(|admin| admin.email))
    }

    async fn find_by_email(&self, email: &str) -> Result<Option<User>> {
        self.store.read(async { self.store.users.find_one(doc! { "email": email }).await }).await
    }
}

/// An address is nobody's business but its owner's: only the id is told, of an account that there is.
fn warn_of_limit(user: Option<&User>) {
    const REFUSED: &str = "too many wrong passwords, further logins are refused for a while";
    match user.map(|user| user.id.to_hex()) {
        Some(user_id) => tracing::warn!(user_id, "{REFUSED}: user {user_id}"),
        None => tracing::warn!("{REFUSED}: an account that is not there"),
    }
}
