//! The leaderboard, purchases in chronological order or the other way round: from the database for occasional readers, from memory for a
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
use crate::purchases::history::{self, Order, PurchaseCursor};
use crate::store::Store;
use crate::store::document::parse;
use crate::store::heartbeat::Heartbeat;
use crate::store::hot_read::{HotReads, Reading};

/// MongoDB ends a transaction after one minute; another minute allows for clocks that differ.
const TRANSACTION_MS_MAX: i64 = 120_000;

pub struct Leaderboard {
    source: Arc<Source>,
    reads: HotReads<PageKey, PageBasis>,
}

/// The product, the order and the page.
type PageKey = (Option<Id>, Order, PageRequest<PurchaseCursor>);

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

    /// A page of the purchases of one product or of all.
    ///
    /// # Errors
    /// Those of `Store::read`.
    pub async fn page(
        &self,
        product: Option<Id>,
        order: Order,
        page: PageRequest<PurchaseCursor>,
    ) -> Result<Rendered> {
        let remembered = |reading: &Reading<PageBasis>| {
            let source = &self.source;
            let holds = source.feed.is_synced() && reading.basis.holds(source.catalogue.cache());
            holds.then(|| reading.answer.clone())
        };
        let source = self.source.clone();
        let read = move |(product, order, page): PageKey| {
            let source = source.clone();
            async move { source.read(product, order, &page).await }
        };
        self.reads.get((product, order, page), remembered, read).await
    }
}

impl Source {
    async fn read(
        &self,
        product: Option<Id>,
        order: Order,
        page: &PageRequest<PurchaseCursor>,
    ) -> Result<Reading<PageBasis>> {
        let cache = self.catalogue.cache();
        let generations = (cache.list_generation(), cache.purchase_generation());
        let known = product.and_then(|id| cache.current(id)).map(|product| product.purchase_count);
        let now = self.heartbeat.database_time();
        let is_first = page.after.is_none();
        let page = self.items(product, order, page).await?;
        // No page before it, and no purchase that is not made yet, can become part of it.
        let is_closed = match order {
            Order::OldestFirst => page.next_cursor.is_some(),
            Order::NewestFirst => !is_first,
        };
        Ok(Reading {
            answer: Rendered::digested(&page)?,
            basis: PageBasis::of(&page, (product, known), is_closed, generations, now),
        })
    }

    /// The purchases of a page and one more, if there is one, with their ranks. A purchase has the same rank in both orders:
    /// the oldest is the first.
    async fn ranked(
        &self,
        product: Option<Id>,
        order: Order,
        page: &PageRequest<PurchaseCursor>,
    ) -> Result<Vec<(i64, RawDocumentBuf)>> {
        let (purchases, first) = match (order, &page.after) {
            (Order::NewestFirst, None) => history::newest_ranked(&self.store, product, page.limit).await?,
            (_, after) => {
                let step = if order == Order::OldestFirst { 1 } else { -1 };
                let first = after.as_ref().map_or(0, |after| after.rank) + step;
                (history::list_standing(&self.store, product, order, page).await?, first)
            }
        };
        let rank = |index: i64| if order == Order::OldestFirst { first + index } else { first - index };
        Ok((0..).map(rank).zip(purchases).collect())
    }

    async fn items(
        &self,
        product: Option<Id>,
        order: Order,
        page: &PageRequest<PurchaseCursor>,
    ) -> Result<Page<LeaderboardItem>> {
        let ranked = Page::of(self.ranked(product, order, page).await?, page.limit, |(rank, purchase)| {
            PurchaseCursor::of(purchase, *rank, product).in_order(order)
        });
        let ranked = ranked.filter_map(|(rank, purchase)| Some((rank, parse::<Purchase>(&purchase)?)));
        // The products' current names: a product with sales cannot be deleted.
        let ids = ranked.items.iter().map(|(_, purchase)| purchase.product_id).collect();
        let names = self.catalogue.names(ids).await?;
        Ok(ranked.map(|(rank, purchase)| {
            let product_name = names.get(&purchase.product_id).cloned().unwrap_or_default();
            LeaderboardItem::of(purchase, rank, product_name)
        }))
    }
}

/// What is needed to tell later whether a page still holds.
struct PageBasis {
    /// New purchases come elsewhere than on a closed page. On one of all products that holds only after
    /// `TRANSACTION_MS_MAX`: transactions do not commit in the order of `purchased_at`. What becomes of the purchases on it
    /// the generations tell.
    is_final: bool,
    /// The page's product, and the number of its purchases that the page is of: those that memory knew before it was read,
    /// or more, if there are more on it.
    last: Option<(Id, i64)>,
    /// `ProductCache::list_generation` when the page was read, which also counts renamed products, and
    /// `ProductCache::purchase_generation`.
    generations: (u64, u64),
}

impl PageBasis {
    fn of(
        page: &Page<LeaderboardItem>,
        (product, known): (Option<Id>, Option<i64>),
        is_closed: bool,
        generations: (u64, u64),
        now: Timestamp,
    ) -> Self {
        let newest = page.items.iter().map(|item| item.purchased_at.milliseconds()).max();
        let is_past = newest.is_some_and(|newest| now.milliseconds() - newest > TRANSACTION_MS_MAX);
        Self {
            is_final: is_closed && (product.is_some() || is_past),
            last: product.zip(page.items.iter().map(|item| item.sequence).chain(known).max()),
            generations,
        }
    }

    fn holds(&self, cache: &ProductCache) -> bool {
        let has_all =
            |(id, sequence)| cache.current(id).is_some_and(|product| product.purchase_count == sequence);
        let generations = (cache.list_generation(), cache.purchase_generation());
        self.generations == generations && (self.is_final || self.last.is_some_and(has_all))
    }
}
