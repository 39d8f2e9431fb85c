//! The committer: gathers the changes that the lanes have ready and commits them together. A transaction costs much
//! and each product in it little, so a thousand products that sell one unit each are not a thousand transactions.
//!
//! It never waits to fill a transaction: as many as may be in flight are, and what comes meanwhile is the next one.
//! Lanes share a transaction and nothing else: if one of them is in the way of the others, the transaction is run again
//! in halves, until it stands alone.

use std::collections::VecDeque;
use std::sync::Arc;

use rand::RngExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Duration, Instant, timeout_at};
use tokio_util::task::TaskTracker;

use super::change::{self, Change, CommitOutcome, Pending};
use super::commit::transact;
use crate::config::Limits;
use crate::metrics::Metrics;
use crate::store::Store;

/// The longest pause before the halves of a transaction are run, in milliseconds: rivals that collided once shall not
/// collide in step.
const SPLIT_PAUSE_MS_MAX: u64 = 4;

/// Takes changes. The committer ends when the last clone is gone.
#[derive(Clone)]
pub struct Commits(mpsc::Sender<Pending>);

impl Commits {
    /// Starts the committer as one of `tasks`.
    pub fn start(store: Store, limits: &Limits, metrics: Arc<Metrics>, tasks: &TaskTracker) -> Self {
        // Each lane has one change at the most.
        let (sender, queue) = mpsc::channel(limits.lanes_max);
        let committer = Committer {
            queue,
            waiting: VecDeque::new(),
            turns: Arc::new(Semaphore::new(limits.commits_in_flight_max)),
            products_max: limits.transaction_products_max,
            purchases_max: limits.batch_purchases_max,
            metrics,
            store: store.clone(),
        };
        tasks.spawn_on(committer.run(), store.runtime());
        Self(sender)
    }

    /// Commits `change` before `deadline`. Its transaction runs in a task of its own: it is never dropped half-way, and
    /// when the deadline passes before the commit was sent, it never will be.
    pub async fn commit(&self, change: Change, deadline: Instant) -> CommitOutcome {
        let (pending, ticket) = change::pair(change, deadline);
        match self.0.try_send(pending) {
            Ok(()) => ticket.outcome().await,
            Err(_) => CommitOutcome::NotBegun,
        }
    }
}

struct Committer {
    queue: mpsc::Receiver<Pending>,
    waiting: VecDeque<Pending>,
    turns: Arc<Semaphore>,
    products_max: usize,
    purchases_max: usize,
    metrics: Arc<Metrics>,
    store: Store,
}

impl Committer {
    async fn run(mut self) {
        loop {
            if self.waiting.is_empty() {
                let Some(first) = self.queue.recv().await else { return };
                self.waiting.push_back(first);
            }
            // Who waits for too long gives up by itself.
            let Ok(turn) = self.turns.clone().acquire_owned().await else { return };
            while let Ok(next) = self.queue.try_recv() {
                self.waiting.push_back(next);
            }
            let group = self.next_group();
            if !group.is_empty() {
                self.metrics.transaction_products.observe(group.len() as f64);
                self.store.spawn(commit_in_turn(self.store.clone(), group, turn));
            }
        }
    }

    /// The changes of the next transaction, in order of arrival, without those that were given up.
    fn next_group(&mut self) -> Vec<Pending> {
        let mut group = Vec::new();
        let mut purchases = 0;
        while let Some(next) = self.waiting.front() {
            purchases += next.change.purchases.len();
            if group.len() == self.products_max || (!group.is_empty() && purchases > self.purchases_max) {
                break;
            }
            group.extend(self.waiting.pop_front().filter(Pending::begin));
        }
        group
    }
}

/// Holds the turn as long as somebody waits for the outcome: a transaction that hangs is not waited for longer.
async fn commit_in_turn(store: Store, group: Vec<Pending>, turn: OwnedSemaphorePermit) {
    let deadline = group.iter().map(|pending| pending.deadline).max().unwrap_or_else(Instant::now);
    let transactions = store.spawn(commit_apart(store.clone(), group));
    let _ = timeout_at(deadline, transactions).await;
    drop(turn);
}

/// Commits the group in one transaction, or, where one is in the way of the others, in several.
async fn commit_apart(store: Store, group: Vec<Pending>) {
    let mut groups = vec![group];
    while let Some(group) = groups.pop() {
        let mut again = transact(&store, group).await;
        if again.is_empty() {
            continue;
        }
        // One half after the other: by the time the second one comes, the rival of the first has often gone.
        groups.push(again.split_off(again.len() / 2));
        groups.push(again);
        let pause = Duration::from_millis(rand::rng().random_range(0..=SPLIT_PAUSE_MS_MAX));
        tokio::time::sleep(pause).await;
    }
}
