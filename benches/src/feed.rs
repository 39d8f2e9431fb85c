//! Watchers of a sale, over the product's Server-Sent Events, `GET /products/{id}/events`.

mod chunks;
pub mod latency;
mod stream;
pub mod watchers;
