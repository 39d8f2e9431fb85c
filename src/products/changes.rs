//! Creates, changes, restocks and deletes products: each in one transaction with its entry in the audit log.
//!
//! Inside a transaction a product that somebody else is changing is a conflict at once, and the transaction runs again. So
//! the first statement of each is the one that takes the product: what is read after that can no longer be overtaken.

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, deserialize_from_document, doc, serialize_to_document};
use mongodb::options::ReturnDocument;

use super::catalogue::Catalogue;
use super::request::{
    ChangeProductRequest, CreateProductRequest, END_BEFORE_START, OTHER_CURRENCY, START_AFTER_END, STOCK_MAX,
};
use crate::error::{Error, Result};
use crate::http::conditional::IfMatch;
use crate::model::audit::{Action, Asked, AuditEntry, Replay, RequestKey};
use crate::model::id::Id;
use crate::model::product::Product;
use crate::model::timestamp::Timestamp;
use crate::store::heartbeat::Heartbeat;
use crate::store::transaction::Abort;
use crate::store::{Store, failure};

/// The answer to a change.
pub struct Answer {
    /// The product as the change left it.
    pub product: Arc<Product>,
    /// The moment of that.
    pub at: Timestamp,
    /// The change was made before, by a request with the same key.
    pub replayed: bool,
}

type Outcome<T> = std::result::Result<T, Abort>;

impl Catalogue {
    /// Puts a product on sale.
    ///
    /// # Errors
    /// `idempotency_key_reused`, and those of `Store::transact`.
    pub async fn create(&self, request: CreateProductRequest, asked: Asked) -> Result<Answer> {
        let began = Instant::now();
        let product = request.into_product(self.heartbeat.database_time());
        let task = self.task(asked);
        let answer = self
            .store
            .transact(move |session| {
                let (task, product) = (task.now(), product.clone());
                async move { task.create(session, product).await }.boxed()
            })
            .await?;
        self.cache.bump_lists();
        Ok(self.learn(answer, began))
    }

    /// Changes a product if `if_match` allows its version.
    ///
    /// # Errors
    /// `precondition_required`, `version_conflict`, `product_not_found`, `validation_failed` when the sale would end
    /// before it starts, and those of `Store::transact`.
    pub async fn change(
        &self,
        id: Id,
        if_match: IfMatch,
        request: ChangeProductRequest,
        asked: Asked,
    ) -> Result<Answer> {
        let began = Instant::now();
        if if_match == IfMatch::Missing {
            return Err(Error::PreconditionRequired);
        }
        let change = Arc::new((if_match, request));
        let task = self.task(asked);
        let answer = self
            .store
            .transact(move |session| {
                let (task, change) = (task.now(), change.clone());
                async move { task.change(session, id, &change.0, &change.1).await }.boxed()
            })
            .await?;
        self.cache.mark(id, answer.product.version);
        Ok(self.learn(answer, began))
    }

    /// Adds stock. If `if_match` names versions, the product must have one of them.
    ///
    /// # Errors
    /// `product_not_found`, `version_conflict`, `validation_failed` when the stock would pass its bound,
    /// `idempotency_key_reused`, and those of `Store::transact`.
    pub async fn restock(&self, id: Id, if_match: IfMatch, quantity: i64, asked: Asked) -> Result<Answer> {
        let began = Instant::now();
        let if_match = Arc::new(if_match);
        let task = self.task(asked);
        let answer = self
            .store
            .transact(move |session| {
                let (task, if_match) = (task.now(), if_match.clone());
                async move { task.restock(session, id, &if_match, quantity).await }.boxed()
            })
            .await?;
        self.cache.bump_lists();
        Ok(self.learn(answer, began))
    }

    /// Deletes an unsold product. If `if_match` names versions, the product must have one of them.
    ///
    /// # Errors
    /// `version_conflict`, `product_has_sales`, `product_not_found`, and those of `Store::transact`.
    pub async fn delete(&self, id: Id, if_match: IfMatch, asked: Asked) -> Result<()> {
        let if_match = Arc::new(if_match);
        let task = self.task(asked);
        self.store
            .transact(move |session| {
                let (task, if_match) = (task.now(), if_match.clone());
                async move { task.delete(session, id, &if_match).await }.boxed()
            })
            .await?;
        self.cache.deleted(id);
        Ok(())
    }

    fn task(&self, asked: Asked) -> Task {
        let now = self.heartbeat.database_time();
        Task { store: self.store.clone(), heartbeat: self.heartbeat.clone(), asked, now }
    }

