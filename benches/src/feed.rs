//! Those who watch a sale: the product's Server-Sent Events, `GET /products/{id}/events`.

mod chunks;
pub mod latency;
mod stream;
pub mod watchers;
