//! The user behind a request.

use crate::model::id::Id;
use crate::model::timestamp::Timestamp;
use crate::model::user::Role;

/// The user whom a verified token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentUser {
    /// The `sub` of the token.
    pub id: Id,
    /// The display name from the token, cut if too long. The public sees it only through `NameRules::public`.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// When the account was made, if the token says so.
    pub registered_at: Option<Timestamp>,
}
