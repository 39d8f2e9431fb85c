//! Hashes passwords with argon2id, at a bounded rate: a rush of logins may wait, but must not starve the sale.
//!
//! A few threads make the hashes, at the lowest priority (Linux), so a purchase never waits for a hash of 20 ms. A
//! hash also evicts everything else from the processor's caches. So a thread that did not get the processor all the
//! time, which shows that others need it, pauses before its next hash.
//!
//! The networks that the passwords come from are served in turn, so that a storm from one of them keeps the others waiting
//! for no more than one hash each.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use tokio::sync::oneshot;

use super::fair_queue::{FairQueue, Full};
use crate::config::{AccountsLimits, Secret};
use crate::error::{Error, Result};
use crate::metrics::{Limit, Metrics};
use crate::model::network::Network;
use crate::model::password::{check_strength, normalized};

/// A thread pauses for this many times the time that its hash waited for the processor: not at all on an idle
/// processor.
const REST_FACTOR: u32 = 8;
/// The longest pause, so that some logins succeed however busy the sale is.
const REST_MAX: Duration = Duration::from_millis(100);

/// Passwords of unknown users are compared with this hash. Nobody knows a password for it.
const NOBODYS_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$7Xr/kmFN7ApjN4RkE6DY8Q$bR+pSB6pLwXdHaeaYF9ZUgs5Cm4EYriRocDvk6A8rxg";

const OVERLOADED: Error = Error::Overloaded { detail: "Too many logins and registrations are waiting." };

type Job = Box<dyn FnOnce(Turn) + Send>;

/// What becomes of a job.
enum Turn {
    /// It is done now.
    Now,
    /// It has to make room for another network's.
    Displaced,
}

/// Hashes and verifies, a few passwords at a time. Dropping it ends the threads.
pub struct Passwords {
    queue: Arc<Queue>,
    threads: usize,
    wait_max: Duration,
    metrics: Arc<Metrics>,
}

/// What the threads take their jobs from.
struct Queue {
    state: Mutex<State>,
    has_changed: Condvar,
    metrics: Arc<Metrics>,
}

struct State {
    jobs: FairQueue<Network, Job>,
    /// The recent average time of a hash and the pause after it.
    hash_time: Duration,
    is_closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next job. `None` when there will be no more.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            match state.jobs.pop() {
                Some(job) => {
                    self.metrics.password_hashes_waiting.dec();
                    return Some(job);
                }
                None => state = self.has_changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl State {
    fn new(jobs_max: usize) -> Self {
        Self { jobs: FairQueue::new(jobs_max), hash_time: Duration::ZERO, is_closed: false }
    }

    /// How long a new job from this network will wait.
    fn wait(&self, network: Network, threads: usize) -> Duration {
        let ahead = u32::try_from(self.jobs.ahead_of(&network)).unwrap_or(u32::MAX);
        self.hash_time.saturating_mul(ahead) / u32::try_from(threads.max(1)).unwrap_or(u32::MAX)
    }

    fn took(&mut self, time: Duration) {
        self.hash_time = self.hash_time - self.hash_time / 4 + time / 4;
    }
}

impl Passwords {
    /// Starts the threads.
    ///
    /// # Errors
    /// `internal`, when the system has no threads left.
    pub fn new(limits: &AccountsLimits, metrics: Arc<Metrics>) -> Result<Self> {
        let state = Mutex::new(State::new(limits.password_hashes_waiting_max));
        let queue = Arc::new(Queue { state, has_changed: Condvar::new(), metrics: metrics.clone() });
        let threads = limits.password_hashes_in_flight_max;
        let niceness = limits.password_hash_niceness;
        let wait_max = Duration::from_millis(limits.password_hash_wait_ms_max);
        // Made first: if a thread fails to start, dropping it ends the others.
        let passwords = Self { queue: queue.clone(), threads, wait_max, metrics };
        for _ in 0..threads {
            let queue = queue.clone();
            let thread = thread::Builder::new().name("passwords".into());
            thread.spawn(move || work(&queue, niceness)).map_err(|error| {
                tracing::error!("cannot start a thread for passwords: {error}");
                Error::Internal
            })?;
        }
        Ok(passwords)
    }

    /// Whether a new password is hard to guess for those who know `own`, see `check_strength`. Here, because that may
    /// take as long as a hash.
    ///
    /// # Errors
    /// `overloaded` when too many jobs wait.
    pub async fn check_strength(
        &self,
        network: Network,
        password: Secret,
        own: Vec<String>,
    ) -> Result<Result<(), &'static str>> {
        let check = move || {
            let own: Vec<_> = own.iter().map(String::as_str).collect();
            check_strength(password.reveal(), &own)
        };
        self.run(network, check).await
    }

    /// The hash in PHC form, with a new salt.
    ///
    /// # Errors
    /// `overloaded` when too many jobs wait.
    pub async fn hash(&self, network: Network, password: Secret) -> Result<String> {
        let timed = self.timed(move || hash(&password));
        self.run(network, timed).await?
    }

    /// Whether the password belongs to the hash. Without a hash (no such user) it takes as long, and returns false.
    ///
    /// # Errors
    /// `overloaded` when too many jobs wait.
    pub async fn verify(&self, network: Network, password: Secret, hash: Option<String>) -> Result<bool> {
        let known = hash.is_some();
        let hash = hash.map_or(Cow::Borrowed(NOBODYS_HASH), Cow::Owned);
        let timed = self.timed(move || PasswordHash::new(&hash).is_ok_and(|hash| matches(&password, &hash)));
        let matches = self.run(network, timed).await?;
        Ok(known && matches)
    }

    /// Measures how long a hash takes.
    fn timed<T, F: FnOnce() -> T>(&self, hash: F) -> impl FnOnce() -> T + use<T, F> {
        let metrics = self.metrics.clone();
        move || {
            let start = Instant::now();
            let result = hash();
            metrics.password_hash_seconds.observe(start.elapsed().as_secs_f64());
            result
        }
    }

    /// Runs a job in one of the threads, and counts the refusal if there are too many.
    async fn run<T: Send + 'static>(
        &self,
        network: Network,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let result = self.queued(network, work).await;
        if result.as_ref().is_err_and(|refusal| *refusal == OVERLOADED) {
            self.metrics.count_limit(Limit::PasswordHashes);
        }
        result
    }

