//! Whom a trusted proxy has forwarded a request for: the headers `X-Forwarded-For` and `Forwarded` (RFC 7239).
//!
//! Each proxy adds the address that it saw at the right end. What stands left of the first address that is not one of our
//! proxies may be invented by the client, so it is never looked at: the lists are read from the right.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What the headers say about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarded {
    /// The last address that is no proxy of ours; canonical.
    Client(IpAddr),
    /// There is neither header.
    Missing,
    /// An address that cannot be read comes first, or all are those of our proxies.
    Unusable,
}

/// Reads `X-Forwarded-For`; without one, `Forwarded`. A proxy that writes only one of them passes the other on as the
/// client sent it, and nearly all write `X-Forwarded-For`.
pub fn read(headers: &HeaderMap, is_proxy: impl Fn(IpAddr) -> bool) -> Forwarded {
    if headers.contains_key(X_FORWARDED_FOR) {
        return walk(headers, &X_FORWARDED_FOR, plain_end, is_proxy);
    }
    if headers.contains_key(header::FORWARDED) {
        return walk(headers, &header::FORWARDED, forwarded_end, is_proxy);
    }
    Forwarded::Missing
}

/// Reads one element at the end of a list: what is left of it, if there is more, and the address that it names.
type ReadEnd = fn(&str) -> (Option<&str>, Option<IpAddr>);

