//! Writes to a product outside of the transactions that sell it: they wait until those are over, where a second
//! transaction would fail at once.

use mongodb::bson::doc;
use mongodb::error::Error as DatabaseError;

use crate::error::Result;
use crate::id::Id;
use crate::store::{Store, failure};

/// How long a turn lasts, in milliseconds: some batches of the fastest server, and no long wait if its holder has died.
const TURN_MS_MAX: i64 = 100;

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
