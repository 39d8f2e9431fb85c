//! A lane: the one task of this process that buys one product. It takes all purchases that are waiting as one batch,
//! settles it, commits it, replies, and takes what has come meanwhile. It never waits to fill a batch.
//!
//! Every outcome stands on a version of the product that was current after the request had arrived: a batch with
//! purchases is committed against that version, one without is checked by reading it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::poll_immediate;
use rand::RngExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;

use self::batch::Batch;
use self::plan::Plan;
use self::queued::{QueuedPurchase, Receipt};
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

/// The longest pause before a batch is tried again, in milliseconds; it doubles from one. A transaction that holds the
/// product may do so for seconds.
const RETRY_PAUSE_MS_MAX: u64 = 32;
/// For how long after a buyer of another server has come to this one a lane with rivals follows what they sell, in
/// milliseconds.
const REPEATS_MS: u64 = 10_000;
/// The pause between two tries to learn what became of a commit, in milliseconds.
const UNKNOWN_PAUSE_MS: u64 = 250;

/// The task's state.
pub struct Lane {
    product_id: Id,
    queue: mpsc::Receiver<QueuedPurchase>,
    admission: Arc<LaneAdmission>,
    idle: Arc<IdleClock>,
    registry: Arc<Registry>,
    commits: Commits,
    /// None until the first purchase, and whenever what was known may be wrong.
    view: Option<SaleView>,
    /// What is known is of an older version.
    is_stale: bool,
    /// Who else sells it.
    rotation: Rotation,
    /// The product in memory, and what is told of it.
    catalogue_entry: Option<(Arc<Entry>, watch::Receiver<Known>)>,
    /// Until then, their buyers are expected to come here too.
    repeats_until: Option<Instant>,
    /// The last transaction collided with somebody's.
    has_collided: bool,
    /// What it remembers of its buyers counts here.
    remembered: LaneRememberedCount,
}

/// How one try to decide a batch ended.
enum Attempt {
    /// Everybody can be told.
    Settled(Vec<Result<Receipt>>),
    /// Something had changed: again. What everybody is told if there is no time left.
    Again(Error),
    /// The commit got no answer. The purchases' ids, and what everybody is told.
    Unknown(Vec<Id>, Vec<Result<Receipt>>),
}

const RIVALS: Error = Error::Overloaded { detail: "Too many servers or changes compete for this product." };

