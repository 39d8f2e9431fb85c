//! Hashing passwords with argon2id, at a bounded rate: a storm of logins may wait, but it may not starve the sale.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use tokio::sync::Semaphore;

use crate::config::{Limits, Secret};
use crate::error::{Error, Result};

/// Hashes and verifies, a few at a time, on threads that may block.
pub struct Passwords {
    in_flight: Arc<Semaphore>,
    waiting: Semaphore,
    dummy_hash: Arc<str>,
}

impl Passwords {
    /// Makes the hash that unknown users are compared with, which takes as long as any other.
    ///
    /// # Errors
    /// `internal`, when the system has no random numbers.
    pub fn new(limits: &Limits) -> Result<Self> {
        Ok(Self {
            in_flight: Arc::new(Semaphore::new(limits.password_hashes_in_flight_max)),
            waiting: Semaphore::new(
                limits.password_hashes_in_flight_max + limits.password_hashes_waiting_max,
            ),
            dummy_hash: hash(&Secret::new("the password of nobody"))?.into(),
        })
    }

    /// The hash of a password, in PHC form with its own salt.
    ///
    /// # Errors
    /// `overloaded` when too many wait.
    pub async fn hash(&self, password: Secret) -> Result<String> {
        self.run(move || hash(&password)).await?
    }

    /// Whether the password belongs to the hash. Without a hash (there is no such user) it takes as long and is false.
    ///
    /// # Errors
    /// `overloaded` when too many wait.
    pub async fn verify(&self, password: Secret, hash: Option<String>) -> Result<bool> {
        let known = hash.is_some();
        let hash: Arc<str> = hash.map_or_else(|| self.dummy_hash.clone(), Into::into);
        let matches = self
            .run(move || {
                PasswordHash::new(&hash).is_ok_and(|hash| {
                    Argon2::default().verify_password(password.reveal().as_bytes(), &hash).is_ok()
                })
            })
            .await?;
        Ok(known && matches)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        const OVERLOADED: Error =
            Error::Overloaded { detail: "Too many logins and registrations are waiting." };
        let _waiting = self.waiting.try_acquire().map_err(|_| OVERLOADED)?;
        let turn = self.in_flight.clone().acquire_owned().await.map_err(|_| OVERLOADED)?;
        let work = tokio::task::spawn_blocking(move || {
            // The turn ends with the work, not with the client's patience.
            let _turn = turn;
            work()
        });
        work.await.map_err(|_| Error::Internal)
    }
}

/// argon2id with the crate's defaults, which are OWASP's minimum: 19 MiB, two passes, one lane.
fn hash(password: &Secret) -> Result<String> {
    match Argon2::default().hash_password(password.reveal().as_bytes()) {
        Ok(hash) => Ok(hash.to_string()),
        Err(error) => {
            tracing::error!("a password cannot be hashed: {error}");
            Err(Error::Internal)
        }
    }
}
