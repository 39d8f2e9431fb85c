//! Entity tags: `If-None-Match` saves sending a body that the client has; `If-Match` prevents overwriting a change
//! that it has not seen.
//!
//! Not typed headers of a library: those compare tags as opaque texts, and here any tag of the same version matches.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest, Sha256};

/// What proxies append to the tag of an answer that they compress.
const COMPRESSED: [&str; 4] = ["--gzip", "-gzip", "-br", "-zstd"];

#[derive(Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// No such header.
    Missing,
    /// `*`: any version that exists.
    Any,
    /// One of these versions.
    Versions(Vec<i64>),
}

/// A tag made from the content, for lists: the same on every server.
pub fn digest_tag(bytes: &[u8]) -> HeaderValue {
    let digest: String = Sha256::digest(bytes).iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    tag(&digest)
}

/// The tag of something with a version, and a state that passing time alone can change: `"<version>-<state>"`.
pub fn version_tag(version: i64, state: &str) -> HeaderValue {
    tag(&format!("{version}-{state}"))
}

fn tag(text: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{text}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the client already has `tag`, so that the answer is 304. Weak comparison (RFC 9110, 13.1.2).
pub fn none_match(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let tag = tag.to_str().unwrap_or_default();
    entries(headers, &header::IF_NONE_MATCH).any(|entry| entry == "*" || opaque(entry) == opaque(tag))
}

/// What stands in a tag, without what proxies that compress add to it: nginx makes it weak, Apache appends `-gzip`.
fn opaque(entry: &str) -> &str {
    let entry = entry.strip_prefix("W/").unwrap_or(entry);
    let text = entry.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(entry);
    COMPRESSED.iter().find_map(|suffix| text.strip_suffix(suffix)).unwrap_or(text)
}

/// Reads `If-Match`: tags from `version_tag`, or bare versions. Other tags match nothing. Weak ones count, against RFC
/// 9110, 13.1.1: it is the version that is compared, and a proxy that compresses makes tags weak.
pub fn if_match(headers: &HeaderMap) -> IfMatch {
    if !headers.contains_key(header::IF_MATCH) {
        return IfMatch::Missing;
    }
    let mut versions = Vec::new();
    for entry in entries(headers, &header::IF_MATCH) {
        if entry == "*" {
            return IfMatch::Any;
        }
        versions.extend(version_of(entry));
    }
    IfMatch::Versions(versions)
}

/// The version in a tag. The state is ignored: only passing time changes it.
fn version_of(entry: &str) -> Option<i64> {
    let (version, state) = opaque(entry).split_once('-').unwrap_or((opaque(entry), ""));
    let is_number = version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0');
    let is_state = state.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    version.parse().ok().filter(|_| is_number && is_state)
}

fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::arbitrary::header_bytes;

    fn check(value: &str, expected: IfMatch) {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_str(value).unwrap());
        assert_eq!(if_match(&headers), expected, "{value}");
    }

    #[test]
    fn if_match_reads_versions() {
        check("\"7-live\"", IfMatch::Versions(vec![7]));
        check("\"7\", \"8-ended\"", IfMatch::Versions(vec![7, 8]));
        check("7", IfMatch::Versions(vec![7]));
        check("*", IfMatch::Any);
        check("W/\"7-live\"", IfMatch::Versions(vec![7]));
        check("\"7-sold_out-gzip\", W/\"8-live--gzip\"", IfMatch::Versions(vec![7, 8]));
        for nonsense in ["\"abc\"", "\"7-", "7\"", "W/", "+7", "-7", "07", "\"\"", "\"7-live-1\"", "\"7 8\""]
        {
            check(nonsense, IfMatch::Versions(vec![]));
        }
        assert_eq!(if_match(&HeaderMap::new()), IfMatch::Missing);
    }

    #[test]
    fn if_none_match_compares_weakly() {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"a\", W/\"b\""));
        assert!(none_match(&headers, &HeaderValue::from_static("\"b\"")));
        assert!(!none_match(&headers, &HeaderValue::from_static("\"c\"")));
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"7-live-gzip\""));
        assert!(none_match(&headers, &HeaderValue::from_static("\"7-live\"")));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3_000) })]

        #[test]
        fn any_if_match_is_read(bytes in header_bytes(), tags in r#"([*W/"0-9a-z_,+-]| ){0,40}"#) {
            for bytes in [&bytes[..], tags.as_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(bytes) else { continue };
                if let IfMatch::Versions(versions) = if_match(&HeaderMap::from_iter([(header::IF_MATCH, value)])) {
                    prop_assert!(versions.iter().all(|version| *version >= 1));
                }
            }
        }

        #[test]
        fn our_tags_come_back(version in 1..=i64::MAX, state in "[a-z_]{0,10}") {
            let headers = HeaderMap::from_iter([(header::IF_MATCH, version_tag(version, &state))]);
            prop_assert_eq!(if_match(&headers), IfMatch::Versions(vec![version]));
        }
    }
}
