//! `GET /products` and `GET /products/{id}`: from the database for occasional readers, from memory for a crowd.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::catalogue::Catalogue;
use super::change_stream::Feed;
use super::filter::{ProductCursor, ProductFilter};
use super::view::ProductView;
use crate::config::StoreLimits;
use crate::error::Result;
use crate::http::conditional::version_tag;
use crate::http::page::{Page, PageRequest};
use crate::http::rendered::Rendered;
use crate::model::id::Id;
use crate::model::product::{Product, Status};
use crate::model::timestamp::Timestamp;
use crate::store::Store;
use crate::store::heartbeat::Heartbeat;
use crate::store::hot_read::{HotReads, Reading};

/// How long a rendered page is reused, in milliseconds: passing time alone may change the status of a product on it.
const PAGE_AGE_MS_MAX: u64 = 50;

pub struct ProductPages {
    source: Arc<Source>,
    products: HotReads<Id, ()>,
    lists: HotReads<(ProductFilter, PageRequest<ProductCursor>), PageBasis>,
}

struct Source {
    catalogue: Arc<Catalogue>,
    heartbeat: Heartbeat,
    feed: Feed,
}

impl ProductPages {
    pub fn new(
        store: Store,
        catalogue: Arc<Catalogue>,
        heartbeat: Heartbeat,
        feed: Feed,
        limits: &StoreLimits,
    ) -> Self {
        Self {
            source: Arc::new(Source { catalogue, heartbeat, feed }),
            products: HotReads::new(store.clone(), limits),
            lists: HotReads::new(store, limits),
        }
    }

    /// # Errors
    /// `product_not_found`, and those of `Store::read`.
    pub async fn product(&self, id: Id) -> Result<Rendered> {
        let remembered = |_: &Reading<()>| self.source.remembered(id);
        let source = self.source.clone();
        let read = move |id| {
            let source = source.clone();
            async move {
                let product = source.catalogue.find(id).await?;
                Ok(Reading { answer: rendered(&product, source.heartbeat.database_time())?, basis: () })
            }
        };
        self.products.get(id, remembered, read).await
    }

    /// # Errors
    /// Those of `Catalogue::list`.
    pub async fn list(&self, filter: ProductFilter, page: PageRequest<ProductCursor>) -> Result<Rendered> {
        let remembered = |reading: &Reading<PageBasis>| {
            self.source.feed.is_synced().then(|| reading.basis.written_from(&self.source))?
        };
        let source = self.source.clone();
        let read = move |(filter, page): (ProductFilter, PageRequest<ProductCursor>)| {
            let source = source.clone();
            async move { source.read_page(&filter, &page).await }
        };
        self.lists.get((filter, page), remembered, read).await
    }
}

impl Source {
    fn remembered(&self, id: Id) -> Option<Rendered> {
        let entry = self.feed.is_synced().then(|| self.catalogue.cache().find(id))??;
        let (product, now) = (entry.current()?, self.heartbeat.database_time());
        entry.rendered(&product, product.status(now), || rendered(&product, now)).ok()
    }

    async fn read_page(
        &self,
        filter: &ProductFilter,
        page: &PageRequest<ProductCursor>,
    ) -> Result<Reading<PageBasis>> {
        let (list_generation, read_at) = (self.catalogue.cache().list_generation(), Instant::now());
        let now = self.heartbeat.database_time();
        let mut products = self.catalogue.list(filter, page, now).await?;
        let basis = PageBasis {
            ids: products.items.iter().map(|product| product.id).collect(),
            next_cursor: products.next_cursor.clone(),
            statuses: filter.statuses.clone(),
            read_at,
            list_generation,
            written: Mutex::default(),
        };
        // Memory may hold a newer version than the query found, with another status.
        products.items.retain(|product| has_status(product, &filter.statuses, now));
        let answer = Rendered::digested(&products.map(|product| ProductView::of(&product, now)))?;
        Ok(Reading { answer, basis })
    }
}

/// What is needed to tell later whether a page still holds.
struct PageBasis {
    /// The products on the page, in order.
    ids: Vec<Id>,
    next_cursor: Option<String>,
    statuses: Vec<Status>,
    read_at: Instant,
    /// `ProductCache::list_generation` when the page was read.
    list_generation: u64,
    /// The page as last rendered from memory, with `ProductCache::generation` and the time of that.
    written: Mutex<Option<(u64, Instant, Rendered)>>,
}

impl PageBasis {
    /// The page with its products as memory has them. `None` if one of them is not in memory, or if other products may
    /// belong to the page now.
    fn written_from(&self, source: &Source) -> Option<Rendered> {
        let cache = source.catalogue.cache();
        // Read first, so that a change during the rendering shows as a higher count.
        let generation = cache.generation();
        // Passing time moves products into another status, and memory does not have all products.
        let is_too_old =
            !self.statuses.is_empty() && self.read_at.elapsed() >= Duration::from_millis(PAGE_AGE_MS_MAX);
        if cache.list_generation() != self.list_generation || is_too_old {
            return None;
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of_generation, at, page)) = &*written
            && *of_generation == generation
            && at.elapsed() < Duration::from_millis(PAGE_AGE_MS_MAX)
        {
            return Some(page.clone());
        }
        let now = source.heartbeat.database_time();
        let products: Option<Vec<_>> = self.ids.iter().map(|id| cache.current(*id)).collect();
        let items = products?
            .iter()
            .filter(|product| has_status(product, &self.statuses, now))
            .map(|product| ProductView::of(product, now))
            .collect();
        let page = Page { items, next_cursor: self.next_cursor.clone() };
        let page = Rendered::digested(&page).ok()?;
        *written = Some((generation, Instant::now(), page.clone()));
        Some(page)
    }
}

fn has_status(product: &Product, statuses: &[Status], now: Timestamp) -> bool {
    statuses.is_empty() || statuses.contains(&product.status(now))
}

/// A product as clients get it, at this moment. The tag holds version and status: a purchase changes the version, but passing
/// time changes only the status.
///
/// # Errors
/// `internal`.
pub fn rendered(product: &Product, now: Timestamp) -> Result<Rendered> {
    let tag = version_tag(product.version, product.status(now).name());
    Rendered::tagged(&ProductView::of(product, now), tag)
}
