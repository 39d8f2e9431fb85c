//! A room: the watchers of one product on this server, and the task that sends them news.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::message::{Message, Stale, Stock};
use super::rooms::RoomContext;
use super::tail::{READ_RETRY, Tail};
use crate::model::id::Id;
use crate::model::product::{Product, Status};
use crate::products::cache::{Entry, Known};
use crate::products::change_stream::FeedState;
use crate::products::view::ProductView;

/// The watchers of a room get news in this many groups, one after the other: waking all at once would hold up
/// everything else in the meantime.
const GROUPS: usize = 16;
/// Up to this many watchers, all groups get news at once.
const TOLD_AT_ONCE_MAX: usize = 200;

/// The watchers of one product.
pub struct Room {
    pub product_id: Id,
    /// The product's entry in the cache.
    pub entry: Arc<Entry>,
    /// The product's newest purchases.
    pub tail: Tail,
    groups: [watch::Sender<Arc<News>>; GROUPS],
    watchers: AtomicUsize,
    purchase_watchers: AtomicUsize,
    /// Notified when the first watcher who wants purchases comes, and when the last watcher leaves.
    woken: Notify,
}

/// The state of the product at one moment, as messages for its watchers.
#[derive(Debug)]
pub struct News {
    pub product: Arc<Product>,
    pub status: Status,
    /// Counts the changes of the product that go beyond its stock.
    pub edition: u64,
    /// The `product` message.
    pub whole: Message,
    /// The `stock` message.
    pub stock: Message,
    /// The `stale` message, while the product may have changed without the server knowing.
    pub stale: Option<Message>,
    /// The number of the last purchase in the tail; 0 when nobody wants purchases.
    pub purchases_through: i64,
    /// The version up to which the tail knows which purchases were given back; 0 when nobody wants purchases.
    pub releases_through: i64,
    /// Counts the keepalives.
    pub keepalive: u64,
    /// Set in the last news of a room.
    pub end: Option<End>,
}

/// Why a room has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The product was deleted.
    Deleted,
    /// The server shuts down.
    Shutdown,
}

/// A watcher's seat in a room, given back on drop.
pub struct Seat {
    pub room: Arc<Room>,
    wants_purchases: bool,
}

impl Room {
    pub fn new(entry: Arc<Entry>, tail: Tail, news: News) -> Self {
        let news = Arc::new(news);
        Self {
            product_id: news.product.id,
            entry,
            tail,
            groups: std::array::from_fn(|_| watch::Sender::new(news.clone())),
            watchers: AtomicUsize::new(0),
            purchase_watchers: AtomicUsize::new(0),
            woken: Notify::new(),
        }
    }

    /// Takes a seat; the receiver gets the news from now on.
    pub fn sit(self: &Arc<Self>, wants_purchases: bool) -> (Seat, watch::Receiver<Arc<News>>) {
        let number = self.watchers.fetch_add(1, Ordering::AcqRel);
        if wants_purchases && self.purchase_watchers.fetch_add(1, Ordering::AcqRel) == 0 {
            self.woken.notify_one();
        }
        let receiver = self.groups[number % GROUPS].subscribe();
        (Seat { room: self.clone(), wants_purchases }, receiver)
    }

    /// The number of the product's purchases in the last news.
    pub fn purchase_count(&self) -> i64 {
        self.groups[0].borrow().product.purchase_count
    }

    pub fn is_empty(&self) -> bool {
        self.watchers.load(Ordering::Acquire) == 0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.wants_purchases {
            self.room.purchase_watchers.fetch_sub(1, Ordering::AcqRel);
        }
        if self.room.watchers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.room.woken.notify_one();
        }
    }
}

impl News {
    /// The first news of a room.
    pub fn first(product: Arc<Product>, context: &RoomContext) -> Self {
        Self::of(product, 1, None, context)
    }

    fn of(product: Arc<Product>, edition: u64, stale: Option<Message>, context: &RoomContext) -> Self {
        let now = context.heartbeat.database_time();
        let id = product.purchase_count;
        let stock = Stock {
            product_id: product.id.to_hex(),
            stock: product.stock,
            held: product.held,
            sold: product.sold,
            version: product.version,
        };
        Self {
            status: product.status(now),
            edition,
            whole: Message::new("product", id, &ProductView::of(&product, now)),
            stock: Message::new("stock", id, &stock),
            stale,
            purchases_through: 0,
            releases_through: 0,
            keepalive: 0,
            end: None,
            product,
        }
    }
}

/// The task of a room.
pub struct RoomTask {
    room: Arc<Room>,
    context: Arc<RoomContext>,
    changes: watch::Receiver<Known>,
    last: Arc<News>,
    told_at: Instant,
    has_tail: bool,
    /// Something is known to have happened, but has not been read yet.
    is_behind: bool,
}

impl RoomTask {
    /// `changes` are those of the room's entry, from before the product was read, so that none is missed.
    pub fn new(room: Arc<Room>, context: Arc<RoomContext>, changes: watch::Receiver<Known>) -> Self {
        let last = room.groups[0].borrow().clone();
        Self { room, context, changes, last, told_at: Instant::now(), has_tail: false, is_behind: false }
    }

