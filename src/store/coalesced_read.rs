//! Reads that a crowd shares: requests that ask for the same key at the same time get the answer of one read.
//!
//! No answer is older than its request. A request does not join a read that is already running; it waits for the next
//! one, which starts when the running one ends and serves all requests that came meanwhile. So the database runs one
//! read at a time for each key, however big the crowd, and each answer is as fresh as if the request had read alone.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::tasks::Tasks;
use crate::error::{Error, Result};
use crate::http::request_context::{RequestContext, in_current_request};
use crate::model::id::Id;

type Waiting<V> = Vec<Waiter<V>>;

/// A request that waits for a read.
struct Waiter<V> {
    sender: oneshot::Sender<Result<V, FailedRead>>,
    /// `None` for work of the server itself.
    context: Option<RequestContext>,
}

/// What all requests that share a read get when it fails.
#[derive(Clone)]
struct FailedRead {
    error: Error,
    /// In the log, links the cause to each request that shared the read.
    id: Id,
}

/// The reads of one kind, by key; at most as many as requests in flight.
pub struct CoalescedReads<K, V> {
    tasks: Tasks,
    /// The requests that wait for the next read of each key. A key is present while a task reads it.
    waiting: Arc<Mutex<HashMap<K, Waiting<V>>>>,
}

impl<K: Hash + Eq + Clone + Send + 'static, V: Clone + Send + 'static> CoalescedReads<K, V> {
    pub fn new(tasks: Tasks) -> Self {
        Self { tasks, waiting: Arc::default() }
    }

    /// # Errors
    /// Those of the given `read`; `internal` when it panics.
    pub async fn get<F>(&self, key: K, read: impl Fn(K) -> F + Send + 'static) -> Result<V>
    where
        F: Future<Output = Result<V>> + Send,
    {
        let (sender, receiver) = oneshot::channel();
        let waiter = Waiter { sender, context: RequestContext::current() };
        let is_first = {
            let mut waiting = lock(&self.waiting);
            let list = waiting.get_mut(&key);
            let is_first = list.is_none();
            match list {
                Some(list) => list.push(waiter),
                None => drop(waiting.insert(key.clone(), vec![waiter])),
            }
            is_first
        };
        if is_first {
            // In a task of its own: the first client may hang up while others still wait.
            let task = ReadTask { waiting: self.waiting.clone(), key };
            self.tasks.spawn_for_all(async move { task.run(read).await });
        }
        match receiver.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(FailedRead { error, id })) => {
                if !is_first && error.is_fault() && self.tasks.may_log_failure() {
                    tracing::warn!(read_id = %id, "this request shared read {id}, which failed");
                }
                Err(error)
            }
            Err(_) => Err(Error::Internal),
        }
    }
}

/// The task that reads one key. It leaves no request waiting, even if it panics.
struct ReadTask<K: Hash + Eq, V> {
    waiting: Arc<Mutex<HashMap<K, Waiting<V>>>>,
    key: K,
}

impl<K: Hash + Eq + Clone, V: Clone> ReadTask<K, V> {
    async fn run<F: Future<Output = Result<V>>>(self, read: impl Fn(K) -> F) {
        while let Some(waiting) = self.next() {
            let count = waiting.len();
            let read = read(self.key.clone());
            let read = async move {
                read.await.map_err(|error| {
                    let id = Id::new();
                    if error.is_fault() && count > 1 {
                        tracing::warn!(read_id = %id, "read {id}, shared by {count} requests, failed");
                    }
                    FailedRead { error, id }
                })
            };
            // What it logs names the first of those who wait for it.
            let first = waiting.first().and_then(|waiter| waiter.context.clone());
            let result = in_current_request(first, read).await;
            for waiter in waiting {
                // Fails when the client has hung up.
                drop(waiter.sender.send(result.clone()));
            }
        }
    }

    /// The requests that came since the last read began. If there are none, removes the key.
    fn next(&self) -> Option<Waiting<V>> {
        let mut waiting = lock(&self.waiting);
        let list = std::mem::take(waiting.get_mut(&self.key)?);
        if list.is_empty() {
            waiting.remove(&self.key);
            return None;
        }
        Some(list)
    }
}

impl<K: Hash + Eq, V> Drop for ReadTask<K, V> {
    fn drop(&mut self) {
        // After a panic: dropping the senders tells the waiting requests. Otherwise the key is already gone, or
        // belongs to a new task.
        if std::thread::panicking() {
            lock(&self.waiting).remove(&self.key);
        }
    }
}

fn lock<K, V>(waiting: &Mutex<HashMap<K, Waiting<V>>>) -> MutexGuard<'_, HashMap<K, Waiting<V>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
