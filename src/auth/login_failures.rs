//! Counts wrong passwords for each account and refuses further tries for a while, so that nobody guesses one.
//!
//! In memory and for each server: an attacker gains at most a factor of the number of servers, and no login waits for
//! the database because of it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::error::{Error, Result};

/// The wrong passwords of the last while.
pub struct LoginFailures {
    accounts: Mutex<HashMap<String, Failures>>,
    failures_max: u32,
    window: Duration,
    accounts_max: usize,
}

struct Failures {
    count: u32,
    first: Instant,
}

impl LoginFailures {
    /// An empty count.
    pub fn new(limits: &Limits) -> Self {
        Self {
            accounts: Mutex::new(HashMap::new()),
            failures_max: limits.login_failures_max,
            window: Duration::from_secs(limits.login_failure_window_seconds),
            accounts_max: limits.login_failure_accounts_max,
        }
    }

    /// Whether this account may try.
    ///
    /// # Errors
    /// `rate_limited` after too many wrong passwords.
    pub fn check(&self, email: &str) -> Result<()> {
        let accounts = self.lock();
        let Some(failures) = accounts.get(email).filter(|failures| failures.count >= self.failures_max)
        else {
            return Ok(());
        };
        match self.window.checked_sub(failures.first.elapsed()) {
            Some(left) => Err(Error::RateLimited { retry_after_seconds: left.as_secs() + 1 }),
            None => Ok(()),
        }
    }

    /// Notes a wrong password.
    pub fn failed(&self, email: &str) {
        let mut accounts = self.lock();
        if accounts.len() >= self.accounts_max {
            accounts.retain(|_, failures| failures.first.elapsed() < self.window);
        }
        if accounts.len() >= self.accounts_max {
            // An attacker fills the table with made-up accounts: rather forget than grow.
            accounts.clear();
        }
        let failures =
            accounts.entry(email.to_owned()).or_insert(Failures { count: 0, first: Instant::now() });
        if failures.first.elapsed() >= self.window {
            *failures = Failures { count: 0, first: Instant::now() };
        }
        failures.count += 1;
    }

    /// Notes the right password.
    pub fn succeeded(&self, email: &str) {
        self.lock().remove(email);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Failures>> {
        self.accounts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_failures_are_refused_until_the_right_password() {
        let failures = LoginFailures::new(&Limits { login_failures_max: 2, ..Limits::default() });
        failures.failed("ada@shop.example");
        assert!(failures.check("ada@shop.example").is_ok());
        failures.failed("ada@shop.example");
        assert!(matches!(failures.check("ada@shop.example"), Err(Error::RateLimited { .. })));
        assert!(failures.check("bob@shop.example").is_ok());
        failures.succeeded("ada@shop.example");
        assert!(failures.check("ada@shop.example").is_ok());
    }

    #[test]
    fn the_table_is_bounded() {
        let failures = LoginFailures::new(&Limits { login_failure_accounts_max: 3, ..Limits::default() });
        for number in 0..100 {
            failures.failed(&number.to_string());
        }
        assert!(failures.lock().len() <= 3);
    }
}
