//! The other end of a connection: the client's address, and its permit among the open connections.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;

/// The address of the client, or of the proxy in front of it; every request carries it as an extension. Headers are not
/// trusted, so behind a proxy all clients have the proxy's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress(pub IpAddr);

impl PeerAddress {
    /// What counts as one client: an IPv4 address, or the /64 of an IPv6 address, since one home has a whole /64.
    pub fn network(self) -> IpAddr {
        match self.0.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
            address @ IpAddr::V4(_) => address,
        }
    }
}

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
