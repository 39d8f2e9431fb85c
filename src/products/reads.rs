//! `GET /products` and `GET /products/{id}`: from the database for who asks now and then, from memory for a crowd.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::filter::{ProductCursor, ProductFilter};
use super::model::{Product, ProductView, Status};
use crate::app::{App, AppState};
use crate::error::Result;
use crate::http::conditional::version_tag;
use crate::http::page::{Page, PageRequest};
use crate::http::rendered::Rendered;
use crate::id::Id;
use crate::store::crowd_read::Reading;
use crate::timestamp::Timestamp;

/// Time alone changes the status of what is on a page: what was written is good for so long, in milliseconds.
const PAGE_AGE_MS_MAX: u64 = 50;

/// What a page of the catalogue stands on.
pub struct PageBasis {
    /// The products on it, in order.
    ids: Vec<Id>,
    next_cursor: Option<String>,
    status: Option<Status>,
    /// When it was read.
    read_at: Instant,
    /// The cache's count when it was read.
    structure: u64,
    /// The page as it was last written from memory: with the cache's count, and when.
    written: Mutex<Option<(u64, Instant, Rendered)>>,
}

/// The product with this id.
///
/// # Errors
/// `product_not_found`, and those of a read.
pub async fn product(app: &AppState, id: Id) -> Result<Rendered> {
    let remembered = |_: &Reading<()>| {
        let entry = app.feed().is_live().then(|| app.catalogue().cache().find(id))??;
        let (product, now) = (entry.current()?, app.pulse().database_time());
        entry.rendered(&product, product.status(now), || rendered(&product, now)).ok()
    };
    let read = {
        let app = app.clone();
        move |id| {
            let app = app.clone();
            async move {
                let product = app.catalogue().find(id).await?;
                Ok(Reading { answer: rendered(&product, app.pulse().database_time())?, basis: () })
            }
        }
    };
    app.product_reads().get(id, remembered, read).await
}

/// A page of the catalogue.
///
/// # Errors
/// Those of a read.
pub async fn list(
    app: &AppState,
    filter: ProductFilter,
    page: PageRequest<ProductCursor>,
) -> Result<Rendered> {
    let remembered =
        |reading: &Reading<PageBasis>| app.feed().is_live().then(|| reading.basis.written_from(app))?;
    let read = {
        let app = app.clone();
        move |(filter, page): (ProductFilter, PageRequest<ProductCursor>)| {
            let app = app.clone();
            async move { read_page(&app, &filter, &page).await }
        }
    };
    app.list_reads().get((filter, page), remembered, read).await
}

async fn read_page(
    app: &App,
    filter: &ProductFilter,
    page: &PageRequest<ProductCursor>,
) -> Result<Reading<PageBasis>> {
    let (structure, read_at) = (app.catalogue().cache().structure(), Instant::now());
    let now = app.pulse().database_time();
    let mut products = app.catalogue().list(filter, page, now).await?;
    let basis = PageBasis {
        ids: products.items.iter().map(|product| product.id).collect(),
        next_cursor: products.next_cursor.clone(),
        status: filter.status,
        read_at,
        structure,
        written: Mutex::default(),
    };
    // Memory may know of a later sale than the query, and what belongs to the page by then.
    products.items.retain(|product| stands_so(product, filter.status, now));
    let answer = Rendered::digested(&products.map(|product| ProductView::of(&product, now)))?;
    Ok(Reading { answer, basis })
}

impl PageBasis {
    /// The page with its products as memory has them. None when one of them is not there, or when another product may
    /// belong to the page.
    fn written_from(&self, app: &App) -> Option<Rendered> {
        let cache = app.catalogue().cache();
        // Before anything is looked at: what changes meanwhile shows as a higher count.
        let generation = cache.generation();
        // Time alone moves products from one status to another, and memory does not know all of them.
        let is_too_old =
            self.status.is_some() && self.read_at.elapsed() >= Duration::from_millis(PAGE_AGE_MS_MAX);
        if cache.structure() != self.structure || is_too_old {
            return None;
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of_generation, at, page)) = &*written
            && *of_generation == generation
            && at.elapsed() < Duration::from_millis(PAGE_AGE_MS_MAX)
        {
            return Some(page.clone());
        }
        let now = app.pulse().database_time();
        let products: Option<Vec<_>> = self.ids.iter().map(|id| cache.current(*id)).collect();
        let items = products?
            .iter()
            .filter(|product| stands_so(product, self.status, now))
            .map(|product| ProductView::of(product, now))
            .collect();
        let page = Page { items, next_cursor: self.next_cursor.clone() };
        let page = Rendered::digested(&page).ok()?;
        *written = Some((generation, Instant::now(), page.clone()));
        Some(page)
    }
}

/// Whether the product's sale stands as the page asks for, if it asks.
fn stands_so(product: &Product, status: Option<Status>, now: Timestamp) -> bool {
    status.is_none_or(|status| product.status(now) == status)
}

/// A product as the API shows it. A purchase changes the version, and time alone changes the status: the tag has both.
///
/// # Errors
/// `internal`, when it cannot be written.
pub fn rendered(product: &Product, now: Timestamp) -> Result<Rendered> {
    let tag = version_tag(product.version, product.status(now).name());
    Rendered::tagged(&ProductView::of(product, now), tag)
}
