//! A lane: the one task of this process that buys one product. It takes all purchases that are waiting as one batch,
//! settles it, commits it, replies, and takes what has come meanwhile. It never waits to fill a batch.
//!
//! Every outcome stands on a version of the product that was current after the request had arrived: a batch with
//! purchases is committed against that version, one without is checked by reading it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::doc;
use rand::RngExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::commit::{Change, CommitOutcome, commit, settle_unknown};
use super::knowledge::{Knowledge, read_sale};
use super::lanes::{Registry, Waiting};
use super::model::{Purchase, public_name};
use super::settle::{Outcome, Refusal, Request, Settlement, settle};
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::id::Id;

/// The longest pause before a batch is tried again, in milliseconds; it doubles from one.
const RETRY_PAUSE_MS_MAX: u64 = 64;
/// The pause between two tries to learn what became of a commit, in milliseconds.
const UNKNOWN_PAUSE_MS: u64 = 250;

/// What a purchase is answered with.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The purchase.
    pub purchase: Arc<Purchase>,
    /// It was made before, by a request with the same key.
    pub replayed: bool,
}

/// The task's state.
pub struct Lane {
    product_id: Id,
    queue: mpsc::Receiver<Waiting>,
    registry: Arc<Registry>,
    /// None until the first purchase, and whenever what was known may be wrong.
    knowledge: Option<Knowledge>,
}

/// The purchases of one batch while they are being decided.
struct Batch {
    waiting: Vec<Waiting>,
    requests: Vec<Request>,
    /// The requests whose key was looked for among the purchases of other products.
    keys_checked: Vec<bool>,
    deadline: Instant,
}

/// How one try to decide a batch ended.
enum Attempt {
    /// Everybody can be told.
    Settled(Vec<Result<Receipt>>),
    /// Something had changed: again.
    Again,
    /// The commit got no answer. The purchases' ids, and what everybody is told.
    Unknown(Vec<Id>, Vec<Result<Receipt>>),
}

impl Lane {
    /// A lane that knows nothing yet.
    pub fn new(product_id: Id, queue: mpsc::Receiver<Waiting>, registry: Arc<Registry>) -> Self {
        Self { product_id, queue, registry, knowledge: None }
    }

    /// Serves until nobody has come for a while, or until shutdown when the queue is empty.
    pub async fn run(mut self) {
        let idle_max = Limits::milliseconds(self.registry.limits.lane_idle_ms_max);
        let mut arrived = Vec::new();
        loop {
            let batch_max = self.registry.limits.batch_purchases_max;
            match tokio::time::timeout(idle_max, self.queue.recv_many(&mut arrived, batch_max)).await {
                Ok(0) => return,
                Ok(_) => self.serve(std::mem::take(&mut arrived)).await,
                Err(_) if self.registry.retire(self.product_id, &self.queue) => return,
                Err(_) => {}
            }
            // Nothing is known of a product that is not there: a made-up id shall not hold a lane.
            if self.knowledge.is_none() && self.registry.retire(self.product_id, &self.queue) {
                return;
            }
        }
    }

    async fn serve(&mut self, arrived: Vec<Waiting>) {
        // Those who gave up, or were told that it takes too long, are not bought for.
        let waiting: Vec<_> = arrived.into_iter().filter(Waiting::take).collect();
        if waiting.is_empty() {
            return;
        }
        let deadline = Instant::now() + Limits::milliseconds(self.registry.limits.batch_ms_max);
        let mut batch = Batch {
            requests: waiting.iter().map(|waiting| waiting.request.clone()).collect(),
            keys_checked: vec![false; waiting.len()],
            waiting,
            deadline,
        };
        let (replies, unknown) = self.decide(&mut batch).await;
        for (waiting, reply) in batch.waiting.into_iter().zip(replies) {
            waiting.reply(reply);
        }
        if !unknown.is_empty() {
            self.find_out(unknown).await;
        }
    }

