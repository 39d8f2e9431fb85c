//! `GET /purchases`: pages of purchases by user, product and status.

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::Hint;

use super::history::{Order, PurchaseCursor, course};
use crate::error::Result;
use crate::http::page::{Page, PageRequest};
use crate::model::id::Id;
use crate::model::purchase::{Purchase, PurchaseStatus};
use crate::store::document::parse;
use crate::store::schema::own_purchases;
use crate::store::{BATCH_ITEMS, Store, collect};

/// Which purchases to list; what is `None` does not matter.
#[derive(Debug, Clone, Copy, Default)]
pub struct PurchaseFilter {
    /// Of this buyer.
    pub user: Option<Id>,
    /// Of this product.
    pub product: Option<Id>,
    /// Those that are this now.
    pub status: Option<PurchaseStatus>,
    /// Those whose money has to go back, or all others.
    pub refund_due: Option<bool>,
}

/// Reads the name of a status.
///
/// # Errors
/// Says which names there are.
pub fn status_named(name: &str) -> Result<PurchaseStatus, String> {
    let found = PurchaseStatus::ALL.into_iter().find(|status| status.name() == name);
    found
        .ok_or_else(|| format!("must be one of {}", PurchaseStatus::ALL.map(PurchaseStatus::name).join(", ")))
}

impl PurchaseFilter {
    fn query(&self) -> Document {
        let mut query = doc! {};
        if let Some(user) = self.user {
            query.insert("userId", user);
        }
        if let Some(product) = self.product {
            query.insert("productId", product);
        }
        match self.status {
            None => {}
            // A purchase that was confirmed at once has no such field: null.
            Some(status @ PurchaseStatus::Confirmed) => {
                query.insert("status", doc! { "$in": [status.name(), null] });
            }
            Some(status) => drop(query.insert("status", status.name())),
        }
        match self.refund_due {
            None => {}
            Some(true) => drop(query.insert("refundDue", true)),
            Some(false) => drop(query.insert("refundDue", doc! { "$ne": true })),
        }
        query
    }
}

/// A page of the purchases that match. A page of everybody's or of a product's costs the same at any depth: there is an index
/// in that order. A user's purchases are few and are sorted each time.
///
/// # Errors
/// Those of [`Store::read`].
pub async fn page(
    store: &Store,
    filter: &PurchaseFilter,
    order: Order,
    page: &PageRequest<PurchaseCursor>,
) -> Result<Page<Purchase>> {
    let (sort, rest) = course(filter.product, order, page.after.as_ref());
    let mut query = filter.query();
    query.extend(rest);
    let purchases = store.purchases.clone_with_type::<RawDocumentBuf>();
    // The whole page in one reply: a second round trip may reach another primary.
    let batch = u32::try_from(page.limit + 1).unwrap_or(BATCH_ITEMS);
    let find = purchases
        .find(query)
        .sort(sort)
        .limit(page.query_limit())
        .max_time(store.read_max())
        .batch_size(batch);
    let found = match filter.user {
        Some(_) => {
            // Without the hint MongoDB may walk through everybody's purchases in the list's order.
            let find = find.hint(Hint::Keys(own_purchases()));
            store.read_history(|session| collect(find, session)).await?
        }
        None => store.read(|session| collect(find, session)).await?,
    };
    let page = Page::of(found, page.limit, |purchase| PurchaseCursor::of(purchase, 0, filter.product));
    Ok(page.filter_map(|document| parse(&document)))
}
