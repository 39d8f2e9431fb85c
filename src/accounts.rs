//! Accounts, passwords and tokens.

pub mod current_user;
mod hs256;
pub mod known_tokens;
mod login_failures;
mod passwords;
pub mod service;
pub mod tokens;
pub mod view;