    /// Tries until the batch is decided or its time is over.
    async fn decide(&mut self, batch: &mut Batch) -> (Vec<Result<Receipt>>, Vec<Id>) {
        let mut pause_ms = 1;
        loop {
            match self.attempt(batch).await {
                Ok(Attempt::Settled(replies)) => return (replies, Vec::new()),
                Ok(Attempt::Unknown(ids, replies)) => return (replies, ids),
                Ok(Attempt::Again) if Instant::now() < batch.deadline => {}
                Ok(Attempt::Again) => {
                    tracing::warn!(product_id = %self.product_id, "a batch for product {} ran out of time", self.product_id);
                    let error =
                        Error::Overloaded { detail: "Too many servers or changes compete for this product." };
                    return (batch.all(&Err(error)), Vec::new());
                }
                // What was known is gone with the failure: the next batch reads the sale anew.
                Err(error) => return (batch.all(&Err(error)), Vec::new()),
            }
            // Rivals that collided once shall not collide in step.
            let pause = Duration::from_millis(rand::rng().random_range(0..=pause_ms));
            pause_ms = (pause_ms * 2).min(RETRY_PAUSE_MS_MAX);
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&mut self, batch: &mut Batch) -> Result<Attempt> {
        let registry = self.registry.clone();
        let (store, limits) = (&registry.store, &registry.limits);
        let mut current = false;
        let mut knowledge = match self.knowledge.take() {
            Some(knowledge) => knowledge,
            None => match read_sale(store, self.product_id).await? {
                Some(reading) => {
                    current = true;
                    Knowledge::begin(store, self.product_id, reading).await?
                }
                None => return self.without_product(batch).await,
            },
        };
        loop {
            knowledge.learn(store, limits, batch.requests.iter().map(|request| request.user)).await?;
            let settlement = settle(&knowledge.sale(), &knowledge.buyers, &batch.requests);
            if self
                .check_keys(batch, |index| matches!(settlement.outcomes[index], Outcome::Refused(_)))
                .await?
            {
                continue;
            }
            if settlement.units > 0 {
                return self.commit(batch, knowledge, settlement).await;
            }
            if current {
                let replies = batch.replies(&settlement, &knowledge, &[]);
                self.knowledge = Some(knowledge);
                return Ok(Attempt::Settled(replies));
            }
            // Refusals are only true of the product as it is now.
            let Some(reading) = read_sale(store, self.product_id).await? else {
                return self.without_product(batch).await;
            };
            knowledge = knowledge.advance(store, limits, reading).await?;
            current = true;
        }
    }

    /// Without a product there is nothing to buy; but a key that was used says so first.
    async fn without_product(&mut self, batch: &mut Batch) -> Result<Attempt> {
        self.knowledge = None;
        self.check_keys(batch, |_| true).await?;
        let refusal = |request: &Request| match request.key_used_elsewhere {
            true => Err(Error::IdempotencyKeyReused),
            false => Err(Error::ProductNotFound),
        };
        Ok(Attempt::Settled(batch.requests.iter().map(refusal).collect()))
    }

    /// Looks for the keys of the requests that `wanted` names among the purchases of other products. True when one was
    /// found, so that the batch has to be settled again.
    ///
    /// A request that buys needs no look: the unique index on (user, key) refuses its commit.
    async fn check_keys(&self, batch: &mut Batch, wanted: impl Fn(usize) -> bool) -> Result<bool> {
        let indexes: Vec<_> = (0..batch.requests.len())
            .filter(|&index| {
                batch.requests[index].key.is_some() && !batch.keys_checked[index] && wanted(index)
            })
            .collect();
        if indexes.is_empty() {
            return Ok(false);
        }
        let users: Vec<_> = indexes.iter().map(|&index| batch.requests[index].user).collect();
        let keys: Vec<_> = indexes.iter().filter_map(|&index| batch.requests[index].key.as_deref()).collect();
        let store = &self.registry.store;
        let query = doc! { "userId": { "$in": users }, "idempotencyKey": { "$in": keys } };
        let purchases: Vec<Purchase> =
            store.read(async { store.purchases.find(query).await?.try_collect().await }).await?;
        let elsewhere: HashSet<_> = purchases
            .iter()
            .filter(|purchase| purchase.product_id != self.product_id)
            .filter_map(|purchase| Some((purchase.user_id, purchase.idempotency_key.as_deref()?)))
            .collect();
        let mut found = false;
        for index in indexes {
            batch.keys_checked[index] = true;
            let request = &mut batch.requests[index];
            request.key_used_elsewhere =
                request.key.as_deref().is_some_and(|key| elsewhere.contains(&(request.user, key)));
            found |= request.key_used_elsewhere;
        }
        Ok(found)
    }

    async fn commit(
        &mut self,
        batch: &mut Batch,
        mut knowledge: Knowledge,
        settlement: Settlement,
    ) -> Result<Attempt> {
        let registry = self.registry.clone();
        let (store, limits) = (&registry.store, &registry.limits);
        let Ok(Ok(_turn)) = tokio::time::timeout_at(batch.deadline, registry.commits.acquire()).await else {
            return Err(Error::Overloaded { detail: "Too many products are being sold at once." });
        };
        let purchases = batch.purchases(self.product_id, &settlement, &knowledge);
        let ids: Vec<_> = purchases.iter().map(|purchase| purchase.id).collect();
        let change = Change {
            product_id: self.product_id,
            version: knowledge.state.version,
            units: settlement.units,
            purchases,
            not_before: knowledge.last_purchased_at,
        };
        match commit(store, change, batch.deadline).await {
            CommitOutcome::Committed { state, purchases } => {
                let purchases = knowledge.record(purchases);
                knowledge.now = state.updated_at;
                knowledge.state = state;
                let replies = batch.replies(&settlement, &knowledge, &purchases);
                self.knowledge = Some(knowledge);
                Ok(Attempt::Settled(replies))
            }
            CommitOutcome::Stale => {
                let Some(reading) = read_sale(store, self.product_id).await? else {
                    return self.without_product(batch).await;
                };
                self.knowledge = Some(knowledge.advance(store, limits, reading).await?);
                Ok(Attempt::Again)
            }
            CommitOutcome::Duplicate => {
                // One of the keys is another product's, used since it was looked for; if not, something is not as it
                // was known: start over.
                batch.keys_checked.fill(false);
                if !self.check_keys(batch, |_| true).await? {
                    tracing::warn!(
                        "product {}: a purchase was there already; reading the sale anew",
                        self.product_id
                    );
                } else {
                    self.knowledge = Some(knowledge);
                }
                Ok(Attempt::Again)
            }
            CommitOutcome::Transient(error) => {
                tracing::debug!("product {}: a transaction is run again: {error}", self.product_id);
                self.knowledge = Some(knowledge);
                Ok(Attempt::Again)
            }
            CommitOutcome::Failed(error) => {
                let cause = error.map_or_else(|| "no answer in time".to_owned(), |error| error.to_string());
                tracing::error!("product {}: a batch was not committed: {cause}", self.product_id);
                Err(Error::DatabaseUnavailable)
            }
            CommitOutcome::Unknown => {
                tracing::error!(
                    "product {}: the outcome of {} purchases is unknown",
                    self.product_id,
                    ids.len()
                );
                Ok(Attempt::Unknown(ids, batch.unknown_replies(&settlement)))
            }
        }
    }

    /// Finds out what became of a commit that got no answer. Until then nothing is bought here: what is told about the
    /// product could be wrong in a moment.
    async fn find_out(&mut self, purchases: Vec<Id>) {
        self.knowledge = None;
        loop {
            let (store, product_id, ids) = (self.registry.store.clone(), self.product_id, purchases.clone());
            let answer = store.clone().spawn(async move { settle_unknown(&store, product_id, &ids).await });
            let patience = Limits::milliseconds(self.registry.limits.write_ms_max);
            match tokio::time::timeout(patience, answer).await {
                Ok(Ok(Ok(found))) => {
                    tracing::info!(
                        "product {product_id}: {found} of {} purchases in doubt were made",
                        purchases.len()
                    );
                    return;
                }
                Ok(Ok(Err(error))) => {
                    tracing::warn!("product {product_id}: purchases are still in doubt: {error}")
                }
                Ok(Err(_)) | Err(_) => tracing::warn!("product {product_id}: purchases are still in doubt"),
            }
            let until = Instant::now() + Duration::from_millis(UNKNOWN_PAUSE_MS);
            while let Ok(next) = tokio::time::timeout_at(until, self.queue.recv()).await {
                // At shutdown they stay in doubt here; their clients find out by their keys on another server.
                let Some(waiting) = next else { return };
                if waiting.take() {
                    waiting.reply(Err(Error::DatabaseUnavailable));
                }
            }
        }
    }
}

impl Batch {
    /// The same reply for everybody.
    fn all(&self, reply: &Result<Receipt>) -> Vec<Result<Receipt>> {
        vec![reply.clone(); self.waiting.len()]
    }

