//! Stock and sales as they happen, from any server to any watcher. In reading order: the change stream
//! (`products::change_stream`) tells the memory (`products::cache`) what changed; a room for each watched product
//! (`room`) makes news of it, at a bounded pace (`pace`); each watcher has a subscription (`subscription`), which knows
//! what its client was told already. `routes::events` and `routes::live` send it, over Server-Sent Events and WebSocket.
//!
//! A slow watcher delays nobody: news are not queued for it, it takes the newest when it can.

pub(crate) mod message;
mod pace;
pub(crate) mod room;
pub(crate) mod rooms;
pub(crate) mod subscription;
mod tail;
pub(crate) mod watchers;