/// Walks over all lines of the header from the right.
fn walk(
    headers: &HeaderMap,
    name: &HeaderName,
    read_end: ReadEnd,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Forwarded {
    for line in headers.get_all(name).iter().rev() {
        let mut rest = HeaderValue::to_str(line).ok();
        if rest.is_none() {
            return Forwarded::Unusable;
        }
        while let Some(text) = rest {
            let (left, address) = read_end(text);
            match address {
                Some(address) if is_proxy(address) => rest = left,
                Some(address) => return Forwarded::Client(address),
                None => return Forwarded::Unusable,
            }
        }
    }
    Forwarded::Unusable
}

fn plain_end(text: &str) -> (Option<&str>, Option<IpAddr>) {
    match text.rsplit_once(',') {
        Some((left, last)) => (Some(left), node(last.trim())),
        None => (None, node(text.trim())),
    }
}

/// An element is `for=192.0.2.1;proto=https`; its values may be quoted, with commas inside. The end is found from the
/// right, so that a quote which the client has left open cannot reach what our proxy wrote.
fn forwarded_end(text: &str) -> (Option<&str>, Option<IpAddr>) {
    let mut is_quoted = false;
    let comma = text.bytes().rposition(|byte| {
        is_quoted ^= byte == b'"';
        byte == b',' && !is_quoted
    });
    // A comma is ASCII, so it is the boundary of a character.
    let (left, last) = match comma {
        Some(at) => (Some(&text[..at]), &text[at + 1..]),
        None => (None, text),
    };
    (left, element_address(last))
}

/// The address in the one `for=` of an element. `None` as well if a value is escaped: then a quote that ends a value looks
/// like one inside it from the right, and no address needs that.
fn element_address(element: &str) -> Option<IpAddr> {
    if element.contains('\\') {
        return None;
    }
    let mut is_quoted = false;
    let pairs = element.split(|character| {
        is_quoted ^= character == '"';
        character == ';' && !is_quoted
    });
    let mut address = None;
    for pair in pairs {
        let (name, value) = pair.trim().split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"')?,
            None => value,
        };
        let is_value = !value.contains('"') && !name.is_empty();
        let is_first = !name.eq_ignore_ascii_case("for") || address.is_none();
        if !is_value || !is_first {
            return None;
        }
        if name.eq_ignore_ascii_case("for") {
            address = Some(node(value)?);
        }
    }
    address
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
/// `unknown` and made-up names (`_hidden`) are none.
fn node(text: &str) -> Option<IpAddr> {
    let bare = || text.parse::<IpAddr>().ok();
    let bracketed = || Some(text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into());
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    Some(bare().or_else(bracketed).or_else(with_port)?.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::http::arbitrary::header_bytes;

    fn is_proxy(address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(address) if address.octets()[0] == 10)
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        });
        lines.collect()
    }

    fn client(address: &str) -> Forwarded {
        Forwarded::Client(address.parse().unwrap())
    }

    fn check(lines: &[(&'static str, &str)], expected: Forwarded) {
        assert_eq!(read(&headers(lines), is_proxy), expected, "{lines:?}");
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        let plain = |value: &str, expected| check(&[("x-forwarded-for", value)], expected);
        plain("198.51.100.7", client("198.51.100.7"));
        plain("192.0.2.1, 198.51.100.7", client("198.51.100.7"));
        plain("192.0.2.1, 198.51.100.7 ,10.0.0.2,10.0.0.1", client("198.51.100.7"));
        plain("198.51.100.7:4711", client("198.51.100.7"));
        plain("2001:db8::1, 10.0.0.1:80", client("2001:db8::1"));
        plain("[2001:db8::1]", client("2001:db8::1"));
        plain("[2001:db8::1]:443", client("2001:db8::1"));
        plain("::ffff:198.51.100.7, ::ffff:10.0.0.1", client("198.51.100.7"));
        // What stands left of the client is not looked at.
        plain("nonsense,, \"198.51.100.7, 198.51.100.8", client("198.51.100.8"));
    }

    #[test]
    fn all_lines_are_one_list() {
        let lines = [("x-forwarded-for", "192.0.2.1, 198.51.100.7"), ("x-forwarded-for", "10.0.0.1")];
        check(&lines, client("198.51.100.7"));
        let lines = [("forwarded", "for=198.51.100.7;host=a"), ("forwarded", "for=10.0.0.2, for=10.0.0.1")];
        check(&lines, client("198.51.100.7"));
    }

    #[test]
    fn a_list_that_is_malformed_or_too_short_names_nobody() {
        for value in [
            "",
            "10.0.0.1",
            "10.0.0.2, 10.0.0.1",
            "unknown",
            "_hidden",
            "198.51.100.7,",
            "198.51.100.7,,10.0.0.1",
            "198.51.100.7, unknown, 10.0.0.1",
            "198.51.100.7 10.0.0.1",
            "198.51.100.256",
            "[198.51.100.7]",
            "[2001:db8::1",
            "2001:db8::1]:80",
            "198.51.100.7:",
            "198.51.100.7:99999",
            "\"198.51.100.7\"",
            "shop.example",
            "198.51.100.7\u{e9}",
        ] {
            check(&[("x-forwarded-for", value)], Forwarded::Unusable);
        }
        check(&[("x-forwarded-for", "198.51.100.7"), ("x-forwarded-for", "")], Forwarded::Unusable);
        check(&[("x-real-ip", "198.51.100.7")], Forwarded::Missing);
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_says() {
        let forwarded = |value: &str, expected| check(&[("forwarded", value)], expected);
        forwarded("for=198.51.100.7", client("198.51.100.7"));
        forwarded("For=\"198.51.100.7:4711\";proto=https;by=10.0.0.1", client("198.51.100.7"));
        forwarded("for=\"[2001:db8:cafe::17]:4711\", for=10.0.0.1", client("2001:db8:cafe::17"));
        forwarded("proto=http;host=\"a,b;for=192.0.2.1\";FOR=198.51.100.7", client("198.51.100.7"));
        // A client's open quote does not hide what our proxy adds.
        forwarded("for=\"192.0.2.1, for=198.51.100.7", client("198.51.100.7"));
        forwarded("for=\"192.0.2.1, for=\"[2001:db8::1]\"", client("2001:db8::1"));
        for malformed in [
            "",
            "for=unknown",
            "for=_hidden",
            "for=\"_SEVKISEK\"",
            "for=",
            "for=\"\"",
            "for=\"198.51.100.7",
            "for=198.51.100.7\"",
            "for=[2001:db8::1",
            "proto=https",
            "for=198.51.100.7;for=192.0.2.1",
            "for=198.51.100.7;",
            "for=198.51.100.7, ",
            "for 198.51.100.7",
            "198.51.100.7",
            "for=\"198.51.100.7\\\"\"",
            "host=\"x\\\", for=198.51.100.7;y=\\\"z\"",
        ] {
            forwarded(malformed, Forwarded::Unusable);
        }
    }

    #[test]
    fn the_header_that_all_proxies_write_comes_first() {
        let lines = [("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "198.51.100.7")];
        check(&lines, client("198.51.100.7"));
        let lines = [("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "unknown")];
        check(&lines, Forwarded::Unusable);
    }

    /// Text that nearly is a list of either header.
    fn nearly() -> impl Strategy<Value = String> {
        let part = select(vec![
            "198.51.100.7",
            "10.0.0.1",
            "[2001:db8::1]",
            ":80",
            ",",
            ", ",
            ";",
            "\"",
            "\\",
            "for=",
            "proto=",
            "unknown",
            "=",
            " ",
            "x",
        ]);
        vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) })]

        #[test]
        fn anything_is_read_and_no_proxy_is_a_client(bytes in header_bytes(), text in nearly(), plain: bool) {
            let name = if plain { X_FORWARDED_FOR } else { header::FORWARDED };
            for bytes in [&bytes[..], text.as_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(bytes) else { continue };
                if let Forwarded::Client(address) = read(&HeaderMap::from_iter([(name.clone(), value)]), is_proxy) {
                    prop_assert!(!is_proxy(address) && address == address.to_canonical());
                }
            }
        }

        #[test]
        fn what_the_client_sends_never_hides_what_our_proxy_adds(sent in nearly(), address: IpAddr, plain: bool) {
            let address = address.to_canonical();
            prop_assume!(!is_proxy(address));
            let (name, added) = match (plain, address) {
                (true, _) => ("x-forwarded-for", address.to_string()),
                (false, IpAddr::V4(_)) => ("forwarded", format!("for={address};proto=https")),
                (false, IpAddr::V6(_)) => ("forwarded", format!("proto=https;for=\"[{address}]:443\"")),
            };
            let expected = Forwarded::Client(address);
            prop_assert_eq!(read(&headers(&[(name, &format!("{sent}, {added}"))]), is_proxy), expected);
            prop_assert_eq!(read(&headers(&[(name, &sent), (name, &added)]), is_proxy), expected);
        }
    }
}
