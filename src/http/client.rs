//! Who sends a request: the client's address, also behind proxies.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::forwarded::{self, Forwarded};
use crate::config::TrustedProxies;
use crate::model::network::Network;

/// The client of a request. Every request carries it as an extension, and handlers take it as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The client's address; canonical. Behind a proxy that `TRUSTED_PROXIES` does not name it is the proxy's.
    pub address: IpAddr,
    /// What counts as one client.
    pub network: Network,
    /// Whether many clients probably share this address without our knowing them apart: it is a private address and not that
    /// of a trusted proxy, or that of a trusted proxy that does not say whom it forwards for.
    pub is_unnamed_proxy: bool,
}

impl Client {
    /// The network to which bounds apply. `None` behind a proxy that nobody named: one bound for all customers together
    /// would be worse than none.
    pub fn bounded_network(&self) -> Option<Network> {
        (!self.is_unnamed_proxy).then_some(self.network)
    }

    fn at(address: IpAddr, is_unnamed_proxy: bool) -> Self {
        Self { address, network: Network::of(address), is_unnamed_proxy }
    }

    /// A client at this address.
    #[cfg(test)]
    pub fn from(address: &str) -> Self {
        let address = address.parse::<IpAddr>().unwrap().to_canonical();
        Self::at(address, is_private(address))
    }
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // The accept loop gives every request its client.
        let client = parts.extensions.get().copied();
        debug_assert!(client.is_some(), "a request without a client");
        Ok(client.unwrap_or(Self::at(Ipv4Addr::UNSPECIFIED.into(), true)))
    }
}

/// Finds the client of a request.
pub struct Clients {
    trusted: TrustedProxies,
    leaves_private_alone: bool,
}

/// Whether the log has said that a proxy is not named: once is enough.
static HAS_WARNED: AtomicBool = AtomicBool::new(false);

/// Says once that this address is most likely a proxy's, because of what its clients do, and what to set.
pub fn warn_of_unnamed_proxy(address: IpAddr, reason: &str) {
    if !HAS_WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            %address,
            "{address} {reason}: its clients cannot be told apart, and bounds by network do not apply to them; if it is a \
             proxy, set TRUSTED_PROXIES to its network, and let it send X-Forwarded-For"
        );
    }
}

/// The other end of one connection.
pub struct Peer {
    clients: Arc<Clients>,
    client: Client,
    is_trusted: bool,
}

impl Clients {
    /// Behind these proxies the client is who they say. `leaves_private_alone`: see `ClientsLimits`.
    pub fn new(trusted: TrustedProxies, leaves_private_alone: bool) -> Self {
        Self { trusted, leaves_private_alone }
    }

    /// The peer of a connection from this address.
    pub fn peer(self: &Arc<Self>, address: IpAddr) -> Peer {
        let address = address.to_canonical();
        let is_trusted = self.trusted.contains(address);
        let client = Client::at(address, !is_trusted && self.leaves_private_alone && is_private(address));
        Peer { clients: self.clone(), client, is_trusted }
    }
}

impl Peer {
    /// The peer itself, whomever it forwards for. `None` for a proxy, which holds the connections of many.
    pub fn bounded_network(&self) -> Option<Network> {
        if self.is_trusted { None } else { self.client.bounded_network() }
    }

    /// The client of a request on this connection.
    pub fn client_of(&self, headers: &HeaderMap) -> Client {
        let peer = self.client;
        if !self.is_trusted {
            if peer.is_unnamed_proxy && forwarded::read(headers, |_| false) != Forwarded::Missing {
                warn_of_unnamed_proxy(peer.address, "forwards requests, but is not in TRUSTED_PROXIES");
            }
            return peer;
        }
        match forwarded::read(headers, |address| self.clients.trusted.contains(address)) {
            Forwarded::Client(address) => Client::at(address, false),
            Forwarded::Unusable => peer,
            // A proxy that adds its header always sends one, so no client behind it can bring this about.
            Forwarded::Missing => {
                warn_of_unnamed_proxy(
                    peer.address,
                    "is in TRUSTED_PROXIES, but says not whom it forwards for",
                );
                Client { is_unnamed_proxy: true, ..peer }
            }
        }
    }
}

/// Whether no client comes from this address through the internet: it is of this machine, of a private network, or of a
/// carrier's inner network.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const TRUSTED: &str = "10.0.0.0/8,192.0.2.0/24";

    fn client_of(trusted: &str, peer: &str, forwarded_for: Option<&'static str>) -> Client {
        let clients = Arc::new(Clients::new(TrustedProxies::read(trusted).unwrap(), true));
        let name = HeaderName::from_static("x-forwarded-for");
        let headers = forwarded_for.map(|value| (name, HeaderValue::from_static(value)));
        clients.peer(peer.parse().unwrap()).client_of(&headers.into_iter().collect())
    }

    fn check(trusted: &str, peer: &str, forwarded_for: Option<&'static str>, bounded: Option<&str>) {
        let client = client_of(trusted, peer, forwarded_for);
        let network = client.bounded_network().map(|network| network.to_string());
        assert_eq!(network.as_deref(), bounded, "{peer} {forwarded_for:?}");
    }

    #[test]
    fn only_a_trusted_proxy_names_the_client() {
        check(TRUSTED, "10.0.0.1", Some("203.0.113.1, 198.51.100.7, 10.0.0.2"), Some("198.51.100.7"));
        check(TRUSTED, "192.0.2.1", Some("2001:db8:1:2::3"), Some("2001:db8:1:2::/64"));
        check(TRUSTED, "::ffff:192.0.2.1", Some("198.51.100.7"), Some("198.51.100.7"));
        check(TRUSTED, "203.0.113.9", Some("198.51.100.7"), Some("203.0.113.9"));
        check("", "203.0.113.9", Some("198.51.100.7"), Some("203.0.113.9"));
    }

    #[test]
    fn a_private_peer_that_is_not_named_has_no_bounds() {
        for peer in [
            "127.0.0.1",
            "10.1.2.3",
            "172.17.0.1",
            "192.168.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
        ] {
            check("203.0.113.0/24", peer, None, None);
            check("203.0.113.0/24", peer, Some("198.51.100.7"), None);
        }
        for peer in ["100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            assert!(client_of("", peer, None).bounded_network().is_some(), "{peer}");
        }
    }

    #[test]
    fn a_proxy_whose_header_cannot_be_used_is_the_client() {
        check(TRUSTED, "10.0.0.1", Some("unknown"), Some("10.0.0.1"));
        check(TRUSTED, "10.0.0.1", Some("10.0.0.3, 10.0.0.2"), Some("10.0.0.1"));
        // One that names nobody may stand for all customers.
        check(TRUSTED, "10.0.0.1", None, None);
        assert_eq!(client_of(TRUSTED, "10.0.0.1", None).address, "10.0.0.1".parse::<IpAddr>().unwrap());
    }
}
