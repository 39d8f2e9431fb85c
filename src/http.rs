//! What every route shares, and nothing about selling: the accept loop, the request's id and the problem+json of
//! every error, strict bodies, query parameters, pages, entity tags and files.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, header};

pub mod accept;
pub mod body;
pub mod conditional;
pub mod discard;
pub mod fields;
pub mod file;
pub mod http_runtime;
pub mod page;
pub mod path;
pub mod peer;
pub mod rendered;
pub mod request_id;

/// An answer that no cache keeps: it is one client's alone, or good for one moment only.
pub type Uncached<T> = ([(HeaderName, HeaderValue); 1], Json<T>);

/// Keeps the answer out of every cache.
pub fn uncached<T>(answer: T) -> Uncached<T> {
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(answer))
}
