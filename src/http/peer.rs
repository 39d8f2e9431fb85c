//! Who is at the other end of a connection.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

/// The address of the client, or of the proxy in front of it; every request carries it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress(pub IpAddr);

/// One of the connections that may be open at once. A request that wants to speak another protocol carries it as an
/// extension: whoever takes the connection over holds it for as long.
#[derive(Debug, Clone)]
pub struct ConnectionPlace(pub Arc<OwnedSemaphorePermit>);
