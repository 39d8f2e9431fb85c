//! A purchase, as the database holds it.

use mongodb::bson::DateTime;
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::money::Money;

/// The document in `purchases`. It is written once and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Purchase {
    /// The id.
    #[serde(rename = "_id")]
    pub id: Id,
    /// What was bought.
    pub product_id: Id,
    /// Who bought it.
    pub user_id: Id,
    /// The buyer's name as the leaderboard shows it.
    pub buyer: String,
    /// Units.
    pub quantity: i64,
    /// What one unit cost.
    pub unit_price: Money,
    /// The number of this purchase among the product's: 1, 2, 3 ... in commit order without gaps.
    pub sequence: i64,
    /// The number of its first unit among the buyer's units of this product, from 1.
    pub first_unit: i64,
    /// The database's clock; never decreases along `sequence`.
    pub purchased_at: DateTime,
    /// The client's key, which makes a repetition answer this purchase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}