impl Lane {
    /// A lane that knows nothing yet.
    pub fn new(
        product_id: Id,
        queue: mpsc::Receiver<QueuedPurchase>,
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

    /// Serves until nobody has come for a while, or until shutdown when the queue is empty.
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
            // Nothing is known of a product that is not there: a made-up id shall not hold a lane.
            if self.view.is_none() && self.registry.retire(self.product_id, &self.queue) {
                return;
            }
        }
    }

    async fn serve(&mut self, mut arrived: Vec<QueuedPurchase>) {
        let slot = self.slot(&arrived).await;
        // Who has a seat must not wait for a turn.
        self.hear();
        let slot = slot.filter(|_| !self.has_rivals());
        let start = Instant::now();
        let time = Duration::from_millis(self.registry.limits.batch_ms_max);
        if slot.is_none() {
            self.await_rotation(start + time).await;
        }
        // Who has come meanwhile belongs to this batch.
        while arrived.len() < self.registry.limits.batch_purchases_max
            && let Ok(next) = self.queue.try_recv()
        {
            arrived.push(next);
        }
        // Those who gave up, or were told that it takes too long, are not bought for.
        let waiting: Vec<_> = arrived.into_iter().filter(QueuedPurchase::take).collect();
        if waiting.is_empty() {
            return;
        }
        self.registry.metrics.batch_purchases.observe(waiting.len() as f64);
        // Half of them have waited longer, half less.
        let middle = waiting[waiting.len() / 2].since;
        let mut batch = Batch::new(self.product_id, waiting, start + time);
        // What is logged for this batch names it, here and in the tasks that work for it.
        let span = tracing::error_span!("batch", product_id = %self.product_id, batch_id = %batch.id);
        let decision = self.decide_with_slot(&mut batch, slot).instrument(span.clone());
        let (replies, in_doubt) = decision.await;
        self.registry.metrics.batch_seconds.observe(start.elapsed().as_secs_f64());
        self.admission.decided(replies.iter().filter(|reply| is_decided(reply)).count(), middle.elapsed());
        batch.reply(replies);
        if !in_doubt.is_empty() {
            self.find_out(in_doubt).instrument(span).await;
        }
    }

    /// A seat in the next transaction, once that may begin: what comes until then is the same batch. None where something
    /// has to be read before a change is ready (keys always are), or there will hardly be a change: to wait for a seat
    /// first would be to wait twice.
    async fn slot(&self, arrived: &[QueuedPurchase]) -> Option<Slot> {
        let is_selling = self.view.as_ref().is_some_and(|known| known.sale().is_selling());
        let reads_first =
            self.is_stale || self.has_rivals() || arrived.iter().any(|waiting| waiting.request.key.is_some());
        if is_selling && !reads_first { Some(self.commits.slot().await) } else { None }
    }

    /// Decides the batch, and keeps the seat only until there is something to wait for.
    async fn decide_with_slot(
        &mut self,
        batch: &mut Batch,
        slot: Option<Slot>,
    ) -> (Vec<Result<Receipt>>, Vec<Id>) {
        let mut decision = pin!(self.decide(batch));
        if let Some(decided) = poll_immediate(decision.as_mut()).await {
            return decided;
        }
        drop(slot);
        decision.await
    }

    /// Tries until the batch is decided or its time is over.
    async fn decide(&mut self, batch: &mut Batch) -> (Vec<Result<Receipt>>, Vec<Id>) {
        let mut pause_ms = 1;
        loop {
            let excuse = match self.attempt(batch).await {
                Ok(Attempt::Settled(replies)) => return (replies, Vec::new()),
                Ok(Attempt::Unknown(ids, replies)) => return (replies, ids),
                Ok(Attempt::Again(excuse)) => excuse,
                Err(error) => {
                    // Its last try was cut off: what was in its way all the time may be of a server that is gone.
                    if Instant::now() >= batch.deadline {
                        self.registry.end_abandoned();
                    }
                    return (batch.all(&error), Vec::new());
                }
            };
            // Rivals that collided once shall not collide in step.
            let pause = Duration::from_millis(rand::rng().random_range(0..=pause_ms));
            self.pause(pause).await;
            pause_ms = (pause_ms * 2).min(RETRY_PAUSE_MS_MAX);
            self.await_rotation(batch.deadline).await;
            if Instant::now() >= batch.deadline {
                let cause = excuse.code().title();
                tracing::warn!("product {}: a batch ran out of time: {cause}", self.product_id);
                self.registry.end_abandoned();
                return (batch.all(&excuse), Vec::new());
            }
        }
    }

    /// Listens to what is told of the product from now on, once it is known to be there.
    fn listen(&mut self) {
        if self.catalogue_entry.is_none() {
            self.catalogue_entry = self.registry.catalogue.cache().watch(self.product_id);
            if self.catalogue_entry.as_ref().is_some_and(|(entry, _)| !entry.is_read()) {
                self.registry.catalogue.refresh(self.product_id);
            }
        }
    }

    /// Takes note of who has sold it.
    fn hear(&mut self) {
        if let Some((_, told)) = &mut self.catalogue_entry
            && let Some(sale) = told.borrow_and_update().last_sale
        {
            self.rotation.hear(sale);
        }
    }

    /// Waits for so long, or until something is told of the product.
    async fn pause(&mut self, time: Duration) {
        match &mut self.catalogue_entry {
            Some((_, told)) => drop(timeout(time, told.changed()).await),
            None => tokio::time::sleep(time).await,
        }
    }

    /// With rivals, waits for this server's turn.
    async fn await_rotation(&mut self, deadline: Instant) {
        loop {
            self.hear();
            let Some((_, told)) = &mut self.catalogue_entry else { return };
            let Some(moment) = self.rotation.at(Instant::now().into_std()) else { return };
            // When nothing is told until then, the turn has come; when nothing will be, there is none to wait for.
            let Ok(Ok(())) = timeout_at(deadline.min(moment.into()), told.changed()).await else { return };
        }
    }

    fn has_rivals(&self) -> bool {
        self.rotation.has_rivals(Instant::now().into_std())
    }

    /// Has the buyers of this batch looked up; and where the last such case was a short time ago, of all batches for a while.
    fn expect_repeats(&mut self, batch: &mut Batch, view: &SaleView) {
        batch.has_repeated = true;
        if view.can_catch_up(&self.registry.limits, batch.requests.len()) {
            self.repeats_until = Some(Instant::now() + Duration::from_millis(REPEATS_MS));
        }
    }

    async fn attempt(&mut self, batch: &mut Batch) -> Result<Attempt> {
        // Reads may be dropped; what was being learned is then forgotten.
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

    /// Finds out what became of a commit that got no answer. Until then nothing is bought here: what is told about the
    /// product could be wrong in a moment.
    async fn find_out(&mut self, purchases: Vec<Id>) {
        let product_id = self.product_id;
        let count = purchases.len();
        let ask = || {
            let (store, ids) = (self.registry.store.clone(), purchases.clone());
            self.registry.store.spawn(async move { settle_unknown(&store, product_id, &ids).await })
        };
        let mut answer = ask();
        loop {
            let until = Instant::now() + Duration::from_millis(UNKNOWN_PAUSE_MS);
            match timeout_at(until, &mut answer).await {
                Ok(Ok(Ok(Some(found)))) => {
                    tracing::info!("product {product_id}: {found} of {count} purchases in doubt were made");
                    // The change stream leaves out what this server has sold.
                    self.registry.catalogue.read_anew(product_id);
                    return;
                }
                Ok(Ok(Ok(None))) => {
                    // Another transaction may hold the product, of a server that is gone.
                    self.registry.end_abandoned();
                    answer = ask();
                }
                Ok(Ok(Err(error))) => {
                    let cause = error.code().title();
                    tracing::warn!("product {product_id}: {count} purchases are still in doubt: {cause}");
                    answer = ask();
                }
                Ok(Err(_)) => answer = ask(),
                // It waits for the transaction in doubt, or for the database.
                Err(_) => {}
            }
            while let Ok(next) = timeout_at(until, self.queue.recv()).await {
                // At shutdown they stay in doubt here; their clients find out by their keys on another server.
                let Some(waiting) = next else { return };
                if waiting.take() {
                    waiting.reply(Err(Error::DatabaseUnavailable), None);
                }
            }
        }
    }
}

fn lasts(until: Option<Instant>) -> bool {
    until.is_some_and(|until| until > Instant::now())
}

/// Whether the reply is what was asked for, or a refusal that stands: no failure, which may be quick or slow.
fn is_decided(reply: &Result<Receipt>) -> bool {
    reply.as_ref().map_or_else(|error| error.code().status().is_client_error(), |_| true)
}
