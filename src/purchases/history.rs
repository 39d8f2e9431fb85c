//! Reads purchases: one, pages of a leaderboard, and what lanes and watchers follow.

use mongodb::bson::{DateTime, Document, RawDocument, RawDocumentBuf, doc};
use serde::{Deserialize, Serialize};

use crate::accounts::current_user::CurrentUser;
use crate::error::{Error, Result};
use crate::http::page::PageRequest;
use crate::model::id::Id;
use crate::model::purchase::Purchase;
use crate::store::{BATCH_ITEMS, Store, collect};

/// The order of a list of purchases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// For a leaderboard.
    OldestFirst,
    /// For one's own purchases.
    NewestFirst,
}

/// A position in a list of purchases: right after one of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PurchaseCursor {
    at: i64,
    product: Id,
    #[serde(deserialize_with = "count")]
    pub(super) sequence: i64,
    /// How many purchases come before this position; 0 in a list without ranks.
    #[serde(deserialize_with = "count")]
    pub rank: i64,
    /// The product whose purchases are listed, if the list is limited to one.
    pub list: Option<Id>,
}

/// Checks a count, since a cursor comes from outside: at most 2^53, which every JSON reader holds exactly.
fn count<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<i64, D::Error> {
    let count = i64::deserialize(deserializer)?;
    match (0..=1 << 53).contains(&count) {
        true => Ok(count),
        false => Err(serde::de::Error::custom("not a count")),
    }
}

impl PurchaseCursor {
    /// Whether this is a place in a list of purchases without ranks: of `product`, or of all products.
    pub fn is_of_history(&self, product: Option<Id>) -> bool {
        self.rank == 0 && self.list == product
    }

    /// Whether this is a place in the leaderboard of `product`, or of all products.
    pub fn is_of_leaderboard(&self, product: Option<Id>) -> bool {
        self.rank > 0 && self.list == product
    }

    /// The position right after `purchase`, which is the `rank`-th of its list: of the product `list`, or of all.
    pub fn of(purchase: &RawDocument, rank: i64, list: Option<Id>) -> Self {
        Self {
            at: purchase.get_datetime("purchasedAt").map_or(0, |at| at.timestamp_millis()),
            product: purchase.get_object_id("productId").unwrap_or_default(),
            sequence: purchase.get_i64("sequence").unwrap_or_default(),
            rank,
            list,
        }
    }
}

/// Which purchases a leaderboard lists.
#[derive(Debug, Clone, Copy)]
pub enum Selection {
    /// Of all products.
    Everything,
    /// Of this product.
    Product(Id),
}

/// The purchase with this id, if `user` may see it. Another user's purchase is answered like one that does not exist.
///
/// # Errors
/// `purchase_not_found`, and those of [`Store::read`].
pub async fn find(store: &Store, id: Id, user: &CurrentUser) -> Result<Purchase> {
    let purchase = store
        .read(|mut session| async move {
            store.purchases.find_one(doc! { "_id": id }).session(&mut session).await
        })
        .await?;
    let is_visible = |purchase: &Purchase| user.sees_all_purchases() || purchase.user_id == user.id;
    purchase.filter(is_visible).ok_or(Error::PurchaseNotFound)
}

/// A page of purchases by the moment they were made, then by product and sequence, so that the order is the same for
/// everybody. A page costs the same at any depth: both lists have an index in that order.
///
/// # Errors
/// Those of [`Store::read`].
pub async fn list(
    store: &Store,
    selection: Selection,
    order: Order,
    page: &PageRequest<PurchaseCursor>,
) -> Result<Vec<RawDocumentBuf>> {
    let (direction, beyond) = match order {
        Order::OldestFirst => (1, "$gt"),
        Order::NewestFirst => (-1, "$lt"),
    };
    // The order by sequence is the order by moment within one product.
    let (mut query, sort) = match selection {
        Selection::Everything => (doc! {}, by_moment(direction)),
        Selection::Product(product) => (doc! { "productId": product }, doc! { "sequence": direction }),
    };
    if let Some(after) = &page.after {
        match selection {
            Selection::Product(_) => query.extend(doc! { "sequence": { beyond: after.sequence } }),
            Selection::Everything => query.extend(past(after, beyond)),
        }
    }
    // One purchase more than the page shows whether there is a next page.
    let limit = i64::try_from(page.limit + 1).unwrap_or(i64::MAX);
    let purchases = store.purchases.clone_with_type::<RawDocumentBuf>();
    // The whole page in one reply: a second round trip may reach another primary.
    let find =
        purchases.find(query).sort(sort).limit(limit).max_time(store.read_max()).batch_size(BATCH_ITEMS);
    store.read(|session| collect(find, session)).await
}

/// A product's purchases after the one with the sequence number `after`, in order, at most `count_max`. The sequence has no
/// gaps, so an old answer lacks only the newest ones, and the next one has them.
///
/// # Errors
/// Those of [`Store::read`].
pub async fn following(store: &Store, product: Id, after: i64, count_max: usize) -> Result<Vec<Purchase>> {
    let query = doc! { "productId": product, "sequence": { "$gt": after } };
    let limit = i64::try_from(count_max).unwrap_or(i64::MAX);
    let find = store.purchases.find(query).sort(doc! { "sequence": 1 }).limit(limit);
    let find = find.batch_size(BATCH_ITEMS).max_time(store.read_max());
    store.read_followed(|session| collect(find, session)).await
}

/// The purchases that match, for a lane.
///
/// # Errors
/// Those of [`Store::read_sale`].
pub async fn find_all(store: &Store, query: Document) -> Result<Vec<Purchase>> {
    let find = store.purchases.find(query);
    store.read_sale(|session| collect(find, session)).await
}

/// The order of a list: by moment, then by product and sequence.
pub(super) fn by_moment(direction: i32) -> Document {
    doc! { "purchasedAt": direction, "productId": direction, "sequence": direction }
}

/// What comes after this position.
pub(super) fn past(after: &PurchaseCursor, beyond: &str) -> Document {
    let at = DateTime::from_millis(after.at);
    doc! { "$or": [
        { "purchasedAt": { beyond: at } },
        { "purchasedAt": at, "productId": { beyond: after.product } },
        { "purchasedAt": at, "productId": after.product, "sequence": { beyond: after.sequence } },
    ] }
}
