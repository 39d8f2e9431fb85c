//! Reads purchases: one, pages of a leaderboard, and what lanes and watchers follow.

use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, RawDocument, RawDocumentBuf, doc};
use mongodb::options::{Hint, ReadConcern};
use serde::{Deserialize, Serialize};

use crate::accounts::current_user::CurrentUser;
use crate::error::{Error, Result};
use crate::http::page::PageRequest;
use crate::model::audit::RequestKey;
use crate::model::id::Id;
use crate::model::purchase::{Purchase, PurchaseStatus};
use crate::products::view::Yours;
use crate::purchases::settle::transitions::LAPSES_MAX;
use crate::store::schema::{changed_purchases, own_purchases};
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

/// The key with which the user has changed a purchase before.
///
/// # Errors
/// Those of [`Store::read`].
pub async fn change_of_key(store: &Store, user: Id, key: &str) -> Result<Option<RequestKey>> {
    let query = doc! { "actor": user, "changeKey.key": key };
    let entry = store
        .read(|mut session| async move { store.audit.find_one(query).session(&mut session).await })
        .await?;
    Ok(entry.and_then(|entry| entry.change_key))
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

/// The purchases whose units their buyers still have. Those without a status are among them: they were confirmed at once.
fn standing() -> Document {
    doc! { "status": { "$nin": PurchaseStatus::RELEASED.map(PurchaseStatus::name).to_vec() } }
}

/// A page of a leaderboard's purchases: those of this product, or of all, that still stand, by the moment they were made,
/// then by product and sequence, so that the order is the same for everybody. A page costs the same at any depth, but for
/// the released purchases that it passes over: both lists have an index in that order.
///
/// # Errors
/// Those of [`Store::read`].
pub async fn list_standing(
    store: &Store,
    product: Option<Id>,
    order: Order,
    page: &PageRequest<PurchaseCursor>,
) -> Result<Vec<RawDocumentBuf>> {
    let (sort, rest) = course(product, order, page.after.as_ref());
    let mut query = product.map(|product| doc! { "productId": product }).unwrap_or_default();
    query.extend(standing());
    query.extend(rest);
    let limit = page.query_limit();
    let purchases = store.purchases.clone_with_type::<RawDocumentBuf>();
    // The whole page in one reply: a second round trip may reach another primary.
    let find =
        purchases.find(query).sort(sort).limit(limit).max_time(store.read_max()).batch_size(BATCH_ITEMS);
    store.read(|session| collect(find, session)).await
}

/// The first page of the purchases that still stand, newest first, and the rank of its first: how many there are in all,
/// at the same moment.
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
    let (of_product, mut query) = match product {
        Some(product) => (doc! { "_id": product }, doc! { "productId": product }),
        None => (doc! {}, doc! {}),
    };
    let (sort, _) = course(product, Order::NewestFirst, None);
    let limit = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let purchases = store.purchases.clone_with_type::<RawDocumentBuf>();
    query.extend(standing());
    let find =
        purchases.find(query).sort(sort).limit(limit).max_time(store.read_max()).batch_size(BATCH_ITEMS);
    // Every product counts its purchases, and those that are given back.
    let standing = doc! { "$subtract": ["$purchaseCount", { "$ifNull": ["$releasedCount", 0_i64] }] };
    let sum = doc! { "$group": { "_id": null, "count": { "$sum": standing } } };
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

/// The purchases of a product that have changed since this version of it, in the order of their last change, at most
/// `count_max`.
///
/// # Errors
/// Those of [`Store::read`].
pub async fn changed_since(
    store: &Store,
    product: Id,
    version: i64,
    count_max: usize,
) -> Result<Vec<Purchase>> {
    let query = doc! { "productId": product, "changedInVersion": { "$gt": version } };
    let limit = i64::try_from(count_max).unwrap_or(i64::MAX);
    let find = store.purchases.find(query).sort(changed_purchases()).hint(Hint::Keys(changed_purchases()));
    let find = find.limit(limit).max_time(store.read_max());
    store.read_followed(|session| collect(find, session)).await
}

/// Those of a product's purchases that were given back since the one with the number `sequence` was made, by the product's
/// version `through` at the latest; at most the `count_max` last ones. `None` if the answer is older than that version,
/// in which purchases have changed.
///
/// # Errors
/// Those of [`Store::read`].
pub async fn released_since(
    store: &Store,
    product: Id,
    sequence: i64,
    through: i64,
    count_max: i64,
) -> Result<Option<Vec<Purchase>>> {
    let max_time = store.read_max();
    let as_new = doc! { "productId": product, "changedInVersion": { "$gte": through } };
    let as_new = store.purchases.find_one(as_new).hint(Hint::Keys(changed_purchases())).max_time(max_time);
    let number = doc! { "productId": product, "sequence": sequence };
    let one = store.purchases.find_one(number).max_time(max_time);
    let released = PurchaseStatus::RELEASED.map(PurchaseStatus::name).to_vec();
    let mut query = doc! {
        "productId": product,
        "changedInVersion": { "$lte": through },
        "status": { "$in": released },
    };
    let last_first = doc! { "productId": -1, "changedInVersion": -1 };
    let read = |mut session: ClientSession| async move {
        if as_new.session(&mut session).await?.is_none() {
            return Ok(None);
        }
        // Number 0 is before all.
        if let Some(one) = one.session(&mut session).await? {
            query.insert("statusChangedAt", doc! { "$gte": one.purchased_at });
        }
        let find = store.purchases.find(query).sort(last_first).hint(Hint::Keys(changed_purchases()));
        collect(find.limit(count_max).max_time(max_time), session).await.map(Some)
    };
    let mut found = store.read_followed(read).await?;
    if let Some(found) = &mut found {
        found.reverse();
    }
    Ok(found)
}

/// What a user has of a product.
#[derive(Debug, Default, Deserialize)]
pub struct OwnUnits {
    units: i64,
    lapses: i64,
}

impl OwnUnits {
    /// As the API shows it, for a product with this purchase limit, and with or without a payment window.
    pub fn view(&self, purchase_limit: i64, has_payment_window: bool) -> Yours {
        let may_hold = !has_payment_window || self.lapses < LAPSES_MAX;
        let remaining = if may_hold { (purchase_limit - self.units).max(0) } else { 0 };
        Yours { purchased: self.units, remaining, lapses: self.lapses }
    }
}

/// What this user has of the product.
///
/// # Errors
/// Those of [`Store::read`].
pub async fn own_units(store: &Store, product: Id, user: Id) -> Result<OwnUnits> {
    let own = doc! { "userId": user, "productId": product };
    let released = PurchaseStatus::RELEASED.map(PurchaseStatus::name).to_vec();
    let units = doc! { "$cond": [{ "$in": ["$status", released] }, 0_i64, "$quantity"] };
    let lapses = doc! { "$cond": ["$lapsed", 1_i64, 0_i64] };
    let sum = doc! { "_id": null, "units": { "$sum": units }, "lapses": { "$sum": lapses } };
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
