//! The user behind a request.

use std::fmt;

use crate::model::id::Id;
use crate::model::timestamp::Timestamp;
use crate::model::user::Role;

/// The user whom a verified token names.
#[derive(Debug, Clone, PartialEq)]
pub struct CurrentUser {
    /// The `sub` of the token.
    pub id: Id,
    /// The display name from the token, cut if too long. The public sees it only through `NameRules::public`.
    pub name: String,
    /// What the user may do: as the token says, or as the account says, which has the last word.
    pub role: Role,
    /// When the account was made, if the token says so.
    pub registered_at: Option<Timestamp>,
    /// What decides whether the token was ended.
    pub token: TokenFacts,
}

/// What decides whether a token was ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenFacts {
    /// Names the token.
    pub fingerprint: Fingerprint,
    /// `iat`, in milliseconds. Other providers' is mostly in whole seconds.
    pub issued_at_ms: i64,
    /// `exp`, in milliseconds.
    pub expires_at_ms: i64,
    /// In tokens of our own for an account: the account's `tokenGeneration` when the token was made.
    pub generation: Option<i64>,
}

/// Half of a token's signature, which no other token has. The token cannot be made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u128);

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}
