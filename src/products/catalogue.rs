//! Finds, creates and changes products in the database.

use std::sync::Arc;
use std::time::Instant;

use mongodb::bson::{DateTime, Document, RawDocumentBuf, doc};
use mongodb::error::Error as DatabaseError;
use mongodb::options::{ReturnDocument, UpdateModifications};
use serde::Deserialize;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::cache::ProductCache;
use super::filter::{ProductCursor, ProductFilter};
use super::request::{
    ChangeProductRequest, CreateProductRequest, END_BEFORE_START, OTHER_CURRENCY, START_AFTER_END, STOCK_MAX,
};
use crate::config::ProductsLimits;
use crate::error::{Error, Result};
use crate::http::conditional::IfMatch;
use crate::http::page::{Page, PageRequest};
use crate::model::id::Id;
use crate::model::product::Product;
use crate::model::timestamp::Timestamp;
use crate::store::document::parse;
use crate::store::heartbeat::Heartbeat;
use crate::store::{BATCH_ITEMS, Store, collect, failure};

/// How often a change is tried when the product keeps changing meanwhile: with `If-Match: *`, the times of its sale and
/// its currencies.
const CHANGE_TRIES_MAX: usize = 5;

/// How often a product is read into memory while it changes faster than it can be read.
const REFRESH_TRIES_MAX: usize = 10;

pub struct Catalogue {
    store: Store,
    heartbeat: Heartbeat,
    cache: ProductCache,
    searches: Semaphore,
}

impl Catalogue {
    pub fn new(store: Store, heartbeat: Heartbeat, limits: &ProductsLimits) -> Self {
        Self {
            store,
            heartbeat,
            cache: ProductCache::new(limits),
            searches: Semaphore::new(limits.searches_in_flight_max),
        }
    }

    pub fn cache(&self) -> &ProductCache {
        &self.cache
    }

    /// Reads a product into memory in a task of its own, unless another task is reading it.
    pub fn refresh(self: &Arc<Self>, id: Id) {
        let Some(entry) = self.cache.entry(id) else { return };
        if !entry.begin_reading() {
            return;
        }
        let catalogue = self.clone();
        self.store.spawn(async move {
            for _ in 0..REFRESH_TRIES_MAX {
                // The failure is already logged; the next request for the product reads it.
                let has_failed = catalogue.find(id).await.is_err();
                if has_failed || entry.current().is_some() {
                    entry.end_reading();
                    // A change reported just before `end_reading` started no read of its own.
                    if has_failed || entry.current().is_some() || !entry.begin_reading() {
                        return;
                    }
                }
            }
            entry.end_reading();
        });
    }

    /// Reads a product again, whatever its version, if it is in memory.
    pub fn read_anew(self: &Arc<Self>, id: Id) {
        if self.cache.invalidate_one(id) {
            self.refresh(id);
        }
    }

    /// A page of the products that match at `now`, by the start of their sale.
    ///
    /// # Errors
    /// `overloaded` when too many searches run, and those of `Store::read`.
    pub async fn list(
        &self,
        filter: &ProductFilter,
        page: &PageRequest<ProductCursor>,
        now: Timestamp,
    ) -> Result<Page<Arc<Product>>> {
        let began = Instant::now();
        let _permit = match filter.words.is_empty() {
            true => None,
            false => Some(self.search_permit().await?),
        };
        let query = filter.query(page.after.as_ref(), now);
        let limit = i64::try_from(page.limit + 1).unwrap_or(i64::MAX);
        let products = self.store.products.clone_with_type::<RawDocumentBuf>();
        let find = products.find(query).sort(doc! { "saleStartTime": 1, "_id": 1 }).limit(limit);
        // The page in one batch: a second round trip might reach another primary.
        let find = find.batch_size(BATCH_ITEMS).max_time(self.store.read_max());
        let read = |session| collect(find, session);
        let page = Page::of(self.store.read(read).await?, page.limit, |last| ProductCursor::after(last));
        Ok(page.filter_map(|document| Some(self.cache.insert_if_newer(parse(&document)?, began))))
    }

