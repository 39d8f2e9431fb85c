//! The open connections: how many there may be, and how many of one network.
//!
//! A network may hold `connections_per_address_max`, and never more than a tenth of the places that are free; all networks of
//! an IPv6 /48 together four times as many, and no more than a quarter of what is free. So the fewer places are left, the fewer
//! one network gets, and no few networks can take them all: twenty that take what they can leave an eighth. A few connections
//! are always granted while there is any place. A proxy holds the connections of many, and is not counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::HttpLimits;
use crate::metrics::{Limit, Metrics};
use crate::model::network::Network;

/// What a network always gets while there is any place: the connections of one browser.
const ALWAYS: usize = 6;
/// The share of the free places that one network may hold is one in so many.
const FREE_SHARE: usize = 10;
/// The same for a /48, and how many times a network's maximum it may hold.
const SITE_FREE_SHARE: usize = 4;
const SITE_FACTOR: usize = 4;
/// Places are scarce when fewer than one in so many is free.
const SCARCE_SHARE: usize = 4;
/// Refused connections that are answered at once; further ones are closed without an answer.
const ANSWERED_REFUSALS_MAX: usize = 64;

/// The connections of one server.
pub struct Connections {
    places: Arc<Semaphore>,
    places_max: usize,
    of_network_max: usize,
    refusals: Arc<Semaphore>,
    counts: Arc<Counts>,
}

struct Counts {
    metrics: Arc<Metrics>,
    of_networks: Mutex<HashMap<Key, usize>>,
}

/// A network, or the /48 that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Network(Network),
    Site(Network),
}

/// A permit for one open connection; clones share it. A request that wants to switch protocols (`Upgrade`) carries it
/// as an extension, and the code that takes the connection over keeps it.
#[derive(Clone)]
pub struct ConnectionPermit(#[expect(dead_code, reason = "only held, until it is dropped")] Arc<Held>);

struct Held {
    _place: OwnedSemaphorePermit,
    keys: [Option<Key>; 2],
    counts: Arc<Counts>,
}

/// What becomes of a new connection.
pub enum Entry {
    /// It is served.
    Served(ConnectionPermit),
    /// Its network has too many: each request on it is refused, while this is held.
    Refused(OwnedSemaphorePermit),
    /// It is closed.
    Closed,
}

impl Connections {
    /// `metrics` counts the connections that are served, and those that are one too many of their network.
    pub fn new(limits: &HttpLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limits.connections_max)),
            places_max: limits.connections_max,
            of_network_max: limits.connections_per_address_max,
            refusals: Arc::new(Semaphore::new(ANSWERED_REFUSALS_MAX)),
            counts: Arc::new(Counts { metrics, of_networks: Mutex::default() }),
        }
    }

    /// Waits for a free place.
    pub async fn place(&self) -> Place {
        loop {
            // The semaphore is never closed.
            if let Ok(place) = self.places.clone().acquire_owned().await {
                return Place(place);
            }
        }
    }

    /// Gives the place to a connection from this network; `None` for one that is not bounded.
    pub fn enter(&self, place: Place, network: Option<Network>) -> Entry {
        let free = self.places.available_permits();
        let keys = [network.map(Key::Network), network.and_then(Network::site).map(Key::Site)];
        let mut of_networks = self.counts.lock();
        let is_full = |key: &Key| of_networks.get(key).is_some_and(|count| *count >= self.max_of(key, free));
        if keys.iter().flatten().any(is_full) {
            self.counts.metrics.count_limit(Limit::ConnectionsPerAddress);
            return match self.refusals.clone().try_acquire_owned() {
                Ok(refusal) => Entry::Refused(refusal),
                Err(_) => Entry::Closed,
            };
        }
        for key in keys.iter().flatten() {
            *of_networks.entry(*key).or_default() += 1;
        }
        self.counts.metrics.connections.inc();
        Entry::Served(ConnectionPermit(Arc::new(Held { _place: place.0, keys, counts: self.counts.clone() })))
    }

    fn max_of(&self, key: &Key, free: usize) -> usize {
        match key {
            Key::Network(_) => self.of_network_max.min(free / FREE_SHARE).max(ALWAYS),
            Key::Site(_) => {
                (self.of_network_max * SITE_FACTOR).min(free / SITE_FREE_SHARE).max(ALWAYS * SITE_FACTOR)
            }
        }
    }

    /// Whether few places are left, so that idle connections should end sooner.
    pub fn are_scarce(&self) -> bool {
        self.places.available_permits() < self.places_max / SCARCE_SHARE
    }
}

/// A free place.
pub struct Place(OwnedSemaphorePermit);

impl Counts {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, usize>> {
        self.of_networks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut of_networks = self.counts.lock();
        for key in self.keys.iter().flatten() {
            if let Some(count) = of_networks.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    of_networks.remove(key);
                }
            }
        }
        self.counts.metrics.connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::TextFormat;

    fn connections(connections_max: usize, connections_per_address_max: usize) -> Connections {
        let limits = HttpLimits { connections_max, connections_per_address_max, ..HttpLimits::default() };
        Connections::new(&limits, Arc::default())
    }

    /// Opens connections from there until one is refused, or there is no place.
    async fn take_all(connections: &Connections, network: &str) -> Vec<ConnectionPermit> {
        let mut held = Vec::new();
        while connections.places.available_permits() > 0 {
            match connections.enter(connections.place().await, network.parse().ok()) {
                Entry::Served(permit) => held.push(permit),
                Entry::Refused(_) | Entry::Closed => break,
            }
        }
        held
    }

    #[tokio::test]
    async fn a_network_has_a_maximum_and_gets_its_places_back() {
        let connections = connections(1_000, 10);
        let held = take_all(&connections, "192.0.2.1").await;
        assert_eq!(held.len(), 10);
        let text = connections.counts.metrics.text(TextFormat::Prometheus).unwrap();
        assert!(
            text.contains("flash_sale_limits_hit_total{limit=\"connections_per_address\"} 1\n"),
            "{text}"
        );
        assert_eq!(take_all(&connections, "192.0.2.2").await.len(), 10);
        drop(held);
        assert_eq!(take_all(&connections, "192.0.2.1").await.len(), 10);
        assert!(connections.counts.lock().is_empty(), "nothing is remembered of who is gone");
        assert_eq!(
            (connections.counts.metrics.connections.get(), connections.places.available_permits()),
            (0, 1_000)
        );
    }

    #[tokio::test]
    async fn twenty_networks_leave_room_for_others() {
        let connections = connections(20_000, 20_000);
        let mut held = Vec::new();
        for number in 1..=20 {
            held.push(take_all(&connections, &format!("192.0.2.{number}")).await);
        }
        let free = connections.places.available_permits();
        assert!(free >= 20_000 / 8 && connections.are_scarce(), "{free}");
        assert!(take_all(&connections, "198.51.100.1").await.len() >= ALWAYS);
    }

    #[tokio::test]
    async fn a_48_is_bounded_too() {
        let connections = connections(20_000, 100);
        let mut held = Vec::new();
        for number in 0..100 {
            held.extend(take_all(&connections, &format!("2001:db8:1:{number}::/64")).await);
        }
        assert_eq!(held.len(), 100 * SITE_FACTOR);
        assert_eq!(take_all(&connections, "2001:db8:2::/64").await.len(), 100);
    }

    #[tokio::test]
    async fn a_proxy_is_not_counted() {
        let connections = connections(50, 10);
        assert_eq!(take_all(&connections, "a proxy").await.len(), 50);
    }
}
