//! The part of a product that decides purchases.

use mongodb::bson::{Bson, DateTime, Document, doc};
use serde::Deserialize;

use super::settle::Window;
use crate::error::Result;
use crate::model::id::Id;
use crate::model::money::Money;
use crate::model::product::Product;
use crate::products::cache::StockChange;
use crate::store::Store;

/// The part of a product that decides purchases.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SaleState {
    /// Units left.
    pub stock: i64,
    /// Units that are bought and not yet paid for.
    #[serde(default)]
    pub held: i64,
    /// How long a purchase holds its units until it is paid for, in seconds; `None` if it needs no payment.
    #[serde(default)]
    pub payment_window_seconds: Option<i64>,
    /// The version that last changed a purchase that was made before; `None` if none ever did.
    #[serde(default)]
    pub purchases_changed_version: Option<i64>,
    /// The number of purchases, which is the last sequence number that was given.
    pub purchase_count: i64,
    /// Units that one buyer may have at most.
    pub purchase_limit: i64,
    /// The price of one unit.
    pub price: Money,
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
    /// Every change of the product raises it.
    pub version: i64,
    /// When the product last changed, by the database's clock.
    pub updated_at: DateTime,
    /// When a purchase that was refused before may last have become possible, other than by time: see `Product`.
    #[serde(default)]
    pub reopened_at: Option<DateTime>,
}

impl SaleState {
    /// Their names in the product's document.
    const FIELDS: [&str; 14] = [
        "stock",
        "held",
        "paymentWindowSeconds",
        "purchasesChangedVersion",
        "purchaseCount",
        "purchaseLimit",
        "price",
        "registeredBefore",
        "paused",
        "saleStartTime",
        "saleEndTime",
        "version",
        "updatedAt",
        "reopenedAt",
    ];

    /// Takes this part of a product in memory.
    pub fn of(product: &Product) -> Self {
        Self {
            stock: product.stock,
            held: product.held,
            payment_window_seconds: product.payment_window_seconds,
            purchases_changed_version: product.purchases_changed_version,
            purchase_count: product.purchase_count,
            purchase_limit: product.purchase_limit,
            price: product.price.clone(),
            registered_before: product.registered_before,
            paused: product.paused,
            sale_start_time: product.sale_start_time,
            sale_end_time: product.sale_end_time,
            version: product.version,
            updated_at: product.updated_at,
            reopened_at: product.reopened_at,
        }
    }

    /// The projection that reads these fields.
    pub fn projection() -> Document {
        let mut fields = doc! { "_id": 0 };
        fields.extend(Self::FIELDS.map(|field| (field.to_owned(), Bson::Int32(1))));
        fields
    }

    /// The change that a sale by `seller` made, for the products in memory.
    pub fn stock_change(&self, seller: Id) -> StockChange {
        StockChange {
            version: self.version,
            stock: Some(self.stock),
            held: Some(self.held),
            total_stock: None,
            purchase_count: Some(self.purchase_count),
            updated_at: Some(self.updated_at),
            reopened_at: self.reopened_at,
            purchases_changed_version: self.purchases_changed_version,
            seller: Some(seller),
        }
    }

    /// Whether it has to be known of each buyer what they have and what they let lapse: no index refuses a purchase that
    /// rests on too little of that.
    pub fn is_held_or_changed(&self) -> bool {
        self.payment_window_seconds.is_some() || self.purchases_changed_version.is_some()
    }

    /// Where `now`, a time of the database's clock, lies in the sale.
    pub fn window(&self, now: DateTime) -> Window {
        if now < self.sale_start_time {
            Window::NotStarted
        } else if now < self.sale_end_time {
            Window::Open
        } else {
            Window::Ended
        }
    }
}

/// A product as it was read, and when.
#[derive(Debug, Deserialize)]
pub struct SaleReading {
    /// The product.
    pub state: SaleState,
    /// The database's clock at the read.
    pub now: DateTime,
}

/// How certain a reading has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// A commit will verify it.
    Verified,
    /// It is an answer by itself, and shows everything that was confirmed before it was asked for.
    Confirmed,
}

/// Reads the product; `None` if it does not exist.
///
/// # Errors
/// Those of [`Store::read`].
pub async fn read_sale(store: &Store, product_id: Id, certainty: Certainty) -> Result<Option<SaleReading>> {
    // A `find` that computes the fields costs MongoDB less than an aggregation of one document.
    let state: Document = SaleState::FIELDS
        .map(|field| (field.to_owned(), Bson::String(format!("${field}"))))
        .into_iter()
        .collect();
    let reading = doc! { "_id": 0, "state": state, "now": "$$NOW" };
    let products = store.products.clone_with_type::<SaleReading>();
    let find = products.find_one(doc! { "_id": product_id }).projection(reading);
    let read = |mut session| async move { find.session(&mut session).await };
    match certainty {
        Certainty::Verified => store.read_sale(read).await,
        Certainty::Confirmed => store.read_sale_confirmed(read).await,
    }
}
