//! The leaderboard, purchases in chronological order: from the database for occasional readers, from memory for a
//! crowd.

use std::sync::Arc;

use mongodb::bson::RawDocumentBuf;

use crate::config::StoreLimits;
use crate::error::Result;
use crate::http::page::{Page, PageRequest};
use crate::http::rendered::Rendered;
use crate::model::id::Id;
use crate::model::leaderboard_item::LeaderboardItem;
use crate::model::purchase::Purchase;
use crate::model::timestamp::Timestamp;
use crate::products::cache::ProductCache;
use crate::products::catalogue::Catalogue;
use crate::products::change_stream::Feed;
use crate::purchases::history::{self, Order, PurchaseCursor, Selection};
use crate::store::Store;
use crate::store::document::parse;
use crate::store::heartbeat::Heartbeat;
use crate::store::hot_read::{HotReads, Reading};

/// MongoDB ends a transaction after one minute; another minute allows for clocks that differ.
const TRANSACTION_MS_MAX: i64 = 120_000;

pub struct Leaderboard {
    source: Arc<Source>,
    reads: HotReads<(Option<Id>, PageRequest<PurchaseCursor>), PageBasis>,
}

struct Source {
    store: Store,
    catalogue: Arc<Catalogue>,
    heartbeat: Heartbeat,
    feed: Feed,
}

impl Leaderboard {
    pub fn new(
        store: Store,
        catalogue: Arc<Catalogue>,
        heartbeat: Heartbeat,
        feed: Feed,
        limits: &StoreLimits,
    ) -> Self {
        let reads = HotReads::new(store.clone(), limits);
        Self { source: Arc::new(Source { store, catalogue, heartbeat, feed }), reads }
    }

    /// A page of the purchases of one product or of all, oldest first.
    ///
    /// # Errors
    /// Those of `Store::read`.
    pub async fn page(&self, product: Option<Id>, page: PageRequest<PurchaseCursor>) -> Result<Rendered> {
        let remembered = |reading: &Reading<PageBasis>| {
            let source = &self.source;
            let holds = source.feed.is_synced() && reading.basis.holds(source.catalogue.cache());
            holds.then(|| reading.answer.clone())
        };
        let source = self.source.clone();
        let read = move |(product, page): (Option<Id>, PageRequest<PurchaseCursor>)| {
            let source = source.clone();
            async move { source.read(product, &page).await }
        };
        self.reads.get((product, page), remembered, read).await
    }
}

impl Source {
    async fn read(
        &self,
        product: Option<Id>,
        page: &PageRequest<PurchaseCursor>,
    ) -> Result<Reading<PageBasis>> {
        let list_generation = self.catalogue.cache().list_generation();
        let now = self.heartbeat.database_time();
        let page = self.items(product, page).await?;
        Ok(Reading {
            answer: Rendered::digested(&page)?,
            basis: PageBasis::of(&page, product, list_generation, now),
        })
    }

    async fn items(
        &self,
        product: Option<Id>,
        page: &PageRequest<PurchaseCursor>,
    ) -> Result<Page<LeaderboardItem>> {
        let selection = product.map_or(Selection::Everything, Selection::Product);
        let before = page.after.as_ref().map_or(0, |after| after.rank);
        let purchases = history::list(&self.store, selection, Order::OldestFirst, page).await?;
        let ranked: Vec<(i64, RawDocumentBuf)> = (before + 1..).zip(purchases).collect();
        let ranked =
            Page::of(ranked, page.limit, |(rank, purchase)| PurchaseCursor::of(purchase, *rank, product));
        let ranked = ranked.filter_map(|(rank, purchase)| Some((rank, parse::<Purchase>(&purchase)?)));
        // The products' current names: a product with sales cannot be deleted.
        let mut ids: Vec<_> = ranked.items.iter().map(|(_, purchase)| purchase.product_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let names = if ids.is_empty() { Default::default() } else { self.catalogue.names(ids).await? };
        Ok(ranked.map(|(rank, purchase)| {
            let product_name = names.get(&purchase.product_id).cloned().unwrap_or_default();
            LeaderboardItem::of(purchase, rank, product_name)
        }))
    }
}

/// What is needed to tell later whether a page still holds.
struct PageBasis {
    /// A full page of one product never changes: purchases never change, and new ones come after it. A full page of all
    /// products is final only after `TRANSACTION_MS_MAX`: transactions do not commit in the order of `purchased_at`.
    is_final: bool,
    /// The page's product, and the `sequence` of the last purchase on the page.
    last: Option<(Id, i64)>,
    /// `ProductCache::list_generation` when the page was read: it also counts renamed products.
    list_generation: u64,
}

impl PageBasis {
    fn of(page: &Page<LeaderboardItem>, product: Option<Id>, list_generation: u64, now: Timestamp) -> Self {
        let is_past = page
            .items
            .last()
            .is_some_and(|last| now.milliseconds() - last.purchased_at.milliseconds() > TRANSACTION_MS_MAX);
        Self {
            is_final: page.next_cursor.is_some() && (product.is_some() || is_past),
            last: product.zip(page.items.last().map(|item| item.sequence)),
            list_generation,
        }
    }

    fn holds(&self, cache: &ProductCache) -> bool {
        let has_all =
            |(id, sequence)| cache.current(id).is_some_and(|product| product.purchase_count == sequence);
        self.list_generation == cache.list_generation() && (self.is_final || self.last.is_some_and(has_all))
    }
}
