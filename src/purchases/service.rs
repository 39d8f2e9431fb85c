//! Buying, as the API offers it: refuses what need not reach a lane, and blames the database when it is at fault.

use std::sync::Arc;

use mongodb::bson::DateTime;
use tokio::sync::OwnedSemaphorePermit;

use super::admission;
use super::expiry::ExpiryTask;
use super::history::{self, Order, OwnUnits, PurchaseCursor};
use super::lane::queued::Receipt;
use super::lanes::{Lanes, PurchaseWish};
use super::listing::{self, PurchaseFilter};
use super::precheck;
use super::settle::Request;
use super::settle::transitions::Wish;
use super::view::{self, PurchaseView};
use crate::accounts::current_user::CurrentUser;
use crate::config::PurchasesLimits;
use crate::error::{Error, Result};
use crate::http::page::{Page, PageRequest};
use crate::metrics::Metrics;
use crate::model::audit::Asked;
use crate::model::id::Id;
use crate::model::money::Price;
use crate::model::name::NameRules;
use crate::model::network::Network;
use crate::model::product::Product;
use crate::model::purchase::Purchase;
use crate::model::user::Role;
use crate::products::catalogue::Catalogue;
use crate::products::change_stream::Feed;
use crate::store::Store;
use crate::store::heartbeat::Heartbeat;

pub struct Purchases {
    lanes: Arc<Lanes>,
    store: Store,
    catalogue: Arc<Catalogue>,
    heartbeat: Heartbeat,
    feed: Feed,
    names: Arc<NameRules>,
    keeps_networks: bool,
}

impl Purchases {
    pub fn new(
        lanes: Lanes,
        store: Store,
        catalogue: Arc<Catalogue>,
        heartbeat: Heartbeat,
        feed: Feed,
        names: Arc<NameRules>,
        keeps_networks: bool,
    ) -> Self {
        Self { lanes: Arc::new(lanes), store, catalogue, heartbeat, feed, names, keeps_networks }
    }

    /// Refuses a request that would wait too long, before its token and body are looked at.
    ///
    /// # Errors
    /// `overloaded`, or `database_unavailable` if the database is the reason for the crowd.
    pub fn check_room(&self) -> Result<()> {
        match self.lanes.refuses_early() {
            true => Err(self.cause_of(admission::FULL)),
            false => Ok(()),
        }
    }

    /// Admits one more request, whose body is there: a client that sends slowly holds no place meanwhile.
    ///
    /// # Errors
    /// Those of `check_room`.
    pub fn admit(&self) -> Result<OwnedSemaphorePermit> {
        self.lanes.admit().ok_or_else(|| self.cause_of(admission::FULL))
    }

    /// Whether this server knows, without asking, that the user has bought something with this key.
    pub fn remembers_key(&self, user: Id, key: &str) -> bool {
        self.lanes.used_keys().is_used(user, key)
    }

    /// Whether the user has bought something with this key, by the database.
    ///
    /// # Errors
    /// Those of `Store::read`.
    pub async fn finds_key(&self, user: Id, key: &str) -> Result<bool> {
        let product = history::product_of_key(&self.store, user, key).await?;
        if let Some(product) = product {
            self.lanes.used_keys().record(user, key, product);
        }
        Ok(product.is_some())
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
        expected_price: Option<Price>,
        key: Option<Arc<str>>,
        user: CurrentUser,
        network: Network,
    ) -> Result<Receipt> {
        self.heartbeat.check()?;
        let now = self.heartbeat.database_time();
        if key.is_none() && self.feed.is_synced() {
            precheck::check(&self.catalogue, product_id, user.registered_at, now)?;
        }
        if key.is_some() && self.heartbeat.may_read_late() {
            // It may have waited on its connection while this process was stopped, and been refused elsewhere since.
            return Err(Error::DatabaseUnavailable);
        }
        // A reopening that memory knows happened before this request; so did the last change of a purchase of this product.
        let known = self.catalogue.cache().current(product_id);
        let changed_at = |product: &Product| product.purchases_changed_version.map(|_| product.updated_at);
        let reopened_at = known.and_then(|product| product.reopened_at.max(changed_at(&product)));
        let arrived_at = reopened_at.map_or(now.into(), |reopened_at| reopened_at.max(now.into()));
        let request = Request {
            user: user.id,
            quantity,
            expected_price,
            registered_at: user.registered_at.map(DateTime::from),
            key,
            arrived_at,
            key_used_elsewhere: false,
        };
        let buyer = self.names.public(&user.name);
        let network = self.keeps_networks.then_some(network);
        let receipt = self.lanes.purchase(product_id, request, user, buyer, network).await;
        receipt.map_err(|error| self.cause_of(error))
    }

