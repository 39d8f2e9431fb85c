//! The transaction: one for a whole batch. Either all of its purchases and the smaller stock are there, or nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::error::Error as DatabaseError;
use mongodb::options::{ReadConcern, ReturnDocument};
use tokio::time::Instant;

use super::knowledge::SaleState;
use super::model::Purchase;
use super::settle::Window;
use crate::error::Result;
use crate::id::Id;
use crate::store::connect::durable;
use crate::store::{Store, failure};

/// The pause between two tries of the same commit.
const COMMIT_RETRY_MS: u64 = 50;
/// How long a turn lasts: some batches of the fastest server, and no long wait if its holder has died.
const TURN_MS_MAX: i64 = 100;
/// How long an abort is waited for; without one the server ends the transaction by itself.
const ABORT_MS_MAX: u64 = 500;

/// The change that a settlement asks for.
pub struct Change {
    /// What is sold.
    pub product_id: Id,
    /// This server, whose turn it may be.
    pub server: Id,
    /// The version that the settlement stands on.
    pub version: i64,
    /// Units to take from the stock.
    pub units: i64,
    /// The purchases, by `sequence`; their `purchased_at` is still to be set.
    pub purchases: Vec<Purchase>,
    /// The `purchased_at` of the purchase before: time does not go back, even if the database's clock does.
    pub not_before: DateTime,
}

/// What became of a change.
pub enum CommitOutcome {
    /// It is there, durable on a majority.
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
    /// Nothing happened.
    Failed(Option<DatabaseError>),
    /// It may have happened.
    Unknown,
}

/// Commits `change` before `deadline`. The transaction runs in a task of its own: it is never dropped half-way, and
/// when the deadline passes before the commit was sent, it never will be.
pub async fn commit(store: &Store, change: Change, deadline: Instant) -> CommitOutcome {
    let phase = Phase::default();
    let task = store.spawn(run(store.clone(), change, phase.clone(), deadline));
    match tokio::time::timeout_at(deadline, task).await {
        Ok(Ok(outcome)) => outcome,
        // It panicked, or got no answer in time.
        Ok(Err(_)) | Err(_) if phase.abandon() => CommitOutcome::Failed(None),
        Ok(Err(_)) | Err(_) => CommitOutcome::Unknown,
    }
}

/// Whether the commit was sent or given up: whoever is first decides.
#[derive(Clone, Default)]
struct Phase(Arc<AtomicU8>);

impl Phase {
    const PREPARING: u8 = 0;
    const COMMITTING: u8 = 1;
    const ABANDONED: u8 = 2;

