//! What every route shares, and nothing about selling: the accept loop, the request's id and the problem+json of
//! every error, strict bodies, query parameters, pages, entity tags and files.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, header};

pub mod accept;
pub(crate) mod body;
pub(crate) mod conditional;
pub(crate) mod discard;
pub(crate) mod fields;
pub(crate) mod file;
pub mod http_runtime;
pub(crate) mod page;
pub(crate) mod path;
pub(crate) mod peer;
pub(crate) mod rendered;
pub(crate) mod request_id;

/// An answer that no cache keeps: it is one client's alone, or good for one moment only.
pub type Uncached<T> = ([(HeaderName, HeaderValue); 1], Json<T>);

/// Keeps the answer out of every cache.
pub fn uncached<T>(answer: T) -> Uncached<T> {
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(answer))
}
