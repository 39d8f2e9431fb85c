//! Who is at the other end of a connection.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;

/// The address of the client, or of the proxy in front of it; every request carries it as an extension. No header is
/// believed: behind a proxy all clients have the proxy's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress(pub IpAddr);

impl PeerAddress {
    /// What counts as one client: an IPv4 address, or the /64 of an IPv6 address, which a home has whole.
    pub fn network(self) -> IpAddr {
        match self.0.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
            address @ IpAddr::V4(_) => address,
        }
    }
}

/// One of the connections that may be open at once; clones share it. A request that wants to speak another protocol carries it
/// as an extension: whoever takes the connection over holds it for as long.
#[derive(Clone)]
pub struct ConnectionPermit(#[expect(dead_code, reason = "it is held, and dropped")] Arc<Held>);

struct Held {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl ConnectionPermit {
    /// Counts in `open` for as long as it is held.
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