    /// Takes what a change has made of its product into memory. A replay tells of a version that may be long gone.
    fn learn(&self, answer: Answer, began: Instant) -> Answer {
        if answer.replayed {
            return answer;
        }
        let product = Arc::unwrap_or_clone(answer.product);
        Answer { product: self.cache.insert_if_newer(product, began), ..answer }
    }
}

/// One run of a transaction.
#[derive(Clone)]
struct Task {
    store: Store,
    heartbeat: Heartbeat,
    asked: Asked,
    now: Timestamp,
}

impl Task {
    /// The same for a run that begins now.
    fn now(&self) -> Self {
        Self { now: self.heartbeat.database_time(), ..self.clone() }
    }

    async fn create(&self, session: &mut ClientSession, product: Product) -> Outcome<Answer> {
        if let Some(replay) = self.replay(session).await? {
            return Ok(replay);
        }
        self.store.products.insert_one(&product).session(&mut *session).await?;
        let entry =
            AuditEntry { after: Some(product.audited()), ..self.entry(Action::ProductCreated, product.id) };
        self.done(session, entry, product).await
    }

    async fn change(
        &self,
        session: &mut ClientSession,
        id: Id,
        if_match: &IfMatch,
        request: &ChangeProductRequest,
    ) -> Outcome<Answer> {
        let Some(update) = request.update(self.now) else {
            let product = self.find(session, id).await?;
            check_version(&product, if_match)?;
            return Ok(Answer { product: Arc::new(product), at: self.now, replayed: false });
        };
        let mut matching = doc! { "_id": id };
        matching.extend(named_version(if_match));
        matching.extend(times_that_fit(request));
        matching.extend(currencies_that_fit(request));
        let take = self.store.products.find_one_and_update(matching, update);
        let before = take.return_document(ReturnDocument::Before).session(&mut *session).await?;
        let product = self.find(session, id).await?;
        let Some(before) = before else {
            check_version(&product, if_match)?;
            return Err(misfit(request, &product).into());
        };
        let entry = self.entry(Action::ProductChanged, id).with_change(before.audited(), product.audited());
        self.done(session, entry, product).await
    }

    async fn restock(
        &self,
        session: &mut ClientSession,
        id: Id,
        if_match: &IfMatch,
        quantity: i64,
    ) -> Outcome<Answer> {
        if let Some(replay) = self.replay(session).await? {
            return Ok(replay);
        }
        let mut room = doc! { "_id": id, "totalStock": { "$lte": STOCK_MAX - quantity } };
        room.extend(named_version(if_match));
        let take = self.store.products.find_one_and_update(room, more_stock(quantity, self.now));
        let restocked = take.return_document(ReturnDocument::After).session(&mut *session).await?;
        let Some(product) = restocked else {
            check_version(&self.find(session, id).await?, if_match)?;
            return Err(Error::invalid("quantity", format!("would lift the stock above {STOCK_MAX}")).into());
        };
        let before = Product {
            stock: product.stock - quantity,
            total_stock: product.total_stock - quantity,
            ..product.clone()
        };
        let entry = self.entry(Action::ProductRestocked, id).with_change(before.audited(), product.audited());
        self.done(session, entry, product).await
    }

    async fn delete(&self, session: &mut ClientSession, id: Id, if_match: &IfMatch) -> Outcome<()> {
        // What is held, or was given back, counts too: its purchases stay, and money may still come for them.
        let mut unsold = doc! { "_id": id, "sold": 0, "purchaseCount": 0 };
        unsold.extend(named_version(if_match));
        let deleted = self.store.products.find_one_and_delete(unsold).session(&mut *session).await?;
        let Some(product) = deleted else {
            let product = self.find(session, id).await?;
            return Err(match (product.sold, product.purchase_count) {
                (0, 0) => Error::VersionConflict.into(),
                _ => Error::ProductHasSales.into(),
            });
        };
        let entry = AuditEntry { before: Some(product.audited()), ..self.entry(Action::ProductDeleted, id) };
        self.store.audit.insert_one(entry).session(session).await?;
        Ok(())
    }

    async fn find(&self, session: &mut ClientSession, id: Id) -> Outcome<Product> {
        let found = self.store.products.find_one(doc! { "_id": id }).session(session).await?;
        found.ok_or_else(|| Error::ProductNotFound.into())
    }

