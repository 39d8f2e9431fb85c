//! Reads of whose access has ended. Nobody is served without knowing, so other reads cannot use up their permits.

use std::future::Future;
use std::time::Instant;

use mongodb::ClientSession;

use super::Store;
use crate::error::Result;

impl Store {
    /// Like `read`, for whether one token still counts.
    ///
    /// # Errors
    /// Those of [`Store::read`].
    pub async fn read_access<T, F>(&self, read: impl FnOnce(ClientSession) -> F) -> Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>>,
    {
        self.read_confirmed(&self.access_reads, read).await
    }

    /// The same without a permit, for the one task that asks whose access has ended.
    ///
    /// # Errors
    /// `database_unavailable`.
    pub async fn follow_access<T, F>(&self, read: impl FnOnce(ClientSession) -> F) -> Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>>,
    {
        let began = Instant::now();
        let point = self.confirm_in_time().await?;
        self.read_within(self.read_max.saturating_sub(began.elapsed()), point, read).await
    }
}
