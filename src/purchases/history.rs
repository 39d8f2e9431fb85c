//! Reads purchases: one, or pages of a user's own, of a product's, or of everybody's.

use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, RawDocument, RawDocumentBuf, doc};
use mongodb::options::{Hint, ReadConcern};
use serde::{Deserialize, Serialize};

use crate::accounts::current_user::CurrentUser;
use crate::error::{Error, Result};
use crate::http::page::{Page, PageRequest};
use crate::model::id::Id;
use crate::model::purchase::Purchase;
use crate::products::view::Yours;
use crate::store::document::parse;
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
    sequence: i64,
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
    /// Whether this is a place in somebody's own purchases.
    pub fn is_of_history(&self) -> bool {
        self.rank == 0
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

/// Whose purchases to list, or of which product.
#[derive(Debug, Clone, Copy)]
pub enum Selection {
    /// Of all users and products.
    Everything,
    /// Of this user.
    User(Id),
    /// Of this product.
    Product(Id),
}

impl Selection {
    /// What `user` may see: customers their own purchases, admins and payment services everybody's.
    pub fn visible_to(user: &CurrentUser) -> Self {
        match user.role.is_staff() {
            true => Self::Everything,
            false => Self::User(user.id),
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

/// A page of purchases by the moment they were made, then by product and sequence, so that the order is the same for
/// everybody. A page costs the same at any depth: the lists of everybody and of a product have an index in that
/// order; a user's purchases are few and are sorted each time.
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
        Selection::User(user) => (doc! { "userId": user }, by_moment(direction)),
        Selection::Product(product) => (doc! { "productId": product }, doc! { "sequence": direction }),
    };
    if let Some(after) = &page.after {
        match selection {
            Selection::Product(_) => query.extend(doc! { "sequence": { beyond: after.sequence } }),
            Selection::Everything | Selection::User(_) => query.extend(past(after, beyond)),
        }
    }
    // One purchase more than the page shows whether there is a next page.
    let limit = i64::try_from(page.limit + 1).unwrap_or(i64::MAX);
    let purchases = store.purchases.clone_with_type::<RawDocumentBuf>();
    // The whole page in one reply: a second round trip may reach another primary.
    let find =
        purchases.find(query).sort(sort).limit(limit).max_time(store.read_max()).batch_size(BATCH_ITEMS);
    match selection {
        Selection::User(_) => {
            // Without the hint MongoDB may walk through everybody's purchases in the list's order.
            let find = find.hint(Hint::Keys(own_purchases()));
            store.read_history(|session| collect(find, session)).await
        }
        Selection::Everything | Selection::Product(_) => store.read(|session| collect(find, session)).await,
    }
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
    let (of_product, query, sort) = match product {
        Some(product) => (doc! { "_id": product }, doc! { "productId": product }, doc! { "sequence": -1 }),
        None => (doc! {}, doc! {}, by_moment(-1)),
    };
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

/// A page of the selected purchases, newest first.
///
/// # Errors
/// Those of [`list`].
pub async fn newest(
    store: &Store,
    selection: Selection,
    page: &PageRequest<PurchaseCursor>,
) -> Result<Page<Purchase>> {
    let purchases = list(store, selection, Order::NewestFirst, page).await?;
    let page = Page::of(purchases, page.limit, |purchase| PurchaseCursor::of(purchase, 0, None));
    Ok(page.filter_map(|document| parse(&document)))
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