    async fn queued<T: Send + 'static>(
        &self,
        network: Network,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let job = move |turn| match turn {
            // Skip the work if the client has hung up.
            Turn::Now if sender.is_closed() => {}
            Turn::Now => drop(sender.send(Ok(work()))),
            Turn::Displaced => drop(sender.send(Err(OVERLOADED))),
        };
        let displaced = {
            let mut state = self.queue.lock();
            if state.wait(network, self.threads) > self.wait_max {
                return Err(OVERLOADED);
            }
            let displaced = state.jobs.push(network, Box::new(job)).map_err(|Full| OVERLOADED)?;
            // One that is displaced has left.
            self.metrics.password_hashes_waiting.inc_by(i64::from(displaced.is_none()));
            displaced
        };
        self.queue.has_changed.notify_one();
        if let Some(displaced) = displaced {
            displaced(Turn::Displaced);
        }
        let answer = tokio::time::timeout(self.wait_max, receiver).await.map_err(|_| OVERLOADED)?;
        answer.map_err(|_| Error::Internal)?
    }
}

impl Drop for Passwords {
    fn drop(&mut self) {
        self.queue.lock().is_closed = true;
        self.queue.has_changed.notify_all();
    }
}

/// One thread: runs job after job until `Passwords` is dropped.
fn work(queue: &Queue, niceness: i32) {
    // Elsewhere a thread has no niceness of its own.
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::nice(niceness)
    {
        tracing::debug!("passwords are hashed at the usual priority: {error}");
    }
    while let Some(job) = queue.next() {
        let (start, processor) = (Instant::now(), processor_time());
        // The panic hook has logged the cause, and the closed channel tells the request.
        drop(catch_unwind(AssertUnwindSafe(|| job(Turn::Now))));
        let held_up = start.elapsed().saturating_sub(processor_time().saturating_sub(processor));
        thread::sleep((held_up * REST_FACTOR).min(REST_MAX));
        queue.lock().took(start.elapsed());
    }
}

/// The processor time that this thread has used.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Whether the password belongs to the hash, in its normalized form or, as earlier versions hashed it, as it was sent.
fn matches(password: &Secret, hash: &PasswordHash) -> bool {
    let is_right = |password: &str| Argon2::default().verify_password(password.as_bytes(), hash).is_ok();
    let normalized = normalized(password.reveal());
    is_right(&normalized) || (normalized != password.reveal() && is_right(password.reveal()))
}

