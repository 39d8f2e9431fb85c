//! The committer gathers the changes that lanes have ready and commits them together. A transaction costs much and
//! each product in it little, so a thousand products that sell one unit each do not take a thousand transactions.
//!
//! It gathers in rounds. While the maximum number of transactions is in flight, purchases wait in their lanes, which
//! take slots in the next round. When a transaction is done, that round opens: the lanes settle what has arrived by
//! then and hand in their changes. The round ends when no slot is held. Only a lane that computes holds a slot, never
//! one that waits for the database, so no lane waits for another, and no transaction waits to be filled.
//!
//! Lanes share only the transaction: if one product makes it fail, it is run again in halves, until that product is
//! alone. A product that has failed alone is committed apart from the others until it succeeds: whatever holds it may
//! hold it for long.

use std::collections::VecDeque;
use std::sync::Arc;

use rand::RngExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Duration, Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::change::{self, Change, CommitOutcome, PendingChange};
use super::transaction::transact;
use crate::config::PurchasesLimits;
use crate::metrics::Metrics;
use crate::store::Store;

/// The longest pause before the halves of a transaction are run, in milliseconds. It is random, so that rivals that
/// collided do not collide in step.
const SPLIT_PAUSE_MS_MAX: u64 = 4;

/// The lanes' handle to the committer, which ends when the last clone is gone.
#[derive(Clone)]
pub struct Commits(watch::Receiver<Round>);

/// Keeps a round from ending: once the round is open, the lane that holds the slot must not wait for anything.
pub struct Slot {
    _way_in: mpsc::Sender<PendingChange>,
}

/// The open round, or the next one. It ends when all senders into it are gone.
struct Round {
    way_in: mpsc::Sender<PendingChange>,
    /// Its transaction may begin, so lanes that hold a slot may hand in their changes.
    is_open: bool,
    /// The way into the previous round: a change may still join it while slots are held there.
    last_way_in: Option<mpsc::WeakSender<PendingChange>>,
}

impl Commits {
    /// Starts the committer as one of `tasks`.
    pub fn start(store: Store, limits: &PurchasesLimits, metrics: Arc<Metrics>, tasks: &TaskTracker) -> Self {
        let (way_in, changes) = mpsc::channel(limits.lanes_max);
        let (round, rounds) = watch::channel(Round { way_in, is_open: false, last_way_in: None });
        let committer = Committer {
            round,
            changes,
            changes_max: limits.lanes_max,
            waiting: VecDeque::new(),
            collided: VecDeque::new(),
            permits: Arc::new(Semaphore::new(limits.commits_in_flight_max)),
            products_max: limits.transaction_products_max,
            purchases_max: limits.batch_purchases_max,
            metrics,
            store: store.clone(),
        };
        tasks.spawn_on(committer.run(), store.runtime());
        Self(rounds)
    }

    /// Takes a slot in the next round and waits until that round is open.
    pub async fn slot(&self) -> Slot {
        let mut rounds = self.0.clone();
        let way_in = rounds.borrow_and_update().way_in.clone();
        // A later round in place of ours means that ours was opened; an error, that there is nothing to wait for.
        let is_open = |round: &Round| round.is_open || !round.way_in.same_channel(&way_in);
        drop(rounds.wait_for(is_open).await);
        Slot { _way_in: way_in }
    }

    /// Commits `change` before `deadline`. Its transaction runs in a task of its own, so it is never dropped
    /// half-way; if the deadline passes before the commit is sent, the commit is never sent.
    pub async fn commit(&self, change: Change, deadline: Instant) -> CommitOutcome {
        let (pending, ticket) = change::pair(change, deadline);
        // The way in is dropped before waiting for the outcome; otherwise the round would wait for its own outcome.
        let is_sent = self.way_in().try_send(pending).is_ok();
        if is_sent { ticket.outcome().await } else { CommitOutcome::NotBegun }
    }

