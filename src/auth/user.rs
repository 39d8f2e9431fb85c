//! An account, as the database holds it and as its owner sees it.

use mongodb::bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Buys.
    Customer,
    /// Also makes and changes products, and sees all purchases.
    Admin,
}

/// The document in `users`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The id, which is also the `sub` of the user's tokens.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// The public display name.
    pub name: String,
    /// In lower case; unique.
    pub email: String,
    /// The argon2id hash in PHC form.
    pub password_hash: String,
    /// What the user may do.
    pub role: Role,
    /// When the account was made.
    pub created_at: DateTime,
}

/// An account as the API shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub struct UserView {
    /// 24 hexadecimal digits.
    #[schema(example = "65f1c0ffee65f1c0ffee65f1")]
    pub id: String,
    /// The public display name.
    #[schema(example = "Ada Lovelace")]
    pub name: String,
    /// In lower case.
    #[schema(example = "ada@shop.example")]
    pub email: String,
    /// What the user may do.
    pub role: Role,
    /// When the account was made.
    pub created_at: Timestamp,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.to_hex(),
            name: user.name.clone(),
            email: user.email.clone(),
            role: user.role,
            created_at: user.created_at.into(),
        }
    }
}
