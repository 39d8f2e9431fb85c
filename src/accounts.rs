//! Accounts, passwords and tokens.

pub(crate) mod access;
pub(crate) mod administration;
pub mod current_user;
pub(crate) mod fair_queue;
pub(crate) mod filter;
mod hidden_names;
mod hs256;
pub(crate) mod known_tokens;
mod login_failures;
mod passwords;
pub(crate) mod registrations;
pub(crate) mod service;
pub mod tokens;
pub(crate) mod view;
