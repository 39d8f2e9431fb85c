//! An account, as the database holds it.

use std::ops::RangeInclusive;

use mongodb::bson::DateTime;
use serde::{Deserialize, Serialize};

use super::id::Id;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May buy.
    Customer,
    /// The shop's payment service: may also see all purchases.
    Payments,
    /// May also create and change products, and see all purchases.
    Admin,
}

impl Role {
    /// Whether the user works for the shop, and so may see everybody's purchases.
    pub fn is_staff(self) -> bool {
        self != Self::Customer
    }
}

/// The characters of a name.
pub const NAME_CHARACTERS: RangeInclusive<usize> = 1..=80;
/// The characters of a password.
pub const PASSWORD_CHARACTERS: RangeInclusive<usize> = 12..=128;

/// The document in `users`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Also the `sub` of the user's tokens.
    #[serde(rename = "_id")]
    pub id: Id,
    /// The public display name.
    pub name: String,
    /// In lower case; unique.
    pub email: String,
    /// The argon2id hash in PHC form.
    pub password_hash: String,
    /// What the user may do.
    pub role: Role,
    /// When the account was created, by the server's clock.
    pub created_at: DateTime,
}
