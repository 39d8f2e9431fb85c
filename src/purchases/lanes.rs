//! The lanes of this process: which product has one, and how a purchase gets into it and its reply out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use rand::RngExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::admission::{self, Admission, AdmissionPermit, LaneAdmission};
use super::commit::abandoned_transactions;
use super::commit::committer::Commits;
use super::lane::Lane;
use super::lane::queued::{self, QueuedPurchase, Receipt, Reply};
use super::lane::remembered_count::RememberedCount;
use super::settle::Request;
use crate::config::PurchasesLimits;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::model::id::Id;
use crate::products::catalogue::Catalogue;
use crate::store::Store;

/// The lanes that are looked at to find one that has nothing to do: as many as it takes, unless nearly all are busy.
const SAMPLE_LANES: usize = 16;

/// The handle that routes use.
pub struct Lanes {
    admissions: Arc<Semaphore>,
    registry: Arc<Registry>,
}

/// What all lanes share.
pub struct Registry {
    /// The database.
    pub store: Store,
    /// The limits.
    pub limits: PurchasesLimits,
    /// The products, to tell of what was bought, and to hear of what others bought.
    pub catalogue: Arc<Catalogue>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What the lanes remember.
    pub remembered: RememberedCount,
    /// Held by whoever looks for abandoned transactions.
    abandoned: Arc<tokio::sync::Mutex<()>>,
    /// The queues; none at all once the process shuts down. Purchases are put in under this lock, and a lane retires
    /// under it, so none is put into a queue that nobody serves.
    queues: Mutex<Option<Queues>>,
    admission: Arc<Admission>,
    /// The lanes and their committer.
    tasks: TaskTracker,
}

/// The ways in.
struct Queues {
    lanes: IndexMap<Id, Queue>,
    /// For the lanes to come. The committer ends when these are gone and the last lane is.
    commits: Commits,
}

impl Queues {
    /// Makes room for one more lane: of some, the one that has had nothing to do for longest goes. False when all of them
    /// are busy.
    fn make_room(&mut self, lanes_max: usize) -> bool {
        if self.lanes.len() < lanes_max {
            return true;
        }
        let mut random = rand::rng();
        let sample = (0..SAMPLE_LANES).map(|_| random.random_range(0..self.lanes.len()));
        let idle = sample.filter_map(|index| Some((self.lanes[index].idle_since()?, index))).min();
        // Its lane ends when it finds that nothing can come any more.
        idle.is_some_and(|(_, index)| self.lanes.swap_remove_index(index).is_some())
    }
}

/// The way into a lane.
#[derive(Clone)]
struct Queue {
    sender: mpsc::Sender<QueuedPurchase>,
    admission: Arc<LaneAdmission>,
    idle: Arc<IdleClock>,
}

impl Queue {
    /// Since when nothing is waiting and the lane does nothing; none if it is busy.
    fn idle_since(&self) -> Option<Instant> {
        let is_empty = self.sender.capacity() == self.sender.max_capacity();
        if is_empty { self.idle.since() } else { None }
    }
}

/// Since when a lane waits for purchases; none while it serves some.
#[derive(Default)]
pub struct IdleClock(Mutex<Option<Instant>>);

impl IdleClock {
    /// The lane waits.
    pub fn begin(&self) {
        self.set(Some(Instant::now()));
    }

    /// The lane serves.
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
    /// No lanes yet.
    pub fn new(
        store: Store,
        limits: &PurchasesLimits,
        catalogue: Arc<Catalogue>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let tasks = TaskTracker::new();
        let commits = Commits::start(store.clone(), limits, metrics.clone(), &tasks);
        let registry = Registry {
            store,
            limits: *limits,
            catalogue,
            metrics,
            remembered: RememberedCount::default(),
            abandoned: Arc::default(),
            queues: Mutex::new(Some(Queues { lanes: IndexMap::new(), commits })),
            admission: Arc::new(Admission::new(limits)),
            tasks,
        };
        Self {
            admissions: Arc::new(Semaphore::new(limits.purchases_in_flight_max)),
            registry: Arc::new(registry),
        }
    }

