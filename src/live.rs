//! Stock and sales as they happen, from any server to any watcher. In reading order: the change stream
//! (`products::change_stream`) updates the cache (`products::cache`); each watched product has a room (`room`), which
//! turns the changes into news at a bounded pace (`pace`); each watcher has a subscription (`subscription`), which
//! knows what its client has already been sent. `routes::events` (Server-Sent Events) and `routes::live` (WebSocket)
//! send it.
//!
//! A slow watcher delays nobody: news is not queued for it; it takes the newest when it can.

pub(crate) mod message;
mod pace;
pub(crate) mod room;
pub(crate) mod rooms;
pub(crate) mod subscription;
mod tail;
pub(crate) mod watchers;
