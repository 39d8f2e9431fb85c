use serde::Serialize;

use crate::model::timestamp::Timestamp;
use crate::model::user::{Role, User};

/// An account as its owner sees it.
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
    /// When the account was created.
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
