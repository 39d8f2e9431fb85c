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
    const FIELDS: [&str; 11] = [
        "stock",
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
            stock: self.stock,
            total_stock: None,
            purchase_count: Some(self.purchase_count),
            updated_at: Some(self.updated_at),
            reopened_at: None,
            seller: Some(seller),
        }
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