    /// The answer to an earlier request with the same key, if there was one.
    async fn replay(&self, session: &mut ClientSession) -> Outcome<Option<Answer>> {
        let Some(RequestKey { key, request }) = &self.asked.key else { return Ok(None) };
        let earlier = doc! { "actor": self.asked.actor.user, "replay.key": key };
        let entry = self.store.audit.find_one(earlier).session(session).await?;
        let Some((at, replay)) = entry.and_then(|entry| Some((entry.at, entry.replay?))) else {
            return Ok(None);
        };
        if replay.request != *request {
            return Err(Error::IdempotencyKeyReused.into());
        }
        let product = deserialize_from_document(replay.answer).map_err(|error| {
            tracing::error!("the answer to an earlier request cannot be read: {error}");
            Error::Internal
        })?;
        Ok(Some(Answer { product: Arc::new(product), at: at.into(), replayed: true }))
    }

    fn entry(&self, action: Action, target: Id) -> AuditEntry {
        AuditEntry::new(&self.asked.actor, action, target, self.now.into())
    }

    /// Writes the entry, and with it what a repeated request is answered.
    async fn done(
        &self,
        session: &mut ClientSession,
        entry: AuditEntry,
        product: Product,
    ) -> Outcome<Answer> {
        let replay = self.asked.key.clone().map(|RequestKey { key, request }| Replay {
            key,
            request,
            answer: serialize_to_document(&product).unwrap_or_default(),
        });
        let written = self.store.audit.insert_one(AuditEntry { replay, ..entry }).session(session).await;
        written.map_err(|error| match failure::is_duplicate_key(&error) {
            // A request with the same key has just been served: the next run finds its entry.
            true => Abort::Overtaken(error),
            false => error.into(),
        })?;
        Ok(Answer { product: Arc::new(product), at: self.now, replayed: false })
    }
}

/// The condition that the product has one of the versions that `if_match` names, if it names any.
fn named_version(if_match: &IfMatch) -> Document {
    match if_match {
        IfMatch::Versions(versions) => doc! { "version": { "$in": versions } },
        IfMatch::Missing | IfMatch::Any => doc! {},
    }
}

fn check_version(product: &Product, if_match: &IfMatch) -> Outcome<()> {
    match if_match {
        IfMatch::Versions(versions) if !versions.contains(&product.version) => {
            Err(Error::VersionConflict.into())
        }
        _ => Ok(()),
    }
}

/// The condition that the sale still ends after it starts, if only one of its times changes.
fn times_that_fit(request: &ChangeProductRequest) -> Document {
    match (request.sale_start_time, request.sale_end_time) {
        (Some(start), None) => doc! { "saleEndTime": { "$gt": DateTime::from(start) } },
        (None, Some(end)) => doc! { "saleStartTime": { "$lt": DateTime::from(end) } },
        _ => doc! {},
    }
}

/// The condition that price and original price still have one currency, if only one of them changes.
fn currencies_that_fit(request: &ChangeProductRequest) -> Document {
    match (&request.price, &request.original_price) {
        // Null: there is none.
        (Some(price), None) => doc! { "originalPrice.currency": { "$in": [&price.currency, null] } },
        (None, Some(Some(original))) => doc! { "price.currency": &original.currency },
        _ => doc! {},
    }
}

/// Which part of the change does not fit the product as it is.
fn misfit(request: &ChangeProductRequest, product: &Product) -> Error {
    let start = request.sale_start_time.map_or(product.sale_start_time, DateTime::from);
    let end = request.sale_end_time.map_or(product.sale_end_time, DateTime::from);
    match (end <= start, request.sale_end_time, &request.price) {
        (true, Some(_), _) => Error::invalid("saleEndTime", END_BEFORE_START),
        (true, None, _) => Error::invalid("saleStartTime", START_AFTER_END),
        (false, _, Some(_)) => Error::invalid("price.currency", OTHER_CURRENCY),
        (false, _, None) => Error::invalid("originalPrice.currency", OTHER_CURRENCY),
    }
}

/// The update that adds stock. It reopens the product only if somebody may have been refused for lack of stock: nobody asks
/// for more than the limit of one buyer.
fn more_stock(quantity: i64, now: Timestamp) -> Vec<Document> {
    let was_short = doc! { "$lt": ["$stock", "$purchaseLimit"] };
    let reopened = doc! { "$max": ["$reopenedAt", "$$NOW"] };
    vec![
        doc! { "$set": { "reopenedAt": { "$cond": [was_short, reopened, "$reopenedAt"] } } },
        doc! { "$set": {
            "stock": { "$add": ["$stock", quantity] },
            "totalStock": { "$add": ["$totalStock", quantity] },
            "version": { "$add": ["$version", 1_i64] },
            "updatedAt": { "$max": ["$updatedAt", DateTime::from(now)] },
        } },
    ]
}
