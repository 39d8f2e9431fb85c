//! Who is asking: accounts, passwords, tokens, and the `CurrentUser` and `Admin` extractors.

pub mod current_user;
mod hs256;
pub mod known_tokens;
pub mod login_failures;
pub mod passwords;
pub mod routes;
pub mod service;
pub mod tokens;
pub mod user;
