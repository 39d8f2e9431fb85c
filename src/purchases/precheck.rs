//! Refuses from memory, before the lanes, what cannot be bought, so that a crowd that comes too early or too late
//! costs next to nothing.
//!
//! The precheck never admits a purchase: only the commit does. It may refuse wrongly for the few milliseconds until
//! the change stream reports another server's restock or new sale times; and only under a crowd, since the first
//! refusals, and a few each second, go to the lane all the same (`Entry::refusals`), which asks the database.
//!
//! A request with a key always goes to the lane: it may repeat a purchase that was made.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::id::Id;
use crate::model::timestamp::Timestamp;
use crate::products::catalogue::Catalogue;

/// Earlier than this before its start, in milliseconds, a sale is refused from memory; later, the lane decides by the
/// database's clock.
const START_MARGIN_MS: i64 = 1_000;

/// Refuses a purchase that memory knows to be impossible at `now`, a time that the database's clock has passed. The
/// order of the refusals is that of `settle`.
///
/// # Errors
/// `sale_paused`, `sale_not_started`, `sale_ended`, `account_too_new`, `sold_out`.
pub fn check(
    catalogue: &Arc<Catalogue>,
    product_id: Id,
    registered_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<()> {
    let entry = catalogue.cache().find(product_id);
    let Some(entry) = entry.filter(|entry| entry.is_read()) else {
        catalogue.refresh(product_id);
        return Ok(());
    };
    // `None` while a newer version is known to exist but has not arrived here.
    let Some(product) = entry.current() else { return Ok(()) };
    let start = Timestamp::from(product.sale_start_time);
    let end = Timestamp::from(product.sale_end_time);
    let registered_before = product.registered_before.map(Timestamp::from);
    let refusal = if product.paused {
        Error::SalePaused
    } else if now.milliseconds() + START_MARGIN_MS < start.milliseconds() {
        Error::SaleNotStarted { sale_start_time: start, retry_after_seconds: now.seconds_until(start) }
    } else if now >= end {
        Error::SaleEnded { sale_end_time: end }
    } else if let (Some(at), Some(registered_before)) = (registered_at, registered_before)
        && at > registered_before
        && now >= start
    {
        Error::AccountTooNew { registered_before }
    } else if product.stock == 0 && now >= start {
        Error::SoldOut
    } else {
        return Ok(());
    };
    if entry.refusals.take() { Ok(()) } else { Err(refusal) }
}
