//! The database: its collections and indexes, and the rules by which reads and writes reach it.
//!
//! Two rules hold everywhere. A read may be dropped at any time, so it runs inside its request, and `read` bounds its
//! time. A write must never be dropped half-way, so `write` runs it in a task of its own: it goes on when the client
//! hangs up or the wait times out, and shutdown waits for it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mongodb::options::ServerAddress;
use mongodb::{Client, ClientSession, Collection, Database};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use self::connect::hang_up;

use self::confirmation::{Confirmations, Point};
pub(crate) use self::reads::collect;
use self::sale_sessions::SaleSessions;
use self::tasks::Tasks;
use crate::config::StoreLimits;
use crate::error::{Error, Result};
use crate::metrics::Limit;
use crate::metrics::database::DatabaseMetrics;
use crate::model::audit::AuditEntry;
use crate::model::ended_token::EndedToken;
use crate::model::id::Id;
use crate::model::product::Product;
use crate::model::purchase::Purchase;
use crate::model::user::User;

pub(crate) mod abandoned_transactions;
mod access;
mod canonical_emails;
mod clock;
mod coalesced_read;
mod confirmation;
pub mod connect;
mod diagnosis;
pub(crate) mod document;
pub(crate) mod failure;
pub(crate) mod heartbeat;
pub(crate) mod hot_read;
pub mod patch_level;
mod reads;
pub(crate) mod sale_sessions;
pub mod schema;
mod standstill;
mod tasks;
pub(crate) mod token_bucket;
pub(crate) mod transaction;

/// Documents in one batch of the database's answer: more than any page has, so that a page takes one round trip.
pub const BATCH_ITEMS: u32 = 1_000;

/// A handle on the database; clones share everything.
#[derive(Clone)]
pub struct Store {
    /// The driver's client: for what is not tied to one database, like sessions.
    pub client: Client,
    /// The sessions that purchases are committed in.
    pub sale_sessions: Arc<SaleSessions>,
    /// Accounts.
    pub users: Collection<User>,
    /// Products with their stock.
    pub products: Collection<Product>,
    /// Purchases, one document each.
    pub purchases: Collection<Purchase>,
    /// Tokens that were ended before they expired.
    pub ended_tokens: Collection<EndedToken>,
    /// The audit log, one document each change.
    pub audit: Collection<AuditEntry>,
    /// The database that holds the collections above; for commands.
    pub database: Database,
    /// This server's id, random for each start.
    pub server: Id,
    /// What is counted of the connections and the permits.
    pub metrics: Arc<DatabaseMetrics>,
    confirmations: Arc<Confirmations>,
    primary: watch::Receiver<Option<ServerAddress>>,
    mongodb_version: Arc<str>,
    reads: Arc<Semaphore>,
    access_reads: Arc<Semaphore>,
    history_reads: Arc<Semaphore>,
    sale_reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    sale_writes: Arc<Semaphore>,
    permit_wait_max: Duration,
    read_max: Duration,
    write_max: Duration,
    tasks: Tasks,
}

impl Store {
    fn new(
        client: Client,
        sale_sessions: SaleSessions,
        database: Database,
        primary: watch::Receiver<Option<ServerAddress>>,
        mongodb_version: String,
        metrics: Arc<DatabaseMetrics>,
        limits: &StoreLimits,
    ) -> Self {
        let (server, tasks) = (Id::new(), Tasks::new(limits));
        let sale_sessions = Arc::new(sale_sessions);
        let write_max = Duration::from_millis(limits.write_ms_max);
        let confirmations = Confirmations::new(
            client.clone(),
            &database,
            server,
            sale_sessions.clone(),
            primary.clone(),
            tasks.clone(),
            write_max,
        );
        Self {
            client,
            sale_sessions,
            server,
            metrics,
            confirmations: Arc::new(confirmations),
            primary,
            mongodb_version: mongodb_version.into(),
            users: database.collection(schema::USERS),
            products: database.collection(schema::PRODUCTS),
            purchases: database.collection(schema::PURCHASES),
            ended_tokens: database.collection(schema::ENDED_TOKENS),
            audit: database.collection(schema::AUDIT),
            database,
            reads: Arc::new(Semaphore::new(limits.reads_in_flight_max)),
            access_reads: Arc::new(Semaphore::new(limits.access_reads_in_flight_max)),
            history_reads: Arc::new(Semaphore::new(limits.history_reads_in_flight_max)),
            sale_reads: Arc::new(Semaphore::new(limits.sale_reads_in_flight_max)),
            writes: Arc::new(Semaphore::new(limits.writes_in_flight_max)),
            sale_writes: Arc::new(Semaphore::new(limits.sale_writes_in_flight_max)),
            permit_wait_max: Duration::from_millis(limits.permit_wait_ms_max),
            read_max: Duration::from_millis(limits.read_ms_max),
            write_max,
            tasks,
        }
    }

