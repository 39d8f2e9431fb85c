//! The lanes of this process: which product has one, and how a purchase gets into it and its reply out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::batch::Receipt;
use super::lane::Lane;
use super::settle::Request;
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::Store;

/// The handle that routes use.
pub struct Lanes {
    registry: Arc<Registry>,
}

/// What all lanes share.
pub struct Registry {
    /// The database.
    pub store: Store,
    /// The limits.
    pub limits: Limits,
    /// This server, for the turns that servers take at a product.
    pub server: Id,
    /// The turns to commit.
    pub commits: Semaphore,
    /// The queues; none at all once the process shuts down. Purchases are put in under this lock, and a lane retires
    /// under it, so none is put into a queue that nobody serves.
    queues: Mutex<Option<HashMap<Id, mpsc::Sender<Waiting>>>>,
    tasks: TaskTracker,
}

/// A purchase in a lane's queue.
pub struct Waiting {
    /// What is wanted.
    pub request: Request,
    /// The buyer's display name.
    pub name: String,
    /// What the purchase will be called if it is made.
    pub purchase_id: Id,
    reply: oneshot::Sender<Result<Receipt>>,
    ticket: Arc<Ticket>,
}

/// Who got hold of a waiting purchase first: the lane, to make it, or its client, to give up.
#[derive(Default)]
struct Ticket(AtomicBool);

impl Ticket {
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

impl Waiting {
    /// Takes the purchase out of its client's hands. False when the client has given up: then nothing may happen.
    pub fn take(&self) -> bool {
        self.ticket.take()
    }

    /// Tells the client. One that has hung up since finds the purchase among its own.
    pub fn reply(self, reply: Result<Receipt>) {
        drop(self.reply.send(reply));
    }
}

/// Gives up when the client's future is dropped.
struct GiveUp(Arc<Ticket>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.take();
    }
}

impl Lanes {
    /// No lanes yet.
    pub fn new(store: Store, limits: &Limits) -> Self {
        let registry = Registry {
            store,
            limits: limits.clone(),
            server: Id::new(),
            commits: Semaphore::new(limits.commits_in_flight_max),
            queues: Mutex::new(Some(HashMap::new())),
            tasks: TaskTracker::new(),
        };
        Self { registry: Arc::new(registry) }
    }

    /// Buys: puts the request into its product's lane and waits for the reply.
    ///
    /// Dropping this future gives the purchase up if no lane has taken it yet; one that was taken is made or refused.
    ///
    /// # Errors
    /// What the contract lists for `POST /products/purchase`.
    pub async fn purchase(&self, product_id: Id, request: Request, name: String) -> Result<Receipt> {
        let (reply, mut replied) = oneshot::channel();
        let ticket = Arc::new(Ticket::default());
        let purchase_id = Id::new();
        let waiting = Waiting { request, name, purchase_id, reply, ticket: ticket.clone() };
        let _give_up = GiveUp(ticket.clone());
        let deadline = Instant::now() + Limits::milliseconds(self.registry.limits.queue_wait_ms_max);
        self.registry.enqueue(product_id, waiting)?;
        let reply = match tokio::time::timeout_at(deadline, &mut replied).await {
            Ok(reply) => reply,
            Err(_) if ticket.take() => {
                return Err(Error::Overloaded {
                    detail: "The purchase waited too long; nothing was bought.",
                });
            }
            // It was taken: the lane replies within the time of a batch.
            Err(_) => replied.await,
        };
        match reply {
            Ok(reply) => reply,
            // The lane has panicked: before it took this purchase, or after, perhaps in the middle of a commit.
            Err(_) if ticket.take() => Err(Error::Internal),
            Err(_) => Err(Error::OutcomeUnknown { purchase_id: Some(purchase_id) }),
        }
    }

    /// Takes no more purchases and waits until all lanes have served theirs.
    pub async fn close(&self) {
        self.registry.lock().take();
        self.registry.tasks.close();
        self.registry.tasks.wait().await;
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<Id, mpsc::Sender<Waiting>>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(self: &Arc<Self>, product_id: Id, waiting: Waiting) -> Result<()> {
        let mut queues = self.lock();
        let queues = queues.as_mut().ok_or(Error::Overloaded { detail: "The server is shutting down." })?;
        // A closed one means that its lane has panicked: the next one starts afresh.
        if queues.get(&product_id).is_some_and(mpsc::Sender::is_closed) {
            queues.remove(&product_id);
        }
        let queue = match queues.get(&product_id) {
            Some(queue) => queue.clone(),
            _ if queues.len() >= self.limits.lanes_max => {
                return Err(Error::Overloaded { detail: "Too many products are being sold at once." });
            }
            _ => {
                let (sender, receiver) = mpsc::channel(self.limits.lane_queue_purchases_max);
                self.tasks.spawn(Lane::new(product_id, receiver, self.clone()).run());
                queues.insert(product_id, sender.clone());
                sender
            }
        };
        queue
            .try_send(waiting)
            .map_err(|_| Error::Overloaded { detail: "Too many purchases of this product are waiting." })
    }

    /// Ends a lane's registration if nothing is in its queue. False when it has to go on.
    pub fn retire(&self, product_id: Id, queue: &mpsc::Receiver<Waiting>) -> bool {
        let mut queues = self.lock();
        if !queue.is_empty() {
            return false;
        }
        if let Some(queues) = queues.as_mut() {
            queues.remove(&product_id);
        }
        true
    }
}
