//! The files of web pages, compiled into the program, with headers that limit what a browser may do with them.

use std::io::Write as _;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::conditional::{digest_tag, none_match};

/// The headers of every file.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    (header::VARY, "accept-encoding"),
];

/// How long a browser may use a file without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// It has to ask each time whether its copy is current (`ETag`), so that a new version of the server shows its new
    /// pages at once.
    Revalidate,
    /// A year, the longest that counts: the address changes with the content.
    Forever,
}

impl Caching {
    fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Revalidate => "no-cache",
            Self::Forever => "public, max-age=31536000, immutable",
        })
    }
}

/// A file with its headers, as it is and compressed; clones share the bytes.
#[derive(Debug, Clone)]
pub struct File {
    plain: Encoded,
    /// `None` when that would not be smaller.
    gzip: Option<Encoded>,
    content_type: HeaderValue,
    policy: HeaderValue,
}

#[derive(Debug, Clone)]
struct Encoded {
    bytes: Bytes,
    tag: HeaderValue,
}

impl Encoded {
    fn new(bytes: Bytes) -> Self {
        Self { tag: digest_tag(&bytes), bytes }
    }
}

impl File {
    /// The extension of `name` decides the content type; `policy` is the Content-Security-Policy.
    pub fn new(name: &str, bytes: impl Into<Bytes>, policy: &'static str) -> Self {
        let file = Self::uncompressed(name, bytes, policy);
        let gzip = compressed(&file.plain.bytes).filter(|bytes| bytes.len() < file.plain.bytes.len());
        Self { gzip: gzip.map(Encoded::new), ..file }
    }

    /// The same without the compressed form, for what is made anew for each request.
    pub fn uncompressed(name: &str, bytes: impl Into<Bytes>, policy: &'static str) -> Self {
        Self {
            plain: Encoded::new(bytes.into()),
            gzip: None,
            content_type: HeaderValue::from_static(content_type(name)),
            policy: HeaderValue::from_static(policy),
        }
    }

    /// The route that serves the file.
    pub fn route<S: Clone + Send + Sync + 'static>(self) -> MethodRouter<S> {
        get(async move |headers: HeaderMap| self.answer(&headers, Caching::Revalidate))
    }

    /// The file in the form that the client takes, or 304 when it has it.
    pub fn answer(&self, headers: &HeaderMap, caching: Caching) -> Response {
        let gzip = self.gzip.as_ref().filter(|_| takes_gzip(headers));
        let encoded = gzip.unwrap_or(&self.plain);
        let mut response = match none_match(headers, &encoded.tag) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => {
                let content_type = [(header::CONTENT_TYPE, self.content_type.clone())];
                (content_type, Body::from(encoded.bytes.clone())).into_response()
            }
        };
        let own = response.headers_mut();
        if gzip.is_some() {
            own.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        own.insert(header::ETAG, encoded.tag.clone());
        own.insert(header::CACHE_CONTROL, caching.header());
        own.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        own.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
        response
    }
}

/// `None` if the encoder fails, which it cannot while it writes to memory.
fn compressed(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Whether `Accept-Encoding` names gzip without refusing it (`q=0`). What else it prefers does not matter: there is
/// nothing else.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|entry| {
        let (coding, weight) = entry.split_once(';').unwrap_or((entry, ""));
        let weight = weight.trim().trim_start_matches(['q', 'Q']).trim_start_matches('=');
        coding.trim().eq_ignore_ascii_case("gzip") && weight.parse::<f32>() != Ok(0.0)
    })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        // RFC 9512.
        Some("yaml") => "application/yaml",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accepted: &'static str, expected: bool) {
        let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted))]);
        assert_eq!(takes_gzip(&headers), expected, "{accepted}");
    }

    #[test]
    fn gzip_goes_to_those_who_take_it() {
        check("gzip, deflate, br", true);
        check("br;q=1, GZIP ; q=0.5", true);
        check("gzip;q=0", false);
        check("gzip;q=0.000, br", false);
        check("br", false);
        check("", false);
        check("xgzip", false);
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
