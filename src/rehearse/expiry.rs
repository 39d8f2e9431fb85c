//! The end of a rehearsal whose purchases have to be paid for: what is held, and whether it has expired in time.

use std::time::Duration;

use mongodb::bson::{DateTime, Document, doc};

use super::RehearsalError;
use super::stage::Stage;
use crate::store::schema::PURCHASES;

/// The longest that an expiry may take after its moment, in milliseconds: the contract's promise.
const LATE_MS_MAX: i64 = 5_000;
/// How often to look, in milliseconds.
const INTERVAL_MS: u64 = 200;

/// Waits until nothing of the rehearsal is held, or should not be any more.
///
/// # Errors
/// The database does not answer.
pub async fn wait(stage: &Stage) -> Result<(), RehearsalError> {
    let held = doc! { "productId": { "$in": stage.products() }, "status": "pending" };
    let purchases = stage.database().collection::<Document>(PURCHASES);
    loop {
        let last = purchases.find_one(held.clone()).sort(doc! { "expiresAt": -1 }).await;
        let last =
            last.map_err(|error| RehearsalError::not_held("the outcome cannot be read back", error))?;
        let Some(last) = last else { return Ok(()) };
        let expires_at = last.get_datetime("expiresAt").copied().unwrap_or(DateTime::MIN);
        if is_overdue(expires_at, now(stage).await?) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(INTERVAL_MS)).await;
    }
}

/// Whether a purchase with this end of its window must not be pending at `now`.
pub fn is_overdue(expires_at: DateTime, now: DateTime) -> bool {
    now.timestamp_millis() > expires_at.timestamp_millis().saturating_add(LATE_MS_MAX)
}

/// The database's clock.
///
/// # Errors
/// The database does not answer.
pub async fn now(stage: &Stage) -> Result<DateTime, RehearsalError> {
    let hello = stage.database().run_command(doc! { "hello": 1 }).await;
    let hello =
        hello.map_err(|error| RehearsalError::not_held("the database's clock cannot be read", error))?;
    hello
        .get_datetime("localTime")
        .copied()
        .map_err(|error| RehearsalError::not_held("the database's clock cannot be read", error))
}
