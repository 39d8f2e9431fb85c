//! A purchase as the database holds it.

use mongodb::bson::DateTime;
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::money::Money;
use super::network::Network;
use super::text::ANONYMOUS;

/// The document in `purchases`. It is written once and never changed, but for its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Purchase {
    /// Shown to clients as 24 hexadecimal digits.
    #[serde(rename = "_id")]
    pub id: Id,
    /// The product that was bought.
    pub product_id: Id,
    /// The buyer.
    pub user_id: Id,
    /// The buyer's name as the leaderboard shows it; an imported purchase may have none.
    #[serde(default = "nobody")]
    pub buyer: String,
    /// Units bought.
    pub quantity: i64,
    /// The price of one unit at the time of the purchase.
    pub unit_price: Money,
    /// This purchase's number among those of its product: 1, 2, 3 ... in commit order, without gaps.
    pub sequence: i64,
    /// The number of its first unit among the buyer's units of this product, from 1.
    pub first_unit: i64,
    /// By the database's clock; never decreases along `sequence`.
    pub purchased_at: DateTime,
    /// The client's key: a repeated request with it is answered with this purchase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The network that it came from. It is removed after some days (`NETWORK_DAYS`), and only the report of a sale reads it.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

/// Where a purchase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseStatus {
    /// It holds its units until it is paid for or expires.
    Pending,
    /// It is paid for, or needs no payment.
    Confirmed,
    /// It was not paid for in time.
    Expired,
    /// Its buyer or an admin gave it up before it was paid for.
    Canceled,
    /// An admin gave the money back.
    Refunded,
}

impl PurchaseStatus {
    /// All of them, as they are named in the API and in documents.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Confirmed, Self::Expired, Self::Canceled, Self::Refunded];

    /// The name in the API and in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
            Self::Refunded => "refunded",
        }
    }
}

/// The name of a buyer that is not known.
fn nobody() -> String {
    ANONYMOUS.into()
}
