//! Removes the network from purchases that are older than the shop wants to know it (`NETWORK_DAYS`).
//!
//! It walks through the purchases in the order of an index that is there anyway, in small batches with pauses, and notes in
//! the database how far it has come. Several servers may do so at once: each removal can be repeated.

use std::time::Duration;

use mongodb::bson::{DateTime, Document, RawDocumentBuf, doc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::history::{PurchaseCursor, by_moment, past};
use crate::config::RecordsLimits;
use crate::error::Result;
use crate::store::heartbeat::Heartbeat;
use crate::store::{BATCH_ITEMS, Store, collect, failure, schema};

/// The document that says how far all servers together have come.
const PROGRESS: &str = "networks_removed";
/// A purchase is dated a little before it is committed.
const COMMIT_MS_MAX: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// The task of one server.
pub struct NetworkRemoval {
    store: Store,
    heartbeat: Heartbeat,
    limits: RecordsLimits,
}

impl NetworkRemoval {
    pub fn new(store: Store, heartbeat: Heartbeat, limits: &RecordsLimits) -> Self {
        Self { store, heartbeat, limits: *limits }
    }

    /// Looks for what has become too old, again and again until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        // What is dropped at shutdown only waits: each write has a task of its own.
        shutdown.run_until_cancelled(self.remove_for_ever()).await;
    }

    async fn remove_for_ever(&self) {
        loop {
            if let Err(error) = self.remove().await {
                let cause = error.code().title();
                tracing::warn!("networks of old purchases are removed later: {cause}");
            }
            sleep(Duration::from_secs(self.limits.network_removal_interval_seconds)).await;
        }
    }

    /// Removes what is too old now.
    async fn remove(&self) -> Result<()> {
        let age_ms = i64::from(self.limits.network_days) * DAY_MS + COMMIT_MS_MAX;
        let end = DateTime::from_millis(self.heartbeat.database_time().milliseconds() - age_ms);
        let mut place = None;
        let mut begin = self.progress().await?;
        while begin < end {
            let batch = self.read(begin, end, place.as_ref()).await?;
            let with_network = |purchase: &&RawDocumentBuf| purchase.get("network").ok().flatten().is_some();
            let ids: Vec<_> = batch
                .iter()
                .filter(with_network)
                .filter_map(|purchase| purchase.get_object_id("_id").ok())
                .collect();
            if !ids.is_empty() {
                self.forget(ids).await?;
            }
            match batch.last() {
                Some(last) if batch.len() == self.limits.network_removal_batch_purchases => {
                    begin = last.get_datetime("purchasedAt").unwrap_or(end);
                    place = Some(PurchaseCursor::of(last, 0, None));
                }
                _ => begin = end,
            }
            self.note(begin).await?;
            sleep(Duration::from_millis(self.limits.network_removal_pause_ms)).await;
        }
        Ok(())
    }

    async fn read(
        &self,
        begin: DateTime,
        end: DateTime,
        place: Option<&PurchaseCursor>,
    ) -> Result<Vec<RawDocumentBuf>> {
        let mut query = doc! { "purchasedAt": { "$gte": begin, "$lt": end } };
        if let Some(place) = place {
            query.extend(past(place, "$gt"));
        }
        let purchases = self.store.purchases.clone_with_type::<RawDocumentBuf>();
        let limit = i64::try_from(self.limits.network_removal_batch_purchases).unwrap_or(i64::MAX);
        let find = purchases
            .find(query)
            .projection(doc! { "purchasedAt": 1, "productId": 1, "sequence": 1, "network": 1 })
            .sort(by_moment(1))
            .limit(limit)
            .batch_size(BATCH_ITEMS)
            .max_time(self.store.read_max());
        self.store.read_history(|session| collect(find, session)).await
    }

    async fn forget(&self, ids: Vec<mongodb::bson::oid::ObjectId>) -> Result<()> {
        let store = self.store.clone();
        let removal = async move {
            let unset = doc! { "$unset": { "network": "" } };
            let removed = store.purchases.update_many(doc! { "_id": { "$in": ids } }, unset).await;
            removed.map(drop).map_err(|error| failure::of_write(&error))
        };
        self.store.write(removal).await
    }

    /// The moment before which no purchase has its network any more.
    async fn progress(&self) -> Result<DateTime> {
        let progress = self.store.database.collection::<Document>(schema::PROGRESS);
        let find = progress.find_one(doc! { "_id": PROGRESS });
        let found = self.store.read(|mut session| async move { find.session(&mut session).await }).await?;
        let until = found.and_then(|progress| progress.get_datetime("until").ok().copied());
        Ok(until.unwrap_or(DateTime::MIN))
    }

    async fn note(&self, until: DateTime) -> Result<()> {
        let progress = self.store.database.collection::<Document>(schema::PROGRESS);
        let note = async move {
            let later = doc! { "$max": { "until": until } };
            let noted = progress.update_one(doc! { "_id": PROGRESS }, later).upsert(true).await;
            noted.map(drop).map_err(|error| failure::of_write(&error))
        };
        self.store.write(note).await
    }
}
