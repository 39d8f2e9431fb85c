//! Counts and bounds the clients that watch, in total and per network.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::LiveLimits;
use crate::error::{Error, Result};
use crate::http::client::Client;
use crate::metrics::{Limit, Metrics};
use crate::model::network::Network;

/// The delay after which a refused client may try again, in seconds. Short, because other clients leave all the time.
const RETRY_AFTER_SECONDS: u64 = 5;

#[derive(Clone)]
pub struct Watchers {
    counts: Arc<Counts>,
}

struct Counts {
    count: Mutex<Count>,
    total_max: usize,
    per_address_max: usize,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Count {
    total: usize,
    by_network: HashMap<Network, usize>,
}

/// Counts one watcher until it is dropped.
pub struct WatcherPermit {
    counts: Arc<Counts>,
    network: Option<Network>,
}

impl Watchers {
    pub fn new(limits: &LiveLimits, metrics: Arc<Metrics>) -> Self {
        let (total_max, per_address_max) = (limits.watchers_max, limits.watchers_per_address_max);
        Self { counts: Arc::new(Counts { count: Mutex::default(), total_max, per_address_max, metrics }) }
    }

    /// Counts one more watcher.
    ///
    /// # Errors
    /// `overloaded` when there are too many in total, `rate_limited` when there are too many from this
    /// client's network. A proxy that nobody named has no bound of its own.
    pub fn enter(&self, client: Client) -> Result<WatcherPermit> {
        let network = client.bounded_network();
        let mut count = self.counts.lock();
        if count.total >= self.counts.total_max {
            self.counts.metrics.count_limit(Limit::Watchers);
            return Err(Error::Overloaded { detail: "Too many clients are watching." });
        }
        if let Some(network) = network {
            let of_network = count.by_network.entry(network).or_default();
            if *of_network >= self.counts.per_address_max {
                self.counts.metrics.count_limit(Limit::WatchersPerAddress);
                return Err(Error::RateLimited { retry_after_seconds: RETRY_AFTER_SECONDS });
            }
            *of_network += 1;
        }
        count.total += 1;
        self.counts.metrics.watchers.inc();
        Ok(WatcherPermit { counts: self.counts.clone(), network })
    }
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WatcherPermit {
    fn drop(&mut self) {
        let mut count = self.counts.lock();
        count.total -= 1;
        if let Some(network) = self.network
            && let Some(of_network) = count.by_network.get_mut(&network)
        {
            *of_network -= 1;
            if *of_network == 0 {
                count.by_network.remove(&network);
            }
        }
        self.counts.metrics.watchers.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_bounded_and_given_back() {
        let limits = LiveLimits { watchers_max: 3, watchers_per_address_max: 2, ..LiveLimits::default() };
        let watchers = Watchers::new(&limits, Arc::default());
        let first = watchers.enter(Client::from("192.0.2.1")).unwrap();
        let _second = watchers.enter(Client::from("::ffff:192.0.2.1")).unwrap();
        assert!(matches!(watchers.enter(Client::from("192.0.2.1")), Err(Error::RateLimited { .. })));
        let _third = watchers.enter(Client::from("2001:db8::1")).unwrap();
        assert!(matches!(watchers.enter(Client::from("2001:db8::2")), Err(Error::Overloaded { .. })));
        drop(first);
        let _fourth = watchers.enter(Client::from("2001:db8::2")).unwrap();
        assert!(matches!(watchers.enter(Client::from("2001:db8::3")), Err(Error::Overloaded { .. })));
    }
}
