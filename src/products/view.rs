use serde::Serialize;

use crate::model::money::Money;
use crate::model::product::{Product, Status};
use crate::model::timestamp::Timestamp;

/// A product as the API shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Product)]
pub struct ProductView {
    /// 24 hexadecimal digits.
    #[schema(example = "65f1c0ffee65f1c0ffee65f1")]
    pub id: String,
    /// The product's name.
    #[schema(example = "Limited sneaker")]
    pub name: String,
    /// A text about the product.
    #[schema(required, example = "One run, numbered.")]
    pub description: Option<String>,
    /// The URL of a picture.
    #[schema(required, example = "https://shop.example/sneaker.jpg")]
    pub image_url: Option<String>,
    /// The price of one unit.
    pub price: Money,
    /// The price of one unit outside the sale.
    #[schema(required)]
    pub original_price: Option<Money>,
    /// Units that can still be bought. `stock + held + sold = totalStock`, always.
    #[schema(minimum = 0, example = 93)]
    pub stock: i64,
    /// Units that are bought and not yet paid for.
    #[schema(minimum = 0, example = 0)]
    pub held: i64,
    /// Units that have been bought, and paid for where the product has a payment window.
    #[schema(minimum = 0, example = 7)]
    pub sold: i64,
    /// All units ever put up for sale, restocks included.
    #[schema(minimum = 0, example = 100)]
    pub total_stock: i64,
    /// The most units that one buyer may have.
    #[schema(minimum = 1, maximum = 1000, example = 1)]
    pub purchase_limit: i64,
    /// How long a purchase holds its units until it is paid for, in seconds; null if it is final at once.
    #[schema(required, minimum = 60, maximum = 86_400, example = json!(null))]
    pub payment_window_seconds: Option<i64>,
    /// Accounts that were made later may not buy; null if all may.
    #[schema(required)]
    pub registered_before: Option<Timestamp>,
    /// The sale refuses every purchase with `sale_paused`, whatever its `status` is.
    #[schema(example = false)]
    pub paused: bool,
    /// The first moment of the sale.
    pub sale_start_time: Timestamp,
    /// The first moment after the sale.
    pub sale_end_time: Timestamp,
    /// The state of the sale.
    #[schema(example = "live")]
    pub status: Status,
    /// Goes up with every change, purchases included.
    #[schema(minimum = 1, example = 8)]
    pub version: i64,
    /// When the product was created.
    pub created_at: Timestamp,
    /// When the product last changed.
    pub updated_at: Timestamp,
    /// What you have of it; only in `GET /products/{id}` with a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Yours, required = false)]
    pub yours: Option<Yours>,
}

/// What a buyer has of a product, and may still buy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Yours {
    /// Units that you have.
    #[schema(minimum = 0, example = 1)]
    pub purchased: i64,
    /// Units that you may still buy, if they are there: `stock` says how many are.
    #[schema(minimum = 0, maximum = 1000, example = 1)]
    pub remaining: i64,
    /// Your purchases of this product that expired or that you canceled.
    #[schema(minimum = 0, example = 0)]
    pub lapses: i64,
}

impl ProductView {
    /// `now` is a time of the database's clock; it decides the status.
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
            held: product.held,
            sold: product.sold,
            total_stock: product.total_stock,
            purchase_limit: product.purchase_limit,
            payment_window_seconds: product.payment_window_seconds,
            registered_before: product.registered_before.map(Timestamp::from),
            paused: product.paused,
            sale_start_time: product.sale_start_time.into(),
            sale_end_time: product.sale_end_time.into(),
            version: product.version,
            created_at: product.created_at.into(),
            updated_at: product.updated_at.into(),
            yours: None,
        }
    }
}
