//! Reads that a crowd repeats. The first ones, and a few each second, go to the database (`coalesced_read`). The
//! others get the last answer again, if the change stream shows that it still holds.
//!
//! So an occasional reader sees the database as it is now, and a crowd costs the database almost nothing.

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

/// An answer may be kept twice: as it was read, and as rewritten from memory.
const COPIES: usize = 2;

/// The reads of one kind, by key.
pub struct HotReads<K, T> {
    shared: CoalescedReads<K, Arc<Reading<T>>>,
    memos: Cache<K, Arc<Memo<T>>>,
    bucket: (u32, u32),
}

/// One result of the database.
pub struct Reading<T> {
    pub answer: Rendered,
    /// What is needed to tell later whether the answer still holds.
    pub basis: T,
}

struct Memo<T> {
    /// Limits the reads that go to the database.
    bucket: Arc<TokenBucket>,
    last: Option<Arc<Reading<T>>>,
}

impl<K, T> HotReads<K, T>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    pub fn new(store: Store, limits: &StoreLimits) -> Self {
        let idle_max = Duration::from_secs(limits.remembered_read_idle_seconds_max);
        let bytes_max = limits.remembered_reads_bytes_max;
        // A minimum weight bounds the number of entries, too.
        let bytes_min = bytes_max / limits.remembered_reads_max.max(1);
        let bytes = move |_: &K, memo: &Arc<Memo<T>>| {
            let bytes = memo.last.as_ref().map_or(0, |last| COPIES * last.answer.bytes());
            u32::try_from(bytes.max(bytes_min)).unwrap_or(u32::MAX)
        };
        let memos = Cache::builder().max_capacity(bytes_max as u64).weigher(bytes).time_to_idle(idle_max);
        Self {
            shared: CoalescedReads::new(store.tasks.clone()),
            memos: memos.build(),
            bucket: (limits.database_reads_burst, limits.database_reads_per_second),
        }
    }

    /// Answers from `remembered` if the key's last reading still holds. Calls `read` if not, and as often as the
    /// token bucket allows.
    ///
    /// # Errors
    /// Those of the given `read`.
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
