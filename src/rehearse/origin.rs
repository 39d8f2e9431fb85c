//! The server's address, as given to `--url`.

use std::fmt;

use url::{Host, Url};

/// A server that speaks plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// A name or an address, IPv6 without brackets, as the system's resolver takes it.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Origin {
    /// Reads an address like `http://127.0.0.1:3000`.
    ///
    /// # Errors
    /// What is wrong with it, for the person who typed it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("{error}; it has to be like {EXAMPLE}"))?;
        match url.scheme() {
            "http" => {}
            "https" => return Err("rehearse speaks plain HTTP: give the address behind the proxy".into()),
            _ => return Err(format!("it has to begin with http://, like {EXAMPLE}")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it cannot have a user or a password".into());
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("it ends with the port, without a path: like {EXAMPLE}"));
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(format!("it has no host; it has to be like {EXAMPLE}")),
        };
        Ok(Self { host, port: url.port_or_known_default().unwrap_or(80) })
    }

    /// The value of the `Host` header.
    pub fn authority(&self) -> String {
        let Self { host, port } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

const EXAMPLE: &str = "http://127.0.0.1:3000";

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, host: &str, port: u16, shown: &str) {
        let origin = Origin::parse(text).unwrap();
        assert_eq!(origin, Origin { host: host.into(), port }, "{text}");
        assert_eq!(origin.to_string(), shown);
    }

    #[test]
    fn a_host_of_any_kind_is_read() {
        check("http://127.0.0.1:3000", "127.0.0.1", 3000, "http://127.0.0.1:3000");
        check("http://127.0.0.1:3000/", "127.0.0.1", 3000, "http://127.0.0.1:3000");
        check("http://shop.example", "shop.example", 80, "http://shop.example:80");
        check("http://[::1]:3000", "::1", 3000, "http://[::1]:3000");
        check("HTTP://[2001:db8::7]", "2001:db8::7", 80, "http://[2001:db8::7]:80");
    }

    #[test]
    fn a_wrong_address_is_refused_with_a_reason() {
        for (text, words) in [
            ("https://shop.example", "plain HTTP: give the address behind the proxy"),
            ("ftp://shop.example", "http://"),
            ("localhost:3000", "http://"),
            ("shop.example", "like http://127.0.0.1:3000"),
            ("http://", "like http://127.0.0.1:3000"),
            ("http://shop.example:99999", "port"),
            ("http://shop.example/api", "path"),
            ("http://shop.example/?a=b", "path"),
            ("http://shop.example/#top", "path"),
            ("http://ada@shop.example", "user"),
            ("http://ada:secret@shop.example", "password"),
        ] {
            let problem = Origin::parse(text).unwrap_err();
            assert!(problem.contains(words), "{text}: {problem}");
        }
    }
}
