//! Writes to a product outside the transactions that sell it. Such a write waits until those are over, where a second
//! transaction would fail at once.

use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};

use crate::error::{Error, Result};
use crate::model::id::Id;
use crate::store::{Store, failure};

/// How long the database may wait for the transactions before a barrier, and for its majority, in milliseconds.
const BARRIER_WAIT_MS_MAX: u64 = 2_000;

/// Finds out how many of the purchases whose commit got no answer exist, or are changed by it, which would have made
/// `version` of the product; the count is final. `None` while that
/// transaction, or another one, still holds the product.
///
/// # Errors
/// Those of [`pass_barrier`] and [`Store::read`].
pub async fn settle_unknown(
    store: &Store,
    product_id: Id,
    purchases: &[Id],
    version: i64,
) -> Result<Option<u64>> {
    if !pass_barrier(store, product_id).await? {
        return Ok(None);
    }
    let made = store.purchases.count_documents(doc! {
        "_id": { "$in": purchases }, "changedInVersion": { "$in": [Bson::Null, Bson::Int64(version)] },
    });
    store.read_sale_confirmed(|mut session| async move { made.session(&mut session).await.map(Some) }).await
}

/// Waits until every transaction that has changed the product is over, on any server: reads after that see its
/// outcome. The barrier is a write to the same document, so it waits for those transactions; once it is durable on a
/// majority, so is everything before it. False when a transaction is not over within `BARRIER_WAIT_MS_MAX`.
///
/// # Errors
/// Those of [`Store::read`].
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
            // Reported like a failed read: nobody sees whether the barrier was written, and it will be tried again.
            Err(error) => Err(failure::of_read(&error)),
        }
    };
    match store.write_sale(write).await {
        Err(Error::OutcomeUnknown { .. }) => Ok(false),
        result => result,
    }
}
