//! An account, as the database holds it.

use std::ops::RangeInclusive;

use mongodb::bson::{DateTime, Timestamp as OperationTime};
use serde::{Deserialize, Serialize};

use super::email;
use super::id::Id;
use super::text::ANONYMOUS;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May buy.
    Customer,
    /// The shop's payment service: may also see all purchases.
    Payments,
    /// May also create and change products, see all purchases, and decide who may log in.
    Admin,
}

impl Role {
    /// All roles, as they are named in tokens, documents and queries.
    pub const ALL: [Self; 3] = [Self::Customer, Self::Payments, Self::Admin];

    /// Whether the user works for the shop, and so may see everybody's purchases.
    pub fn is_staff(self) -> bool {
        self != Self::Customer
    }

    /// The name in tokens, documents and queries.
    pub fn name(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Payments => "payments",
            Self::Admin => "admin",
        }
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
    /// As it was given; `NameRules::public` makes of it what the public sees.
    pub name: String,
    /// In lower case, otherwise as its owner wrote it; unique.
    pub email: String,
    /// The canonical form of `email`; unique. `None` in accounts of earlier versions: if it has none, or if an older
    /// account has the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_canonical: Option<String>,
    /// The argon2id hash in PHC form.
    pub password_hash: String,
    /// What the user may do.
    pub role: Role,
    /// When the account was created, by the server's clock.
    pub created_at: DateTime,
    /// Nobody can log in, and no token of the account counts.
    #[serde(default)]
    pub disabled: bool,
    /// Nobody but admins sees the name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hide_name: bool,
    /// How often all tokens of the account were ended. Our own tokens carry the number that they were made with.
    #[serde(default)]
    pub token_generation: i64,
    /// Tokens of other providers count only if they were made later. By the database's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_valid_from: Option<DateTime>,
    /// The last login, by the database's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_login_at: Option<DateTime>,
    /// When the role, `disabled` or the tokens were last changed: the database's logical clock, which never goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_changed_at: Option<OperationTime>,
}

impl User {
    /// The name for those who are not admins.
    pub fn public_name(&self) -> &str {
        if self.hide_name { ANONYMOUS } else { &self.name }
    }

    /// Whether this is an admin who can log in.
    pub fn is_active_admin(&self) -> bool {
        self.role == Role::Admin && !self.disabled
    }

    /// A new account, with an id of its own, whose access was never changed.
    pub fn new(name: String, email: String, password_hash: String, role: Role, created_at: DateTime) -> Self {
        Self {
            id: Id::new(),
            name,
            email_canonical: email::canonical(&email),
            email,
            password_hash,
            role,
            created_at,
            disabled: false,
            hide_name: false,
            token_generation: 0,
            tokens_valid_from: None,
            last_login_at: None,
            access_changed_at: None,
        }
    }
}
