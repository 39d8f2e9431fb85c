//! A product as the database holds it, and the status of its sale.

use mongodb::bson::{DateTime, Document, serialize_to_document};
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::money::Money;
use super::text::folded;
use super::timestamp::Timestamp;

/// The document in `products`. Its invariants, which the collection's validator repeats:
/// `stock >= 0`, `held >= 0` and `stock + held + sold = total_stock`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Shown to clients as 24 hexadecimal digits.
    #[serde(rename = "_id")]
    pub id: Id,
    /// The name that clients see.
    pub name: String,
    /// The name as `folded` makes it, for the search.
    pub name_folded: String,
    /// A text about the product, for clients.
    pub description: Option<String>,
    /// The http(s) URL of a picture.
    pub image_url: Option<String>,
    /// The price of one unit.
    pub price: Money,
    /// The price of one unit outside the sale.
    pub original_price: Option<Money>,
    /// Units that can still be bought.
    pub stock: i64,
    /// Units that are bought and not yet paid for. Documents of an earlier version have none.
    #[serde(default)]
    pub held: i64,
    /// Units that have been bought.
    pub sold: i64,
    /// All units ever put up for sale, restocks included.
    pub total_stock: i64,
    /// Purchases so far: the last `sequence`.
    pub purchase_count: i64,
    /// The most units that one buyer may have.
    pub purchase_limit: i64,
    /// How long a purchase holds its units until it is paid for, in seconds; `None` if it needs no payment.
    #[serde(default)]
    pub payment_window_seconds: Option<i64>,
    /// Accounts that were made later may not buy.
    #[serde(default)]
    pub registered_before: Option<DateTime>,
    /// Nothing is sold until an admin lets the sale go on.
    #[serde(default)]
    pub paused: bool,
    /// The first moment of the sale.
    pub sale_start_time: DateTime,
    /// The first moment after the sale.
    pub sale_end_time: DateTime,
    /// Counts every visible change, purchases included. All writers of a product use it as their optimistic lock.
    pub version: i64,
    /// When the product was created.
    pub created_at: DateTime,
    /// When the product last changed.
    pub updated_at: DateTime,
    /// When something last changed by which a purchase that was refused before may be allowed: a restock, another price,
    /// limit, window or `registered_before`, the end of a pause. Documents of an earlier version have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reopened_at: Option<DateTime>,
    /// The version that last changed a purchase that was made before; `None` if none ever did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purchases_changed_version: Option<i64>,
}

/// The state of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Before `saleStartTime`.
    Upcoming,
    /// During the sale, with stock left.
    Live,
    /// During the sale, with no stock left.
    SoldOut,
    /// From `saleEndTime` on.
    Ended,
}

impl Status {
    const ALL: [Self; 4] = [Self::Upcoming, Self::Live, Self::SoldOut, Self::Ended];

    /// The status that the API calls `name`.
    ///
    /// # Errors
    /// Says which names there are.
    pub fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|status| status.name() == name);
        found
            .ok_or_else(|| "must be upcoming, live, sold_out or ended, or several of them with commas".into())
    }

    /// The name that the API uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Upcoming => "upcoming",
            Self::Live => "live",
            Self::SoldOut => "sold_out",
            Self::Ended => "ended",
        }
    }
}

/// What every change of a product changes, and what only servers see: the audit log leaves it out.
const UNAUDITED: [&str; 6] = ["_id", "nameFolded", "purchaseCount", "version", "updatedAt", "reopenedAt"];

impl Product {
    /// What the audit log shows of the product: what admins decide, and the units.
    pub fn audited(&self) -> Document {
        let document = serialize_to_document(self).unwrap_or_default();
        document.into_iter().filter(|(name, _)| !UNAUDITED.contains(&name.as_str())).collect()
    }

    /// An unsold product with a purchase limit of 1 and no optional fields. `sale` is the first moment of the sale,
    /// and the first moment after it.
    pub fn new(name: String, price: Money, stock: i64, sale: (DateTime, DateTime), now: DateTime) -> Self {
        Self {
            id: Id::new(),
            name_folded: folded(&name),
            name,
            description: None,
            image_url: None,
            price,
            original_price: None,
            stock,
            held: 0,
            sold: 0,
            total_stock: stock,
            purchase_count: 0,
            purchase_limit: 1,
            payment_window_seconds: None,
            registered_before: None,
            paused: false,
            sale_start_time: sale.0,
            sale_end_time: sale.1,
            version: 1,
            created_at: now,
            updated_at: now,
            reopened_at: None,
            purchases_changed_version: None,
        }
    }

    /// The status at `now`, a time of the database's clock.
    pub fn status(&self, now: Timestamp) -> Status {
        let now = DateTime::from(now);
        if now < self.sale_start_time {
            Status::Upcoming
        } else if now >= self.sale_end_time {
            Status::Ended
        } else if self.stock == 0 {
            Status::SoldOut
        } else {
            Status::Live
        }
    }
}
