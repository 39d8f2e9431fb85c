//! The lanes of this process: which products have one, and how a purchase gets in and its reply out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use rand::RngExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::admission::{self, Admission, AdmissionPermit, LaneAdmission};
use super::commit::committer::Commits;
use super::in_doubt::InDoubt;
use super::lane::Lane;
use super::lane::queued::{self, PendingReply, Queued, Receipt, Reply};
use super::lane::remembered_count::RememberedCount;
use super::settle::Request;
use super::settle::transitions::Wish;
use super::used_keys::UsedKeys;
use crate::accounts::access::Access;
use crate::accounts::current_user::CurrentUser;
use crate::accounts::registrations::Registrations;
use crate::config::PurchasesLimits;
use crate::error::{Error, Result};
use crate::metrics::{Limit, Metrics};
use crate::model::audit::Asked;
use crate::model::id::Id;
use crate::model::network::Network;
use crate::products::catalogue::Catalogue;
use crate::store::{Store, abandoned_transactions};

/// How many lanes are sampled to find an idle one: enough unless nearly all are busy.
const SAMPLE_LANES: usize = 16;

/// The refusal when all places for changes are taken.
const TOO_MANY_CHANGES: Error = Error::Overloaded { detail: "Too many changes of purchases are under way." };

/// What somebody asks of an earlier purchase.
pub struct PurchaseWish {
    pub purchase_id: Id,
    pub wish: Wish,
    /// Whose access has to last until it is decided; `None` for the server itself.
    pub user: Option<CurrentUser>,
    /// Who asks for it, and under which key, for the audit log.
    pub by: Asked,
    /// Why, in their words.
    pub reason: Option<String>,
}

pub struct Lanes {
    admissions: Arc<Semaphore>,
    changes: Semaphore,
    registry: Arc<Registry>,
}

/// What all lanes share.
pub struct Registry {
    pub store: Store,
    pub limits: PurchasesLimits,
    /// Lanes report their sales to it, and learn from it what other servers sold.
    pub catalogue: Arc<Catalogue>,
    /// Whether the tokens of those who wait still count.
    pub access: Access,
    pub metrics: Arc<Metrics>,
    pub remembered: RememberedCount,
    /// Held by the task that ends abandoned transactions.
    abandoned: Arc<tokio::sync::Mutex<()>>,
    pub used_keys: UsedKeys,
    pub registrations: Registrations,
    pub in_doubt: InDoubt,
    /// `None` once the process shuts down. Purchases are put into a queue under this lock, and a lane retires under
    /// it, so no purchase enters a queue that nobody serves.
    queues: Mutex<Option<Queues>>,
    admission: Arc<Admission>,
    /// The lanes and their committer.
    tasks: TaskTracker,
}

struct Queues {
    lanes: IndexMap<Id, Queue>,
    /// Cloned for each new lane. The committer ends when this and the last lane are gone.
    commits: Commits,
}

impl Queues {
    /// Makes room for one more lane by removing the longest idle of a random sample. False when all of those are
    /// busy.
    fn make_room(&mut self, lanes_max: usize) -> bool {
        if self.lanes.len() < lanes_max {
            return true;
        }
        let mut random = rand::rng();
        let sample = (0..SAMPLE_LANES).map(|_| random.random_range(0..self.lanes.len()));
        let idle = sample.filter_map(|index| Some((self.lanes[index].idle_since()?, index))).min();
        // The lane ends when it finds its queue closed.
        idle.is_some_and(|(_, index)| self.lanes.swap_remove_index(index).is_some())
    }
}

/// The way into a lane.
#[derive(Clone)]
struct Queue {
    sender: mpsc::Sender<Queued>,
    admission: Arc<LaneAdmission>,
    idle: Arc<IdleClock>,
}

impl Queue {
    /// Since when the lane has been idle with an empty queue; `None` if it is busy.
    fn idle_since(&self) -> Option<Instant> {
        let is_empty = self.sender.capacity() == self.sender.max_capacity();
        if is_empty { self.idle.since() } else { None }
    }
}

/// Since when a lane has been waiting for purchases; `None` while it serves some.
#[derive(Default)]
pub struct IdleClock(Mutex<Option<Instant>>);

impl IdleClock {
    pub fn begin(&self) {
        self.set(Some(Instant::now()));
    }

