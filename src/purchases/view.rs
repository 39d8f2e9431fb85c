//! A purchase as its buyer sees it.

use serde::Serialize;

use crate::error::Result;
use crate::http::page::Page;
use crate::model::money::Money;
use crate::model::purchase::{Purchase, PurchaseStatus};
use crate::model::timestamp::Timestamp;
use crate::products::catalogue::Catalogue;

/// A purchase as the API shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Purchase)]
pub struct PurchaseView {
    /// 24 hexadecimal digits.
    #[schema(example = "65f1c0ffee65f1c0ffee65f3")]
    pub id: String,
    /// What was bought.
    #[schema(example = "65f1c0ffee65f1c0ffee65f1")]
    pub product_id: String,
    /// The product's name as it is now.
    #[schema(example = "Limited sneaker")]
    pub product_name: String,
    /// Who bought it.
    #[schema(example = "65f1c0ffee65f1c0ffee65f2")]
    pub user_id: String,
    /// Units.
    #[schema(minimum = 1, maximum = 1000, example = 1)]
    pub quantity: i64,
    /// What one unit cost.
    pub unit_price: Money,
    /// What all units cost.
    pub total: Money,
    /// The number of this purchase among the product's: 1, 2, 3 ... in commit order without gaps.
    #[schema(minimum = 1, example = 17)]
    pub sequence: i64,
    /// The database's clock; never decreases along `sequence`.
    pub purchased_at: Timestamp,
    /// Where the purchase stands.
    #[schema(example = "confirmed")]
    pub status: PurchaseStatus,
    /// Until when it is held for its payment; null if it needs none.
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    /// What the payment service calls the payment.
    #[schema(required)]
    pub payment_reference: Option<String>,
    /// It was paid for when nothing was left to give: the money has to go back.
    #[schema(example = false)]
    pub refund_due: bool,
    /// Since when the purchase has its status, by the database's clock.
    pub status_changed_at: Timestamp,
}

impl PurchaseView {
    /// `product_name` is the product's current name.
    pub fn of(purchase: &Purchase, product_name: String) -> Self {
        Self {
            id: purchase.id.to_hex(),
            product_id: purchase.product_id.to_hex(),
            product_name,
            user_id: purchase.user_id.to_hex(),
            quantity: purchase.quantity,
            unit_price: purchase.unit_price.clone(),
            total: purchase.total(),
            sequence: purchase.sequence,
            purchased_at: purchase.purchased_at.into(),
            status: purchase.status,
            expires_at: purchase.expires_at.map(Timestamp::from),
            payment_reference: purchase.payment_reference.clone(),
            refund_due: purchase.refund_due,
            status_changed_at: purchase.status_changed_at().into(),
        }
    }
}

/// A page of purchases with the current names of their products.
///
/// # Errors
/// Those of `Catalogue::names`.
pub async fn named(catalogue: &Catalogue, page: Page<Purchase>) -> Result<Page<PurchaseView>> {
    let products = page.items.iter().map(|purchase| purchase.product_id).collect();
    let names = catalogue.names(products).await?;
    let name = |purchase: &Purchase| names.get(&purchase.product_id).cloned().unwrap_or_default();
    Ok(page.map(|purchase| PurchaseView::of(&purchase, name(&purchase))))
}
