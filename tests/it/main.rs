//! Tests of what flash-sale promises: from outside, over HTTP, against a real MongoDB replica set.
//!
//! One mongod serves the whole run (or the replica set that `TEST_MONGO_URI` names); each test has a database of its
//! own. The harness provides the actors: a shop with its servers, admins, buyers, visitors. It checks every answer
//! against the OpenAPI document.

mod harness;

mod access;
mod access_lost;
mod accounts;
mod admin;
mod audit;
mod audit_role;
mod bounds;
mod clients;
mod connections;
mod crowd;
mod docs_browser;
mod doubt;
mod embedded;
mod errors;
mod expiry;
mod failover;
mod faults;
mod hidden_names;
mod idempotency;
mod identity;
mod late_money;
mod leaderboard;
mod live_document;
mod live_events;
mod live_faults;
mod live_places;
mod live_purchases;
mod live_released;
mod live_socket;
mod log;
mod memory;
mod metrics;
mod metrics_conventions;
mod openapi;
mod payments;
mod process;
mod products;
mod purchases;
mod queries;
mod records;
mod rehearsal;
mod rehearsal_payments;
mod rivals;
mod sale_rules;
mod server_figures;
mod storefront;
mod storefront_access;
mod storefront_browser;
mod storefront_buyer;
mod storefront_control;
mod storefront_edges;
mod storefront_late;
mod storefront_looks;
mod storefront_payments;
mod storefront_payments_looks;
mod storefront_press;
mod storefront_weight;
mod transactions;
mod truth;
mod users;
mod verify;
mod window;
