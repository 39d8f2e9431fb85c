//! Reads: each waits for its permit, ends in time, and shows at least what this server has confirmed, or read, before.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::action::Find;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::confirmation::Point;
use super::{Store, failure};
use crate::error::{Error, Result};
use crate::metrics::Limit;
use crate::sabotage::Mistake;

impl Store {
    /// Waits for one of these permits: only a few searches run at a time, because each looks at every document.
    ///
    /// # Errors
    /// `overloaded` when the permit does not come in time.
    pub async fn search_permit<'a>(&self, searches: &'a Semaphore) -> Result<SemaphorePermit<'a>> {
        match tokio::time::timeout(self.permit_wait_max, searches.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                self.metrics.limits_hit.count(Limit::Searches);
                Err(Error::Overloaded { detail: "Too many searches at once." })
            }
        }
    }

    /// Waits for a confirmation and a permit, then reads in a session that shows everything that was confirmed before.
    ///
    /// # Errors
    /// `overloaded` when the permit does not come in time, `database_unavailable` when the result does not.
    pub async fn read<T, F>(&self, read: impl FnOnce(ClientSession) -> F) -> Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>>,
    {
        self.read_confirmed(&self.reads, read).await
    }

    /// Like `read`, for lists of purchases: listing a buyer with many purchases is slow, and must not hold up other reads.
    ///
    /// # Errors
    /// Those of [`Store::read`].
    pub async fn read_history<T, F>(&self, read: impl FnOnce(ClientSession) -> F) -> Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>>,
    {
        self.read_confirmed(&self.history_reads, read).await
    }

    /// Like `read`, for reads on which a lane bases refusals. The permits of the lanes are separate, so visitors of the catalogue
    /// cannot use them up.
    ///
    /// # Errors
    /// Those of [`Store::read`].
    pub async fn read_sale_confirmed<T, F>(&self, read: impl FnOnce(ClientSession) -> F) -> Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>>,
    {
        self.read_confirmed(&self.sale_reads, read).await
    }

    /// Like `read_sale_confirmed`, for what a commit verifies later: it waits for no confirmation, and what it shows is at
    /// least as new as what this server has read before.
    ///
    /// # Errors
    /// Those of [`Store::read`].
    pub async fn read_sale<T, F>(&self, read: impl FnOnce(ClientSession) -> F) -> Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>>,
    {
        self.read_unconfirmed(&self.sale_reads, read).await
    }

    /// Like `read_sale`, for those who follow what is sold: they notice by themselves what an answer lacks.
    ///
    /// # Errors
    /// Those of [`Store::read`].
    pub async fn read_followed<T, F>(&self, read: impl FnOnce(ClientSession) -> F) -> Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>>,
    {
        self.read_unconfirmed(&self.reads, read).await
    }

    /// Reads what the database is doing. No session and no confirmation: `$currentOp` allows neither.
    ///
    /// # Errors
    /// Those of [`Store::read`].
    pub async fn read_current_operations<T>(
        &self,
        read: impl Future<Output = mongodb::error::Result<T>>,
    ) -> Result<T> {
        let _permit = self.permit(&self.sale_reads).await?;
        in_time(self.read_max, read).await
    }

    pub(super) async fn read_confirmed<T, F>(
        &self,
        permits: &Arc<Semaphore>,
        read: impl FnOnce(ClientSession) -> F,
    ) -> Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>>,
    {
        if Mistake::ReadWithoutWaitingForTerm.is_made() {
            let session = self.client.start_session().await.map_err(|error| failure::of_read(&error))?;
            return read(session).await.map_err(|error| failure::of_read(&error));
        }
        let began = Instant::now();
        let point = self.confirm_in_time().await?;
        // The permit comes second: many share one confirmation, and while they wait for it they hold up nobody.
        let _permit = self.permit(permits).await?;
        self.read_within(self.read_max.saturating_sub(began.elapsed()), point, read).await
    }

    /// A confirmation, in no more than the time of a read.
    pub(super) async fn confirm_in_time(&self) -> Result<Arc<Point>> {
        let confirmed = tokio::time::timeout(self.read_max, self.confirm());
        confirmed.await.unwrap_or_else(|_| Err(failure::too_slow("a read")))
    }

    async fn read_unconfirmed<T, F>(
        &self,
        permits: &Arc<Semaphore>,
        read: impl FnOnce(ClientSession) -> F,
    ) -> Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>>,
    {
        let _permit = self.permit(permits).await?;
        let point = self.confirmations.last_point().ok_or(Error::DatabaseUnavailable)?;
        self.read_within(self.read_max, point, read).await
    }

    pub(super) async fn read_within<T, F>(
        &self,
        time: Duration,
        point: Arc<Point>,
        read: impl FnOnce(ClientSession) -> F,
    ) -> Result<T>
    where
        F: Future<Output = mongodb::error::Result<T>>,
    {
        // Boxed, because a session is large, and so would be every future around this one.
        in_time(time, Box::pin(async { read(point.session(&self.client).await?).await })).await
    }
}

async fn in_time<T>(time: Duration, read: impl Future<Output = mongodb::error::Result<T>>) -> Result<T> {
    match tokio::time::timeout(time, read).await {
        Ok(result) => result.map_err(|error| failure::of_read(&error)),
        Err(_) => Err(failure::too_slow("a read")),
    }
}

/// Everything that a query finds, in the session of a read.
///
/// # Errors
/// The driver's.
pub(crate) async fn collect<T: DeserializeOwned + Unpin + Send + Sync>(
    find: Find<'_, T>,
    mut session: ClientSession,
) -> mongodb::error::Result<Vec<T>> {
    let mut found = find.session(&mut session).await?;
    found.stream(&mut session).try_collect().await
}
