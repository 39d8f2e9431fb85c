//! Transactions of everything but the purchases, which have their own in `purchases/commit`.

use std::time::Duration;

use futures_util::future::BoxFuture;
use mongodb::ClientSession;
use mongodb::error::Error as DatabaseError;
use mongodb::options::ReadConcern;
use tokio::time::Instant;

use super::connect::durable;
use super::{Store, failure};
use crate::error::{Error, Result};

/// The longest pause before a transaction that met another one is run again. A lane sells in transactions of a few
/// milliseconds, with gaps between them.
const CONFLICT_PAUSE_MS_MAX: u64 = 10;
/// The pause before a commit is sent again.
const COMMIT_RETRY_MS: u64 = 50;

/// Why the work of a transaction ends it.
#[derive(Debug)]
pub enum Abort {
    /// What the caller is told; nothing is written.
    Refused(Error),
    /// The driver's. If it is transient, the transaction is run again.
    Failed(DatabaseError),
}

impl From<Error> for Abort {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<DatabaseError> for Abort {
    fn from(error: DatabaseError) -> Self {
        Self::Failed(error)
    }
}

impl Store {
    /// Runs `work` in a transaction, in a task of its own that is never dropped. `work` runs again when another transaction
    /// was faster. What it reads is of one snapshot, in which everything is that was confirmed before.
    ///
    /// # Errors
    /// What `work` refuses with; `overloaded` when others are faster for too long, `database_unavailable`; `outcome_unknown`
    /// when the commit gets no answer.
    pub async fn transact<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: for<'a> Fn(&'a mut ClientSession) -> BoxFuture<'a, std::result::Result<T, Abort>>
            + Send
            + Sync
            + 'static,
    {
        let store = self.clone();
        self.write(async move { store.run(work).await }).await
    }

    async fn run<T, W>(&self, work: W) -> Result<T>
    where
        W: for<'a> Fn(&'a mut ClientSession) -> BoxFuture<'a, std::result::Result<T, Abort>>,
    {
        let deadline = Instant::now() + self.write_wait_max();
        loop {
            let point = self.confirm().await?;
            let started = point.session(&self.client).await;
            let mut session = started.map_err(|error| failure::of_read(&error))?;
            let begun =
                session.start_transaction().read_concern(ReadConcern::snapshot()).write_concern(durable());
            begun.await.map_err(|error| failure::of_read(&error))?;
            let error = match work(&mut session).await {
                Ok(result) => match self.finish(&mut session, deadline).await {
                    Ok(()) => return Ok(result),
                    Err(Abort::Refused(error)) => return Err(error),
                    Err(Abort::Failed(error)) => error,
                },
                Err(Abort::Refused(error)) => {
                    let _ = session.abort_transaction().await;
                    return Err(error);
                }
                Err(Abort::Failed(error)) => {
                    let _ = session.abort_transaction().await;
                    error
                }
            };
            if !failure::is_transient(&error) {
                // Nothing was committed.
                return Err(failure::of_read(&error));
            }
            if Instant::now() >= deadline {
                tracing::warn!("a transaction was run again until its time was over: {error}");
                return Err(match failure::is_unavailable(&error) {
                    true => Error::DatabaseUnavailable,
                    false => {
                        Error::Overloaded { detail: "Other transactions were faster. Nothing was changed." }
                    }
                });
            }
            let pause_ms = rand::random_range(1..=CONFLICT_PAUSE_MS_MAX);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    /// Commits, and asks again while there is no answer.
    async fn finish(&self, session: &mut ClientSession, deadline: Instant) -> std::result::Result<(), Abort> {
        loop {
            let Err(error) = session.commit_transaction().await else {
                self.note(session);
                return Ok(());
            };
            if failure::is_transient(&error) || !failure::is_unknown_commit(&error) {
                return Err(Abort::Failed(error));
            }
            tracing::warn!("a commit got no clear answer: {error}");
            if Instant::now() >= deadline {
                return Err(Abort::Refused(Error::OutcomeUnknown { purchase_id: None }));
            }
            tokio::time::sleep(Duration::from_millis(COMMIT_RETRY_MS)).await;
        }
    }
}
