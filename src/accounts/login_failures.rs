//! Counts wrong passwords and then refuses further tries for a while, to stop guessing. What is refused is the network that
//! guesses, never the account: its owner elsewhere gets in, whatever is tried against it.
//!
//! - A network may be wrong a few times about one account.
//! - A network may be wrong some more times about all accounts together. Accounts that have logged in from there before are
//!   let through all the same, so that a neighbour behind the same address does not keep them out.
//! - Many networks together may guess at one account. When they have been wrong often, a network from which the account has
//!   not logged in before may be wrong once instead of a few times.
//!
//! A try takes permits before its password is checked, and gives them back unless the password was wrong. So of many
//! tries at once, no more are checked than may be wrong; the others wait until those end.
//!
//! The counts are in memory, for each server: an attacker gains at most a factor of the number of servers, and no
//! login waits for the database to count. A proxy that nobody named stands for all customers and has no bound: with one,
//! anybody could close any account.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::AccountsLimits;
use crate::error::{Error, Result};
use crate::model::network::Network;

type Pair = (Network, String);

pub struct LoginFailures {
    /// By network and account. A full table drops the entries with the fewest tries first.
    of_pairs: Cache<Pair, Arc<Tries>>,
    of_networks: Cache<Network, Arc<Tries>>,
    /// Wrong passwords from networks from which the account has not logged in before.
    of_accounts: Cache<String, Arc<AtomicU32>>,
    /// Networks from which the account has logged in.
    familiar: Cache<Pair, ()>,
    limits: AccountsLimits,
    window: Duration,
    wait_max: Duration,
}

/// The tries of one network, or of one network at one account.
struct Tries {
    /// One permit for each wrong password still allowed. Closed after the last one.
    permits: Arc<Semaphore>,
    wrong: AtomicU32,
    wrong_max: u32,
    window_end: Instant,
}

/// A try in progress. If it is dropped, it does not count.
pub struct Try<'a> {
    failures: &'a LoginFailures,
    pair: Option<Pair>,
    is_familiar: bool,
    permits: [Option<TryPermit>; 2],
}

struct TryPermit {
    tries: Arc<Tries>,
    permit: OwnedSemaphorePermit,
}

impl LoginFailures {
    pub fn new(limits: &AccountsLimits) -> Self {
        let window = Duration::from_secs(limits.login_failure_window_seconds);
        let entries_max = limits.login_failure_accounts_max as u64;
        Self {
            of_pairs: Cache::builder().max_capacity(entries_max).time_to_live(window).build(),
            of_networks: Cache::builder().max_capacity(entries_max).time_to_live(window).build(),
            of_accounts: Cache::builder().max_capacity(entries_max).time_to_live(window).build(),
            familiar: Cache::builder().max_capacity(entries_max).build(),
            limits: *limits,
            window,
            wait_max: Duration::from_millis(limits.password_hash_wait_ms_max),
        }
    }

    /// Takes the permits for a try from this network; `None` for one that has no bounds.
    ///
    /// # Errors
    /// `rate_limited` after too many wrong passwords, `overloaded` when the tries before take too long.
    pub async fn begin(&self, network: Option<Network>, email: &str) -> Result<Try<'_>> {
        let Some(network) = network else {
            return Ok(Try { failures: self, pair: None, is_familiar: false, permits: [None, None] });
        };
        let pair = (network, email.to_owned());
        let is_familiar = self.familiar.contains_key(&pair);
        let permits = async {
            let of_pair = self.tries_of_pair(&pair, is_familiar).enter().await?;
            let of_network = match is_familiar {
                true => None,
                false => Some(self.tries_of(network).enter().await?),
            };
            Ok([Some(of_pair), of_network])
        };
        const OVERLOADED: Error =
            Error::Overloaded { detail: "Too many logins from your network are waiting." };
        let permits = timeout(self.wait_max, permits).await.unwrap_or(Err(OVERLOADED))?;
        Ok(Try { failures: self, pair: Some(pair), is_familiar, permits })
    }

    fn tries_of_pair(&self, pair: &Pair, is_familiar: bool) -> Arc<Tries> {
        let is_under_attack = || {
            let wrong = self.of_accounts.get(&pair.1);
            wrong.is_some_and(|wrong| {
                wrong.load(Ordering::Relaxed) >= self.limits.login_failures_of_account_max
            })
        };
        let wrong_max = || match is_familiar || !is_under_attack() {
            true => self.limits.login_failures_max,
            false => 1,
        };
        self.of_pairs.get_with_by_ref(pair, || Arc::new(Tries::new(wrong_max(), self.window)))
    }

    fn tries_of(&self, network: Network) -> Arc<Tries> {
        let new = || Arc::new(Tries::new(self.limits.login_failures_of_network_max, self.window));
        self.of_networks.get_with(network, new)
    }
}

impl Tries {
    fn new(wrong_max: u32, window: Duration) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(wrong_max as usize)),
            wrong: AtomicU32::new(0),
            wrong_max,
            window_end: Instant::now() + window,
        }
    }

    async fn enter(self: Arc<Self>) -> Result<TryPermit> {
        match self.permits.clone().acquire_owned().await {
            Ok(permit) => Ok(TryPermit { tries: self, permit }),
            Err(_) => {
                let left = self.window_end.saturating_duration_since(Instant::now());
                Err(Error::RateLimited { retry_after_seconds: left.as_secs() + 1 })
            }
        }
    }
}