    /// Only a few searches run at a time, because each looks at every product.
    async fn search_permit(&self) -> Result<SemaphorePermit<'_>> {
        match tokio::time::timeout(self.store.permit_wait_max(), self.searches.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Error::Overloaded { detail: "Too many searches at once." }),
        }
    }

    /// # Errors
    /// `product_not_found`, and those of `Store::read`.
    pub async fn find(&self, id: Id) -> Result<Arc<Product>> {
        let began = Instant::now();
        let find = self.store.products.find_one(doc! { "_id": id });
        let product = self.store.read(|mut session| async move { find.session(&mut session).await }).await?;
        match product {
            Some(product) => Ok(self.cache.insert_if_newer(product, began)),
            None => {
                self.cache.forget(id);
                Err(Error::ProductNotFound)
            }
        }
    }

    /// The current names of products; each may be named more than once.
    ///
    /// # Errors
    /// Those of `Store::read`.
    pub async fn names(&self, mut ids: Vec<Id>) -> Result<std::collections::HashMap<Id, String>> {
        #[derive(Deserialize)]
        struct Named {
            #[serde(rename = "_id")]
            id: Id,
            name: String,
        }
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(Default::default());
        }
        let products = self.store.products.clone_with_type::<Named>();
        let find = products.find(doc! { "_id": { "$in": ids } }).projection(doc! { "name": 1 });
        let read = |session| collect(find, session);
        let named = self.store.read(read).await?;
        Ok(named.into_iter().map(|product| (product.id, product.name)).collect())
    }

    /// # Errors
    /// Those of `Store::write`.
    pub async fn create(&self, request: CreateProductRequest) -> Result<Arc<Product>> {
        let began = Instant::now();
        let product = request.into_product(self.heartbeat.database_time());
        let products = self.store.products.clone();
        let product = self
            .store
            .write(async move {
                products.insert_one(&product).await.map_err(|error| failure::of_write(&error))?;
                Ok(product)
            })
            .await?;
        self.cache.bump_lists();
        Ok(self.cache.insert_if_newer(product, began))
    }

    /// Changes a product if `if_match` allows its version.
    ///
    /// # Errors
    /// `precondition_required`, `version_conflict`, `product_not_found`, `validation_failed` when the sale would end
    /// before it starts, and those of `Store::write`.
    pub async fn change(
        &self,
        id: Id,
        if_match: IfMatch,
        request: ChangeProductRequest,
    ) -> Result<Arc<Product>> {
        let now = self.heartbeat.database_time();
        let began = Instant::now();
        if if_match == IfMatch::Missing {
            return Err(Error::PreconditionRequired);
        }
        let store = self.store.clone();
        let product =
            self.store.write(async move { change(&store, id, &if_match, &request, now).await }).await?;
        self.cache.mark(id, product.version);
        Ok(self.cache.insert_if_newer(product, began))
    }

    /// Adds stock. If `if_match` names versions, the product must have one of them.
    ///
    /// # Errors
    /// `product_not_found`, `version_conflict`, `validation_failed` when the stock would pass its bound, and those of
    /// `Store::write`.
    pub async fn restock(&self, id: Id, if_match: IfMatch, quantity: i64) -> Result<Arc<Product>> {
        let now = self.heartbeat.database_time();
        let began = Instant::now();
        let store = self.store.clone();
        let product = self
            .store
            .write(async move {
                let mut room = doc! { "_id": id, "totalStock": { "$lte": STOCK_MAX - quantity } };
                room.extend(named_version(&if_match));
                match update(&store, room, more_stock(quantity, now)).await? {
                    Some(product) => Ok(product),
                    None => match read(&store, id).await?.total_stock > STOCK_MAX - quantity {
                        true => {
                            Err(Error::invalid("quantity", format!("would lift the stock above {STOCK_MAX}")))
                        }
                        false => Err(Error::VersionConflict),
                    },
                }
            })
            .await?;
        self.cache.bump_lists();
        Ok(self.cache.insert_if_newer(product, began))
    }

    /// Deletes an unsold product. If `if_match` names versions, the product must have one of them.
    ///
    /// # Errors
    /// `version_conflict`, `product_has_sales`, `product_not_found`, and those of `Store::write`.
    pub async fn delete(&self, id: Id, if_match: IfMatch) -> Result<()> {
        let store = self.store.clone();
        self.store
            .write(async move {
                let mut unsold = doc! { "_id": id, "purchaseCount": 0 };
                unsold.extend(named_version(&if_match));
                let deletion = store.products.find_one_and_delete(unsold).max_time(store.write_wait_max());
                if deletion.await.map_err(|error| of_change(&error))?.is_some() {
                    return Ok(());
                }
                match read(&store, id).await?.purchase_count {
                    0 => Err(Error::VersionConflict),
                    _ => Err(Error::ProductHasSales),
                }
            })
            .await?;
        self.cache.deleted(id);
        Ok(())
    }
}