    /// The version of the primary at the start, as it says itself: like `7.0.35`, or `unknown`.
    pub fn mongodb_version(&self) -> &str {
        &self.mongodb_version
    }

    /// Confirms that the database commits now.
    ///
    /// # Errors
    /// `database_unavailable`.
    pub(crate) async fn confirm(&self) -> Result<Arc<Point>> {
        self.confirmations.confirm().await
    }

    /// Takes note of what a session has committed, so that no later read of this server is older.
    pub fn note(&self, session: &ClientSession) {
        self.confirmations.note(session);
    }

    /// Runs a write in a task of its own, which is never dropped, and waits for its result.
    ///
    /// # Errors
    /// Those of the given `write`; `overloaded` when the permit does not come in time, `outcome_unknown` when the
    /// result does not.
    pub async fn write<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.write_with_permit(&self.writes, write).await
    }

    /// Like `write`, for what the lanes write outside their transactions: these permits are separate, so a product
    /// whose writes hang can delay other products' lanes, but no other writes.
    ///
    /// # Errors
    /// Those of [`Store::write`].
    pub async fn write_sale<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.write_with_permit(&self.sale_writes, write).await
    }

    async fn write_with_permit<T: Send + 'static>(
        &self,
        permits: &Arc<Semaphore>,
        write: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let permit = self.permit(permits).await?;
        let task = self.spawn(async move {
            let result = write.await;
            drop(permit);
            result
        });
        match tokio::time::timeout(self.write_max, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => {
                tracing::error!("a write panicked: {panic}");
                Err(Error::OutcomeUnknown { purchase_id: None })
            }
            Err(_) => {
                tracing::warn!("a write got no answer from the database in time");
                Err(Error::OutcomeUnknown { purchase_id: None })
            }
        }
    }

    /// How long a read may take; also for its `maxTimeMS`, so that the database gives up too.
    pub fn read_max(&self) -> Duration {
        self.read_max
    }

    /// The `maxTimeMS` of a write that may wait for other writes: shorter than the time after which its outcome
    /// counts as unknown, so that the database gives up first.
    pub fn write_wait_max(&self) -> Duration {
        self.write_max * 4 / 5
    }

    /// Watches which member of the replica set is the primary. `None` where no replica set is visible, as behind the
    /// routers of a sharded cluster.
    pub fn watch_primary(&self) -> watch::Receiver<Option<ServerAddress>> {
        self.primary.clone()
    }

    /// Runs a task for a caller that waits for it in its own way. Shutdown waits for the task, and what it logs names the
    /// request or the batch that it works for.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.tasks.spawn(task)
    }

    /// Whether one more request may log its own line about a fault that it shares with others: such lines are limited.
    pub fn may_log_failure(&self) -> bool {
        self.tasks.may_log_failure()
    }

    /// The runtime of all tasks that talk to the database.
    pub fn runtime(&self) -> &Handle {
        self.tasks.runtime()
    }

    async fn permit(&self, permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
        match tokio::time::timeout(self.permit_wait_max, permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                self.metrics.limits_hit.count(Limit::DatabasePermits);
                Err(Error::Overloaded { detail: "Too many requests are waiting for the database." })
            }
        }
    }

    /// Waits at most `patience` for all writes to end, then disconnects.
    pub async fn close(&self, patience: Duration) {
        self.tasks.close(patience).await;
        hang_up(&self.client).await;
    }
}
