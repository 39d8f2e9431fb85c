//! A purchase as the database holds it.

use mongodb::bson::DateTime;
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::money::Money;
use super::network::Network;
use super::text::ANONYMOUS;

/// The document in `purchases`. After it is written only what stands from `status` on changes, and its network is removed.
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
    /// Where it stands. Documents that were confirmed at once, and never changed, have none: most shops have no others.
    #[serde(default, skip_serializing_if = "PurchaseStatus::is_confirmed")]
    pub status: PurchaseStatus,
    /// When it expires if it is not paid for; `None` without a payment window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime>,
    /// When the status last changed, by the database's clock; `None` if it never did.
    #[serde(rename = "statusChangedAt", default, skip_serializing_if = "Option::is_none")]
    pub status_changed: Option<DateTime>,
    /// What the payment service calls the payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_reference: Option<String>,
    /// It was paid for when nothing was left for it: the money has to go back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refund_due: bool,
    /// Its buyer has let it expire or canceled it, and has not paid for it since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lapsed: bool,
    /// The product's version that its last change made; `None` if it never changed. What changed after some version can be
    /// found by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_in_version: Option<i64>,
}

impl Purchase {
    /// One unit, which is the buyer's first, confirmed at once.
    pub fn new(
        product_id: Id,
        user_id: Id,
        sequence: i64,
        unit_price: Money,
        purchased_at: DateTime,
    ) -> Self {
        Self {
            id: Id::new(),
            product_id,
            user_id,
            buyer: nobody(),
            quantity: 1,
            unit_price,
            sequence,
            first_unit: 1,
            purchased_at,
            idempotency_key: None,
            network: None,
            status: PurchaseStatus::Confirmed,
            expires_at: None,
            status_changed: None,
            payment_reference: None,
            refund_due: false,
            lapsed: false,
            changed_in_version: None,
        }
    }

    /// What all units cost: at most 10^12 times 1,000, far below `i64::MAX`.
    pub fn total(&self) -> Money {
        Money { amount: self.unit_price.amount * self.quantity, currency: self.unit_price.currency.clone() }
    }

    /// Since when it has its status.
    pub fn status_changed_at(&self) -> DateTime {
        self.status_changed.unwrap_or(self.purchased_at)
    }
}

/// Where a purchase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseStatus {
    /// It holds its units until it is paid for or expires.
    Pending,
    /// It is paid for, or needs no payment.
    #[default]
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
    /// Those whose units the buyer has no more.
    pub const RELEASED: [Self; 3] = [Self::Expired, Self::Canceled, Self::Refunded];

    /// Whether it is final, but for a refund.
    pub fn is_confirmed(&self) -> bool {
        *self == Self::Confirmed
    }

    /// Whether the buyer has its units no more.
    pub fn is_released(self) -> bool {
        Self::RELEASED.contains(&self)
    }

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
