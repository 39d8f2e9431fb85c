//! What a lane asks to have committed, and what it is told: a change of one product, and the ticket with which the
//! lane can take it back as long as its commit was not sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use mongodb::bson::DateTime;
use mongodb::error::Error as DatabaseError;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::Span;

use crate::model::id::Id;
use crate::model::purchase::Purchase;
use crate::purchases::sale_state::SaleState;

/// The change that a settlement asks for.
pub struct Change {
    /// The product that is sold.
    pub product_id: Id,
    /// The product as the settlement knew it.
    pub state: SaleState,
    /// Units to take from the stock.
    pub units: i64,
    /// The purchases, by `sequence`. Their `purchased_at` is set by [`Change::date`].
    pub purchases: Vec<Purchase>,
    /// The last change of this product collided with another transaction, which may hold the product for long.
    pub has_collided: bool,
}

impl Change {
    /// The number of purchases.
    pub fn count(&self) -> i64 {
        i64::try_from(self.purchases.len()).unwrap_or(i64::MAX)
    }

    /// The product after the change, if that is made at `now`.
    pub fn state_after(&self, now: DateTime) -> SaleState {
        SaleState {
            stock: self.state.stock - self.units,
            purchase_count: self.state.purchase_count + self.count(),
            version: self.state.version + 1,
            updated_at: self.state.updated_at.max(now),
            ..self.state.clone()
        }
    }

    /// Sets the time of the purchases: `updated_at` of `state`, the product after the change.
    pub fn date(&mut self, state: &SaleState) {
        for purchase in &mut self.purchases {
            purchase.purchased_at = state.updated_at;
        }
    }
}

/// What became of a change.
pub enum CommitOutcome {
    /// It was made, and is durable on a majority.
    Committed {
        /// The product after it.
        state: SaleState,
        /// The purchases with their `purchased_at`.
        purchases: Vec<Purchase>,
    },
    /// Nothing happened: the version is stale, or the sale is not open.
    Stale,
    /// Nothing happened: a unique index holds one of the purchases already.
    Duplicate,
    /// Nothing happened, and trying again may help.
    Transient(DatabaseError),
    /// Nothing happened: its transaction did not begin in time.
    NotBegun,
    /// Nothing happened, for this error; without one, no answer came in time.
    Failed(Option<DatabaseError>),
    /// The commit was sent but got no clear answer: the change may have been made.
    Unknown,
}

/// A change on its way to the database.
pub struct PendingChange {
    /// What to commit.
    pub change: Change,
    /// When its lane gives up.
    pub deadline: Instant,
    /// The log span of the batch that asks for the change.
    pub span: Span,
    phase: Phase,
    outcome: oneshot::Sender<CommitOutcome>,
}

/// The lane's half: it receives the outcome.
pub struct ChangeTicket {
    deadline: Instant,
    phase: Phase,
    outcome: oneshot::Receiver<CommitOutcome>,
}

/// A pending change, and the ticket to wait for its outcome.
pub fn pair(change: Change, deadline: Instant) -> (PendingChange, ChangeTicket) {
    let phase = Phase::default();
    let (sender, receiver) = oneshot::channel();
    let pending =
        PendingChange { change, deadline, span: Span::current(), phase: phase.clone(), outcome: sender };
    (pending, ChangeTicket { deadline, phase, outcome: receiver })
}

impl PendingChange {
    /// Call before its transaction begins. False when its lane has given up: then leave it out.
    pub fn begin(&self) -> bool {
        self.phase.advance(Phase::WAITING, Phase::PREPARING)
    }

    /// Call before its commit is sent. False when its lane has given up: then do not send it.
    pub fn begin_commit(&self) -> bool {
        self.phase.advance(Phase::PREPARING, Phase::COMMITTING)
    }

    /// Tells the lane what became of the change, if it is still waiting.
    pub fn tell(self, outcome: CommitOutcome) {
        let _ = self.outcome.send(outcome);
    }
}

impl ChangeTicket {
    /// Waits for the outcome until the deadline. After that the change will not be made, unless its commit was sent.
    pub async fn outcome(self) -> CommitOutcome {
        match timeout_at(self.deadline, self.outcome).await {
            Ok(Ok(outcome)) => outcome,
            // The transaction panicked, or got no answer in time.
            Ok(Err(_)) | Err(_) => self.phase.abandon(),
        }
    }
}

/// How far a change has come. The first to advance it decides: the transaction, or the lane that gives it up.
#[derive(Clone, Default)]
struct Phase(Arc<AtomicU8>);

impl Phase {
    const WAITING: u8 = 0;
    const PREPARING: u8 = 1;
    const COMMITTING: u8 = 2;
    const ABANDONED: u8 = 3;

    fn advance(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn abandon(&self) -> CommitOutcome {
        if self.advance(Self::WAITING, Self::ABANDONED) {
            CommitOutcome::NotBegun
        } else if self.advance(Self::PREPARING, Self::ABANDONED) {
            CommitOutcome::Failed(None)
        } else {
            CommitOutcome::Unknown
        }
    }
}
