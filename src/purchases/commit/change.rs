//! What a lane asks to have committed, and what it is told: a change of one product, and the ticket with which the
//! lane can take it back as long as its commit was not sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use mongodb::bson::DateTime;
use mongodb::error::Error as DatabaseError;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::Span;

use crate::model::audit::AuditEntry;
use crate::model::id::Id;
use crate::model::purchase::{Purchase, PurchaseStatus};
use crate::purchases::sale_state::SaleState;
pub use crate::purchases::settle::transitions::Figures;

/// The change that a settlement asks for.
pub struct Change {
    /// The product that is sold.
    pub product_id: Id,
    /// The product as the settlement knew it.
    pub state: SaleState,
    /// How the figures of the product change.
    pub figures: Figures,
    /// The purchases, by `sequence`. Their `purchased_at` is set by [`Change::date`].
    pub purchases: Vec<Purchase>,
    /// What becomes of earlier purchases, each at most once. Dated by [`Change::date`].
    pub transitions: Vec<PurchaseChange>,
    /// Tells each step of those in the audit log. Dated by [`Change::date`].
    pub entries: Vec<AuditEntry>,
    /// The last change of this product collided with another transaction, which may hold the product for long.
    pub has_collided: bool,
}

/// A purchase that was made before, as it was read and as it becomes.
#[derive(Debug, Clone)]
pub struct PurchaseChange {
    /// As it was read.
    pub before: Arc<Purchase>,
    /// As it becomes.
    pub after: Purchase,
}

/// What the change does to its product's document. Products on which this is alike are updated by one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Effect {
    /// How its figures change.
    pub figures: Figures,
    /// The number of purchases. If it is not 0, the sale must be open.
    pub count: i64,
    /// A purchase that was refused for lack of stock may be possible now.
    pub reopens: bool,
    /// The version that the change makes, if it changes earlier purchases.
    pub changed_version: Option<i64>,
}

impl Change {
    /// What it does to the product.
    pub fn effect(&self) -> Effect {
        // The rule of the restock: nobody asks for more than the limit of one buyer. Those who were refused in this very
        // batch found what was left after its purchases.
        let was_short = self.state.stock - self.units_taken() < self.state.purchase_limit;
        Effect {
            figures: self.figures,
            count: self.count(),
            reopens: !self.transitions.is_empty() && was_short && self.gives_stock_back(),
            changed_version: (!self.transitions.is_empty()).then_some(self.state.version + 1),
        }
    }

    /// Units that were taken from the stock before any are given back.
    fn units_taken(&self) -> i64 {
        let bought = self.purchases.iter().map(|purchase| purchase.quantity).sum::<i64>();
        let is_taken = |change: &&PurchaseChange| {
            change.before.status.is_released() && !change.after.status.is_released()
        };
        let taken = self.transitions.iter().filter(is_taken);
        bought + taken.map(|change| change.after.quantity).sum::<i64>()
    }

    /// Whether units of earlier purchases are for sale again, even if others are bought at the same time.
    fn gives_stock_back(&self) -> bool {
        let is_released = |change: &PurchaseChange| {
            change.after.status.is_released() && !change.before.status.is_released()
        };
        self.transitions.iter().any(is_released)
    }

    /// The latest end of a payment window among the purchases that expire: it must not lie ahead of the database's clock.
    pub fn expires_at(&self) -> Option<DateTime> {
        let expired = self.transitions.iter().filter(|change| change.after.status == PurchaseStatus::Expired);
        let expired = expired.filter(|change| change.before.status == PurchaseStatus::Pending);
        expired.filter_map(|change| change.before.expires_at).max()
    }

    /// The number of purchases.
    pub fn count(&self) -> i64 {
        i64::try_from(self.purchases.len()).unwrap_or(i64::MAX)
    }

    /// The product after the change, if that is made at `now`.
    pub fn state_after(&self, now: DateTime) -> SaleState {
        let effect = self.effect();
        SaleState {
            stock: self.state.stock + self.figures.stock,
            held: self.state.held + self.figures.held,
            purchase_count: self.state.purchase_count + self.count(),
            version: self.state.version + 1,
            updated_at: self.state.updated_at.max(now),
            reopened_at: if effect.reopens {
                self.state.reopened_at.max(Some(now))
            } else {
                self.state.reopened_at
            },
            purchases_changed_version: effect.changed_version.or(self.state.purchases_changed_version),
            ..self.state.clone()
        }
    }

    /// Dates what is written by `updated_at` of `state`, the product after the change.
    pub fn date(&mut self, state: &SaleState) {
        let window_ms = state.payment_window_seconds.map(|seconds| seconds * 1_000);
        for purchase in &mut self.purchases {
            purchase.purchased_at = state.updated_at;
            let expiry = |window_ms| DateTime::from_millis(state.updated_at.timestamp_millis() + window_ms);
            purchase.expires_at = window_ms.map(expiry);
        }
        for PurchaseChange { before, after } in &mut self.transitions {
            after.changed_in_version = Some(state.version);
            if after.status != before.status {
                after.status_changed = Some(state.updated_at);
            }
        }
        for entry in &mut self.entries {
            entry.at = state.updated_at;
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
        /// The earlier purchases as they are now.
        changed: Vec<Purchase>,
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