/// argon2id with the crate's defaults, which are OWASP's minimum: 19 MiB, two passes, one lane.
fn hash(password: &Secret) -> Result<String> {
    match Argon2::default().hash_password(normalized(password.reveal()).as_bytes()) {
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
    use crate::metrics::TextFormat;

    #[test]
    fn nobodys_hash_takes_as_long_as_any_other() {
        let parameters = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
        let new = hash(&Secret::new("a password of somebody")).unwrap();
        assert_eq!(parameters(NOBODYS_HASH), parameters(&new));
        assert!(PasswordHash::new(NOBODYS_HASH).is_ok());
    }

    #[test]
    fn a_password_opens_in_every_form() {
        let (composed, decomposed) =
            ("caf\u{e9} au lait de l'\u{e9}t\u{e9}", "cafe\u{301} au lait de l'e\u{301}te\u{301}");
        for (made, sent) in [(composed, decomposed), (decomposed, composed)] {
            let made = hash(&Secret::new(made)).unwrap();
            let made = PasswordHash::new(&made).unwrap();
            assert!(
                matches(&Secret::new(sent), &made) && !matches(&Secret::new("cafe au lait de l'ete"), &made)
            );
        }
        // As earlier versions hashed it.
        let earlier = Argon2::default().hash_password(decomposed.as_bytes()).unwrap().to_string();
        let earlier = PasswordHash::new(&earlier).unwrap();
        assert!(matches(&Secret::new(decomposed), &earlier) && !matches(&Secret::new(composed), &earlier));
    }

    #[test]
    fn the_wait_is_that_of_the_jobs_before() {
        let mut state = State::new(200);
        let [storm, other] = ["192.0.2.1", "192.0.2.2"].map(|network| network.parse().unwrap());
        for _ in 0..100 {
            state.jobs.push(storm, Box::new(|_| ())).unwrap();
        }
        assert_eq!(state.wait(storm, 1), Duration::ZERO, "before the first hash nothing is known");
        for _ in 0..50 {
            state.took(Duration::from_millis(100));
        }
        let wait = state.wait(storm, 2).as_millis();
        assert!((4_900..=5_000).contains(&wait), "100 of 0.1 s each, two at a time: {wait} ms");
        let wait = state.wait(other, 2).as_millis();
        assert!((40..=50).contains(&wait), "one of the storm comes first: {wait} ms");
    }

    /// One thread, held by a job, so that what is queued meanwhile is served in the order of the queue.
    #[tokio::test]
    async fn a_storm_from_one_network_does_not_keep_others_waiting() {
        let limits = AccountsLimits {
            password_hashes_in_flight_max: 1,
            password_hashes_waiting_max: 20,
            ..AccountsLimits::default()
        };
        let metrics = Arc::<Metrics>::default();
        let passwords = Passwords::new(&limits, metrics.clone()).unwrap();
        let [first, storm, other] =
            ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(|network| network.parse::<Network>().unwrap());
        let (started, has_started) = oneshot::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let hold = passwords.run(first, move || {
            started.send(()).unwrap();
            released.recv().unwrap();
        });
        let order = Arc::new(Mutex::new(Vec::new()));
        let job = |network: Network, name: &'static str| {
            let order = order.clone();
            passwords.run(network, move || order.lock().unwrap().push(name))
        };
        let queued = async {
            has_started.await.unwrap();
            let storms = futures_util::future::join_all((0..30).map(|_| job(storm, "storm")));
            let others = futures_util::future::join_all((0..2).map(|_| job(other, "other")));
            // Everything is in the queue when each has been polled once, and only then the thread goes on.
            let release = async { release.send(()).unwrap() };
            tokio::join!(storms, others, release)
        };
        let (held, (storms, others, ())) = tokio::join!(hold, queued);
        held.unwrap();
        assert!(others.iter().all(Result::is_ok), "{others:?}");
        let refused = storms.iter().filter(|answer| **answer == Err(OVERLOADED)).count();
        assert_eq!(refused, 12, "ten had no room, and two made room");
        assert_eq!(metrics.password_hashes_waiting.get(), 0);
        let text = metrics.text(TextFormat::Prometheus).unwrap();
        assert!(text.contains("flash_sale_limits_hit_total{limit=\"password_hashes\"} 12\n"), "{text}");
        let order = order.lock().unwrap();
        assert_eq!((order[..4].to_vec(), order.len()), (vec!["storm", "other", "storm", "other"], 20));
    }
}
