//! Who is at the other end of a connection.

use std::net::IpAddr;

/// The address of the client, or of the proxy in front of it; every request carries it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress(pub IpAddr);
