//! A connection's permit among the open connections.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;

/// A permit for one open connection; clones share it. A request that wants to switch protocols (`Upgrade`) carries it
/// as an extension, and the code that takes the connection over keeps it.
#[derive(Clone)]
pub struct ConnectionPermit(#[expect(dead_code, reason = "only held, until it is dropped")] Arc<Held>);

struct Held {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl ConnectionPermit {
    /// `open` counts the permit until it is dropped.
    pub fn new(permit: OwnedSemaphorePermit, open: Gauge) -> Self {
        open.inc();
        Self(Arc::new(Held { _permit: permit, open }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.open.dec();
    }
}
