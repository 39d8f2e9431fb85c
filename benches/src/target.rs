//! The server that a URL names.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// A server, such as http://127.0.0.1:3000.
#[derive(Debug, Clone)]
pub struct Target {
    /// Host and port, for the `Host` header.
    pub host: String,
    pub address: SocketAddr,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let host = url.strip_prefix("http://").ok_or("it has to begin with http://")?.trim_end_matches('/');
        let mut addresses = host.to_socket_addrs().map_err(|error| format!("{error}; name the port too"))?;
        let address = addresses.next().ok_or("it has no address")?;
        Ok(Self { host: host.to_owned(), address })
    }
}

impl Target {
    /// A request as the bytes to send.
    pub fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Box<[u8]> {
        let host = &self.host;
        let content = match body.len() {
            0 => String::new(),
            length => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
        };
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}{content}\r\n{body}")
            .into_bytes()
            .into_boxed_slice()
    }
}
