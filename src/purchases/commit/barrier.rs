//! Writes to a product outside of the transactions that sell it: they wait until those are over, where a second
//! transaction would fail at once.

use std::time::Duration;

use mongodb::bson::{Document, doc};

use crate::error::{Error, Result};
use crate::model::id::Id;
use crate::store::{Store, failure};

/// How long the database waits for the transactions that a barrier is to outlive, and for its majority, in milliseconds.
const BARRIER_WAIT_MS_MAX: u64 = 2_000;

/// Settles what became of purchases whose commit got no answer: tells how many of them are there, for good; none as long
/// as that transaction, or another one, still holds the product.
///
/// # Errors
/// Those of a read.
pub async fn settle_unknown(store: &Store, product_id: Id, purchases: &[Id]) -> Result<Option<u64>> {
    if !pass_barrier(store, product_id).await? {
        return Ok(None);
    }
    let made = store.purchases.count_documents(doc! { "_id": { "$in": purchases } });
    store.read_sale(async { made.await.map(Some) }).await
}

/// Waits until every transaction that has changed the product is over, wherever it comes from: what is read afterwards
/// knows its outcome. It is a write to the same document, so it waits for them; and once it is durable on a majority, so
/// is everything that came before it. False when one of them is not over after some time.
///
/// # Errors
/// Those of a read.
pub async fn pass_barrier(store: &Store, product_id: Id) -> Result<bool> {
    // A new value each time: an update that changes nothing takes no lock.
    let barrier = doc! { "$set": { "barrier": Id::new() } };
    let products = store.products.clone_with_type::<Document>();
    let write = async move {
        let pass = products.find_one_and_update(doc! { "_id": product_id }, barrier);
        let pass = pass.projection(doc! { "_id": 1 }).max_time(Duration::from_millis(BARRIER_WAIT_MS_MAX));
        match pass.await {
            Ok(_) => Ok(true),
            Err(error) if failure::is_too_slow(&error) => Ok(false),
            // Whatever became of it: nobody sees it, and it will be tried again.
            Err(error) => Err(failure::of_read(&error)),
        }
    };
    match store.write_sale(write).await {
        Err(Error::OutcomeUnknown { .. }) => Ok(false),
        result => result,
    }
}
