//! Lets purchases expire that were not paid for in time. Each server looks for them, oldest first, by the database's
//! clock, and hands them to the lanes of their products, where they are decided like everything else.
//!
//! A lease keeps the servers from doing the same work. Nothing depends on it: the product's version decides, so a purchase
//! expires once however many servers try. Nobody takes the lease while nothing is due.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::{Hint, ReturnDocument};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::lanes::{Lanes, PurchaseWish};
use super::settle::transitions::Wish;
use crate::config::PurchasesLimits;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::model::audit::Asked;
use crate::model::id::Id;
use crate::model::purchase::PurchaseStatus;
use crate::store::heartbeat::Heartbeat;
use crate::store::{Store, collect, failure, schema};

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
        loop {
            match self.step().await {
                // There may be more.
                Ok(expired) if expired == self.expiries_max => {}
                Ok(_) => tokio::time::sleep(self.interval).await,
                Err(error) => {
                    tracing::warn!("cannot look for purchases that expire: {}", error.code().title());
                    tokio::time::sleep(self.interval).await;
                }
            }
        }
    }

    /// Lets the oldest of those expire that are due. Returns how many did.
    async fn step(&self) -> Result<usize> {
        let due = self.due().await?;
        if due.is_empty() || !self.take_lease().await? {
            return Ok(0);
        }
        let mut expiring: FuturesUnordered<_> = due.into_iter().map(|due| self.expire(due)).collect();
        let mut expired = 0;
        while let Some(has_expired) = expiring.next().await {
            expired += usize::from(has_expired);
        }
        Ok(expired)
    }

    /// Those that are due by the estimate of the database's clock, which is never ahead of it.
    async fn due(&self) -> Result<Vec<Due>> {
        let now = DateTime::from(self.heartbeat.database_time());
        let pending = doc! { "status": PurchaseStatus::Pending.name(), "expiresAt": { "$lte": now } };
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

    /// Whether it has expired. If it was paid for at the last moment, or the lane is too busy, that is known the next time.
    async fn expire(&self, due: Due) -> bool {
        let change = PurchaseWish {
            purchase_id: due.id,
            wish: Wish::Expire,
            user: None,
            by: Asked::default(),
            reason: None,
        };
        self.lanes.change_unbounded(due.product_id, change).await.is_ok()
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
