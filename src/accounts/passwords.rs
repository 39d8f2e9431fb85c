//! Hashing passwords with argon2id, at a bounded rate: a storm of logins may wait, but it may not starve the sale.
//!
//! The hashes are made by threads of their own, of which there are few, and which the system lets run after everything
//! else that wants to (Linux): a purchase never waits for a hash that takes 20 ms. And as a hash clears the processor's
//! caches for everybody, a thread that was held up, which shows that the processor is wanted, rests before the next one.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use tokio::sync::oneshot;

use crate::config::{AccountsLimits, Secret};
use crate::error::{Error, Result};

/// How far behind the sale the hashing threads stand: as far as the system allows, so that they take what time is left over.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 19;

/// A thread rests for so many times as long as its hash was held up: where the processor is idle, not at all.
const REST_FACTOR: u32 = 8;
/// And for this time at the most, so that some can log in however busy the sale is.
const REST_MAX: Duration = Duration::from_millis(100);

/// What unknown users' passwords are compared with; no password belongs to it that anybody knows.
const NOBODYS_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$7Xr/kmFN7ApjN4RkE6DY8Q$bR+pSB6pLwXdHaeaYF9ZUgs5Cm4EYriRocDvk6A8rxg";

type Job = Box<dyn FnOnce() + Send>;

/// Hashes and verifies, a few at a time. The threads end when it is dropped.
pub struct Passwords {
    jobs: SyncSender<Job>,
    pace: Arc<Pace>,
    threads: usize,
    wait_max: Duration,
}

/// How long who comes now will have to wait.
#[derive(Default)]
struct Pace {
    waiting: AtomicU64,
    /// What a hash and the rest after it take of late, in microseconds.
    hash_us: AtomicU64,
}

impl Pace {
    fn wait(&self, threads: usize) -> Duration {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let all_us = waiting.saturating_mul(self.hash_us.load(Ordering::Relaxed));
        Duration::from_micros(all_us / threads.max(1) as u64)
    }

    fn took(&self, time: Duration) {
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let before_us = self.hash_us.load(Ordering::Relaxed);
        self.hash_us.store(before_us - before_us / 4 + time_us / 4, Ordering::Relaxed);
    }
}

impl Passwords {
    /// Starts the threads.
    ///
    /// # Errors
    /// `internal`, when the system has no threads left.
    pub fn new(limits: &AccountsLimits) -> Result<Self> {
        let (sender, receiver) = sync_channel(limits.password_hashes_waiting_max);
        let receiver = Arc::new(Mutex::new(receiver));
        let pace = Arc::new(Pace::default());
        let threads = limits.password_hashes_in_flight_max;
        for _ in 0..threads {
            let (receiver, pace) = (receiver.clone(), pace.clone());
            let thread = thread::Builder::new().name("passwords".into());
            thread.spawn(move || work(&receiver, &pace)).map_err(|error| {
                tracing::error!("no thread for passwords can be started: {error}");
                Error::Internal
            })?;
        }
        let wait_max = Duration::from_millis(limits.password_hash_wait_ms_max);
        Ok(Self { jobs: sender, pace, threads, wait_max })
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
        if self.pace.wait(self.threads) > self.wait_max {
            return Err(OVERLOADED);
        }
        self.pace.waiting.fetch_add(1, Ordering::Relaxed);
        if self.jobs.try_send(Box::new(job)).is_err() {
            self.pace.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(OVERLOADED);
        }
        let answer = tokio::time::timeout(self.wait_max, receiver).await.map_err(|_| OVERLOADED)?;
        answer.map_err(|_| Error::Internal)
    }
}

/// One thread: takes a job after the other until nobody can give it any.
fn work(jobs: &Mutex<Receiver<Job>>, pace: &Pace) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!("passwords are hashed at the usual priority: {error}");
    }
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        pace.waiting.fetch_sub(1, Ordering::Relaxed);
        let (start, processor) = (Instant::now(), processor_time());
        // The cause is in the log, where the panic hook has put it; the client's channel tells that there is no answer.
        drop(catch_unwind(AssertUnwindSafe(job)));
        let held_up = start.elapsed().saturating_sub(processor_time().saturating_sub(processor));
        thread::sleep((held_up * REST_FACTOR).min(REST_MAX));
        pace.took(start.elapsed());
    }
}

/// The processor's time that this thread has had.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
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

    #[test]
    fn the_wait_is_that_of_all_who_are_before() {
        let pace = Pace::default();
        pace.waiting.store(100, Ordering::Relaxed);
        assert_eq!(pace.wait(1), Duration::ZERO, "before the first hash nothing is known");
        for _ in 0..50 {
            pace.took(Duration::from_millis(100));
        }
        let wait = pace.wait(2).as_millis();
        assert!((4_900..=5_000).contains(&wait), "100 of 0.1 s each, two at a time: {wait} ms");
    }
}
