//! Who asks.

use crate::model::id::Id;
use crate::model::user::Role;

/// The user whom a verified token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentUser {
    /// The user's id.
    pub id: Id,
    /// The public display name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
}