/// The condition that the product has one of the versions that `if_match` names, if it names any.
fn named_version(if_match: &IfMatch) -> Document {
    match if_match {
        IfMatch::Versions(versions) => doc! { "version": { "$in": versions } },
        IfMatch::Missing | IfMatch::Any => doc! {},
    }
}

async fn change(
    store: &Store,
    id: Id,
    if_match: &IfMatch,
    request: &ChangeProductRequest,
    now: Timestamp,
) -> Result<Product> {
    for _ in 0..CHANGE_TRIES_MAX {
        let current = read(store, id).await?;
        if let IfMatch::Versions(versions) = if_match
            && !versions.contains(&current.version)
        {
            return Err(Error::VersionConflict);
        }
        let start = request.sale_start_time.map_or(current.sale_start_time, DateTime::from);
        let end = request.sale_end_time.map_or(current.sale_end_time, DateTime::from);
        if end <= start {
            return Err(match request.sale_end_time {
                Some(_) => Error::invalid("saleEndTime", END_BEFORE_START),
                None => Error::invalid("saleStartTime", START_AFTER_END),
            });
        }
        check_currencies(request, &current)?;
        let Some(update_document) = request.update(now) else { return Ok(current) };
        // `*` allows any version, so that an admin can make changes while purchases keep raising the version. But the
        // times and currencies that were checked above must not have changed.
        let unchanged = match if_match {
            IfMatch::Any => doc! {
                "_id": id, "saleStartTime": current.sale_start_time, "saleEndTime": current.sale_end_time,
                "price.currency": &current.price.currency,
                "originalPrice.currency": current.original_price.map(|money| money.currency),
            },
            _ => doc! { "_id": id, "version": current.version },
        };
        if let Some(product) = update(store, unchanged, update_document).await? {
            return Ok(product);
        }
    }
    Err(Error::VersionConflict)
}

/// Refuses a price in another currency than the one that the product keeps beside it.
fn check_currencies(request: &ChangeProductRequest, current: &Product) -> Result<()> {
    let kept = &current.original_price;
    match (&request.price, &request.original_price) {
        (Some(price), None) if kept.as_ref().is_some_and(|kept| kept.currency != price.currency) => {
            Err(Error::invalid("price.currency", OTHER_CURRENCY))
        }
        (None, Some(Some(original))) if original.currency != current.price.currency => {
            Err(Error::invalid("originalPrice.currency", OTHER_CURRENCY))
        }
        // Those of one request are compared when it is read.
        _ => Ok(()),
    }
}

/// The update that adds stock. It reopens the product only if somebody may have been refused for lack of stock: nobody asks
/// for more than the limit of one buyer.
fn more_stock(quantity: i64, now: Timestamp) -> Vec<Document> {
    let was_short = doc! { "$lt": ["$stock", "$purchaseLimit"] };
    let reopened = doc! { "$max": ["$reopenedAt", "$$NOW"] };
    vec![
        doc! { "$set": { "reopenedAt": { "$cond": [was_short, reopened, "$reopenedAt"] } } },
        doc! { "$set": {
            "stock": { "$add": ["$stock", quantity] },
            "totalStock": { "$add": ["$totalStock", quantity] },
            "version": { "$add": ["$version", 1_i64] },
            "updatedAt": { "$max": ["$updatedAt", DateTime::from(now)] },
        } },
    ]
}

/// Updates the product that matches `unchanged`; `None` when none does.
async fn update(
    store: &Store,
    unchanged: Document,
    update: impl Into<UpdateModifications>,
) -> Result<Option<Product>> {
    store
        .products
        .find_one_and_update(unchanged, update)
        .return_document(ReturnDocument::After)
        .max_time(store.write_wait_max())
        .await
        .map_err(|error| of_change(&error))
}

/// The answer to a failed change: it says so if a transaction held the product for too long.
fn of_change(error: &DatabaseError) -> Error {
    match failure::is_held(error) {
        true => Error::Overloaded { detail: "A transaction holds the product. Nothing was changed." },
        false => failure::of_write(error),
    }
}

/// Reads the product inside a write's task, so it takes no permit of the reads. What it finds is an answer by itself.
async fn read(store: &Store, id: Id) -> Result<Product> {
    let point = store.confirm().await?;
    let find = async {
        let mut session = point.session(&store.client).await?;
        store.products.find_one(doc! { "_id": id }).session(&mut session).await
    };
    find.await.map_err(|error| failure::of_read(&error))?.ok_or(Error::ProductNotFound)
}
