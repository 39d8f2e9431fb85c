//! The rooms of this server: one for each watched product.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::pace::Pace;
use super::room::{News, Room, RoomTask};
use super::subscription::Subscription;
use super::tail::Tail;
use crate::config::LiveLimits;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::model::id::Id;
use crate::products::catalogue::Catalogue;
use crate::products::change_stream::Feed;
use crate::store::Store;
use crate::store::heartbeat::Heartbeat;

/// Reads in flight at once for watchers who need purchases that their room no longer keeps.
const LATE_READS_MAX: usize = 4;

/// The handle that routes use.
pub struct Rooms {
    context: Arc<RoomContext>,
}

/// What all rooms share.
pub struct RoomContext {
    pub store: Store,
    pub catalogue: Arc<Catalogue>,
    /// For the database's clock.
    pub heartbeat: Heartbeat,
    /// Whether the cached products are up to date.
    pub feed: Feed,
    pub metrics: Arc<Metrics>,
    pub shutdown: CancellationToken,
    pub pace: Pace,
    /// Permits to read purchases that a room no longer keeps.
    pub late_reads: Semaphore,
    pub limits: LiveLimits,
    /// The time between two keepalives.
    pub keepalive: Duration,
    /// The shortest time between two changes of a product as its watchers see them.
    pub interval_min: Duration,
    rooms: Mutex<HashMap<Id, Arc<Room>>>,
    tasks: TaskTracker,
}

impl Rooms {
    pub fn new(
        store: Store,
        catalogue: Arc<Catalogue>,
        heartbeat: Heartbeat,
        feed: Feed,
        metrics: Arc<Metrics>,
        limits: &LiveLimits,
        shutdown: CancellationToken,
    ) -> Self {
        let context = RoomContext {
            store,
            catalogue,
            heartbeat,
            feed,
            metrics,
            shutdown,
            pace: Pace::new(limits.stock_messages_per_second_max),
            late_reads: Semaphore::new(LATE_READS_MAX),
            limits: *limits,
            keepalive: Duration::from_millis(limits.keepalive_ms),
            interval_min: Duration::from_millis(limits.stock_interval_ms_min),
            rooms: Mutex::default(),
            tasks: TaskTracker::new(),
        };
        Self { context: Arc::new(context) }
    }

    /// Watches a product. `purchases` also asks for its purchases: after the given number, or without one from now on.
    ///
    /// # Errors
    /// `product_not_found`, `validation_failed` when too many purchases were missed, `overloaded`, and those of
    /// `Catalogue::find`.
    pub async fn watch(&self, product_id: Id, purchases: Option<Option<i64>>) -> Result<Subscription> {
        let context = &self.context;
        let room = match context.find(product_id) {
            Some(room) => room,
            None => context.open(product_id).await?,
        };
        let purchases = match purchases {
            Some(Some(after)) if after > room.purchase_count() => {
                // Another server may have told the client of purchases that this one does not know yet. A number
                // beyond the last purchase in the database means that the client has missed none.
                let product = context.catalogue.find(product_id).await?;
                Some(Some(after.min(product.purchase_count)))
            }
            purchases => purchases,
        };
        Subscription::new(room, context.clone(), purchases)
    }

    /// How long a client should wait before it connects again, in milliseconds. Random, so that not all come at once.
    pub fn reconnect_ms(&self) -> u64 {
        let min = self.context.limits.reconnect_ms_min;
        rand::rng().random_range(min..=min * 3)
    }

    /// Makes [`close`](Self::close) wait for `task`, which serves a watcher.
    pub fn track<F: Future<Output = ()>>(&self, task: F) -> impl Future<Output = ()> + use<F> {
        self.context.tasks.track_future(task)
    }

    /// Waits until every room has closed and every tracked task has ended.
    pub async fn close(&self) {
        self.context.tasks.close();
        self.context.tasks.wait().await;
    }
}

impl RoomContext {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Arc<Room>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, product_id: Id) -> Option<Arc<Room>> {
        self.lock().get(&product_id).cloned()
    }

    async fn open(self: &Arc<Self>, product_id: Id) -> Result<Arc<Room>> {
        const FULL: Error = Error::Overloaded { detail: "Too many products are being watched." };
        // The entry comes before the read, so that a change during the read is seen. It stays in the cache, and
        // misses no change, as long as it has a receiver.
        let (entry, changes) = self.catalogue.cache().watch(product_id).ok_or(FULL)?;
        let product = match entry.current().filter(|_| self.feed.is_synced()) {
            Some(product) => product,
            None => self.catalogue.find(product_id).await?,
        };
        let mut rooms = self.lock();
        if self.shutdown.is_cancelled() {
            return Err(Error::SHUTTING_DOWN);
        }
        if let Some(room) = rooms.get(&product_id) {
            return Ok(room.clone());
        }
        let tail = Tail::new(self.limits.kept_purchases_max, self.limits.watched_purchases_read_max);
        let room = Arc::new(Room::new(entry, tail, News::first(product, self)));
        rooms.insert(product_id, room.clone());
        self.tasks.spawn(RoomTask::new(room.clone(), self.clone(), changes).run());
        Ok(room)
    }

    /// Removes the room if it is empty; returns false if a watcher has come meanwhile.
    pub fn close_if_empty(&self, room: &Arc<Room>) -> bool {
        let mut rooms = self.lock();
        // The map and the task hold one reference each. A third one is a watcher about to take a seat.
        let is_empty = room.is_empty() && Arc::strong_count(room) <= 2;
        if is_empty {
            remove(&mut rooms, room);
        }
        is_empty
    }

    /// Removes the room.
    pub fn close(&self, room: &Arc<Room>) {
        remove(&mut self.lock(), room);
    }
}

fn remove(rooms: &mut HashMap<Id, Arc<Room>>, room: &Arc<Room>) {
    if rooms.get(&room.product_id).is_some_and(|found| Arc::ptr_eq(found, room)) {
        rooms.remove(&room.product_id);
    }
}
