//! Reads that a whole crowd asks for again and again: the first ones, and a few each second, go to the database
//! (`shared_read`); the others are answered with what was read before, if the change stream says that it still holds.
//!
//! So who asks now and then gets what the database has at that moment, and a crowd costs it next to nothing.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use super::Store;
use super::budget::Budget;
use super::shared_read::SharedReads;
use crate::config::Limits;
use crate::error::Result;
use crate::http::rendered::Rendered;

/// An answer may be there as it was read and as it was written anew from memory.
const COPIES: usize = 2;

/// The reads of one kind, by their key.
pub struct CrowdReads<K, T> {
    shared: SharedReads<K, Arc<Reading<T>>>,
    slots: Cache<K, Arc<Slot<T>>>,
    budget: (u32, u32),
}

/// One reading.
pub struct Reading<T> {
    /// The answer, as it was read.
    pub answer: Rendered,
    /// What it takes to tell later whether it still holds.
    pub basis: T,
}

/// What is kept of one key.
struct Slot<T> {
    /// The reads that go to the database.
    budget: Arc<Budget>,
    last: Option<Arc<Reading<T>>>,
}

impl<K, T> CrowdReads<K, T>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    /// No reads yet.
    pub fn new(store: Store, limits: &Limits) -> Self {
        let idle_max = Duration::from_secs(limits.remembered_read_idle_seconds_max);
        let bytes_max = limits.remembered_reads_bytes_max;
        // As if none were smaller: so their number has a bound, too.
        let bytes_min = bytes_max / limits.remembered_reads_max.max(1);
        let bytes = move |_: &K, slot: &Arc<Slot<T>>| {
            let bytes = slot.last.as_ref().map_or(0, |last| COPIES * last.answer.bytes());
            u32::try_from(bytes.max(bytes_min)).unwrap_or(u32::MAX)
        };
        let slots = Cache::builder().max_capacity(bytes_max as u64).weigher(bytes).time_to_idle(idle_max);
        Self {
            shared: SharedReads::new(store),
            slots: slots.build(),
            budget: (limits.database_reads_burst, limits.database_reads_per_second),
        }
    }

    /// What `remembered` makes of the last reading of `key`, if it can; otherwise, or when it is time again, what `read`
    /// gives.
    ///
    /// # Errors
    /// Those of `read`.
    pub async fn get<F>(
        &self,
        key: K,
        remembered: impl Fn(&Reading<T>) -> Option<Rendered>,
        read: impl Fn(K) -> F + Send + 'static,
    ) -> Result<Rendered>
    where
        F: Future<Output = Result<Reading<T>>> + Send,
    {
        let slot = self.slots.get_with_by_ref(&key, || {
            let (burst, per_second) = self.budget;
            Arc::new(Slot { budget: Arc::new(Budget::new(burst, per_second)), last: None })
        });
        if !slot.budget.take()
            && let Some(last) = &slot.last
            && let Some(answer) = remembered(last)
        {
            return Ok(answer);
        }
        let read = move |key| {
            let reading = read(key);
            async move { reading.await.map(Arc::new) }
        };
        let reading = self.shared.get(key.clone(), read).await?;
        let answer = reading.answer.clone();
        self.slots.insert(key, Arc::new(Slot { budget: slot.budget.clone(), last: Some(reading) }));
        Ok(answer)
    }
}
