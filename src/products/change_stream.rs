//! The feed: one change stream for this process, over the collection of products. It reports what other servers sold
//! and what their admins changed to memory (`products::cache`), and so to the precheck, the lanes and the watchers.
//!
//! The stream does not carry purchases. Every purchase raises its product's `purchaseCount`, and a room with watchers
//! reads the purchases after its last one, exactly, by their sequence (`live::room`). A stream of purchases would
//! send each one to every server, watched or not.
//!
//! The stream covers one collection, not the database: otherwise MongoDB would check the collection's name of every
//! log entry, each purchase included, which takes a tenth of its time. Every answer, even an empty one, proves that
//! nothing was missed up to it; so silence means that the stream is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use mongodb::bson::{Bson, RawDocument, RawDocumentBuf, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::ServerAddress;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::ProductsLimits;
use crate::metrics::Metrics;
use crate::model::id::Id;
use crate::model::timestamp::Timestamp;
use crate::products::cache::StockChange;
use crate::products::catalogue::Catalogue;
use crate::store::Store;
use crate::store::heartbeat::Heartbeat;

/// MongoDB's error codes for a stream that cannot be resumed where it ended: unknown token, lost history, not
/// resumable.
const LOST_CODES: [i32; 3] = [260, 280, 286];
/// The fields that purchases, changes of purchases, restocks and barriers change.
const STOCK_FIELDS: [&str; 12] = [
    "stock",
    "held",
    "releasedCount",
    "purchasesChangedVersion",
    "sold",
    "totalStock",
    "purchaseCount",
    "version",
    "updatedAt",
    "reopenedAt",
    "seller",
    "barrier",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedState {
    /// Every change is reported, except for the lag that the limits allow.
    Synced,
    /// Changes since this time of the database's clock may be missing.
    Stale(Timestamp),
}

/// Shows the state of the feed; clones share it.
#[derive(Clone)]
pub struct Feed {
    state: watch::Receiver<FeedState>,
    heard: Arc<AtomicI64>,
    lag_ms_max: i64,
    heartbeat: Heartbeat,
}

impl Feed {
    pub fn state(&self) -> FeedState {
        *self.state.borrow()
    }

    /// Whether memory is current.
    pub fn is_synced(&self) -> bool {
        // The stream of a primary that is cut off, or that commits nothing yet, reports nothing even if something changed. A
        // stream that has just fallen silent does not say so by itself.
        let heard = self.heard.load(Ordering::Relaxed);
        let silence_ms = self.heartbeat.database_time().milliseconds() - heard;
        self.state() == FeedState::Synced && silence_ms <= self.lag_ms_max && !self.heartbeat.is_late()
    }

    pub fn watch(&self) -> watch::Receiver<FeedState> {
        self.state.clone()
    }

    /// Waits until the feed is synced, for at most `patience`.
    pub async fn opened(&self, patience: Duration) {
        let mut state = self.state.clone();
        // On a timeout the feed stays stale, and nothing relies on it until it opens.
        drop(timeout(patience, state.wait_for(|state| *state == FeedState::Synced)).await);
    }
}

pub struct FeedTask {
    store: Store,
    catalogue: Arc<Catalogue>,
    heartbeat: Heartbeat,
    metrics: Arc<Metrics>,
    state: watch::Sender<FeedState>,
    /// Where to resume. `None` when that is unknown, so that everything has to be read again.
    token: Option<ResumeToken>,
    /// The database's time, in milliseconds since 1970, up to which the stream has reported everything.
    heard: Arc<AtomicI64>,
    answer_max: Duration,
    silence_max: Duration,
    lag_ms_max: i64,
    retry: Duration,
}

/// Why following a stream ended.
enum End {
    Broken(Error),
    /// No answer for too long.
    Silent,
    /// The stream's member is no longer the primary. That member may hang, and its empty answers prove nothing.
    Deposed,
}

/// The feed, not open yet, and the task that opens it.
pub fn new(
    store: Store,
    catalogue: Arc<Catalogue>,
    heartbeat: Heartbeat,
    metrics: Arc<Metrics>,
    limits: &ProductsLimits,
) -> (Feed, FeedTask) {
    let now = heartbeat.database_time();
    let (state, receiver) = watch::channel(FeedState::Stale(now));
    let heard = Arc::new(AtomicI64::new(now.milliseconds()));
    let lag_ms_max = i64::try_from(limits.feed_lag_ms_max).unwrap_or(i64::MAX);
    let feed = Feed { state: receiver, heard: heard.clone(), lag_ms_max, heartbeat: heartbeat.clone() };
    let task = FeedTask {
        store,
        catalogue,
        heartbeat,
        metrics,
        state,
        token: None,
        heard,
        answer_max: Duration::from_millis(limits.feed_answer_ms_max),
        silence_max: Duration::from_millis(limits.feed_silence_ms_max),
        lag_ms_max,
        retry: Duration::from_millis(limits.feed_retry_ms),
    };
    (feed, task)
}

impl FeedTask {
    /// Follows the stream, and reopens it whenever it is lost, until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        // The task writes nothing to the database, so it may be dropped at any moment.
        shutdown.run_until_cancelled(self.follow_for_ever()).await;
    }

    async fn follow_for_ever(&mut self) {
        loop {
            // Watch from before the stream opens: it may still open on the old primary.
            let mut primary = self.store.watch_primary();
            primary.mark_unchanged();
            let end = match timeout(self.silence_max, self.open()).await {
                Ok(Ok(stream)) => self.follow(stream, primary).await,
                Ok(Err(error)) => End::Broken(error),
                Err(_) => {
                    // The database answers the heartbeat, so it is still scanning its log up to the token, and the next
                    // try would start at the same place.
                    if !self.heartbeat.is_late() {
                        self.token = None;
                    }
                    End::Silent
                }
            };
            self.lost();
            match end {
                End::Broken(error) if is_history_lost(&error) => {
                    tracing::warn!("the change stream cannot be resumed, products are read again: {error}");
                    self.token = None;
                }
                End::Broken(error) => tracing::warn!("the change stream failed, reopening it: {error}"),
                End::Silent => tracing::warn!("the change stream does not answer, reopening it"),
                End::Deposed => {
                    tracing::info!("the primary changed, reopening the change stream there");
                    continue;
                }
            }
            tokio::time::sleep(self.retry).await;
        }
    }

    async fn open(&mut self) -> Result<ChangeStream<RawDocumentBuf>, Error> {
        let own = self.store.server;
        let pipeline = [
            // Leave out this server's own sales: its lanes have reported them to memory. MongoDB applies both
            // conditions to its log before it makes events; it unwinds only transactions of sessions not listed here,
            // purchase by purchase. For that, the second condition has to be a range of the whole field `seller`, not
            // of a field inside it.
            doc! { "$match": {
                "lsid.id": { "$nin": self.store.sale_sessions.ids() },
                "updateDescription.updatedFields.seller": { "$not": {
                    "$gte": { "server": own }, "$lt": { "server": own, "sale": Bson::MaxKey },
                } },
            } },
            doc! { "$project": {
                "operationType": 1, "documentKey": 1, "updateDescription.updatedFields": 1, "wallTime": 1,
            } },
        ];
        let stream = self
            .store
            .products
            .watch()
            .pipeline(pipeline)
            .resume_after(self.token.clone())
            .max_await_time(self.answer_max)
            .await?;
        let stream = stream.with_type();
        if self.token.is_none() {
            // The stream reports every change from here on, but memory may lack earlier ones.
            self.catalogue.cache().invalidate();
            self.token = stream.resume_token();
            self.set_synced();
        }
        Ok(stream)
    }

    async fn follow(
        &mut self,
        mut stream: ChangeStream<RawDocumentBuf>,
        mut primary: watch::Receiver<Option<ServerAddress>>,
    ) -> End {
        loop {
            let answer = tokio::select! {
                answer = timeout(self.silence_max, stream.next_if_any()) => answer,
                // The store outlives this task.
                _ = primary.changed() => return End::Deposed,
            };
            match answer {
                Ok(Ok(Some(change))) => self.apply(&change),
                // No change up to now.
                Ok(Ok(None)) if stream.is_alive() => self.hear(self.heartbeat.database_time()),
                // The collection was dropped or renamed.
                Ok(Ok(None)) => {
                    self.token = None;
                    return End::Silent;
                }
                Ok(Err(error)) => return End::Broken(error),
                Err(_) => return End::Silent,
            }
            self.token = stream.resume_token();
        }
    }

    fn apply(&mut self, change: &RawDocument) {
        // The time of the change by the primary's clock.
        if let Ok(wall_time) = change.get_datetime("wallTime") {
            self.hear(wall_time.into());
        }
        // A document with another type of id is not ours: somebody's script made it.
        let id = change.get_document("documentKey").and_then(|key| key.get_object_id("_id"));
        let Ok(id) = id else { return };
        let update = change.get_document("updateDescription");
        let fields = update.and_then(|update| update.get_document("updatedFields"));
        match (change.get_str("operationType"), fields) {
            (Ok("insert"), _) => self.catalogue.cache().bump_lists(),
            (Ok("delete"), _) => self.catalogue.cache().deleted(id),
            (Ok("update"), Ok(fields)) => self.update(id, fields),
            // Somebody's script replaced the document.
            _ => self.catalogue.read_anew(id),
        }
    }

    fn update(&self, id: Id, fields: &RawDocument) {
        let is_stock = |name: &str| {
            STOCK_FIELDS.iter().any(|field| {
                name.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let is_stock = fields.iter().all(|field| field.is_ok_and(|(name, _)| is_stock(name.as_str())));
        let stock = fields.get_i64("stock");
        let Ok(version) = fields.get_i64("version") else {
            // A barrier, which changes nothing visible, or a change by somebody's script.
            if !is_stock || stock.is_ok() {
                self.catalogue.read_anew(id);
            }
            return;
        };
        let seller = fields.get_document("seller");
        // A restock has a new stock, and a sale or a change of purchases its seller.
        if !is_stock || (stock.is_err() && seller.is_err()) {
            return self.read(id, version);
        }
        let change = StockChange {
            version,
            stock: stock.ok(),
            held: fields.get_i64("held").ok(),
            total_stock: fields.get_i64("totalStock").ok(),
            purchase_count: fields.get_i64("purchaseCount").ok(),
            updated_at: fields.get_datetime("updatedAt").ok(),
            reopened_at: fields.get_datetime("reopenedAt").ok(),
            purchases_changed_version: fields.get_i64("purchasesChangedVersion").ok(),
            seller: seller.and_then(|seller| seller.get_object_id("server")).ok(),
        };
        if self.catalogue.cache().advance(id, change) {
            self.catalogue.refresh(id);
        }
    }

    /// Reads the product if it is in memory.
    fn read(&self, id: Id, version: i64) {
        if self.catalogue.cache().mark(id, version) {
            self.catalogue.refresh(id);
        }
    }

    /// Notes that the stream has reported everything up to `moment`. The time since then is its lag.
    fn hear(&self, moment: Timestamp) {
        self.heard.store(moment.milliseconds(), Ordering::Relaxed);
        let lag_ms = (self.heartbeat.database_time().milliseconds() - moment.milliseconds()).max(0);
        self.metrics.feed_lag.set(lag_ms as f64 / 1_000.0);
        if lag_ms <= self.lag_ms_max && !self.heartbeat.is_late() {
            self.set_synced();
        } else {
            self.lost();
        }
    }

    fn set_synced(&self) {
        if self
            .state
            .send_if_modified(|state| std::mem::replace(state, FeedState::Synced) != FeedState::Synced)
        {
            tracing::info!("the change stream is synced");
        }
        self.metrics.feed_synced.set(1);
    }

    fn lost(&self) {
        // What the stream said after the last confirmation was begun is not certain.
        let now_ms = self.heartbeat.database_time().milliseconds();
        let age_ms = i64::try_from(self.heartbeat.age().as_millis()).unwrap_or(i64::MAX);
        let heard = self.heard.load(Ordering::Relaxed);
        let since = Timestamp::from_milliseconds(heard.min(now_ms.saturating_sub(age_ms)));
        self.state.send_if_modified(|state| {
            let was_synced = *state == FeedState::Synced;
            if was_synced {
                *state = FeedState::Stale(since);
            }
            was_synced
        });
        self.metrics.feed_synced.set(0);
    }
}

fn is_history_lost(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(error) if LOST_CODES.contains(&error.code))
}
