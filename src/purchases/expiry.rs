//! Lets purchases expire that were not paid for in time. Each server looks for them, oldest first, by the database's
//! clock, and hands them to the lanes of their products, where they are decided like everything else.
//!
//! A lease keeps the servers from doing the same work. Nothing depends on it: the product's version decides, so a purchase
//! expires once however many servers try. Nobody takes the lease while nothing is due.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::{Hint, ReturnDocument};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::lane::queued::Receipt;
use super::lanes::{Lanes, PurchaseWish};
use super::settle::transitions::Wish;
use crate::config::PurchasesLimits;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::model::audit::Asked;
use crate::model::id::Id;
use crate::model::purchase::PurchaseStatus;
use crate::store::heartbeat::Heartbeat;
use crate::store::{Store, collect, failure, schema};

/// Purchases that cannot expire and are passed over in one round; with more, the round ends.
const STUCK_MAX: usize = 10_000;
/// The lease's document.
const LEASE: &str = "expiry";

pub struct ExpiryTask {
    store: Store,
    lanes: Arc<Lanes>,
    heartbeat: Heartbeat,
    metrics: Arc<Metrics>,
    interval: Duration,
    expiries_max: usize,
    lease_ms: i64,
}

/// A purchase whose time is over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Due {
    #[serde(rename = "_id")]
    id: Id,
    product_id: Id,
    expires_at: DateTime,
}

impl ExpiryTask {
    pub fn new(
        store: Store,
        lanes: Arc<Lanes>,
        heartbeat: Heartbeat,
        metrics: Arc<Metrics>,
        limits: &PurchasesLimits,
    ) -> Self {
        Self {
            store,
            lanes,
            heartbeat,
            metrics,
            interval: Duration::from_millis(limits.expiry_interval_ms),
            expiries_max: limits.expiries_max,
            lease_ms: i64::try_from(limits.expiry_lease_ms).unwrap_or(i64::MAX),
        }
    }

    /// Runs until `shutdown`. Its writes run in tasks of their own, so it may be dropped at any moment.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.expire_for_ever()).await;
    }

    async fn expire_for_ever(&self) {
        let mut stuck = HashSet::new();
        loop {
            match self.step(&mut stuck).await {
                // There may be more.
                Ok(decided) if decided == self.expiries_max && stuck.len() <= STUCK_MAX => continue,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!("cannot look for purchases that expire: {}", error.code().title());
                }
            }
            if !stuck.is_empty() {
                let count = stuck.len();
                tracing::error!(
                    "{count} purchases that are due cannot expire; `flash-sale verify` says what is wrong"
                );
                stuck.clear();
            }
            tokio::time::sleep(self.interval).await;
        }
    }

    /// Lets the oldest of those expire that are due, but for those that are `stuck`: no other waits behind them. Returns how
    /// many are decided, one way or the other.
    async fn step(&self, stuck: &mut HashSet<Id>) -> Result<usize> {
        let due = self.due(stuck).await?;
        if due.is_empty() || !self.take_lease().await? {
            return Ok(0);
        }
        let mut expiring: FuturesUnordered<_> = due.into_iter().map(|due| self.expire(due)).collect();
        let mut decided = 0;
        while let Some((id, result)) = expiring.next().await {
            match result {
                Ok(_) => decided += 1,
                // A script has left a purchase that does not fit its product, or none.
                Err(Error::PurchaseNotFound | Error::Internal) => {
                    stuck.insert(id);
                    decided += 1;
                }
                // It was paid for at the last moment, or its lane is too busy: that is known the next time.
                Err(_) => {}
            }
        }
        Ok(decided)
    }

    /// Those that are due by the estimate of the database's clock, which is never ahead of it.
    async fn due(&self, stuck: &HashSet<Id>) -> Result<Vec<Due>> {
        let now = DateTime::from(self.heartbeat.database_time());
        let mut pending = doc! { "status": PurchaseStatus::Pending.name(), "expiresAt": { "$lte": now } };
        if !stuck.is_empty() {
            pending.insert("_id", doc! { "$nin": stuck.iter().copied().collect::<Vec<_>>() });
        }
        let limit = i64::try_from(self.expiries_max).unwrap_or(i64::MAX);
        let purchases = self.store.purchases.clone_with_type::<Due>();
        let find = purchases.find(pending);
        let find = find.hint(Hint::Keys(doc! { "expiresAt": 1 })).sort(doc! { "expiresAt": 1 }).limit(limit);
        let find = find.projection(doc! { "productId": 1, "expiresAt": 1 }).max_time(self.store.read_max());
        let due: Vec<Due> = self.store.read_sale(|session| collect(find, session)).await?;
        let since = |due: &Due| now.saturating_duration_since(due.expires_at).as_secs_f64();
        self.metrics.payments.expiry_lag.set(due.first().map_or(0.0, since));
        Ok(due)
    }

    async fn expire(&self, due: Due) -> (Id, Result<Receipt>) {
        let change = PurchaseWish {
            purchase_id: due.id,
            wish: Wish::Expire,
            user: None,
            by: Asked::default(),
            reason: None,
        };
        (due.id, self.lanes.change_unbounded(due.product_id, change).await)
    }

    /// Takes or keeps the lease, unless another server has it.
    async fn take_lease(&self) -> Result<bool> {
        let leases = self.store.database.collection::<Document>(schema::LEASES);
        let (server, lease_ms) = (self.store.server, self.lease_ms);
        self.store
            .write_sale(async move {
                // All in the update: an upsert allows no `$expr` in its query.
                let until = doc! { "$ifNull": ["$until", DateTime::MIN] };
                let is_free = doc! { "$or": [{ "$eq": ["$server", server] }, { "$lte": [until, "$$NOW"] }] };
                let next = doc! { "$add": ["$$NOW", lease_ms] };
                let take = doc! { "$set": {
                    "server": { "$cond": [is_free.clone(), server, "$server"] },
                    "until": { "$cond": [is_free, next, "$until"] },
                } };
                let take = leases
                    .find_one_and_update(doc! { "_id": LEASE }, vec![take])
                    .upsert(true)
                    .return_document(ReturnDocument::After);
                match take.await {
                    Ok(lease) => {
                        Ok(lease.is_some_and(|lease| lease.get_object_id("server").ok() == Some(server)))
                    }
                    // Another server was faster to make the first one.
                    Err(error) if failure::is_duplicate_key(&error) => Ok(false),
                    Err(error) => Err(failure::of_read(&error)),
                }
            })
            .await
    }
}
