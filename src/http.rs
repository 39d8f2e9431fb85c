//! What all routes share, with no rule of selling: the accept loop, request ids, errors as problem+json, strict bodies,
//! query parameters, pages, entity tags and files.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, header};

pub mod accept;
#[cfg(test)]
pub(crate) mod arbitrary;
pub(crate) mod body;
pub(crate) mod conditional;
pub(crate) mod discard;
pub(crate) mod fields;
pub(crate) mod file;
pub mod http_runtime;
pub(crate) mod negotiation;
pub(crate) mod page;
pub(crate) mod path;
pub(crate) mod peer;
pub(crate) mod rendered;
pub(crate) mod request_context;
pub(crate) mod request_id;

/// A JSON answer that no cache may keep: it is for one client only, or changes at any moment.
pub type Uncached<T> = ([(HeaderName, HeaderValue); 1], Json<T>);

/// Adds `Cache-Control: no-store`.
pub fn uncached<T>(answer: T) -> Uncached<T> {
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(answer))
}
