//! A product, as the database holds it and as the API shows it.

use mongodb::bson::{Bson, DateTime, doc, oid::ObjectId};
use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Money {
    /// In the currency's minor unit (cents).
    #[schema(minimum = 0, example = 1999)]
    pub amount: i64,
    /// ISO 4217.
    #[schema(example = "USD", pattern = "^[A-Z]{3}$")]
    pub currency: String,
}

impl From<&Money> for Bson {
    fn from(money: &Money) -> Self {
        doc! { "amount": money.amount, "currency": &money.currency }.into()
    }
}

/// The document in `products`. Its invariants, which the collection's validator repeats:
/// `stock >= 0` and `stock + sold = total_stock`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// The id.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// What is sold.
    pub name: String,
    /// The name as `folded` makes it, for the search.
    pub name_folded: String,
    /// Told about it.
    pub description: Option<String>,
    /// A picture of it.
    pub image_url: Option<String>,
    /// What one unit costs.
    pub price: Money,
    /// What one unit costs outside the sale.
    pub original_price: Option<Money>,
    /// Units that can still be bought.
    pub stock: i64,
    /// Units that were bought.
    pub sold: i64,
    /// Units there ever were.
    pub total_stock: i64,
    /// Purchases so far: the last `sequence`.
    pub purchase_count: i64,
    /// Units that one buyer may have.
    pub purchase_limit: i64,
    /// The first moment of the sale.
    pub sale_start_time: DateTime,
    /// The first moment after the sale.
    pub sale_end_time: DateTime,
    /// Counts every change that anybody can see, purchases included: the optimistic lock that all writers of a product take.
    pub version: i64,
    /// When the product was made.
    pub created_at: DateTime,
    /// When the product last changed.
    pub updated_at: DateTime,
}

/// Where a sale stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Before `saleStartTime`.
    Upcoming,
    /// Within the sale, and something is left.
    Live,
    /// Within the sale, and nothing is left.
    SoldOut,
    /// From `saleEndTime` on.
    Ended,
}

impl Status {
    /// As the client writes it.
    pub const NAMES: [(&str, Status); 4] = [
        ("upcoming", Status::Upcoming),
        ("live", Status::Live),
        ("sold_out", Status::SoldOut),
        ("ended", Status::Ended),
    ];

    /// As the client sees it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Upcoming => "upcoming",
            Self::Live => "live",
            Self::SoldOut => "sold_out",
            Self::Ended => "ended",
        }
    }
}

impl Product {
    /// Where its sale stands at `now`, a moment of the database's clock.
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

/// A product as the API shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Product)]
pub struct ProductView {
    /// 24 hexadecimal digits.
    #[schema(example = "65f1c0ffee65f1c0ffee65f1")]
    pub id: String,
    /// What is sold.
    #[schema(example = "Limited sneaker")]
    pub name: String,
    /// Told about it.
    #[schema(required, example = "One run, numbered.")]
    pub description: Option<String>,
    /// A picture of it.
    #[schema(required, example = "https://shop.example/sneaker.jpg")]
    pub image_url: Option<String>,
    /// What one unit costs.
    pub price: Money,
    /// What one unit costs outside the sale.
    #[schema(required)]
    pub original_price: Option<Money>,
    /// Units that can still be bought. `stock + sold = totalStock`, always.
    #[schema(minimum = 0, example = 93)]
    pub stock: i64,
    /// Units that were bought.
    #[schema(minimum = 0, example = 7)]
    pub sold: i64,
    /// Units there ever were.
    #[schema(minimum = 0, example = 100)]
    pub total_stock: i64,
    /// Units that one buyer may have.
    #[schema(minimum = 1, maximum = 1000, example = 1)]
    pub purchase_limit: i64,
    /// The first moment of the sale.
    pub sale_start_time: Timestamp,
    /// The first moment after the sale.
    pub sale_end_time: Timestamp,
    /// Where the sale stands.
    #[schema(example = "live")]
    pub status: Status,
    /// Counts every change, purchases included.
    #[schema(minimum = 1, example = 8)]
    pub version: i64,
    /// When the product was made.
    pub created_at: Timestamp,
    /// When the product last changed.
    pub updated_at: Timestamp,
}

impl ProductView {
    /// The product as it stands at `now`, a moment of the database's clock.
    pub fn of(product: &Product, now: Timestamp) -> Self {
        Self {
            status: product.status(now),
            id: product.id.to_hex(),
            name: product.name.clone(),
            description: product.description.clone(),
            image_url: product.image_url.clone(),
            price: product.price.clone(),
            original_price: product.original_price.clone(),
            stock: product.stock,
            sold: product.sold,
            total_stock: product.total_stock,
            purchase_limit: product.purchase_limit,
            sale_start_time: product.sale_start_time.into(),
            sale_end_time: product.sale_end_time.into(),
            version: product.version,
            created_at: product.created_at.into(),
            updated_at: product.updated_at.into(),
        }
    }
}

/// `text` as it is searched: whatever differs in case alone is the same. By way of the upper case, and each character by itself:
/// so a final sigma is a sigma, and ß is ss.
pub fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}
