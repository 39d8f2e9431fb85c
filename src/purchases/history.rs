//! Reading purchases: one, a user's own, everybody's, in pages.

use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::Hint;
use serde::{Deserialize, Serialize};

use crate::accounts::current_user::CurrentUser;
use crate::error::{Error, Result};
use crate::http::page::{Page, PageRequest};
use crate::model::id::Id;
use crate::model::purchase::Purchase;
use crate::model::user::Role;
use crate::store::schema::own_purchases;
use crate::store::{BATCH_ITEMS, Store};

/// Which way a list runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// For a leaderboard.
    OldestFirst,
    /// For one's own purchases.
    NewestFirst,
}

/// A place in a list of purchases: after this one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PurchaseCursor {
    at: i64,
    product: Id,
    #[serde(deserialize_with = "count")]
    sequence: i64,
    /// How many items come before it; none in a list that does not tell.
    #[serde(deserialize_with = "count")]
    pub rank: i64,
    /// The product that the list is of, if it is of one.
    pub list: Option<Id>,
}

/// A number of purchases that there may be: a cursor comes from outside.
fn count<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<i64, D::Error> {
    let count = i64::deserialize(deserializer)?;
    // Within what every JSON reader holds exactly.
    match (0..=1 << 53).contains(&count) {
        true => Ok(count),
        false => Err(serde::de::Error::custom("not a count")),
    }
}

impl PurchaseCursor {
    /// The place of `purchase`, which is the `rank`-th of the list of a product's purchases, or of everybody's.
    pub fn of(purchase: &Purchase, rank: i64, list: Option<Id>) -> Self {
        Self {
            at: purchase.purchased_at.timestamp_millis(),
            product: purchase.product_id,
            sequence: purchase.sequence,
            rank,
            list,
        }
    }
}

/// Whose purchases, or of which product.
#[derive(Debug, Clone, Copy)]
pub enum Selection {
    /// All.
    Everything,
    /// One user's.
    User(Id),
    /// One product's.
    Product(Id),
}

impl Selection {
    /// What `user` may see: customers their own purchases, admins everybody's.
    pub fn visible_to(user: &CurrentUser) -> Self {
        match user.role {
            Role::Admin => Self::Everything,
            Role::Customer => Self::User(user.id),
        }
    }
}

/// The purchase with this id, if `user` may see it. Another user's purchase is answered like one that does not exist.
///
/// # Errors
/// `purchase_not_found`, and those of a read.
pub async fn find(store: &Store, id: Id, user: &CurrentUser) -> Result<Purchase> {
    let purchase = store.read(async { store.purchases.find_one(doc! { "_id": id }).await }).await?;
    let is_visible = |purchase: &Purchase| user.role == Role::Admin || purchase.user_id == user.id;
    purchase.filter(is_visible).ok_or(Error::PurchaseNotFound)
}

/// A page of purchases by the moment they were made; those of the same moment by product and sequence, so that the
/// order is the same for everybody. A page costs the same at any depth: everybody's and a product's have an index in that
/// order, a user's are few and are sorted each time.
///
/// # Errors
/// Those of a read.
pub async fn list(
    store: &Store,
    selection: Selection,
    order: Order,
    page: &PageRequest<PurchaseCursor>,
) -> Result<Vec<Purchase>> {
    let (direction, beyond) = match order {
        Order::OldestFirst => (1, "$gt"),
        Order::NewestFirst => (-1, "$lt"),
    };
    // A product's purchases are in the order of their sequence anyway.
    let (mut query, sort) = match selection {
        Selection::Everything => (doc! {}, by_moment(direction)),
        Selection::User(user) => (doc! { "userId": user }, by_moment(direction)),
        Selection::Product(product) => (doc! { "productId": product }, doc! { "sequence": direction }),
    };
    if let Some(after) = &page.after {
        match selection {
            Selection::Product(_) => query.extend(doc! { "sequence": { beyond: after.sequence } }),
            Selection::Everything | Selection::User(_) => query.extend(past(after, beyond)),
        }
    }
    // One more tells whether there is a next page.
    let limit = i64::try_from(page.limit + 1).unwrap_or(i64::MAX);
    store
        .read(async {
            let purchases = store.purchases.find(query).sort(sort).limit(limit).max_time(store.read_max());
            let purchases = match selection {
                // Otherwise MongoDB may choose to walk through everybody's purchases in the list's order.
                Selection::User(_) => purchases.hint(Hint::Keys(own_purchases())),
                Selection::Everything | Selection::Product(_) => purchases,
            };
            // All of the page at once: a second round trip may find another primary.
            purchases.batch_size(BATCH_ITEMS).await?.try_collect().await
        })
        .await
}

/// The first purchases of a product after the one with the number `after`, in order.
///
/// # Errors
/// Those of a read.
pub async fn following(store: &Store, product: Id, after: i64, count_max: usize) -> Result<Vec<Purchase>> {
    let query = doc! { "productId": product, "sequence": { "$gt": after } };
    let limit = i64::try_from(count_max).unwrap_or(i64::MAX);
    store
        .read(async {
            let purchases = store.purchases.find(query).sort(doc! { "sequence": 1 }).limit(limit);
            purchases.batch_size(BATCH_ITEMS).max_time(store.read_max()).await?.try_collect().await
        })
        .await
}

/// A page of a user's purchases, or of everybody's, newest first.
///
/// # Errors
/// Those of a read.
pub async fn newest(
    store: &Store,
    selection: Selection,
    page: &PageRequest<PurchaseCursor>,
) -> Result<Page<Purchase>> {
    let purchases = list(store, selection, Order::NewestFirst, page).await?;
    Ok(Page::of(purchases, page.limit, |purchase| PurchaseCursor::of(purchase, 0, None)))
}

fn by_moment(direction: i32) -> Document {
    doc! { "purchasedAt": direction, "productId": direction, "sequence": direction }
}

fn past(after: &PurchaseCursor, beyond: &str) -> Document {
    let at = DateTime::from_millis(after.at);
    doc! { "$or": [
        { "purchasedAt": { beyond: at } },
        { "purchasedAt": at, "productId": { beyond: after.product } },
        { "purchasedAt": at, "productId": after.product, "sequence": { beyond: after.sequence } },
    ] }
}