    fn leave_preparing(&self, next: u8) -> bool {
        self.0.compare_exchange(Self::PREPARING, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn begin_commit(&self) -> bool {
        self.leave_preparing(Self::COMMITTING)
    }

    fn abandon(&self) -> bool {
        self.leave_preparing(Self::ABANDONED)
    }
}

async fn run(store: Store, mut change: Change, phase: Phase, deadline: Instant) -> CommitOutcome {
    let mut session = match begin(&store).await {
        Ok(session) => session,
        Err(error) => return CommitOutcome::Failed(Some(error)),
    };
    let prepared = match prepare(&store, &mut session, &mut change).await {
        Ok(Some(state)) if phase.begin_commit() => Ok(state),
        Ok(Some(_)) => Err(CommitOutcome::Failed(None)),
        Ok(None) => Err(CommitOutcome::Stale),
        Err(error) if failure::is_duplicate_key(&error) => Err(CommitOutcome::Duplicate),
        Err(error) if failure::is_transient(&error) => Err(CommitOutcome::Transient(error)),
        Err(error) => Err(CommitOutcome::Failed(Some(error))),
    };
    match prepared {
        Ok(state) => finish(session, state, change.purchases, deadline).await,
        Err(outcome) => {
            let patience = Duration::from_millis(ABORT_MS_MAX);
            if !matches!(tokio::time::timeout(patience, session.abort_transaction()).await, Ok(Ok(()))) {
                tracing::debug!("a transaction was left to the server to abort");
            }
            outcome
        }
    }
}

async fn begin(store: &Store) -> Result<ClientSession, DatabaseError> {
    let mut session = store.client.start_session().await?;
    // The settings of collections are ignored inside a transaction: they have to be its own.
    session.start_transaction().read_concern(ReadConcern::snapshot()).write_concern(durable()).await?;
    Ok(session)
}

/// Takes the units from the stock and inserts the purchases. None when the product is not as the settlement knew it.
async fn prepare(
    store: &Store,
    session: &mut ClientSession,
    change: &mut Change,
) -> Result<Option<SaleState>, DatabaseError> {
    let count = i64::try_from(change.purchases.len()).unwrap_or(i64::MAX);
    let state = store
        .products
        .clone_with_type::<SaleState>()
        .find_one_and_update(
            as_settled(change),
            doc! {
                "$inc": { "stock": -change.units, "sold": change.units, "purchaseCount": count, "version": 1_i64 },
                "$currentDate": { "updatedAt": true },
                "$unset": { "turn": "" },
            },
        )
        .projection(SaleState::projection())
        .return_document(ReturnDocument::After)
        .session(&mut *session)
        .await?;
    // `$currentDate` is when the update was applied, `$$NOW` when it was sent: in between, the sale may have ended.
    let Some(state) = state.filter(|state| state.window(state.updated_at) == Window::Open) else {
        return Ok(None);
    };
    let purchased_at = state.updated_at.max(change.not_before);
    for purchase in &mut change.purchases {
        purchase.purchased_at = purchased_at;
    }
    store.purchases.insert_many(&change.purchases).session(&mut *session).await?;
    Ok(Some(state))
}

/// The product as the settlement knew it, with the sale open by the database's clock, and with no other server's turn.
/// The version alone implies the stock; it is asked for all the same, so that no mistake in here can oversell.
fn as_settled(change: &Change) -> Document {
    doc! {
        "_id": change.product_id,
        "version": change.version,
        "stock": { "$gte": change.units },
        "$expr": { "$and": [
            { "$lte": ["$saleStartTime", "$$NOW"] },
            { "$gt": ["$saleEndTime", "$$NOW"] },
            { "$or": [{ "$lte": ["$turn.until", "$$NOW"] }, { "$eq": ["$turn.server", change.server] }] },
        ] },
    }
}

/// Takes the next turn at a product, for a server that keeps losing.
///
/// Inside a transaction the second writer fails at once, so a server with an endless queue can win again and again: it
/// begins its next transaction before the other has read what the last one changed. This write is outside of one, so
/// it waits for its chance within the database, where there is always one between two transactions. From then on the
/// others find that it is not their turn, until the holder has committed or the turn runs out.
///
/// # Errors
/// Those of a write.
pub async fn take_turn(store: &Store, product_id: Id, server: Id) -> Result<()> {
    let free = doc! {
        "_id": product_id,
        "$expr": { "$lte": ["$turn.until", "$$NOW"] },
    };
    let until = doc! { "$add": ["$$NOW", TURN_MS_MAX] };
    let turn = vec![doc! { "$set": { "turn": { "server": server, "until": until } } }];
    let products = store.products.clone();
    let taken = async move {
        products.update_one(free, turn).await.map(drop).map_err(|error| failure::of_write(&error))
    };
    store.write(taken).await
}

/// Sends the commit, again and again while its outcome is unknown.
async fn finish(
    mut session: ClientSession,
    state: SaleState,
    purchases: Vec<Purchase>,
    deadline: Instant,
) -> CommitOutcome {
    loop {
        let Err(error) = session.commit_transaction().await else {
            return CommitOutcome::Committed { state, purchases };
        };
        if failure::is_transient(&error) {
            return CommitOutcome::Transient(error);
        }
        tracing::warn!("a commit got no clear answer: {error}");
        let retry_at = Instant::now() + Duration::from_millis(COMMIT_RETRY_MS);
        if !failure::is_unknown_commit(&error) || retry_at >= deadline {
            return CommitOutcome::Unknown;
        }
        tokio::time::sleep_until(retry_at).await;
    }
}

/// Settles what became of purchases whose commit got no answer: tells how many of them are there, for good.
///
/// # Errors
/// The driver's, as long as the database does not answer.
pub async fn settle_unknown(store: &Store, product_id: Id, purchases: &[Id]) -> Result<u64, DatabaseError> {
    pass_barrier(store, product_id).await?;
    store.purchases.count_documents(doc! { "_id": { "$in": purchases } }).await
}

/// Waits until every transaction that has changed the product is over, wherever it comes from: what is read afterwards
/// knows its outcome. It is a write to the same document, so it waits for them; and once it is durable on a majority, so
/// is everything that came before it.
///
/// # Errors
/// The driver's.
pub async fn pass_barrier(store: &Store, product_id: Id) -> Result<(), DatabaseError> {
    // A new value each time: an update that changes nothing takes no lock.
    let barrier = doc! { "$set": { "barrier": Id::new() } };
    store.products.update_one(doc! { "_id": product_id }, barrier).await.map(drop)
}