    /// Lets one more purchase request be under way; none when there are too many, or when it would wait too long whatever
    /// it is for.
    pub fn admit(&self) -> Option<OwnedSemaphorePermit> {
        if self.registry.admission.are_taken() {
            return None;
        }
        self.admissions.clone().try_acquire_owned().ok()
    }

    /// Buys: puts the request into its product's lane and waits for the reply.
    ///
    /// Dropping this future gives the purchase up if no lane has taken it yet; one that was taken is made or refused.
    ///
    /// # Errors
    /// What the contract lists for `POST /products/purchase`.
    pub async fn purchase(&self, product_id: Id, request: Request, name: String) -> Result<Receipt> {
        let (waiting, pending) = queued::pair(request, name);
        let deadline = Instant::now() + Duration::from_millis(self.registry.limits.queue_wait_ms_max);
        let _place = self.registry.enqueue(product_id, waiting)?;
        let Reply { result, batch_id } = pending.reply(deadline).await;
        if let (Err(error), Some(batch)) = (&result, batch_id)
            && error.is_fault()
            && self.registry.store.may_log_failure()
        {
            let code = error.code().name();
            tracing::warn!(batch_id = %batch, "answered with {code}: it was in batch {batch} of product {product_id}");
        }
        result
    }

    /// Takes no more purchases and waits until all lanes have served theirs.
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

    /// Has abandoned transactions ended, unless somebody does already: a lane could not sell for the time of a whole batch.
    pub fn end_abandoned(&self) {
        let Ok(guard) = self.abandoned.clone().try_lock_owned() else { return };
        let store = self.store.clone();
        // Most of a batch's time: what was left alone for so long will not be in time any more, and who was killed at the
        // begin of the batch that has failed is among them.
        let idle_max = Duration::from_millis(self.limits.batch_ms_max) * 4 / 5;
        self.store.spawn(async move {
            abandoned_transactions::end_all(&store, idle_max).await;
            drop(guard);
        });
    }

    fn enqueue(self: &Arc<Self>, product_id: Id, waiting: QueuedPurchase) -> Result<AdmissionPermit> {
        let mut queues = self.lock();
        let queues = queues.as_mut().ok_or(Error::Overloaded { detail: "The server is shutting down." })?;
        // A closed one means that its lane has panicked: the next one starts afresh.
        if queues.lanes.get(&product_id).is_some_and(|queue| queue.sender.is_closed()) {
            queues.lanes.swap_remove(&product_id);
            // Nor is it known whether memory was told of all that the lane has sold.
            self.catalogue.read_anew(product_id);
        }
        let queue = match queues.lanes.get(&product_id).cloned() {
            Some(queue) => queue,
            // Before there is a lane that would serve nobody.
            _ if self.admission.are_full() => return Err(admission::FULL),
            _ if !queues.make_room(self.limits.lanes_max) => {
                return Err(Error::Overloaded { detail: "Too many products are being sold at once." });
            }
            _ => self.start(product_id, queues),
        };
        let place = queue.admission.take()?;
        queue
            .sender
            .try_send(waiting)
            .map_err(|_| Error::Overloaded { detail: "Too many purchases of this product are waiting." })?;
        Ok(place)
    }

    fn start(self: &Arc<Self>, product_id: Id, queues: &mut Queues) -> Queue {
        let (sender, receiver) = mpsc::channel(self.limits.lane_queue_purchases_max);
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

    /// Ends a lane's registration if nothing is in its queue. False when it has to go on.
    pub fn retire(&self, product_id: Id, queue: &mpsc::Receiver<QueuedPurchase>) -> bool {
        let mut queues = self.lock();
        if !queue.is_empty() {
            return false;
        }
        // A closed one had to make room: whatever is registered by now is another lane.
        if let Some(queues) = queues.as_mut().filter(|_| !queue.is_closed()) {
            queues.lanes.swap_remove(&product_id);
            self.count(queues);
        }
        true
    }
}
