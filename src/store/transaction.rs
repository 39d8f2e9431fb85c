//! Transactions of everything but the purchases, which have their own in `purchases/commit`.

use std::time::Duration;

use futures_util::future::BoxFuture;
use mongodb::ClientSession;
use mongodb::error::Error as DatabaseError;
use mongodb::options::ReadConcern;
use tokio::time::{Instant, timeout};

use super::connect::durable;
use super::{Store, abandoned_transactions, failure};
use crate::error::{Error, Result};

/// The longest pause before a transaction that met another one is run again. A lane sells in transactions of a few
/// milliseconds, with gaps between them.
const CONFLICT_PAUSE_MS_MAX: u64 = 10;
/// The pause before a commit is sent again, in milliseconds.
pub const COMMIT_RETRY_MS: u64 = 50;
/// How long to wait for an abort before the transaction is treated as one that may stay open.
const ABORT_MS_MAX: u64 = 500;

/// Why the work of a transaction ends it.
#[derive(Debug)]
pub enum Abort {
    /// What the caller is told; nothing is written.
    Refused(Error),
    /// The driver's. If it is transient, the transaction is run again.
    Failed(DatabaseError),
    /// Another transaction was faster, and the next run sees what it did.
    Overtaken(DatabaseError),
}

impl Abort {
    /// Whether the database has answered all statements.
    fn is_answered(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Failed(error) | Self::Overtaken(error) => !failure::is_unavailable(error),
        }
    }
}

impl From<Error> for Abort {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<DatabaseError> for Abort {
    fn from(error: DatabaseError) -> Self {
        match failure::is_transient(&error) {
            true => Self::Overtaken(error),
            false => Self::Failed(error),
        }
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
        self.write(Box::pin(async move { store.run(work).await })).await
    }

    async fn run<T, W>(&self, work: W) -> Result<T>
    where
        W: for<'a> Fn(&'a mut ClientSession) -> BoxFuture<'a, std::result::Result<T, Abort>>,
    {
        let deadline = Instant::now() + self.write_wait_max();
        let mut session = self.noted_session().await.map_err(|error| failure::of_read(&error))?;
        let point = match self.confirm().await {
            Ok(point) => point,
            Err(error) => {
                self.sale_sessions.forget(&session);
                return Err(error);
            }
        };
        loop {
            point.advance(&mut session);
            let failed = match self.attempt(&mut session, &work, deadline).await {
                Ok(result) => {
                    self.note(&session);
                    self.sale_sessions.forget(&session);
                    return Ok(result);
                }
                Err(Failure::Unknown) => {
                    abandoned_transactions::end(self, session).await;
                    return Err(Error::OutcomeUnknown { purchase_id: None });
                }
                Err(Failure::Nothing(abort)) => abort,
            };
            let has_time = Instant::now() < deadline;
            let is_run_again =
                has_time && matches!(&failed, Abort::Overtaken(error) if !failure::is_unavailable(error));
            if failed.is_answered() && abort(&mut session).await {
                if !is_run_again {
                    self.sale_sessions.forget(&session);
                }
            } else {
                // Its statements may still be on their way, and would hold a product for a minute.
                abandoned_transactions::end(self, session).await;
                session = match is_run_again {
                    true => self.noted_session().await.map_err(|error| failure::of_read(&error))?,
                    false => return Err(told(failed)),
                };
            }
            if !is_run_again {
                return Err(told(failed));
            }
            let pause_ms = rand::random_range(1..=CONFLICT_PAUSE_MS_MAX);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    /// A session for a transaction. The next confirmation writes it down: if this server is killed in the middle of the
    /// transaction, the others end it.
    async fn noted_session(&self) -> std::result::Result<ClientSession, DatabaseError> {
        let session = self.client.start_session().causal_consistency(true).await?;
        self.sale_sessions.note_other(&session);
        Ok(session)
    }

    /// Runs the transaction once.
    async fn attempt<T, W>(
        &self,
        session: &mut ClientSession,
        work: &W,
        deadline: Instant,
    ) -> std::result::Result<T, Failure>
    where
        W: for<'a> Fn(&'a mut ClientSession) -> BoxFuture<'a, std::result::Result<T, Abort>>,
    {
        begin(session).await.map_err(|error| Failure::Nothing(error.into()))?;
        let result = work(session).await.map_err(Failure::Nothing)?;
        loop {
            let Err(error) = session.commit_transaction().await else { return Ok(result) };
            if failure::is_transient(&error) || !failure::is_unknown_commit(&error) {
                return Err(Failure::Nothing(error.into()));
            }
            tracing::warn!("a commit got no clear answer: {error}");
            if Instant::now() >= deadline {
                return Err(Failure::Unknown);
            }
            tokio::time::sleep(Duration::from_millis(COMMIT_RETRY_MS)).await;
        }
    }
}

/// Begins a transaction that reads from a snapshot and is durable on a majority once committed. A transaction ignores the
/// concerns of its collections, so it needs its own.
///
/// # Errors
/// The driver's.
pub async fn begin(session: &mut ClientSession) -> std::result::Result<(), DatabaseError> {
    session.start_transaction().read_concern(ReadConcern::snapshot()).write_concern(durable()).await
}

/// Aborts a transaction whose statements were all answered; if one of them failed, that has ended it already. False when
/// nobody knows whether it is over.
pub async fn abort(session: &mut ClientSession) -> bool {
    timeout(Duration::from_millis(ABORT_MS_MAX), session.abort_transaction()).await.is_ok()
}

/// How one run of a transaction failed.
enum Failure {
    /// Nothing was written.
    Nothing(Abort),
    /// The commit got no answer.
    Unknown,
}

/// What the caller is told when nothing was written.
fn told(abort: Abort) -> Error {
    match abort {
        Abort::Refused(error) => error,
        Abort::Overtaken(error) if !failure::is_unavailable(&error) => {
            tracing::warn!("a transaction was run again until its time was over: {error}");
            Error::Overloaded { detail: "Other transactions were faster. Nothing was changed." }
        }
        Abort::Failed(error) | Abort::Overtaken(error) => failure::of_read(&error),
    }
}
