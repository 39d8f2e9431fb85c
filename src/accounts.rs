//! Accounts, passwords and tokens.

pub mod current_user;
pub(crate) mod fair_queue;
mod hs256;
pub(crate) mod known_tokens;
mod login_failures;
mod passwords;
pub(crate) mod registrations;
pub(crate) mod service;
pub mod tokens;
pub(crate) mod view;
