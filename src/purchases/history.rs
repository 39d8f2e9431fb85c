//! Reads purchases: one, pages of a leaderboard, and what lanes and watchers follow.

use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, RawDocument, RawDocumentBuf, doc};
use mongodb::options::{Hint, ReadConcern};
use serde::{Deserialize, Serialize};

use crate::accounts::current_user::CurrentUser;
use crate::error::{Error, Result};
use crate::http::page::PageRequest;
use crate::model::id::Id;
use crate::model::purchase::Purchase;
use crate::products::view::Yours;
use crate::store::schema::own_purchases;
use crate::store::{BATCH_ITEMS, Store, collect};

/// The order of a list of purchases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// As they were made.
    OldestFirst,
    /// The other way round.
    NewestFirst,
}

impl Order {
    /// The order that the API calls `name`.
    ///
    /// # Errors
    /// Says which names there are.
    pub fn named(name: &str) -> std::result::Result<Self, String> {
        match name {
            "asc" => Ok(Self::OldestFirst),
            "desc" => Ok(Self::NewestFirst),
            _ => Err("must be asc or desc".into()),
        }
    }
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
    /// The list is in the order [`Order::NewestFirst`]; only of leaderboards, which have both.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    newest_first: bool,
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

    /// Whether this is a place in the leaderboard of `product`, or of all products, in this order.
    pub fn is_of_leaderboard(&self, product: Option<Id>, order: Order) -> bool {
        self.rank > 0 && self.list == product && self.newest_first == (order == Order::NewestFirst)
    }

    /// The same place in a leaderboard of this order.
    pub fn in_order(self, order: Order) -> Self {
        Self { newest_first: order == Order::NewestFirst, ..self }
    }

    /// The position right after `purchase`, which is the `rank`-th of its list: of the product `list`, or of all.
    pub fn of(purchase: &RawDocument, rank: i64, list: Option<Id>) -> Self {
        Self {
            at: purchase.get_datetime("purchasedAt").map_or(0, |at| at.timestamp_millis()),
            product: purchase.get_object_id("productId").unwrap_or_default(),
            sequence: purchase.get_i64("sequence").unwrap_or_default(),
            rank,
            list,
            newest_first: false,
        }
    }
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
    let is_visible = |purchase: &Purchase| user.role.is_staff() || purchase.user_id == user.id;
    purchase.filter(is_visible).ok_or(Error::PurchaseNotFound)
}

/// The product that the user has bought with this key.
///
/// # Errors
/// Those of [`Store::read`].
pub async fn product_of_key(store: &Store, user: Id, key: &str) -> Result<Option<Id>> {
    let query = doc! { "userId": user, "idempotencyKey": key };
    let purchase = store
        .read(|mut session| async move { store.purchases.find_one(query).session(&mut session).await })
        .await?;
    Ok(purchase.map(|purchase| purchase.product_id))
}

/// The sort of a list of purchases, and the condition for what comes after a position. The order by sequence is the order by
/// moment within one product.
pub(super) fn course(
    product: Option<Id>,
    order: Order,
    after: Option<&PurchaseCursor>,
) -> (Document, Document) {
    let (direction, beyond) = match order {
        Order::OldestFirst => (1, "$gt"),
        Order::NewestFirst => (-1, "$lt"),
    };
    match product {
        Some(_) => {
            let rest = after.map(|after| doc! { "sequence": { beyond: after.sequence } });
            (doc! { "sequence": direction }, rest.unwrap_or_default())
        }
        None => (by_moment(direction), after.map(|after| past(after, beyond)).unwrap_or_default()),
    }
}

/// A page of a leaderboard's purchases, of this product or of all, by the moment they were made, then by product and sequence, so that the order is the same for
/// everybody. A page costs the same at any depth: both lists have an index in that order.
///
/// # Errors
/// Those of [`Store::read`].
pub async fn list(
    store: &Store,
    product: Option<Id>,
    order: Order,
    page: &PageRequest<PurchaseCursor>,
) -> Result<Vec<RawDocumentBuf>> {
    let (sort, rest) = course(product, order, page.after.as_ref());
    let mut query = product.map(|product| doc! { "productId": product }).unwrap_or_default();
    query.extend(rest);
    let limit = page.query_limit();
    let purchases = store.purchases.clone_with_type::<RawDocumentBuf>();
    // The whole page in one reply: a second round trip may reach another primary.
    let find =
        purchases.find(query).sort(sort).limit(limit).max_time(store.read_max()).batch_size(BATCH_ITEMS);
    store.read(|session| collect(find, session)).await
}

/// The first page of a list, newest first, and the rank of its first purchase: how many there are in all, at the same
/// moment.
///
/// # Errors
/// Those of [`Store::read`].
pub async fn newest_ranked(
    store: &Store,
    product: Option<Id>,
    limit: usize,
) -> Result<(Vec<RawDocumentBuf>, i64)> {
    #[derive(Deserialize)]
    struct Count {
        count: i64,
    }
    let (of_product, query) = match product {
        Some(product) => (doc! { "_id": product }, doc! { "productId": product }),
        None => (doc! {}, doc! {}),
    };
    let (sort, _) = course(product, Order::NewestFirst, None);
    let limit = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let purchases = store.purchases.clone_with_type::<RawDocumentBuf>();
    let find =
        purchases.find(query).sort(sort).limit(limit).max_time(store.read_max()).batch_size(BATCH_ITEMS);
    // Every product counts its purchases.
    let sum = doc! { "$group": { "_id": null, "count": { "$sum": "$purchaseCount" } } };
    let count = store.products.aggregate([doc! { "$match": of_product }, sum]).max_time(store.read_max());
    store
        .read(|mut session| async move {
            // Both are of one snapshot. A transaction that only reads holds nothing up.
            session.start_transaction().read_concern(ReadConcern::snapshot()).await?;
            let mut found = find.session(&mut session).await?;
            let newest: Vec<_> = found.stream(&mut session).try_collect().await?;
            let mut counts = count.with_type::<Count>().session(&mut session).await?;
            let count = counts.next(&mut session).await.transpose()?.map_or(0, |found| found.count);
            session.commit_transaction().await?;
            Ok((newest, count))
        })
        .await
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

/// What a user has of a product.
#[derive(Debug, Default, Deserialize)]
pub struct OwnUnits {
    units: i64,
}

impl OwnUnits {
    /// As the API shows it, for a product with this purchase limit.
    pub fn view(&self, purchase_limit: i64) -> Yours {
        Yours { purchased: self.units, remaining: (purchase_limit - self.units).max(0), lapses: 0 }
    }
}

/// What this user has of the product.
///
/// # Errors
/// Those of [`Store::read`].
pub async fn own_units(store: &Store, product: Id, user: Id) -> Result<OwnUnits> {
    let own = doc! { "userId": user, "productId": product };
    let sum = doc! { "_id": null, "units": { "$sum": "$quantity" } };
    let purchases = store.purchases.clone_with_type::<Document>();
    let find = purchases.aggregate([doc! { "$match": own }, doc! { "$group": sum }]).with_type::<OwnUnits>();
    let find = find.hint(Hint::Keys(own_purchases())).max_time(store.read_max());
    let found = store
        .read_history(|mut session| async move {
            let mut found = find.session(&mut session).await?;
            found.next(&mut session).await.transpose()
        })
        .await?;
    Ok(found.unwrap_or_default())
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
