//! The storefront: a page at `/` and what it loads from `/assets`, all of it compiled into the program.
//!
//! The files are served as they are in `web/`; there is no build step. A browser may keep each of them but has to ask
//! whether it is still the one (`ETag`), so that a new version of the server is a new page at once.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::app::AppState;
use crate::http::conditional::{digest_tag, none_match};

/// The page; it is served at `/`, every other file under `/assets/`.
const PAGE: &str = "index.html";

macro_rules! files {
    ($($name:literal,)*) => {
        /// All files, by their names in `web/`.
        const FILES: &[(&str, &[u8])] = &[$(($name, include_bytes!(concat!("../web/", $name))),)*];
    };
}

files! {
    "index.html",
    "favicon.svg",
    "base.css",
    "shop.css",
    "admin.css",
    "main.js",
    "router.js",
    "dom.js",
    "format.js",
    "announce.js",
    "api.js",
    "session.js",
    "clock.js",
    "store.js",
    "live.js",
    "purchase.js",
    "rates.js",
    "parts/account.js",
    "parts/buy.js",
    "parts/card.js",
    "parts/confirm.js",
    "parts/countdown.js",
    "parts/fields.js",
    "parts/groups.js",
    "parts/header.js",
    "parts/labels.js",
    "parts/leaderboard.js",
    "parts/picture.js",
    "parts/sparkline.js",
    "parts/states.js",
    "parts/stock.js",
    "views/admin.js",
    "views/catalogue.js",
    "views/product.js",
    "views/purchases.js",
    "views/sale.js",
}

/// What every file is served with. The page runs nothing and loads nothing that is not from here, but for the products'
/// pictures, whose addresses admins enter. Text never becomes markup: the browser refuses to parse any from a script.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: http: data:; \
         connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    (header::CACHE_CONTROL, "no-cache"),
];

/// The routes of all files.
pub fn router() -> Router<AppState> {
    FILES.iter().fold(Router::new(), |router, (name, bytes)| {
        let file = File::new(name, bytes);
        let path = if *name == PAGE { "/".to_owned() } else { format!("/assets/{name}") };
        router.route(&path, get(async move |headers: HeaderMap| file.answer(&headers)))
    })
}

/// A file, ready to be sent.
#[derive(Clone)]
struct File {
    bytes: Bytes,
    tag: HeaderValue,
    content_type: HeaderValue,
}

impl File {
    fn new(name: &str, bytes: &'static [u8]) -> Self {
        Self {
            bytes: Bytes::from_static(bytes),
            tag: digest_tag(bytes),
            content_type: HeaderValue::from_static(content_type(name)),
        }
    }

    /// The file, or 304 when the client has it already.
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
        own.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
        response
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
