//! The user behind a request.

use crate::model::id::Id;
use crate::model::user::Role;

/// The user whom a verified token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentUser {
    /// The `sub` of the token.
    pub id: Id,
    /// The public display name from the token; cut if too long.
    pub name: String,
    /// What the user may do.
    pub role: Role,
}

impl CurrentUser {
    /// Whether the user sees everybody's purchases, or only the own ones.
    pub fn sees_all_purchases(&self) -> bool {
        match self.role {
            Role::Admin => true,
            Role::Customer => false,
        }
    }
}
