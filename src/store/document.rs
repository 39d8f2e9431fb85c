//! Documents that may not be what this version writes: an import, an older version, a script.

use mongodb::bson::{RawDocument, deserialize_from_slice};
use serde::de::DeserializeOwned;

/// Reads one document of a list. A document that cannot be read is logged and left out, so that it costs only itself.
pub fn parse<T: DeserializeOwned>(document: &RawDocument) -> Option<T> {
    deserialize_from_slice(document.as_bytes())
        .inspect_err(|error| {
            let id = document.get("_id").ok().flatten();
            tracing::error!("document {id:?} cannot be read and is left out: {error}");
        })
        .ok()
}
