//! The files of web pages, compiled into the program, with headers that limit what a browser may do with them.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

use super::conditional::{digest_tag, none_match};

/// The headers of every file. A browser may keep a file, but has to ask each time whether it is current (`ETag`), so
/// that a new version of the server shows its new pages at once.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    (header::CACHE_CONTROL, "no-cache"),
];

/// A file with its headers; clones share the bytes.
#[derive(Debug, Clone)]
pub struct File {
    bytes: Bytes,
    tag: HeaderValue,
    content_type: HeaderValue,
    policy: HeaderValue,
}

impl File {
    /// The extension of `name` decides the content type; `policy` is the Content-Security-Policy.
    pub fn new(name: &str, bytes: impl Into<Bytes>, policy: &'static str) -> Self {
        let bytes = bytes.into();
        Self {
            tag: digest_tag(&bytes),
            bytes,
            content_type: HeaderValue::from_static(content_type(name)),
            policy: HeaderValue::from_static(policy),
        }
    }

    /// The route that serves the file.
    pub fn route<S: Clone + Send + Sync + 'static>(self) -> MethodRouter<S> {
        get(async move |headers: HeaderMap| self.answer(&headers))
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let mut response = match none_match(headers, &self.tag) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => {
                let content_type = [(header::CONTENT_TYPE, self.content_type.clone())];
                (content_type, Body::from(self.bytes.clone())).into_response()
            }
        };
        let own = response.headers_mut();
        own.insert(header::ETAG, self.tag.clone());
        own.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        own.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
        response
    }
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
