//! What counts as one client on the network.

use std::fmt;
use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The bits of an IPv6 address that name one customer's network; the rest is the customer's own.
const IPV6_BITS: u32 = 64;
/// The bits of an IPv6 address that name a site.
const SITE_BITS: u32 = 48;

/// An IPv4 address, or the /64 of an IPv6 address, since one home has a whole /64. An IPv4 address that is written as an
/// IPv6 address (`::ffff:192.0.2.1`) is an IPv4 address.
///
/// As text it is `192.0.2.1` or `2001:db8::/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpAddr);

impl Network {
    /// The network of this address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => first_bits(address, IPV6_BITS),
            address @ IpAddr::V4(_) => address,
        })
    }

    /// The /48 that an IPv6 network belongs to, by its first address. Whoever rents a server gets a /48 for little, and so
    /// 65,536 networks. `None` for IPv4.
    pub fn site(self) -> Option<Self> {
        match self.0 {
            IpAddr::V6(address) => Some(Self(first_bits(address, SITE_BITS))),
            IpAddr::V4(_) => None,
        }
    }
}

fn first_bits(address: Ipv6Addr, bits: u32) -> IpAddr {
    Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - bits))).into()
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(formatter, "{address}"),
            IpAddr::V6(address) => write!(formatter, "{address}/{IPV6_BITS}"),
        }
    }
}

impl FromStr for Network {
    type Err = AddrParseError;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        match text.strip_suffix("/64") {
            Some(address) => Ok(Self::of(address.parse::<Ipv6Addr>()?.into())),
            None => Ok(Self::of(text.parse::<Ipv4Addr>()?.into())),
        }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(address: &str, text: &str, site: Option<&str>) {
        let network = Network::of(address.parse().unwrap());
        assert_eq!(network.to_string(), text);
        assert_eq!(network.site().map(|site| site.to_string()).as_deref(), site);
    }

    #[test]
    fn one_client_is_an_ipv4_address_or_an_ipv6_64() {
        check("192.0.2.1", "192.0.2.1", None);
        check("::ffff:192.0.2.1", "192.0.2.1", None);
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", Some("2001:db8:1::/64"));
        check("::1", "::/64", Some("::/64"));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "192.0.2.1/32", "192.0.2.1/64", "2001:db8::", "2001:db8::/48", "2001:db8::/64 ", "a"]
        {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

        #[test]
        fn a_network_comes_back_from_its_text(address: IpAddr) {
            let network = Network::of(address);
            let json = serde_json::to_string(&network).unwrap();
            prop_assert_eq!(serde_json::from_str::<Network>(&json).unwrap(), network);
            prop_assert_eq!(network.to_string().parse(), Ok(network));
        }
    }
}
