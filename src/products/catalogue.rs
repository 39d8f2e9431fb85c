//! Finds products in the database.

use std::sync::Arc;
use std::time::Instant;

use mongodb::bson::{RawDocumentBuf, doc};
use serde::Deserialize;

use tokio::sync::Semaphore;

use super::cache::ProductCache;
use super::filter::{ProductCursor, ProductFilter};
use crate::config::ProductsLimits;
use crate::error::{Error, Result};
use crate::http::page::{Page, PageRequest};
use crate::model::id::Id;
use crate::model::product::Product;
use crate::model::timestamp::Timestamp;
use crate::store::document::parse;
use crate::store::heartbeat::Heartbeat;
use crate::store::{BATCH_ITEMS, Store, collect};

/// How often a product is read into memory while it changes faster than it can be read.
const REFRESH_TRIES_MAX: usize = 10;

pub struct Catalogue {
    pub(super) store: Store,
    pub(super) heartbeat: Heartbeat,
    pub(super) cache: ProductCache,
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
            false => Some(self.store.search_permit(&self.searches).await?),
        };
        let query = filter.query(page.after.as_ref(), now);
        let products = self.store.products.clone_with_type::<RawDocumentBuf>();
        let find = products.find(query).sort(doc! { "saleStartTime": 1, "_id": 1 }).limit(page.query_limit());
        // The page in one batch: a second round trip might reach another primary.
        let find = find.batch_size(BATCH_ITEMS).max_time(self.store.read_max());
        let read = |session| collect(find, session);
        let page = Page::of(self.store.read(read).await?, page.limit, |last| ProductCursor::after(last));
        Ok(page.filter_map(|document| Some(self.cache.insert_if_newer(parse(&document)?, began))))
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
}
