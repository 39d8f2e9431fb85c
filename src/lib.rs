//! flash-sale sells limited stock to a crowd that arrives in the same second.
//!
//! The map, in reading order. A request comes in through `http`, is routed by `app`, is handled by the resource that
//! its path names, and reaches the database through `store`. Purchases take one more step: they are gathered into
//! batches in `purchases`, the heart of it all.

#![warn(clippy::unwrap_used)]

pub mod command_line;
pub mod config;
pub mod serve;
pub mod server;

pub mod app;
pub mod http;

pub mod auth;
pub mod leaderboard;
pub mod live;
pub mod metrics;
pub mod products;
pub mod purchases;
pub mod status;
pub mod storefront;

pub mod store;

pub mod embedded;
mod keepsakes;

pub mod email;
pub mod error;
pub mod id;
pub mod timestamp;

pub mod logging;
pub mod open_files;
pub mod openapi;
pub mod rehearse;
pub mod signals;
pub mod welcome;
