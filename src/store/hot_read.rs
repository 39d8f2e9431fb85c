//! Reads that a whole crowd asks for again and again: the first ones, and a few each second, go to the database
//! (`coalesced_read`); the others are answered with what was read before, if the change stream says that it still holds.
//!
//! So who asks now and then gets what the database has at that moment, and a crowd costs it next to nothing.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use super::Store;
use super::coalesced_read::CoalescedReads;
use super::token_bucket::TokenBucket;
use crate::config::StoreLimits;
use crate::error::Result;
use crate::http::rendered::Rendered;

/// An answer may be there as it was read and as it was written anew from memory.
const COPIES: usize = 2;

/// The reads of one kind, by their key.
pub struct HotReads<K, T> {
    shared: CoalescedReads<K, Arc<Reading<T>>>,
    memos: Cache<K, Arc<Memo<T>>>,
    bucket: (u32, u32),
}

/// One reading.
pub struct Reading<T> {
    /// The answer, as it was read.
    pub answer: Rendered,
    /// What it takes to tell later whether it still holds.
    pub basis: T,
}

/// What is kept of one key.
struct Memo<T> {
    /// The reads that go to the database.
    bucket: Arc<TokenBucket>,
    last: Option<Arc<Reading<T>>>,
}

impl<K, T> HotReads<K, T>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    /// No reads yet.
    pub fn new(store: Store, limits: &StoreLimits) -> Self {
        let idle_max = Duration::from_secs(limits.remembered_read_idle_seconds_max);
        let bytes_max = limits.remembered_reads_bytes_max;
        // As if none were smaller: so their number has a bound, too.
        let bytes_min = bytes_max / limits.remembered_reads_max.max(1);
        let bytes = move |_: &K, memo: &Arc<Memo<T>>| {
            let bytes = memo.last.as_ref().map_or(0, |last| COPIES * last.answer.bytes());
            u32::try_from(bytes.max(bytes_min)).unwrap_or(u32::MAX)
        };
        let memos = Cache::builder().max_capacity(bytes_max as u64).weigher(bytes).time_to_idle(idle_max);
        Self {
            shared: CoalescedReads::new(store),
            memos: memos.build(),
            bucket: (limits.database_reads_burst, limits.database_reads_per_second),
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
        let memo = self.memos.get_with_by_ref(&key, || {
            let (burst, per_second) = self.bucket;
            Arc::new(Memo { bucket: Arc::new(TokenBucket::new(burst, per_second)), last: None })
        });
        if !memo.bucket.take()
            && let Some(last) = &memo.last
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
        self.memos.insert(key, Arc::new(Memo { bucket: memo.bucket.clone(), last: Some(reading) }));
        Ok(answer)
    }
}
