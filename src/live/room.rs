//! A room: the watchers of one product on this server, and the task that makes news for them.

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

/// The watchers of a room are told in so many groups, one after the other: all at once would keep everything else from
/// running for as long as it takes.
const GROUPS: usize = 16;
/// Up to so many watchers are told at once.
const TOLD_AT_ONCE_MAX: usize = 200;

/// The watchers of one product.
pub struct Room {
    /// The product.
    pub product_id: Id,
    /// What is known of it.
    pub entry: Arc<Entry>,
    /// Its newest purchases.
    pub tail: Tail,
    groups: [watch::Sender<Arc<News>>; GROUPS],
    watchers: AtomicUsize,
    purchase_watchers: AtomicUsize,
    /// Somebody wants purchases, or the last one has left.
    woken: Notify,
}

/// What there is to tell at one moment.
#[derive(Debug)]
pub struct News {
    /// The product.
    pub product: Arc<Product>,
    /// Where its sale stands.
    pub status: Status,
    /// Counts the changes of the product that are more than its stock.
    pub edition: u64,
    /// The whole product.
    pub whole: Message,
    /// Its stock.
    pub stock: Message,
    /// There while what is told may be old.
    pub stale: Option<Message>,
    /// The number of the last purchase in the tail; 0 when nobody wants purchases.
    pub purchases_through: i64,
    /// Counts the signs of life.
    pub keepalive: u64,
    /// There is nothing more to tell.
    pub end: Option<End>,
}

/// Why nothing more is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The product was deleted.
    Deleted,
    /// The server shuts down.
    Shutdown,
}

/// A watcher's seat, given back when it is dropped.
pub struct Seat {
    /// The room.
    pub room: Arc<Room>,
    wants_purchases: bool,
}

impl Room {
    /// A room without watchers.
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

    /// Takes a seat, and hears the news from now on.
    pub fn sit(self: &Arc<Self>, wants_purchases: bool) -> (Seat, watch::Receiver<Arc<News>>) {
        let number = self.watchers.fetch_add(1, Ordering::AcqRel);
        if wants_purchases && self.purchase_watchers.fetch_add(1, Ordering::AcqRel) == 0 {
            self.woken.notify_one();
        }
        let receiver = self.groups[number % GROUPS].subscribe();
        (Seat { room: self.clone(), wants_purchases }, receiver)
    }

    /// The number of the product's purchases, as far as it was told.
    pub fn purchase_count(&self) -> i64 {
        self.groups[0].borrow().product.purchase_count
    }

    /// Whether nobody is here.
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
    /// What there is to tell of `product` to begin with.
    pub fn first(product: Arc<Product>, context: &RoomContext) -> Self {
        Self::of(product, 1, None, context)
    }

    fn of(product: Arc<Product>, edition: u64, stale: Option<Message>, context: &RoomContext) -> Self {
        let now = context.heartbeat.database_time();
        let id = product.purchase_count;
        let stock = Stock {
            product_id: product.id.to_hex(),
            stock: product.stock,
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
    /// Something that is known to have happened was not read yet.
    is_behind: bool,
}

impl RoomTask {
    /// The task of a new room.
    ///
    /// `changes` are those of the room's entry, since before the product was looked at.
    pub fn new(room: Arc<Room>, context: Arc<RoomContext>, changes: watch::Receiver<Known>) -> Self {
        let last = room.groups[0].borrow().clone();
        Self { room, context, changes, last, told_at: Instant::now(), has_tail: false, is_behind: false }
    }

    /// Tells the news until nobody is left, the product is deleted, or the server shuts down.
    pub async fn run(mut self) {
        let mut feed = self.context.feed.watch();
        let shutdown = self.context.shutdown.clone();
        while self.last.end.is_none() {
            let wake = self.told_at + self.time_without_news();
            tokio::select! {
                // Whoever holds the senders outlives this task.
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
            // Signs of life are few, and who has just come is one.
            let watchers = if self.has_news() { self.room.watchers.load(Ordering::Acquire) } else { 0 };
            let interval = self.context.pace.take(watchers, Instant::now());
            self.wait_until(interval.start).await;
            // What happens from here on is told the next time.
            self.changes.mark_unchanged();
            feed.mark_unchanged();
            let news = self.news().await;
            self.tell(news, interval.length.max(self.context.interval_min)).await;
        }
        self.context.close(&self.room);
    }

    /// The time until there is something to tell even if nothing happens: a sign of life, or the sale's start or end.
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
        // After lost history the feed is live at once, but what it has missed still has to be read.
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
        news.purchases_through = self.purchases_through(&news.product).await;
        self.is_behind =
            known.is_none() || (self.has_tail && news.purchases_through < news.product.purchase_count);
        news.keepalive = self.last.keepalive + u64::from(self.told_at.elapsed() >= self.context.keepalive);
        news.end = match self.room.entry.is_deleted() {
            true => Some(End::Deleted),
            false => self.context.shutdown.is_cancelled().then_some(End::Shutdown),
        };
        news
    }

    async fn purchases_through(&mut self, product: &Product) -> i64 {
        if self.room.purchase_watchers.load(Ordering::Acquire) == 0 {
            self.has_tail = false;
            return 0;
        }
        if !self.has_tail {
            self.has_tail = true;
            self.room.tail.begin(product.purchase_count);
        }
        self.room.tail.catch_up(&self.context.store, product).await
    }

    /// Whether there is something to tell everybody.
    fn has_news(&self) -> bool {
        let (entry, last) = (&self.room.entry, &self.last);
        let version = entry.current().map(|product| product.version);
        let is_synced = self.context.feed.state() == FeedState::Synced;
        let has_recovered = is_synced && version.is_some() && last.stale.is_some();
        let is_lost = !is_synced && last.stale.is_none();
        let is_newer = version.is_some_and(|version| version != last.product.version);
        has_recovered || is_lost || is_newer || entry.is_deleted()
    }

    /// Unless the server shuts down before.
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
        sold: now.sold,
        purchase_count: now.purchase_count,
        version: now.version,
        updated_at: now.updated_at,
        ..before.clone()
    };
    as_now != *now
}
