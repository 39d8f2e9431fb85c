//! A lane: the one task of this process that sells one product. It takes all waiting purchases as one batch, settles
//! it, commits it, replies, and takes what has arrived meanwhile. It never waits to fill a batch.
//!
//! Every outcome is based on a version of the product that was current after the request had arrived: a batch with
//! purchases is committed against that version; a batch without any is checked by reading the product.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::poll_immediate;
use rand::RngExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;

use self::batch::{Batch, Replies};
use self::plan::Plan;
use self::queued::{Queued, Receipt};
use self::remembered_count::LaneRememberedCount;
use self::sale_view::SaleView;
use super::admission::LaneAdmission;
use super::commit::barrier::settle_unknown;
use super::commit::committer::{Commits, Slot};
use super::lanes::{IdleClock, Registry};
use super::rotation::Rotation;
use crate::error::{Error, Result};
use crate::model::id::Id;
use crate::products::cache::{Entry, Known};

pub(crate) mod batch;
mod outcome;
mod plan;
pub(crate) mod queued;
pub(crate) mod remembered_count;
pub(crate) mod sale_view;

/// The longest pause before a batch is tried again, in milliseconds; it doubles from 1. A transaction may hold the
/// product for seconds.
const RETRY_PAUSE_MS_MAX: u64 = 32;
/// How long, in milliseconds, a lane follows its rivals' sales after one of their buyers has come to this server.
const REPEATS_MS: u64 = 10_000;
/// The pause between two attempts to learn what became of a commit, in milliseconds.
const UNKNOWN_PAUSE_MS: u64 = 250;

pub struct Lane {
    product_id: Id,
    queue: mpsc::Receiver<Queued>,
    admission: Arc<LaneAdmission>,
    idle: Arc<IdleClock>,
    registry: Arc<Registry>,
    commits: Commits,
    /// `None` until the first purchase, and whenever what was known may be wrong.
    view: Option<SaleView>,
    /// `view` is of an older version, or has to be read again.
    is_stale: bool,
    rotation: Rotation,
    /// The product in memory, and the channel that reports its changes.
    catalogue_entry: Option<(Arc<Entry>, watch::Receiver<Known>)>,
    /// Until then, buyers of rivals are expected to come here too.
    repeats_until: Option<Instant>,
    /// The last transaction collided with another one.
    has_collided: bool,
    /// Counts what this lane remembers of its buyers.
    remembered: LaneRememberedCount,
}

/// How one attempt to decide a batch ended.
enum Attempt {
    /// Everybody can be answered.
    Settled(Replies),
    /// Something had changed: try again. Holds the reply for everybody if no time is left.
    Again(Error),
    /// The commit got no answer.
    Unknown(Doubt, Replies),
}

/// What a commit without an answer may have made or changed.
struct Doubt {
    /// The purchases.
    purchases: Vec<Id>,
    /// The product's version that it would have made.
    version: i64,
}

const RIVALS: Error = Error::Overloaded { detail: "Too many servers or changes compete for this product." };

impl Lane {
    pub fn new(
        product_id: Id,
        queue: mpsc::Receiver<Queued>,
        admission: Arc<LaneAdmission>,
        idle: Arc<IdleClock>,
        registry: Arc<Registry>,
        commits: Commits,
    ) -> Self {
        Self {
            rotation: Rotation::new(registry.store.server),
            remembered: registry.remembered.for_lane(),
            product_id,
            queue,
            admission,
            idle,
            registry,
            commits,
            view: None,
            is_stale: false,
            catalogue_entry: None,
            repeats_until: None,
            has_collided: false,
        }
    }

    /// Serves until nobody has come for `lane_idle_ms_max`; at shutdown, until the queue is empty.
    pub async fn run(mut self) {
        let idle_max = Duration::from_millis(self.registry.limits.lane_idle_ms_max);
        let mut arrived = Vec::new();
        loop {
            let batch_max = self.registry.limits.batch_purchases_max;
            self.idle.begin();
            let received = timeout(idle_max, self.queue.recv_many(&mut arrived, batch_max)).await;
            self.idle.end();
            match received {
                Ok(0) => return,
                Ok(_) => self.serve(std::mem::take(&mut arrived)).await,
                Err(_) if self.registry.retire(self.product_id, &self.queue) => return,
                Err(_) => {}
            }
            // A product that does not exist leaves no view: a made-up id must not keep a lane.
            if self.view.is_none() && self.registry.retire(self.product_id, &self.queue) {
                return;
            }
        }
    }

