//! What a handler wants in the log together with the request's id, which only the outermost layer knows.

use std::sync::Arc;

/// Goes with the response as an extension; the layer of the request's id writes it.
#[derive(Clone)]
pub struct LogEntry(Arc<dyn Fn(&str) + Send + Sync>);

impl LogEntry {
    /// `write` gets the request's id.
    pub fn new(write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// Writes it.
    pub fn write(&self, request_id: &str) {
        (self.0)(request_id);
    }
}
