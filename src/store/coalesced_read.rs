//! Reads that a crowd shares: whoever asks for the same at the same time gets the same answer, read once.
//!
//! Nobody gets an answer that is older than the question. A read that is under way when one asks does not count; the next
//! one does, which begins when that has ended, for all who have asked meanwhile. So the database answers one read after
//! the other for each key, whatever the size of the crowd, and what is answered is as true as if each had asked alone.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Store;
use crate::error::{Error, Result};
use crate::model::id::Id;

type Waiting<V> = Vec<oneshot::Sender<Result<V, FailedRead>>>;

/// What all who share a read are told when it fails.
#[derive(Clone)]
struct FailedRead {
    error: Error,
    /// Stands in the log beside the cause, and in a line of each request that shared the read.
    id: Id,
}

/// The reads of one kind, by their key. As many as there are requests under way at the most.
pub struct CoalescedReads<K, V> {
    store: Store,
    /// Who waits for the next read of each key; a key is here as long as a task reads it.
    waiting: Arc<Mutex<HashMap<K, Waiting<V>>>>,
}

impl<K: Hash + Eq + Clone + Send + 'static, V: Clone + Send + 'static> CoalescedReads<K, V> {
    /// No reads yet.
    pub fn new(store: Store) -> Self {
        Self { store, waiting: Arc::default() }
    }

    /// What `read` gives, for everybody who asks for `key` now.
    ///
    /// # Errors
    /// Those of `read`; `internal` when it panics.
    pub async fn get<F>(&self, key: K, read: impl Fn(K) -> F + Send + 'static) -> Result<V>
    where
        F: Future<Output = Result<V>> + Send,
    {
        let (sender, receiver) = oneshot::channel();
        let is_first = {
            let mut waiting = lock(&self.waiting);
            let list = waiting.get_mut(&key);
            let is_first = list.is_none();
            match list {
                Some(list) => list.push(sender),
                None => drop(waiting.insert(key.clone(), vec![sender])),
            }
            is_first
        };
        if is_first {
            // In a task of its own: the first one may hang up, and the others still wait.
            let task = ReadTask { waiting: self.waiting.clone(), key };
            self.store.spawn(async move { task.run(read).await });
        }
        match receiver.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(FailedRead { error, id })) => {
                if !is_first && error.is_fault() && self.store.may_log_failure() {
                    tracing::warn!(read_id = %id, "this request shared the read {id}, which failed");
                }
                Err(error)
            }
            Err(_) => Err(Error::Internal),
        }
    }
}

/// The task that reads one key. When it ends, however it ends, nobody waits for it.
struct ReadTask<K: Hash + Eq, V> {
    waiting: Arc<Mutex<HashMap<K, Waiting<V>>>>,
    key: K,
}

impl<K: Hash + Eq + Clone, V: Clone> ReadTask<K, V> {
    async fn run<F: Future<Output = Result<V>>>(self, read: impl Fn(K) -> F) {
        while let Some(waiting) = self.next() {
            let result = read(self.key.clone()).await.map_err(|error| {
                let id = Id::new();
                if error.is_fault() && waiting.len() > 1 {
                    tracing::warn!(read_id = %id, "the read {id} of {} requests failed", waiting.len());
                }
                FailedRead { error, id }
            });
            for sender in waiting {
                // Whoever has hung up needs no answer.
                drop(sender.send(result.clone()));
            }
        }
    }

    /// Those who have asked since the last read began; none when nobody has, and then the key is gone.
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
        // After a panic: those who wait are told by their channel. Otherwise the key is gone already, or another's.
        if std::thread::panicking() {
            lock(&self.waiting).remove(&self.key);
        }
    }
}

fn lock<K, V>(waiting: &Mutex<HashMap<K, Waiting<V>>>) -> MutexGuard<'_, HashMap<K, Waiting<V>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}
