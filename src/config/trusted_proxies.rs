//! `TRUSTED_PROXIES`: whose word about the client's address counts.

use std::net::IpAddr;

use ipnet::IpNet;

use super::listed;

/// The networks whose proxies are trusted; none by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads networks in CIDR form, separated by commas; a plain address means itself alone.
    ///
    /// # Errors
    /// One line for each part that is none.
    pub fn read(text: &str) -> Result<Self, Vec<String>> {
        let (networks, problems): (Vec<_>, Vec<_>) = listed(text).map(read_network).partition(Result::is_ok);
        match problems.is_empty() {
            true => Ok(Self(networks.into_iter().flatten().collect())),
            false => Err(problems.into_iter().filter_map(Result::err).collect()),
        }
    }

    /// Whether this is the address of a trusted proxy. The address must be canonical.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn read_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().ok().or_else(|| Some(text.parse::<IpAddr>().ok()?.into()));
    match network {
        Some(network) if network.prefix_len() == 0 => Err(format!(
            "TRUSTED_PROXIES has `{text}`, which trusts everybody: name only the networks of your own proxies"
        )),
        Some(network) => Ok(network),
        None => Err(format!(
            "TRUSTED_PROXIES has `{text}`, which is neither an address nor a network like 10.0.0.0/8"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses_are_trusted() {
        let proxies = TrustedProxies::read(" 10.0.0.0/8, 192.0.2.7 ,2001:db8::/32,").unwrap();
        let check = |address: &str, is_trusted| {
            assert_eq!(proxies.contains(address.parse().unwrap()), is_trusted, "{address}");
        };
        check("10.255.0.1", true);
        check("11.0.0.1", false);
        check("192.0.2.7", true);
        check("192.0.2.8", false);
        check("2001:db8:ffff::1", true);
        check("2001:db9::1", false);
        assert_eq!(TrustedProxies::read(""), Ok(TrustedProxies::default()));
    }

    #[test]
    fn every_part_that_is_no_network_is_named() {
        let problems =
            TrustedProxies::read("10.0.0.0/33, 10.0.0.1, proxy.example, 0.0.0.0/0, ::/0").unwrap_err();
        let named = ["10.0.0.0/33", "proxy.example", "0.0.0.0/0", "::/0"];
        assert_eq!(problems.len(), named.len());
        for (problem, name) in problems.iter().zip(named) {
            assert!(problem.contains(name), "{problem}");
        }
    }
}
