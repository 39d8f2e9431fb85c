//! Buying, as the API offers it: refuses what need not reach a lane, and blames the database when it is at fault.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::admission;
use super::lane::queued::Receipt;
use super::lanes::Lanes;
use super::precheck;
use super::settle::Request;
use crate::config::PurchasesLimits;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::model::id::Id;
use crate::products::catalogue::Catalogue;
use crate::products::change_stream::Feed;
use crate::store::Store;
use crate::store::heartbeat::Heartbeat;

pub struct Purchases {
    lanes: Lanes,
    catalogue: Arc<Catalogue>,
    heartbeat: Heartbeat,
    feed: Feed,
}

impl Purchases {
    pub fn new(
        store: Store,
        catalogue: Arc<Catalogue>,
        heartbeat: Heartbeat,
        feed: Feed,
        metrics: Arc<Metrics>,
        limits: &PurchasesLimits,
    ) -> Self {
        let lanes = Lanes::new(store, limits, catalogue.clone(), metrics);
        Self { lanes, catalogue, heartbeat, feed }
    }

    /// Admits one more request, before its token and body are looked at.
    ///
    /// # Errors
    /// `overloaded`, or `database_unavailable` if the database is the reason for the crowd.
    pub fn admit(&self) -> Result<OwnedSemaphorePermit> {
        self.lanes.admit().ok_or_else(|| self.cause_of(admission::FULL))
    }

    /// Buys. `name` is the buyer's display name. Dropping this future gives the purchase up if no lane has taken it
    /// yet; once a lane has taken it, it is made or refused all the same.
    ///
    /// # Errors
    /// The errors that the contract lists for `POST /products/purchase`.
    pub async fn purchase(&self, product_id: Id, request: Request, name: String) -> Result<Receipt> {
        self.heartbeat.check()?;
        if request.key.is_none() && self.feed.is_synced() {
            precheck::check(&self.catalogue, product_id, self.heartbeat.database_time())?;
        }
        let receipt = self.lanes.purchase(product_id, request, name).await;
        receipt.map_err(|error| self.cause_of(error))
    }

    /// If the heartbeat is late the database is at fault: answer `database_unavailable`, not `overloaded`.
    fn cause_of(&self, error: Error) -> Error {
        match error {
            Error::Overloaded { .. } if self.heartbeat.is_late() => Error::DatabaseUnavailable,
            error => error,
        }
    }

    /// Stops taking purchases and waits until all lanes have served theirs.
    pub async fn close(&self) {
        self.lanes.close().await;
    }
}