    /// The documents of all that was bought, by sequence, which is the order of the requests.
    fn purchases(&self, product_id: Id, settlement: &Settlement, knowledge: &Knowledge) -> Vec<Purchase> {
        let bought =
            settlement.outcomes.iter().zip(&self.waiting).filter_map(|(outcome, waiting)| match outcome {
                Outcome::Bought { sequence, first_unit } => Some((waiting, *sequence, *first_unit)),
                _ => None,
            });
        bought
            .map(|(waiting, sequence, first_unit)| Purchase {
                id: waiting.purchase_id,
                product_id,
                user_id: waiting.request.user,
                buyer: public_name(&waiting.name),
                quantity: waiting.request.quantity,
                unit_price: knowledge.state.price.clone(),
                sequence,
                first_unit,
                purchased_at: knowledge.last_purchased_at,
                idempotency_key: waiting.request.key.as_deref().map(str::to_owned),
            })
            .collect()
    }

    /// What everybody is told once the settlement holds. `purchases` are those that it made, by sequence.
    fn replies(
        &self,
        settlement: &Settlement,
        knowledge: &Knowledge,
        purchases: &[Arc<Purchase>],
    ) -> Vec<Result<Receipt>> {
        let mut replies: Vec<Result<Receipt>> = Vec::with_capacity(settlement.outcomes.len());
        let mut made = purchases.iter();
        for outcome in &settlement.outcomes {
            let reply = match outcome {
                Outcome::Bought { .. } => {
                    let purchase = made.next().cloned().ok_or(Error::Internal);
                    purchase.map(|purchase| Receipt { purchase, replayed: false })
                }
                Outcome::Replayed(purchase) => Ok(Receipt { purchase: purchase.clone(), replayed: true }),
                Outcome::ReplayedInBatch(index) => {
                    replies[*index].clone().map(|receipt| Receipt { replayed: true, ..receipt })
                }
                Outcome::Refused(refusal) => Err(refused(*refusal, knowledge)),
            };
            replies.push(reply);
        }
        replies
    }

