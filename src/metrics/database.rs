//! The connections to the database, as the driver reports them (its connection pool events).

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use mongodb::event::cmap::{CmapEvent, ConnectionClosedReason};
use mongodb::options::ServerAddress;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::limits_hit::LimitsHit;

/// The connections to all members of the replica set together.
///
/// How many operations wait at this moment is not known: the driver reports nothing when one that waits is dropped.
pub struct DatabaseMetrics {
    /// Open ones, those included that are being opened.
    connections: Gauge,
    in_use: Gauge,
    /// Those in use by their ids, because the driver reports the return of a connection also when the operation that it was
    /// for was dropped before it took it: a plain count would drift.
    used: Mutex<HashSet<(ServerAddress, u32)>>,
    wait_seconds: Histogram,
    opened: Counter,
    closed: Family<ReasonLabel, Counter>,
    failed: Counter,
    /// Which limits requests ran into, those of the store among them.
    pub limits_hit: LimitsHit,
}

/// The label of a closed connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

const REASONS: [&str; 5] = ["stale", "idle", "error", "dropped", "pool_closed"];

impl Default for DatabaseMetrics {
    fn default() -> Self {
        let closed = Family::<ReasonLabel, Counter>::default();
        for reason in REASONS {
            drop(closed.get_or_create(&ReasonLabel { reason }));
        }
        Self {
            connections: Gauge::default(),
            in_use: Gauge::default(),
            used: Mutex::default(),
            wait_seconds: Histogram::new(exponential_buckets(0.000_1, 4.0, 9)),
            opened: Counter::default(),
            closed,
            failed: Counter::default(),
            limits_hit: LimitsHit::default(),
        }
    }
}

impl DatabaseMetrics {
    /// Adds these metrics to those of the server.
    pub fn register(&self, registry: &mut Registry) {
        let what = "Connections to the database";
        registry.register("database_connections", what, self.connections.clone());
        let what = "Connections to the database that an operation uses";
        registry.register("database_connections_in_use", what, self.in_use.clone());
        let what = "Time that an operation waited for a connection to the database";
        let wait = self.wait_seconds.clone();
        registry.register_with_unit("database_connection_wait", what, Unit::Seconds, wait);
        let what = "Connections to the database that were opened";
        registry.register("database_connections_opened", what, self.opened.clone());
        let what = "Connections to the database that were closed, by reason";
        registry.register("database_connections_closed", what, self.closed.clone());
        let what = "Operations that got no connection to the database";
        registry.register("database_connection_failures", what, self.failed.clone());
        self.limits_hit.register(registry);
    }

    /// Takes note of what the driver reports.
    pub fn note(&self, event: &CmapEvent) {
        match event {
            CmapEvent::ConnectionCreated(_) => {
                self.connections.inc();
                self.opened.inc();
            }
            CmapEvent::ConnectionClosed(closed) => {
                self.connections.dec();
                self.set_used(&closed.address, closed.connection_id, false);
                let reason = match closed.reason {
                    ConnectionClosedReason::Stale => "stale",
                    ConnectionClosedReason::Idle => "idle",
                    ConnectionClosedReason::Dropped => "dropped",
                    ConnectionClosedReason::PoolClosed => "pool_closed",
                    _ => "error",
                };
                self.closed.get_or_create(&ReasonLabel { reason }).inc();
            }
            CmapEvent::ConnectionCheckedOut(checkout) => {
                self.set_used(&checkout.address, checkout.connection_id, true);
                self.wait_seconds.observe(checkout.duration.as_secs_f64());
            }
            CmapEvent::ConnectionCheckoutFailed(_) => drop(self.failed.inc()),
            CmapEvent::ConnectionCheckedIn(back) => self.set_used(&back.address, back.connection_id, false),
            _ => {}
        }
    }

    fn set_used(&self, address: &ServerAddress, id: u32, is_used: bool) {
        let connection = (address.clone(), id);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        match is_used {
            true => used.insert(connection),
            false => used.remove(&connection),
        };
        self.in_use.set(i64::try_from(used.len()).unwrap_or(i64::MAX));
    }
}

impl fmt::Debug for DatabaseMetrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DatabaseMetrics").finish_non_exhaustive()
    }
}