    pub fn end(&self) {
        self.set(None);
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes {
    pub fn new(
        store: Store,
        limits: &PurchasesLimits,
        catalogue: Arc<Catalogue>,
        access: Access,
        metrics: Arc<Metrics>,
    ) -> Self {
        let tasks = TaskTracker::new();
        let commits = Commits::start(store.clone(), limits, metrics.clone(), &tasks);
        let registry = Registry {
            store,
            limits: *limits,
            catalogue,
            access,
            metrics,
            remembered: RememberedCount::default(),
            used_keys: UsedKeys::new(limits.used_keys_max),
            registrations: Registrations::new(limits.registrations_max),
            in_doubt: InDoubt::default(),
            abandoned: Arc::default(),
            queues: Mutex::new(Some(Queues { lanes: IndexMap::new(), commits })),
            admission: Arc::new(Admission::new(limits)),
            tasks,
        };
        Self {
            admissions: Arc::new(Semaphore::new(limits.purchases_in_flight_max)),
            changes: Semaphore::new(limits.changes_in_flight_max),
            registry: Arc::new(registry),
        }
    }

    /// Whether one more purchase would wait too long for any product.
    pub fn refuses_early(&self) -> bool {
        let refuses = self.registry.admission.refuses_early();
        if refuses {
            self.registry.metrics.count_limit(Limit::Purchases);
        }
        refuses
    }

    /// Admits one more purchase request; `None` if too many are under way.
    pub fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let full = |_: &TryAcquireError| self.registry.metrics.count_limit(Limit::Purchases);
        self.admissions.clone().try_acquire_owned().inspect_err(full).ok()
    }

    /// The keys that are known to be used.
    pub fn used_keys(&self) -> &UsedKeys {
        &self.registry.used_keys
    }

    /// Puts the request into its product's lane and waits for the reply.
    ///
    /// Dropping this future gives the purchase up if no lane has taken it yet; once a lane has taken it, it is made
    /// or refused all the same.
    ///
    /// # Errors
    /// The errors that the contract lists for `POST /products/purchase`.
    pub async fn purchase(
        &self,
        product_id: Id,
        request: Request,
        user: CurrentUser,
        buyer: String,
        network: Option<Network>,
    ) -> Result<Receipt> {
        let (waiting, pending) = queued::pair(request, user, buyer, network);
        self.wait(product_id, waiting, pending).await
    }

    /// Puts a change of an earlier purchase of this product into its lane and waits for the reply. Takes no place of the
    /// buyers.
    ///
    /// # Errors
    /// The errors that the contract lists for the three routes that change a purchase.
    pub async fn change(&self, product_id: Id, change: PurchaseWish) -> Result<Receipt> {
        let _permit = self.changes.try_acquire().map_err(|_| TOO_MANY_CHANGES)?;
        self.change_unbounded(product_id, change).await
    }

    /// The same for the server itself, which asks for a bounded number at a time.
    ///
    /// # Errors
    /// Those of [`Lanes::change`].
    pub async fn change_unbounded(&self, product_id: Id, change: PurchaseWish) -> Result<Receipt> {
        let (waiting, pending) = queued::pair_change(change);
        self.wait(product_id, waiting, pending).await
    }

    async fn wait(&self, product_id: Id, waiting: Queued, pending: PendingReply) -> Result<Receipt> {
        let deadline = Instant::now() + Duration::from_millis(self.registry.limits.queue_wait_ms_max);
        let metrics = &self.registry.metrics;
        let refused = |refusal: &Error| match *refusal {
            Error::SHUTTING_DOWN => {}
            admission::FULL => metrics.count_limit(Limit::Purchases),
            _ => metrics.count_limit(Limit::ProductPurchases),
        };
        let _permit = self.registry.enqueue(product_id, waiting).inspect_err(refused)?;
        let Reply { result, batch_id } = pending.reply(deadline).await;
        if let (Err(Error::Overloaded { .. }), None) = (&result, batch_id) {
            metrics.count_limit(Limit::QueueWait);
        }
        if let (Err(error), Some(batch)) = (&result, batch_id)
            && error.is_fault()
            && self.registry.store.may_log_failure()
        {
            let code = error.code().name();
            tracing::warn!(batch_id = %batch, "answered with {code}: it was in batch {batch} of product {product_id}");
        }
        result
    }

    /// Tells the metrics how many purchases are under way and in doubt.
    pub fn measure(&self) {
        let registry = &self.registry;
        let count = |purchases: usize| i64::try_from(purchases).unwrap_or(i64::MAX);
        registry.metrics.purchases_under_way.set(count(registry.admission.under_way()));
        registry.metrics.purchases_in_doubt.set(count(registry.in_doubt.count()));
    }

    /// The buyer of a purchase whose commit got no answer, until it is known what became of it.
    pub fn buyer_in_doubt(&self, purchase: Id) -> Option<Id> {
        self.registry.in_doubt.buyer_of(purchase)
    }

    /// Stops taking purchases and waits until all lanes have served theirs.
    pub async fn close(&self) {
        self.registry.lock().take();
        self.registry.tasks.close();
        self.registry.tasks.wait().await;
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Option<Queues>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a task that ends abandoned transactions, unless one runs. For lanes whose product is held for too long.
    pub fn end_abandoned(&self) {
        let Ok(guard) = self.abandoned.clone().try_lock_owned() else { return };
        let store = self.store.clone();
        // Most of a batch's time: a transaction that was idle for this long will not finish in time, and one whose
        // server was killed at the beginning of the batch that has now failed is among them.
        let idle_max = Duration::from_millis(self.limits.batch_ms_max) * 4 / 5;
        self.store.spawn(async move {
            abandoned_transactions::end_all(&store, idle_max).await;
            drop(guard);
        });
    }

    /// The permit is for purchases only.
    fn enqueue(self: &Arc<Self>, product_id: Id, waiting: Queued) -> Result<Option<AdmissionPermit>> {
        let is_purchase = matches!(waiting, Queued::Purchase(_));
        let mut queues = self.lock();
        let queues = queues.as_mut().ok_or(Error::SHUTTING_DOWN)?;
        // A closed queue means that its lane has panicked: a new one starts from scratch.
        if queues.lanes.get(&product_id).is_some_and(|queue| queue.sender.is_closed()) {
            queues.lanes.swap_remove(&product_id);
            // The lane may not have reported all its sales to memory.
            self.catalogue.read_anew(product_id);
        }
        let queue = match queues.lanes.get(&product_id).cloned() {
            Some(queue) => queue,
            // Checked before starting a lane that would serve nobody.
            _ if is_purchase && self.admission.is_full() => return Err(admission::FULL),
            _ if !queues.make_room(self.limits.lanes_max) => {
                return Err(Error::Overloaded { detail: "Too many products are being sold at once." });
            }
            _ => self.start(product_id, queues),
        };
        const FULL: Error = Error::Overloaded { detail: "Too many purchases of this product are waiting." };
        let permit = is_purchase.then(|| queue.admission.take()).transpose()?;
        let count = queue.sender.max_capacity() - queue.sender.capacity();
        if is_purchase && count >= self.limits.lane_queue_purchases_max {
            return Err(FULL);
        }
        queue.sender.try_send(waiting).map_err(|_| FULL)?;
        Ok(permit)
    }

    fn start(self: &Arc<Self>, product_id: Id, queues: &mut Queues) -> Queue {
        let (sender, receiver) =
            mpsc::channel(self.limits.lane_queue_purchases_max + self.limits.changes_in_flight_max);
        let queue = Queue { sender, admission: self.admission.for_lane(), idle: Arc::default() };
        let (admission, idle) = (queue.admission.clone(), queue.idle.clone());
        let lane = Lane::new(product_id, receiver, admission, idle, self.clone(), queues.commits.clone());
        self.tasks.spawn_on(lane.run(), self.store.runtime());
        queues.lanes.insert(product_id, queue.clone());
        self.count(queues);
        queue
    }

    fn count(&self, queues: &Queues) {
        self.metrics.lanes.set(i64::try_from(queues.lanes.len()).unwrap_or(i64::MAX));
    }

    /// Unregisters a lane if its queue is empty. False when the lane has to go on.
    pub fn retire(&self, product_id: Id, queue: &mpsc::Receiver<Queued>) -> bool {
        let mut queues = self.lock();
        if !queue.is_empty() {
            return false;
        }
        // A closed queue was removed to make room: what is registered under this product now is another lane.
        if let Some(queues) = queues.as_mut().filter(|_| !queue.is_closed()) {
            queues.lanes.swap_remove(&product_id);
            self.count(queues);
        }
        true
    }
}
