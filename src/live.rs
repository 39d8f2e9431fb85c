//! Stock and sales as they happen, from any server to any watcher. In reading order: the change stream (`feed`) tells the
//! memory (`products::cache`) what changed; a room for each watched product (`room`) makes news of it, at a measured pace;
//! each watcher has a subscription (`subscription`), which knows what its client was told already; and two transports
//! carry it: Server-Sent Events (`events`) and WebSocket (`socket`).
//!
//! A watcher never holds anything up: news are not queued for it, it takes the newest when it can.

pub mod events;
pub mod feed;
pub mod message;
pub mod pace;
pub mod request;
pub mod room;
pub mod rooms;
pub mod socket;
pub mod subscription;
pub mod tail;
pub mod watchers;
