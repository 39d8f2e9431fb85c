//! Hashes passwords with argon2id, at a bounded rate: a rush of logins may wait, but must not starve the sale.
//!
//! A few threads make the hashes, at the lowest priority (Linux), so a purchase never waits for a hash of 20 ms. A
//! hash also evicts everything else from the processor's caches. So a thread that did not get the processor all the
//! time, which shows that others need it, pauses before its next hash.

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
use crate::metrics::{Limit, Metrics};

/// The lowest priority that the system has: the hashing threads get only time that is left over.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 19;

/// A thread pauses for this many times the time that its hash waited for the processor: not at all on an idle
/// processor.
const REST_FACTOR: u32 = 8;
/// The longest pause, so that some logins succeed however busy the sale is.
const REST_MAX: Duration = Duration::from_millis(100);

/// Passwords of unknown users are compared with this hash. Nobody knows a password for it.
const NOBODYS_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$7Xr/kmFN7ApjN4RkE6DY8Q$bR+pSB6pLwXdHaeaYF9ZUgs5Cm4EYriRocDvk6A8rxg";

type Job = Box<dyn FnOnce() + Send>;

/// Hashes and verifies, a few passwords at a time. Dropping it ends the threads.
pub struct Passwords {
    jobs: SyncSender<Job>,
    pace: Arc<Pace>,
    threads: usize,
    wait_max: Duration,
    metrics: Arc<Metrics>,
}

/// Estimates how long a new job will wait.
#[derive(Default)]
struct Pace {
    waiting: AtomicU64,
    /// The recent average time of a hash and the pause after it, in microseconds.
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
    pub fn new(limits: &AccountsLimits, metrics: Arc<Metrics>) -> Result<Self> {
        let (sender, receiver) = sync_channel(limits.password_hashes_waiting_max);
        let receiver = Arc::new(Mutex::new(receiver));
        let pace = Arc::new(Pace::default());
        let threads = limits.password_hashes_in_flight_max;
        for _ in 0..threads {
            let (receiver, pace, metrics) = (receiver.clone(), pace.clone(), metrics.clone());
            let thread = thread::Builder::new().name("passwords".into());
            thread.spawn(move || work(&receiver, &pace, &metrics)).map_err(|error| {
                tracing::error!("cannot start a thread for passwords: {error}");
                Error::Internal
            })?;
        }
        let wait_max = Duration::from_millis(limits.password_hash_wait_ms_max);
        Ok(Self { jobs: sender, pace, threads, wait_max, metrics })
    }

    /// The hash in PHC form, with a new salt.
    ///
    /// # Errors
    /// `overloaded` when too many jobs wait.
    pub async fn hash(&self, password: Secret) -> Result<String> {
        self.run(move || hash(&password)).await?
    }

    /// Whether the password belongs to the hash. Without a hash (no such user) it takes as long, and returns false.
    ///
    /// # Errors
    /// `overloaded` when too many jobs wait.
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
        let metrics = self.metrics.clone();
        let job = move || {
            // Skip the work if the client has hung up.
            if !sender.is_closed() {
                let start = Instant::now();
                let result = work();
                metrics.password_hash_seconds.observe(start.elapsed().as_secs_f64());
                drop(sender.send(result));
            }
        };
        if self.pace.wait(self.threads) > self.wait_max {
            return Err(self.overloaded());
        }
        self.pace.waiting.fetch_add(1, Ordering::Relaxed);
        self.metrics.password_hashes_waiting.inc();
        if self.jobs.try_send(Box::new(job)).is_err() {
            self.pace.waiting.fetch_sub(1, Ordering::Relaxed);
            self.metrics.password_hashes_waiting.dec();
            return Err(self.overloaded());
        }
        let answer = tokio::time::timeout(self.wait_max, receiver).await.map_err(|_| self.overloaded())?;
        answer.map_err(|_| Error::Internal)
    }

    /// Counts the refusal, too.
    fn overloaded(&self) -> Error {
        self.metrics.count_limit(Limit::PasswordHashes);
        Error::Overloaded { detail: "Too many logins and registrations are waiting." }
    }
}

/// One thread: runs job after job until `Passwords` is dropped.
fn work(jobs: &Mutex<Receiver<Job>>, pace: &Pace, metrics: &Metrics) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!("passwords are hashed at the usual priority: {error}");
    }
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        pace.waiting.fetch_sub(1, Ordering::Relaxed);
        metrics.password_hashes_waiting.dec();
        let (start, processor) = (Instant::now(), processor_time());
        // The panic hook has logged the cause, and the closed channel tells the request.
        drop(catch_unwind(AssertUnwindSafe(job)));
        let held_up = start.elapsed().saturating_sub(processor_time().saturating_sub(processor));
        thread::sleep((held_up * REST_FACTOR).min(REST_MAX));
        pace.took(start.elapsed());
    }
}

/// The processor time that this thread has used.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// argon2id with the crate's defaults, which are OWASP's minimum: 19 MiB, two passes, one lane.
fn hash(password: &Secret) -> Result<String> {
    match Argon2::default().hash_password(password.reveal().as_bytes()) {
        Ok(hash) => Ok(hash.to_string()),
        Err(error) => {
            tracing::error!("cannot hash a password: {error}");
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
    fn the_wait_is_that_of_all_jobs_before() {
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
