//! Hashing passwords with argon2id, at a bounded rate: a storm of logins may wait, but it may not starve the sale.
//!
//! The hashes are made by threads of their own, of which there are few, and which the system lets run after everything
//! else that wants to (Linux): a purchase never waits for a hash that takes 20 ms.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use tokio::sync::oneshot;

use crate::config::{Limits, Secret};
use crate::error::{Error, Result};

/// How far behind the sale the hashing threads stand: as far as the system allows, so that they take what time is left over.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 19;

/// What unknown users' passwords are compared with; no password belongs to it that anybody knows.
const NOBODYS_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$7Xr/kmFN7ApjN4RkE6DY8Q$bR+pSB6pLwXdHaeaYF9ZUgs5Cm4EYriRocDvk6A8rxg";

type Job = Box<dyn FnOnce() + Send>;

/// Hashes and verifies, a few at a time. The threads end when it is dropped.
pub struct Passwords {
    jobs: SyncSender<Job>,
    wait_max: Duration,
}

impl Passwords {
    /// Starts the threads.
    ///
    /// # Errors
    /// `internal`, when the system has no threads left.
    pub fn new(limits: &Limits) -> Result<Self> {
        let (sender, receiver) = sync_channel(limits.password_hashes_waiting_max);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..limits.password_hashes_in_flight_max {
            let receiver = receiver.clone();
            let thread = thread::Builder::new().name("passwords".into());
            thread.spawn(move || work(&receiver)).map_err(|error| {
                tracing::error!("no thread for passwords can be started: {error}");
                Error::Internal
            })?;
        }
        Ok(Self { jobs: sender, wait_max: Limits::milliseconds(limits.password_hash_wait_ms_max) })
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
        let hash = hash.map_or(Cow::Borrowed(NOBODYS_HASH), Cow::Owned);
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
        let (sender, receiver) = oneshot::channel();
        let job = move || {
            // Whoever has hung up meanwhile needs no answer.
            if !sender.is_closed() {
                drop(sender.send(work()));
            }
        };
        const OVERLOADED: Error =
            Error::Overloaded { detail: "Too many logins and registrations are waiting." };
        self.jobs.try_send(Box::new(job)).map_err(|_| OVERLOADED)?;
        let answer = tokio::time::timeout(self.wait_max, receiver).await.map_err(|_| OVERLOADED)?;
        answer.map_err(|_| Error::Internal)
    }
}

/// One thread: takes a job after the other until nobody can give it any.
fn work(jobs: &Mutex<Receiver<Job>>) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!("passwords are hashed at the usual priority: {error}");
    }
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // The cause is in the log, where the panic hook has put it; the client's channel tells that there is no answer.
        drop(catch_unwind(AssertUnwindSafe(job)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobodys_hash_takes_as_long_as_any_other() {
        let parameters = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
        let new = hash(&Secret::new("a password of somebody")).unwrap();
        assert_eq!(parameters(NOBODYS_HASH), parameters(&new));
        assert!(PasswordHash::new(NOBODYS_HASH).is_ok());
    }
}
