//! Counts wrong passwords and then refuses further tries for a while, to stop guessing. The limit for an account from
//! one network is low; the limit for the account from everywhere is higher, so that a stranger elsewhere cannot lock
//! out its owner.
//!
//! A try takes permits before its password is checked, and gives them back unless the password was wrong. So of many
//! tries at once, no more are checked than may be wrong; the others wait until those end.
//!
//! The counts are in memory, for each server: an attacker gains at most a factor of the number of servers, and no
//! login waits for the database to count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::AccountsLimits;
use crate::error::{Error, Result};
use crate::model::network::Network;

pub struct LoginFailures {
    /// By network and account. A full table drops the entries with the fewest tries first.
    from_networks: Cache<(Network, String), Arc<Tries>>,
    of_accounts: Cache<String, Arc<Tries>>,
    from_network_max: u32,
    of_account_max: u32,
    window: Duration,
    wait_max: Duration,
}

/// The tries of one account, or of one network at one account.
struct Tries {
    /// One permit for each wrong password still allowed. Closed after the last one.
    permits: Arc<Semaphore>,
    wrong: AtomicU32,
    wrong_max: u32,
    window_end: Instant,
}

/// A try in progress. If it is dropped, it does not count.
pub struct Try {
    permits: [TryPermit; 2],
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
            from_networks: Cache::builder().max_capacity(entries_max).time_to_live(window).build(),
            of_accounts: Cache::builder().max_capacity(entries_max).time_to_live(window).build(),
            from_network_max: limits.login_failures_max,
            of_account_max: limits.login_failures_of_account_max,
            window,
            wait_max: Duration::from_millis(limits.password_hash_wait_ms_max),
        }
    }

    /// Takes the permits for a try.
    ///
    /// # Errors
    /// `rate_limited` after too many wrong passwords, `overloaded` when the tries before take too long.
    pub async fn begin(&self, network: Network, email: &str) -> Result<Try> {
        let new = |wrong_max| Arc::new(Tries::new(wrong_max, self.window));
        let permits = async {
            let key = (network, email.to_owned());
            let from_network =
                self.from_networks.get_with(key, || new(self.from_network_max)).enter().await?;
            let of_account =
                self.of_accounts.get_with(email.to_owned(), || new(self.of_account_max)).enter().await?;
            Ok([from_network, of_account])
        };
        const OVERLOADED: Error =
            Error::Overloaded { detail: "Too many logins to this account are waiting." };
        Ok(Try { permits: timeout(self.wait_max, permits).await.unwrap_or(Err(OVERLOADED))? })
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

impl Try {
    /// Counts a wrong password. True when it was the last one allowed, once in a window for each limit.
    pub fn was_wrong(self) -> bool {
        self.permits.map(TryPermit::keep).contains(&true)
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

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn failures(from_network: u32, of_account: u32) -> LoginFailures {
        let limits = AccountsLimits {
            login_failures_max: from_network,
            login_failures_of_account_max: of_account,
            ..AccountsLimits::default()
        };
        LoginFailures::new(&limits)
    }

    async fn wrong(failures: &LoginFailures, from: &str, email: &str) -> bool {
        failures.begin(network(from), email).await.unwrap().was_wrong()
    }

    async fn check_refused(failures: &LoginFailures, from: &str, email: &str) {
        let refusal = failures.begin(network(from), email).await.err();
        assert!(matches!(refusal, Some(Error::RateLimited { retry_after_seconds: 1..=61 })), "{refusal:?}");
    }

    #[tokio::test]
    async fn too_many_wrong_passwords_block_that_address_for_that_account() {
        let failures = failures(2, 100);
        assert!(!wrong(&failures, "192.0.2.1", ADA).await);
        // Right passwords and unchecked tries do not count.
        drop(failures.begin(network("192.0.2.1"), ADA).await.unwrap());
        assert!(wrong(&failures, "192.0.2.1", ADA).await, "the last one allowed is reported");
        check_refused(&failures, "192.0.2.1", ADA).await;
        assert!(failures.begin(network("192.0.2.1"), "bob@shop.example").await.is_ok());
        assert!(failures.begin(network("192.0.2.2"), ADA).await.is_ok());
    }

    #[tokio::test]
    async fn an_account_has_a_bound_over_all_addresses() {
        let failures = failures(10, 3);
        for (number, is_last) in [(1, false), (2, false), (3, true)] {
            assert_eq!(wrong(&failures, &format!("192.0.2.{number}"), ADA).await, is_last);
        }
        check_refused(&failures, "192.0.2.4", ADA).await;
    }

    #[tokio::test]
    async fn a_try_without_a_permit_waits_until_the_others_end() {
        let failures = failures(1, 100);
        let first = failures.begin(network("192.0.2.1"), ADA).await.unwrap();
        let begin = || failures.begin(network("192.0.2.1"), ADA);
        let (second, ()) = tokio::join!(begin(), async { drop(first) });
        let (third, is_last) = tokio::join!(begin(), async { second.unwrap().was_wrong() });
        assert!(is_last);
        assert!(matches!(third.err(), Some(Error::RateLimited { .. })));
    }

    #[tokio::test]
    async fn the_tables_are_bounded() {
        let failures = LoginFailures::new(&AccountsLimits {
            login_failure_accounts_max: 3,
            ..AccountsLimits::default()
        });
        for number in 0..100 {
            wrong(&failures, "192.0.2.1", &number.to_string()).await;
        }
        failures.from_networks.run_pending_tasks();
        failures.of_accounts.run_pending_tasks();
        assert!(failures.from_networks.entry_count() <= 3 && failures.of_accounts.entry_count() <= 3);
    }
}