    /// A page of the purchases that match.
    ///
    /// # Errors
    /// Those of `Store::read`.
    pub async fn list(
        &self,
        filter: &PurchaseFilter,
        order: Order,
        page: &PageRequest<PurchaseCursor>,
    ) -> Result<Page<PurchaseView>> {
        let page = listing::page(&self.store, filter, order, page).await?;
        view::named(&self.catalogue, page).await
    }

    /// A purchase that was just made, as its buyer sees it. The purchase stands whatever happens here, so a name that
    /// cannot be read stays empty.
    pub async fn view(&self, purchase: &Purchase) -> PurchaseView {
        let id = purchase.product_id;
        let name = match self.catalogue.cache().find(id).and_then(|entry| entry.name()) {
            Some(name) => Some(name),
            // Boxed, or every purchase would carry the room for this question.
            None => {
                Box::pin(self.catalogue.names(vec![id])).await.ok().and_then(|mut names| names.remove(&id))
            }
        };
        PurchaseView::of(purchase, name.unwrap_or_default())
    }

    /// What `user` has of this product.
    ///
    /// # Errors
    /// Those of `Store::read`.
    pub async fn yours(&self, product: Id, user: Id) -> Result<OwnUnits> {
        history::own_units(&self.store, product, user).await
    }

    /// The purchase with this id, if `user` may see it.
    ///
    /// # Errors
    /// `purchase_not_found`; `outcome_unknown` while it is not known whether it was made; those of `Store::read`.
    pub async fn find(&self, id: Id, user: &CurrentUser) -> Result<PurchaseView> {
        let purchase = self.read(id, user).await?;
        let mut names = self.catalogue.names(vec![purchase.product_id]).await?;
        Ok(PurchaseView::of(&purchase, names.remove(&purchase.product_id).unwrap_or_default()))
    }

    /// Changes a purchase that `user` may see: it is paid for, given up, or refunded. Asking again makes no difference; with
    /// the key of an earlier change the purchase is as it is now, and `true` says so.
    ///
    /// # Errors
    /// The errors that the contract lists for the three routes that change a purchase.
    pub async fn change(
        &self,
        id: Id,
        user: &CurrentUser,
        wish: Wish,
        by: Asked,
        reason: Option<String>,
    ) -> Result<(PurchaseView, bool)> {
        self.heartbeat.check()?;
        let purchase = self.read(id, user).await?;
        let is_own = purchase.user_id == user.id;
        let wish = match wish {
            Wish::Cancel { .. } if !is_own && user.role != Role::Admin => return Err(Error::FORBIDDEN),
            Wish::Cancel { .. } => Wish::Cancel { by_buyer: is_own },
            wish => wish,
        };
        if let Some(key) = &by.key
            && let Some(earlier) = history::change_of_key(&self.store, user.id, &key.key).await?
        {
            return match earlier.request == key.request {
                // As it is now: it was read before the key was found.
                true => Ok((self.find(id, user).await?, true)),
                false => Err(Error::IdempotencyKeyReused),
            };
        }
        let change = PurchaseWish { purchase_id: id, wish, user: Some(user.clone()), by, reason };
        let receipt = self.lanes.change(purchase.product_id, change).await;
        let receipt = receipt.map_err(|error| self.cause_of(error))?;
        Ok((self.view(&receipt.purchase).await, false))
    }

    /// The task that lets purchases expire.
    pub fn expiry(&self, limits: &PurchasesLimits, metrics: Arc<Metrics>) -> ExpiryTask {
        ExpiryTask::new(self.store.clone(), self.lanes.clone(), self.heartbeat.clone(), metrics, limits)
    }

    async fn read(&self, id: Id, user: &CurrentUser) -> Result<Purchase> {
        // Asked first: what is decided in between is found.
        let buyer = self.lanes.buyer_in_doubt(id);
        let in_doubt = buyer.is_some_and(|buyer| user.role.is_staff() || buyer == user.id);
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