    /// What everybody is told when the commit got no answer: only what was committed before is certain.
    fn unknown_replies(&self, settlement: &Settlement) -> Vec<Result<Receipt>> {
        let reply = |(outcome, waiting): (&Outcome, &Waiting)| match outcome {
            Outcome::Bought { .. } => Err(Error::OutcomeUnknown { purchase_id: Some(waiting.purchase_id) }),
            Outcome::ReplayedInBatch(index) => {
                Err(Error::OutcomeUnknown { purchase_id: Some(self.waiting[*index].purchase_id) })
            }
            Outcome::Replayed(purchase) => Ok(Receipt { purchase: purchase.clone(), replayed: true }),
            Outcome::Refused(_) => Err(Error::DatabaseUnavailable),
        };
        settlement.outcomes.iter().zip(&self.waiting).map(reply).collect()
    }
}

fn refused(refusal: Refusal, knowledge: &Knowledge) -> Error {
    match refusal {
        Refusal::KeyReused => Error::IdempotencyKeyReused,
        Refusal::NotStarted => Error::SaleNotStarted {
            sale_start_time: knowledge.state.sale_start_time.into(),
            retry_after_seconds: knowledge.seconds_until_start(),
        },
        Refusal::Ended => Error::SaleEnded { sale_end_time: knowledge.state.sale_end_time.into() },
        Refusal::SoldOut => Error::SoldOut,
        Refusal::LimitReached { limit, purchased } => Error::PurchaseLimitReached { limit, purchased },
        Refusal::InsufficientStock { remaining } => Error::InsufficientStock { remaining },
    }
}