    async fn serve(&mut self, mut arrived: Vec<Queued>) {
        let slot = self.slot(&arrived).await;
        // A lane that holds a slot must not wait for its turn in the rotation: the round waits for its slots.
        self.hear();
        let slot = slot.filter(|_| !self.has_rivals());
        let start = Instant::now();
        let time = Duration::from_millis(self.registry.limits.batch_ms_max);
        if slot.is_none() {
            self.await_rotation(start + time).await;
        }
        // Purchases that arrived meanwhile join this batch.
        while arrived.len() < self.registry.limits.batch_purchases_max
            && let Ok(next) = self.queue.try_recv()
        {
            arrived.push(next);
        }
        // Leaves out purchases that the client has given up, or that were refused because they waited too long.
        let waiting: Vec<_> = arrived.into_iter().filter(Queued::take).collect();
        if waiting.is_empty() {
            return;
        }
        let mut batch = Batch::new(self.product_id, waiting, start + time, &self.registry.used_keys);
        self.measure(&batch);
        let middle = batch.median_arrival();
        // Every log line about this batch names it, here and in the tasks that work for it.
        let span = tracing::error_span!("batch", product_id = %self.product_id, batch_id = %batch.id);
        let decision = self.decide_with_slot(&mut batch, slot).instrument(span.clone());
        let (replies, in_doubt) = decision.await;
        self.registry.metrics.batch_seconds.observe(start.elapsed().as_secs_f64());
        if let Some(middle) = middle {
            let decided = replies.purchases.iter().filter(|reply| is_decided(reply)).count();
            self.admission.decided(decided, middle.elapsed());
        }
        let batch_id = batch.id;
        batch.reply(replies);
        if let Some(doubt) = in_doubt {
            self.find_out(&doubt, batch_id).instrument(span).await;
            self.registry.in_doubt.remove(&doubt.purchases);
        }
    }

    fn measure(&self, batch: &Batch) {
        let metrics = &self.registry.metrics;
        metrics.batch_purchases.observe(batch.requests.len() as f64);
        for since in batch.arrivals() {
            metrics.queue_wait_seconds.observe(since.elapsed().as_secs_f64());
        }
    }

    /// A slot in the next transaction, once that may begin; purchases that arrive until then join the batch. `None`
    /// if something has to be read before a change is ready (keys always are), or if there will hardly be a change:
    /// waiting for a slot first would mean waiting twice.
    async fn slot(&self, arrived: &[Queued]) -> Option<Slot> {
        let is_selling = self.view.as_ref().is_some_and(|known| known.sale().is_selling());
        let reads_first = self.is_stale || self.has_rivals() || arrived.iter().any(Queued::reads_first);
        if is_selling && !reads_first { Some(self.commits.slot().await) } else { None }
    }

    /// Decides the batch. Gives up the slot as soon as the decision has to wait for anything.
    async fn decide_with_slot(&mut self, batch: &mut Batch, slot: Option<Slot>) -> (Replies, Option<Doubt>) {
        let mut decision = pin!(self.decide(batch));
        if let Some(decided) = poll_immediate(decision.as_mut()).await {
            return decided;
        }
        drop(slot);
        decision.await
    }

    /// Tries until the batch is decided or its time is up.
    async fn decide(&mut self, batch: &mut Batch) -> (Replies, Option<Doubt>) {
        let mut pause_ms = 1;
        loop {
            let excuse = match self.attempt(batch).await {
                Ok(Attempt::Settled(replies)) => return (replies, None),
                Ok(Attempt::Unknown(doubt, replies)) => return (replies, Some(doubt)),
                Ok(Attempt::Again(excuse)) => excuse,
                Err(error) => {
                    // The last attempt was cut off: a transaction of a server that is gone may have been in its way.
                    if Instant::now() >= batch.deadline {
                        self.registry.end_abandoned();
                    }
                    return (batch.all(&error), None);
                }
            };
            // A random pause, so that rivals that collided do not collide in step.
            let pause = Duration::from_millis(rand::rng().random_range(0..=pause_ms));
            self.pause(pause).await;
            pause_ms = (pause_ms * 2).min(RETRY_PAUSE_MS_MAX);
            self.await_rotation(batch.deadline).await;
            if Instant::now() >= batch.deadline {
                let cause = excuse.code().title();
                tracing::warn!("product {}: a batch ran out of time: {cause}", self.product_id);
                self.registry.end_abandoned();
                return (batch.all(&excuse), None);
            }
        }
    }

    /// Follows the product's changes in memory from now on. Called once the product is known to exist.
    fn listen(&mut self) {
        if self.catalogue_entry.is_none() {
            self.catalogue_entry = self.registry.catalogue.cache().watch(self.product_id);
            if self.catalogue_entry.as_ref().is_some_and(|(entry, _)| !entry.is_read()) {
                self.registry.catalogue.refresh(self.product_id);
            }
        }
    }

