//! An answer that is rendered once for all clients that get it.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use super::conditional::{digest_tag, none_match};
use crate::error::{Error, Result};

/// JSON and its entity tag; clones share the bytes.
#[derive(Debug, Clone)]
pub struct Rendered {
    json: Bytes,
    tag: HeaderValue,
}

impl Rendered {
    /// # Errors
    /// `internal`, when `value` cannot be serialized.
    pub fn tagged(value: &impl Serialize, tag: HeaderValue) -> Result<Self> {
        Ok(Self { json: to_json(value)?, tag })
    }

    /// Makes the tag from the JSON.
    ///
    /// # Errors
    /// `internal`, when `value` cannot be serialized.
    pub fn digested(value: &impl Serialize) -> Result<Self> {
        let json = to_json(value)?;
        Ok(Self { tag: digest_tag(&json), json })
    }

    /// The JSON.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// The tag of the JSON.
    pub fn tag(&self) -> &HeaderValue {
        &self.tag
    }

    /// The size of the JSON, in bytes.
    pub fn bytes(&self) -> usize {
        self.json.len()
    }

    /// The JSON again as a value, for an answer with something more.
    ///
    /// # Errors
    /// `internal`, which does not happen: the JSON is our own.
    pub fn value(&self) -> Result<Value> {
        serde_json::from_slice(&self.json).map_err(|error| {
            tracing::error!("cannot read an answer again: {error}");
            Error::Internal
        })
    }

    /// The whole answer, or 304 when the client already has it (`If-None-Match`).
    pub fn answer(self, headers: &HeaderMap) -> Response {
        // Stock changes at any moment: a cache may keep the answer, but has to ask each time.
        let cache = (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if none_match(headers, &self.tag) {
            return (StatusCode::NOT_MODIFIED, [(header::ETAG, self.tag), cache]).into_response();
        }
        let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        ([content_type, (header::ETAG, self.tag), cache], Body::from(self.json)).into_response()
    }
}

fn to_json(value: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| {
        tracing::error!("cannot serialize an answer: {error}");
        Error::Internal
    })
}
