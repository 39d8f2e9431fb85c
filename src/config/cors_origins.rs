//! `CORS_ORIGINS`: whose pages may call the API.

use super::{Reader, listed};

/// Which pages of other origins may call the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Those in the list; an empty list means none.
    List(Vec<String>),
    /// Every origin (`*`).
    Any,
}

impl Reader<'_> {
    pub fn cors_origins(&mut self) -> CorsOrigins {
        let text = self.text("CORS_ORIGINS").unwrap_or_default();
        if text == "*" {
            return CorsOrigins::Any;
        }
        let mut origins = Vec::new();
        for origin in listed(text) {
            if origin.contains('*') {
                self.problem(format!(
                    "CORS_ORIGINS has `{origin}`, but a browser's origin is compared as a whole: list each subdomain, or \
                     allow all with `*` alone"
                ));
            } else if is_origin(origin) {
                origins.push(origin.to_owned());
            } else {
                self.problem(format!(
                    "CORS_ORIGINS has `{origin}`, which is not like https://shop.example (no path, no slash at the end)"
                ));
            }
        }
        CorsOrigins::List(origins)
    }
}

/// Whether a browser, or an app with a scheme of its own (`capacitor://localhost`), can send this as its origin.
fn is_origin(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else { return false };
    if url.origin().is_tuple() {
        return url.origin().ascii_serialization() == text;
    }
    // The URL standard gives other schemes an opaque origin; web views send scheme and host all the same.
    let authority = text.strip_prefix(url.scheme()).and_then(|rest| rest.strip_prefix("://"));
    authority.is_some_and(|authority| !authority.is_empty() && !authority.contains(['/', '?', '#', '@', ' ']))
}
