//! `GET /purchases`: pages of purchases by user, product and status.

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::Hint;

use super::history::{Order, PurchaseCursor, by_moment, past};
use crate::error::Result;
use crate::http::page::{Page, PageRequest};
use crate::model::id::Id;
use crate::model::purchase::Purchase;
use crate::store::document::parse;
use crate::store::schema::own_purchases;
use crate::store::{BATCH_ITEMS, Store, collect};

/// What a purchase can be. One without a status was confirmed at once.
const STATUSES: [&str; 5] = ["pending", CONFIRMED, "expired", "canceled", "refunded"];
const CONFIRMED: &str = "confirmed";

/// Which purchases to list; what is `None` does not matter.
#[derive(Debug, Clone, Copy, Default)]
pub struct PurchaseFilter {
    /// Of this buyer.
    pub user: Option<Id>,
    /// Of this product.
    pub product: Option<Id>,
    /// Those that are this now.
    pub status: Option<&'static str>,
}

/// Reads the name of a status.
///
/// # Errors
/// Says which names there are.
pub fn status_named(name: &str) -> Result<&'static str, String> {
    let found = STATUSES.into_iter().find(|status| *status == name);
    found.ok_or_else(|| format!("must be one of {}", STATUSES.join(", ")))
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
            // Null: no such field.
            Some(CONFIRMED) => drop(query.insert("status", doc! { "$in": [CONFIRMED, null] })),
            Some(status) => drop(query.insert("status", status)),
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
    let (direction, beyond) = match order {
        Order::OldestFirst => (1, "$gt"),
        Order::NewestFirst => (-1, "$lt"),
    };
    let mut query = filter.query();
    // The order by sequence is the order by moment within one product.
    let sort = match filter.product {
        Some(_) => doc! { "sequence": direction },
        None => by_moment(direction),
    };
    match (&page.after, filter.product) {
        (None, _) => {}
        (Some(after), Some(_)) => drop(query.insert("sequence", doc! { beyond: after.sequence })),
        (Some(after), None) => query.extend(past(after, beyond)),
    }
    // One purchase more than the page shows whether there is a next page.
    let limit = i64::try_from(page.limit + 1).unwrap_or(i64::MAX);
    let purchases = store.purchases.clone_with_type::<RawDocumentBuf>();
    // The whole page in one reply: a second round trip may reach another primary.
    let batch = u32::try_from(page.limit + 1).unwrap_or(BATCH_ITEMS);
    let find = purchases.find(query).sort(sort).limit(limit).max_time(store.read_max()).batch_size(batch);
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