impl Try<'_> {
    /// Counts a wrong password. True when it was the last one allowed, once in a window for each limit.
    pub fn was_wrong(self) -> bool {
        if let Some((_, email)) = self.pair.as_ref().filter(|_| !self.is_familiar) {
            let wrong = self.failures.of_accounts.get_with_by_ref(email, Arc::default);
            wrong.fetch_add(1, Ordering::Relaxed);
        }
        self.permits.map(|permit| permit.is_some_and(TryPermit::keep)).contains(&true)
    }

    /// Remembers that the account logs in from there.
    pub fn was_right(self) {
        if let Some(pair) = self.pair {
            self.failures.familiar.insert(pair, ());
        }
    }
}

impl TryPermit {
    fn keep(self) -> bool {
        self.permit.forget();
        let is_last = self.tries.wrong.fetch_add(1, Ordering::Relaxed) + 1 == self.tries.wrong_max;
        if is_last {
            self.tries.permits.close();
        }
        is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "ada@shop.example";

    fn network(text: &str) -> Option<Network> {
        Some(text.parse().unwrap())
    }

    fn failures(of_pair: u32, of_network: u32, of_account: u32) -> LoginFailures {
        LoginFailures::new(&AccountsLimits {
            login_failures_max: of_pair,
            login_failures_of_network_max: of_network,
            login_failures_of_account_max: of_account,
            ..AccountsLimits::default()
        })
    }

    async fn wrong(failures: &LoginFailures, from: &str, email: &str) -> bool {
        failures.begin(network(from), email).await.unwrap().was_wrong()
    }

    async fn right(failures: &LoginFailures, from: &str, email: &str) {
        failures.begin(network(from), email).await.unwrap().was_right();
    }

    async fn check_refused(failures: &LoginFailures, from: &str, email: &str) {
        let refusal = failures.begin(network(from), email).await.err();
        assert!(matches!(refusal, Some(Error::RateLimited { retry_after_seconds: 1..=61 })), "{refusal:?}");
    }

    #[tokio::test]
    async fn too_many_wrong_passwords_block_that_network_for_that_account() {
        let failures = failures(2, 100, 100);
        assert!(!wrong(&failures, "192.0.2.1", ADA).await);
        // Right passwords and unchecked tries do not count.
        drop(failures.begin(network("192.0.2.1"), ADA).await.unwrap());
        right(&failures, "192.0.2.1", ADA).await;
        assert!(wrong(&failures, "192.0.2.1", ADA).await, "the last one allowed is reported");
        check_refused(&failures, "192.0.2.1", ADA).await;
        right(&failures, "192.0.2.1", "bob@shop.example").await;
        right(&failures, "192.0.2.2", ADA).await;
    }

    #[tokio::test]
    async fn a_network_has_a_bound_over_all_accounts_but_for_those_that_it_knows() {
        let failures = failures(10, 3, 100);
        right(&failures, "192.0.2.1", ADA).await;
        for (number, is_last) in [(1, false), (2, false), (3, true)] {
            assert_eq!(wrong(&failures, "192.0.2.1", &format!("{number}@shop.example")).await, is_last);
        }
        check_refused(&failures, "192.0.2.1", "4@shop.example").await;
        right(&failures, "192.0.2.1", ADA).await;
        right(&failures, "192.0.2.2", "4@shop.example").await;
    }

    #[tokio::test]
    async fn an_account_that_many_guess_at_stays_open_to_its_owner_everywhere() {
        let failures = failures(3, 100, 6);
        right(&failures, "198.51.100.1", ADA).await;
        for from in ["192.0.2.1", "192.0.2.2"] {
            for _ in 0..3 {
                wrong(&failures, from, ADA).await;
            }
        }
        // A new network may be wrong once, and is right before that.
        right(&failures, "192.0.2.3", ADA).await;
        assert!(wrong(&failures, "192.0.2.4", ADA).await);
        check_refused(&failures, "192.0.2.4", ADA).await;
        // Where she has logged in before, she may be wrong as often as ever.
        assert!(!wrong(&failures, "198.51.100.1", ADA).await);
        right(&failures, "198.51.100.1", ADA).await;
    }

    #[tokio::test]
    async fn a_proxy_that_nobody_named_closes_no_account() {
        let failures = failures(1, 1, 1);
        for _ in 0..5 {
            assert!(!failures.begin(None, ADA).await.unwrap().was_wrong());
        }
        right(&failures, "192.0.2.1", ADA).await;
    }

    #[tokio::test]
    async fn a_try_without_a_permit_waits_until_the_others_end() {
        let failures = failures(1, 100, 100);
        let begin = || failures.begin(network("192.0.2.1"), ADA);
        let first = begin().await.unwrap();
        let (second, ()) = tokio::join!(begin(), async { drop(first) });
        let (third, is_last) = tokio::join!(begin(), async { second.unwrap().was_wrong() });
        assert!(is_last);
        assert!(matches!(third.err(), Some(Error::RateLimited { .. })));
    }

    #[tokio::test]
    async fn the_tables_are_bounded() {
        let failures = LoginFailures::new(&AccountsLimits {
            login_failure_accounts_max: 3,
            login_failures_of_network_max: 1_000,
            ..AccountsLimits::default()
        });
        for number in 0..100 {
            let (from, email) = (format!("192.0.2.{number}"), number.to_string());
            wrong(&failures, &from, &email).await;
            right(&failures, &from, &email).await;
        }
        let LoginFailures { of_pairs, of_networks, of_accounts, familiar, .. } = &failures;
        of_pairs.run_pending_tasks();
        of_networks.run_pending_tasks();
        of_accounts.run_pending_tasks();
        familiar.run_pending_tasks();
        let counts = [
            of_pairs.entry_count(),
            of_networks.entry_count(),
            of_accounts.entry_count(),
            familiar.entry_count(),
        ];
        assert!(counts.iter().all(|count| *count <= 3), "{counts:?}");
    }
}
