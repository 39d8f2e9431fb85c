//! flash-sale sells limited stock to a crowd that arrives in the same second.
//!
//! The modules are listed from the top layer to the bottom. Each imports only modules below it; `.ci/layers` checks
//! that. A request comes in through `http`; `routes` reads it and calls a service (`purchases`, `products`,
//! `accounts`, `leaderboard`, `live`); services reach the database through `store`. For a purchase there is one more
//! step, which makes the server fast: `purchases` gathers the purchases of a product into batches.

#![warn(clippy::unwrap_used)]

pub mod admin;
pub mod cli;
pub mod rehearse;
pub mod serve;
pub mod verify;

pub mod logging;
pub mod signals;
mod welcome;

pub mod server;

pub mod embedded;
mod first_run;
pub mod open_files;
mod secret_file;

pub(crate) mod routes;

pub(crate) mod report;

pub(crate) mod live;

pub(crate) mod leaderboard;

pub mod purchases;

pub(crate) mod products;

pub mod accounts;

pub(crate) mod audit;

pub mod store;

pub mod http;

pub mod metrics;

pub mod config;

pub mod error;

pub mod model;

mod sabotage;
