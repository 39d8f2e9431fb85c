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
    /// The name, as it was given. The public sees its first word and an initial, or `Anonymous` if it is hidden.
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

/// An account as admins see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Account)]
pub struct AccountView {
    /// 24 hexadecimal digits.
    #[schema(example = "65f1c0ffee65f1c0ffee65f1")]
    pub id: String,
    /// The name, as it was given. The public sees its first word and an initial, or `Anonymous` if it is hidden.
    #[schema(example = "Ada Lovelace")]
    pub name: String,
    /// In lower case.
    #[schema(example = "ada@shop.example")]
    pub email: String,
    /// What the user may do.
    pub role: Role,
    /// When the account was created.
    pub created_at: Timestamp,
    /// Whether nobody can log in, and no token of the account counts.
    pub disabled: bool,
    /// Whether the public sees `Anonymous` in place of the name.
    pub hide_name: bool,
    /// The last login; null if there was none.
    #[schema(required)]
    pub last_login_at: Option<Timestamp>,
}

impl From<&User> for AccountView {
    fn from(user: &User) -> Self {
        let UserView { id, name, email, role, created_at } = user.into();
        let last_login_at = user.last_login_at.map(Into::into);
        Self {
            id,
            name,
            email,
            role,
            created_at,
            disabled: user.disabled,
            hide_name: user.hide_name,
            last_login_at,
        }
    }
}
