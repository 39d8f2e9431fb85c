//! The committer: gathers the changes that the lanes have ready and commits them together. A transaction costs much
//! and each product in it little, so a thousand products that sell one unit each are not a thousand transactions.
//!
//! It gathers in rounds. While as many transactions as may be in flight are, the purchases wait in their lanes; when
//! one of them is done, all lanes with purchases take seats in the next round, settle what has come until now, and hand
//! in their changes. The round ends when no slot is taken: a slot is held by a lane that computes, never by one that
//! waits for the database, so nobody waits for anybody, and no transaction waits to be filled.
//!
//! Lanes share a transaction and nothing else: if one of them is in the way of the others, the transaction is run again
//! in halves, until it stands alone. Who has stood alone shares none with the others until it has got through: whatever holds
//! its product may hold it for long.

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

/// The longest pause before the halves of a transaction are run, in milliseconds: rivals that collided once shall not
/// collide in step.
const SPLIT_PAUSE_MS_MAX: u64 = 4;

/// Takes changes. The committer ends when the last clone is gone.
#[derive(Clone)]
pub struct Commits(watch::Receiver<Round>);

/// Keeps a round from ending: once it is open, who has a slot must not wait for anything.
pub struct Slot {
    _way_in: mpsc::Sender<PendingChange>,
}

/// The round that is open, or the next one. It has ended when all ways into it are gone.
struct Round {
    way_in: mpsc::Sender<PendingChange>,
    /// Its transaction may begin, and those who have a slot may hand in their changes.
    is_open: bool,
    /// Of the round before: as long as seats are taken there, whoever has a change may still hand it in.
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

    /// Takes a slot in the next round, and waits until it is open.
    pub async fn slot(&self) -> Slot {
        let mut rounds = self.0.clone();
        let way_in = rounds.borrow_and_update().way_in.clone();
        // When another round is the next one, this one was opened; when there is none any more, nothing is to be waited for.
        let is_open = |round: &Round| round.is_open || !round.way_in.same_channel(&way_in);
        drop(rounds.wait_for(is_open).await);
        Slot { _way_in: way_in }
    }

    /// Commits `change` before `deadline`. Its transaction runs in a task of its own: it is never dropped half-way, and
    /// when the deadline passes before the commit was sent, it never will be.
    pub async fn commit(&self, change: Change, deadline: Instant) -> CommitOutcome {
        let (pending, ticket) = change::pair(change, deadline);
        // The way in is gone before the outcome is waited for: else the round would wait for its own outcome.
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
    /// Each lane has one at the most.
    changes_max: usize,
    /// What did not fit into the transaction of its round.
    waiting: VecDeque<PendingChange>,
    /// The same of those who were in the way of others.
    collided: VecDeque<PendingChange>,
    permits: Arc<Semaphore>,
    products_max: usize,
    purchases_max: usize,
    metrics: Arc<Metrics>,
    store: Store,
}

impl Committer {
    async fn run(mut self) {
        // Who waits for a turn for too long gives up by himself.
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

    /// A round: waits for the first change, and for more as long as seats are taken. False when there will be no more.
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
            // Nobody waits for this.
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

/// Holds the turn as long as somebody waits for the outcome: a transaction that hangs is not waited for longer.
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

/// Commits the group in one transaction, or, where one is in the way of the others, in several.
async fn commit_apart(store: Store, metrics: Arc<Metrics>, group: Vec<PendingChange>) {
    let mut groups = vec![group];
    while let Some(group) = groups.pop() {
        let mut again = transact(&store, group).await;
        if again.is_empty() {
            continue;
        }
        metrics.transactions_split.inc();
        // One half after the other: by the time the second one comes, the rival of the first has often gone.
        groups.push(again.split_off(again.len() / 2));
        groups.push(again);
        let pause = Duration::from_millis(rand::rng().random_range(0..=SPLIT_PAUSE_MS_MAX));
        tokio::time::sleep(pause).await;
    }
}
