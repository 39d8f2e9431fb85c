//! Buying, as the API offers it: refuses what need not reach a lane, and blames the database when it is at fault.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::admission;
use super::history::{self, PurchaseCursor, Selection};
use super::lane::queued::Receipt;
use super::lanes::Lanes;
use super::precheck;
use super::settle::Request;
use crate::accounts::current_user::CurrentUser;
use crate::config::PurchasesLimits;
use crate::error::{Error, Result};
use crate::http::page::{Page, PageRequest};
use crate::metrics::Metrics;
use crate::model::id::Id;
use crate::model::purchase::Purchase;
use crate::model::user::Role;
use crate::products::catalogue::Catalogue;
use crate::products::change_stream::Feed;
use crate::store::Store;
use crate::store::heartbeat::Heartbeat;

pub struct Purchases {
    lanes: Lanes,
    store: Store,
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
        let lanes = Lanes::new(store.clone(), limits, catalogue.clone(), metrics);
        Self { lanes, store, catalogue, heartbeat, feed }
    }

    /// Admits one more request, before its token and body are looked at.
    ///
    /// # Errors
    /// `overloaded`, or `database_unavailable` if the database is the reason for the crowd.
    pub fn admit(&self) -> Result<OwnedSemaphorePermit> {
        self.lanes.admit().ok_or_else(|| self.cause_of(admission::FULL))
    }

    /// Buys. Dropping this future gives the purchase up if no lane has taken it
    /// yet; once a lane has taken it, it is made or refused all the same.
    ///
    /// # Errors
    /// The errors that the contract lists for `POST /products/purchase`.
    pub async fn purchase(
        &self,
        product_id: Id,
        quantity: i64,
        key: Option<Arc<str>>,
        user: CurrentUser,
    ) -> Result<Receipt> {
        self.heartbeat.check()?;
        let now = self.heartbeat.database_time();
        if key.is_none() && self.feed.is_synced() {
            precheck::check(&self.catalogue, product_id, now)?;
        }
        if key.is_some() && self.heartbeat.may_read_late() {
            // It may have waited on its connection while this process was stopped, and been refused elsewhere since.
            return Err(Error::DatabaseUnavailable);
        }
        // A reopening that memory knows happened before this request.
        let reopened_at = self.catalogue.cache().current(product_id).and_then(|product| product.reopened_at);
        let arrived_at = reopened_at.map_or(now.into(), |reopened_at| reopened_at.max(now.into()));
        let request = Request { user: user.id, quantity, key, arrived_at, key_used_elsewhere: false };
        let receipt = self.lanes.purchase(product_id, request, user.name).await;
        receipt.map_err(|error| self.cause_of(error))
    }

    /// A page of the purchases that `user` may see, newest first.
    ///
    /// # Errors
    /// Those of `Store::read`.
    pub async fn list(
        &self,
        user: &CurrentUser,
        page: &PageRequest<PurchaseCursor>,
    ) -> Result<Page<Purchase>> {
        history::newest(&self.store, Selection::visible_to(user), page).await
    }

    /// The purchase with this id, if `user` may see it.
    ///
    /// # Errors
    /// `purchase_not_found`; `outcome_unknown` while it is not known whether it was made; those of `Store::read`.
    pub async fn find(&self, id: Id, user: &CurrentUser) -> Result<Purchase> {
        // Asked first: what is decided in between is found.
        let buyer = self.lanes.buyer_in_doubt(id);
        let in_doubt = buyer.is_some_and(|buyer| user.role == Role::Admin || buyer == user.id);
        match history::find(&self.store, id, user).await {
            Err(Error::PurchaseNotFound) if in_doubt => Err(Error::OutcomeUnknown { purchase_id: Some(id) }),
            result => result,
        }
    }

    /// If the heartbeat is late the database is at fault: answer `database_unavailable`, not `overloaded`.
    fn cause_of(&self, error: Error) -> Error {
        match error {
            Error::Overloaded { .. } if self.heartbeat.is_late() => Error::DatabaseUnavailable,
            error => error,
        }
    }

    /// Tells the metrics how many purchases are under way and in doubt.
    pub fn measure(&self) {
        self.lanes.measure();
    }

    /// Stops taking purchases and waits until all lanes have served theirs.
    pub async fn close(&self) {
        self.lanes.close().await;
    }
}