    /// Sends news until the room is empty, the product is deleted, or the server shuts down.
    pub async fn run(mut self) {
        let mut feed = self.context.feed.watch();
        let shutdown = self.context.shutdown.clone();
        while self.last.end.is_none() {
            let wake = self.told_at + self.time_without_news();
            tokio::select! {
                // Never an error: the senders outlive this task.
                _ = self.changes.changed() => {}
                _ = feed.changed() => {}
                () = self.room.woken.notified() => {}
                () = sleep_until(wake) => {}
                () = shutdown.cancelled() => {}
            }
            if self.room.is_empty() && self.context.close_if_empty(&self.room) {
                return;
            }
            self.wait_until(self.told_at + self.context.interval_min).await;
            // Without news only rare keepalives are due, or the purchases of one newcomer: they take no interval.
            let watchers = if self.has_news() { self.room.watchers.load(Ordering::Acquire) } else { 0 };
            let interval = self.context.pace.take(watchers, Instant::now());
            self.wait_until(interval.start).await;
            // Changes after this point wake the next round.
            self.changes.mark_unchanged();
            feed.mark_unchanged();
            let news = self.news().await;
            self.tell(news, interval.length.max(self.context.interval_min)).await;
        }
        self.context.close(&self.room);
    }

    /// The time until news is due even if nothing changes: a keepalive, or the start or end of the sale.
    fn time_without_news(&self) -> Duration {
        if self.is_behind {
            return READ_RETRY;
        }
        let (product, now) = (&self.last.product, self.context.heartbeat.database_time().milliseconds());
        let moments =
            [product.sale_start_time, product.sale_end_time].map(|moment| moment.timestamp_millis());
        let next = moments.into_iter().find(|moment| now < *moment);
        let until = next.map(|moment| Duration::from_millis(u64::try_from(moment - now).unwrap_or(0)));
        until.map_or(self.context.keepalive, |until| until.min(self.context.keepalive))
    }

    async fn news(&mut self) -> News {
        let state = self.context.feed.state();
        let known = self.room.entry.current();
        let product = known.clone().unwrap_or_else(|| self.last.product.clone());
        // A feed that has lost history is synced at once, but the product may have changed meanwhile and is to be
        // read again.
        let is_good = state == FeedState::Synced && known.is_some();
        if known.is_none() && !self.room.entry.is_deleted() {
            self.context.catalogue.refresh(self.room.product_id);
        }
        let stale = match (is_good, state) {
            (true, _) => None,
            (false, FeedState::Stale(since)) => {
                let message = Message::new("stale", product.purchase_count, &Stale { since });
                Some(self.last.stale.clone().unwrap_or(message))
            }
            (false, FeedState::Synced) => self.last.stale.clone(),
        };
        let has_recovered = self.last.stale.is_some() && stale.is_none();
        let mut news = News::of(product, self.last.edition, stale, &self.context);
        if has_recovered || news.status != self.last.status || is_changed(&self.last.product, &news.product) {
            news.edition += 1;
        }
        (news.purchases_through, news.releases_through) = self.purchases_through(&news.product).await;
        let changed = news.product.purchases_changed_version.unwrap_or(0);
        let is_tail_behind =
            news.purchases_through < news.product.purchase_count || news.releases_through < changed;
        self.is_behind = known.is_none() || (self.has_tail && is_tail_behind);
        news.keepalive = self.last.keepalive + u64::from(self.told_at.elapsed() >= self.context.keepalive);
        news.end = match self.room.entry.is_deleted() {
            true => Some(End::Deleted),
            false => self.context.shutdown.is_cancelled().then_some(End::Shutdown),
        };
        news
    }

    /// The number of the last purchase, and the version of the last change of purchases, that watchers can be told.
    async fn purchases_through(&mut self, product: &Product) -> (i64, i64) {
        if self.room.purchase_watchers.load(Ordering::Acquire) == 0 {
            self.has_tail = false;
            return (0, 0);
        }
        let (tail, store) = (&self.room.tail, &self.context.store);
        if !self.has_tail {
            self.has_tail = true;
            tail.begin(product);
        }
        (tail.catch_up(store, product).await, tail.catch_up_on_releases(store, product).await)
    }

    /// Whether there is news for all watchers.
    fn has_news(&self) -> bool {
        let (entry, last) = (&self.room.entry, &self.last);
        let version = entry.current().map(|product| product.version);
        let is_synced = self.context.feed.state() == FeedState::Synced;
        let has_recovered = is_synced && version.is_some() && last.stale.is_some();
        let is_lost = !is_synced && last.stale.is_none();
        let is_newer = version.is_some_and(|version| version != last.product.version);
        has_recovered || is_lost || is_newer || entry.is_deleted()
    }

    /// Returns early when the server shuts down.
    async fn wait_until(&self, moment: Instant) {
        tokio::select! {
            () = sleep_until(moment) => {}
            () = self.context.shutdown.cancelled() => {}
        }
    }

    async fn tell(&mut self, news: News, time: Duration) {
        self.last = Arc::new(news);
        self.told_at = Instant::now();
        let is_crowd = self.room.watchers.load(Ordering::Acquire) > TOLD_AT_ONCE_MAX;
        let pause = time / u32::try_from(GROUPS).unwrap_or(1);
        for (number, group) in (1..).zip(&self.room.groups) {
            group.send_replace(self.last.clone());
            if is_crowd && self.last.end.is_none() {
                self.wait_until(self.told_at + pause * number).await;
            }
        }
    }
}

/// Whether more than the stock has changed.
fn is_changed(before: &Product, now: &Product) -> bool {
    let as_now = Product {
        stock: now.stock,
        held: now.held,
        sold: now.sold,
        purchase_count: now.purchase_count,
        purchases_changed_version: now.purchases_changed_version,
        reopened_at: now.reopened_at,
        version: now.version,
        updated_at: now.updated_at,
        ..before.clone()
    };
    as_now != *now
}