    fn way_in(&self) -> mpsc::Sender<PendingChange> {
        let round = self.0.borrow();
        let last = round.last_way_in.as_ref().and_then(mpsc::WeakSender::upgrade);
        last.unwrap_or_else(|| round.way_in.clone())
    }
}

struct Committer {
    round: watch::Sender<Round>,
    changes: mpsc::Receiver<PendingChange>,
    /// Each lane has at most one.
    changes_max: usize,
    /// Gathered changes whose transaction has not begun.
    waiting: VecDeque<PendingChange>,
    /// The same for products whose last transaction collided.
    collided: VecDeque<PendingChange>,
    permits: Arc<Semaphore>,
    products_max: usize,
    purchases_max: usize,
    metrics: Arc<Metrics>,
    store: Store,
}

impl Committer {
    async fn run(mut self) {
        // No timeout here: a lane that waits too long gives its change up by itself.
        while let Ok(permit) = self.permits.clone().acquire_owned().await {
            if self.waiting.is_empty() && self.collided.is_empty() && !self.gather().await {
                return;
            }
            let group = self.next_group();
            if !group.is_empty() {
                self.metrics.transaction_products.observe(group.len() as f64);
                let transactions =
                    commit_with_permit(self.store.clone(), self.metrics.clone(), group, permit);
                self.store.spawn(transactions);
            }
        }
    }

    /// Runs a round: waits for the first change, then for more while slots are held. False when no more can come.
    async fn gather(&mut self) -> bool {
        self.round.send_modify(|round| round.is_open = true);
        let first = tokio::select! {
            first = self.changes.recv() => first,
            () = self.round.closed() => None,
        };
        let Some(first) = first else { return false };
        self.line_up(first);
        let (way_in, next_changes) = mpsc::channel(self.changes_max);
        self.round.send_if_modified(|round| {
            round.last_way_in = Some(round.way_in.downgrade());
            round.way_in = way_in;
            round.is_open = false;
            // Wakes nobody: lanes wait only for a round to open.
            false
        });
        while let Some(next) = self.changes.recv().await {
            self.line_up(next);
        }
        self.changes = next_changes;
        true
    }

    fn line_up(&mut self, pending: PendingChange) {
        let line = if pending.change.has_collided { &mut self.collided } else { &mut self.waiting };
        line.push_back(pending);
    }

    /// The changes of the next transaction, in order of arrival, without those that were given up.
    fn next_group(&mut self) -> Vec<PendingChange> {
        let line = if self.waiting.is_empty() { &mut self.collided } else { &mut self.waiting };
        let mut group = Vec::new();
        let mut purchases = 0;
        while let Some(next) = line.front() {
            purchases += next.change.purchases.len();
            if group.len() == self.products_max || (!group.is_empty() && purchases > self.purchases_max) {
                break;
            }
            group.extend(line.pop_front().filter(PendingChange::begin));
        }
        group
    }
}

/// Commits the group. Holds the permit only while a lane waits for an outcome, even if a transaction hangs.
async fn commit_with_permit(
    store: Store,
    metrics: Arc<Metrics>,
    group: Vec<PendingChange>,
    permit: OwnedSemaphorePermit,
) {
    let deadline = group.iter().map(|pending| pending.deadline).max().unwrap_or_else(Instant::now);
    let transactions = store.spawn(commit_apart(store.clone(), metrics, group));
    let _ = timeout_at(deadline, transactions).await;
    drop(permit);
}

/// Commits the group in one transaction, or in several if one product makes it fail.
async fn commit_apart(store: Store, metrics: Arc<Metrics>, group: Vec<PendingChange>) {
    let mut groups = vec![group];
    while let Some(group) = groups.pop() {
        let mut again = transact(&store, group).await;
        if again.is_empty() {
            continue;
        }
        metrics.transactions_split.inc();
        // One half after the other: by the time the second half runs, what the first collided with has often gone.
        groups.push(again.split_off(again.len() / 2));
        groups.push(again);
        let pause = Duration::from_millis(rand::rng().random_range(0..=SPLIT_PAUSE_MS_MAX));
        tokio::time::sleep(pause).await;
    }
}