    /// Tells the rotation who sold the product last.
    fn hear(&mut self) {
        if let Some((_, changes)) = &mut self.catalogue_entry
            && let Some(sale) = changes.borrow_and_update().last_sale
        {
            self.rotation.hear(sale);
        }
    }

    /// Waits for `time`, or until the product changes in memory.
    async fn pause(&mut self, time: Duration) {
        match &mut self.catalogue_entry {
            Some((_, changes)) => drop(timeout(time, changes.changed()).await),
            None => tokio::time::sleep(time).await,
        }
    }

    /// With rivals, waits for this server's turn.
    async fn await_rotation(&mut self, deadline: Instant) {
        loop {
            self.hear();
            let Some((_, changes)) = &mut self.catalogue_entry else { return };
            let Some(moment) = self.rotation.at(Instant::now().into_std()) else { return };
            // A timeout means it is our turn; a closed channel means there is nobody to wait for.
            let Ok(Ok(())) = timeout_at(deadline.min(moment.into()), changes.changed()).await else { return };
        }
    }

    fn has_rivals(&self) -> bool {
        self.rotation.has_rivals(Instant::now().into_std())
    }

    /// Has this batch catch up on rivals' sales and, if that is cheap enough, all batches for `REPEATS_MS`.
    fn expect_repeats(&mut self, batch: &mut Batch, view: &SaleView) {
        batch.has_repeated = true;
        if view.can_catch_up(&self.registry.limits, batch.requests.len()) {
            self.repeats_until = Some(Instant::now() + Duration::from_millis(REPEATS_MS));
        }
    }

    async fn attempt(&mut self, batch: &mut Batch) -> Result<Attempt> {
        // Reads may be dropped (writes run in tasks of their own); what was being learned is forgotten.
        let Ok(plan) = timeout_at(batch.deadline, self.plan(batch)).await else {
            self.view = None;
            return Ok(Attempt::Again(Error::DatabaseUnavailable));
        };
        match plan? {
            Plan::Commit(settlement) => self.commit(batch, settlement).await,
            Plan::Reply(replies) => Ok(Attempt::Settled(replies)),
            Plan::Again => Ok(Attempt::Again(RIVALS)),
        }
    }

    /// Finds out what became of a commit that got no answer. Until then this lane sells nothing: anything it says
    /// about the product could be wrong a moment later.
    async fn find_out(&mut self, doubt: &Doubt, batch_id: Id) {
        let product_id = self.product_id;
        let (count, version) = (doubt.purchases.len(), doubt.version);
        let ask = || {
            let (store, ids) = (self.registry.store.clone(), doubt.purchases.clone());
            self.registry.store.spawn(async move { settle_unknown(&store, product_id, &ids, version).await })
        };
        let mut answer = ask();
        loop {
            let until = Instant::now() + Duration::from_millis(UNKNOWN_PAUSE_MS);
            match timeout_at(until, &mut answer).await {
                Ok(Ok(Ok(Some(found)))) => {
                    tracing::info!(
                        "product {product_id}: {found} of {count} purchases in doubt were made or changed"
                    );
                    // The change stream does not report this server's own sales.
                    self.registry.catalogue.read_anew(product_id);
                    return;
                }
                Ok(Ok(Ok(None))) => {
                    // A transaction of a server that is gone may hold the product.
                    self.registry.end_abandoned();
                    answer = ask();
                }
                Ok(Ok(Err(error))) => {
                    let cause = error.code().title();
                    tracing::warn!("product {product_id}: {count} purchases are still in doubt: {cause}");
                    answer = ask();
                }
                Ok(Err(_)) => answer = ask(),
                // Still waiting for the transaction in doubt, or for the database.
                Err(_) => {}
            }
            while let Ok(next) = timeout_at(until, self.queue.recv()).await {
                // At shutdown the purchases stay in doubt; clients find out by their keys on another server.
                let Some(waiting) = next else { return };
                if waiting.take() {
                    waiting.refuse(Error::DatabaseUnavailable, batch_id);
                }
            }
        }
    }
}

fn lasts(until: Option<Instant>) -> bool {
    until.is_some_and(|until| until > Instant::now())
}

/// Whether the reply is a purchase or a refusal that stands. Failures do not count: they can be quick or slow.
fn is_decided(reply: &Result<Receipt>) -> bool {
    reply.as_ref().map_or_else(|error| error.code().status().is_client_error(), |_| true)
}
