//! Confirmations: small majority writes that show up to which point a read must be.
//!
//! A majority read at the primary alone may be older than what was confirmed: a new primary does not know yet what the
//! one before it has confirmed, a primary that is cut off does not know that there is a new one, and the driver repeats a
//! read at another member by itself. A write that began after the question and that a majority has comes later in the
//! oplog than everything that was confirmed before the question. So a read that waits for that write's operation time
//! (`afterClusterTime`, which a causally consistent session sends, also when the driver repeats the read) has it all, at
//! whichever member it is served; a primary that is cut off never reaches that time.
//!
//! One confirmation serves all who ask while the one before it is under way. The heartbeat is a confirmation a second, which
//! also brings the database's clock.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mongodb::bson::{DateTime, Document, Timestamp as OperationTime, doc};
use mongodb::options::{ReturnDocument, ServerAddress};
use mongodb::{Client, ClientSession, ClusterTime, Collection, Database};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout, timeout_at};

use super::clock::Clock;
use super::coalesced_read::CoalescedReads;
use super::failure;
use super::sale_sessions::SaleSessions;
use super::schema;
use super::tasks::Tasks;
use crate::error::{Error, Result};
use crate::model::id::Id;
use crate::model::timestamp::Timestamp;

/// After this time without an answer another write is begun: the first may be on a connection that is cut.
const ANOTHER_AFTER: Duration = Duration::from_millis(500);

/// A place in the oplog: everything up to it is on a majority.
pub struct Point {
    operation_time: OperationTime,
    cluster_time: Option<ClusterTime>,
}

/// What the last confirmation brought.
struct Sample {
    clock: Clock,
    /// When the confirmation was asked for.
    begun: Instant,
    point: Arc<Point>,
}

/// Makes confirmations.
pub struct Confirmations {
    writer: Arc<Writer>,
    coalesced: CoalescedReads<(), Arc<Point>>,
}

struct Writer {
    client: Client,
    database: Database,
    servers: Collection<Document>,
    server: Id,
    sale_sessions: Arc<SaleSessions>,
    primary: watch::Receiver<Option<ServerAddress>>,
    tasks: Tasks,
    write_max: Duration,
    last: RwLock<Option<Sample>>,
}

impl Confirmations {
    /// None yet.
    pub fn new(
        client: Client,
        database: &Database,
        server: Id,
        sale_sessions: Arc<SaleSessions>,
        primary: watch::Receiver<Option<ServerAddress>>,
        tasks: Tasks,
        write_max: Duration,
    ) -> Self {
        let coalesced = CoalescedReads::new(tasks.clone());
        let last = RwLock::default();
        Self {
            writer: Arc::new(Writer {
                client,
                database: database.clone(),
                servers: database.collection(schema::SERVERS),
                server,
                sale_sessions,
                primary,
                tasks,
                write_max,
                last,
            }),
            coalesced,
        }
    }

    /// Confirms: waits for a write that begins now, or later, to be on a majority.
    ///
    /// # Errors
    /// `database_unavailable` when the database does not commit in time.
    pub async fn confirm(&self) -> Result<Arc<Point>> {
        let writer = self.writer.clone();
        self.coalesced
            .get((), move |()| {
                let writer = writer.clone();
                async move { writer.write().await }
            })
            .await
    }

    /// Improves the estimate of the database's clock by a question that is answered at once: a confirmation's answer waits for
    /// a majority.
    pub async fn ask_time(&self) {
        let writer = &self.writer;
        let sent = Instant::now();
        let hello = writer.database.run_command(doc! { "hello": 1 });
        // If it fails, the estimate of the confirmations will do.
        let Ok(Ok(answer)) = timeout(writer.write_max, hello).await else { return };
        let Ok(time) = answer.get_datetime("localTime") else { return };
        let mut last = writer.last.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(sample) = last.as_mut() {
            sample.clock.learn((*time).into(), sent, Instant::now());
        }
    }

    /// The place of the last confirmation, or of a later answer.
    pub fn last_point(&self) -> Option<Arc<Point>> {
        self.writer.last(|sample| sample.point.clone())
    }

    /// The age of the last successful confirmation, from its start; `Duration::MAX` if there was none.
    pub fn age(&self) -> Duration {
        self.writer.last(|sample| sample.begun.elapsed()).unwrap_or(Duration::MAX)
    }

    /// The database's clock, never ahead of it.
    pub fn database_time(&self) -> Timestamp {
        let time = self.writer.last(|sample| sample.clock.time_at(Instant::now()));
        time.unwrap_or(Timestamp::from_milliseconds(0))
    }

    /// Takes note of what a session has seen, so that later reads are not older.
    pub fn note(&self, session: &ClientSession) {
        let Some(operation_time) = session.operation_time() else { return };
        let mut last = self.writer.last.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(sample) = last.as_mut().filter(|sample| sample.point.operation_time < operation_time) {
            sample.point = Arc::new(Point { operation_time, cluster_time: session.cluster_time().cloned() });
        }
    }
}

/// The answer to a confirmation that failed, for whatever reason: the database does not commit.
fn unconfirmed(error: &mongodb::error::Error) -> Error {
    tracing::warn!("the database does not confirm writes: {error}");
    Error::DatabaseUnavailable
}

impl Point {
    /// A session whose reads wait until they have everything up to this place.
    ///
    /// # Errors
    /// The driver's.
    pub async fn session(&self, client: &Client) -> Result<ClientSession, mongodb::error::Error> {
        let mut session = client.start_session().causal_consistency(true).await?;
        self.advance(&mut session);
        Ok(session)
    }

    /// Has the next reads of a causally consistent session wait until they have everything up to this place.
    pub fn advance(&self, session: &mut ClientSession) {
        session.advance_operation_time(self.operation_time);
        if let Some(cluster_time) = &self.cluster_time {
            session.advance_cluster_time(cluster_time);
        }
    }
}

/// What the database answers to one confirmation.
struct Answer {
    database_time: DateTime,
    point: Point,
}

impl Writer {
    fn last<T>(&self, read: impl FnOnce(&Sample) -> T) -> Option<T> {
        self.last.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(read)
    }

    async fn write(self: Arc<Self>) -> Result<Arc<Point>> {
        let deadline = tokio::time::Instant::now() + self.write_max;
        let mut primary = self.primary.clone();
        let mut touches = FuturesUnordered::new();
        loop {
            primary.mark_unchanged();
            touches.push(self.begin());
            tokio::select! {
                touched = timeout_at(deadline, touches.next()) => {
                    let Ok(Some(Ok((answer, begun)))) = touched else {
                        return Err(failure::too_slow("a confirmation"));
                    };
                    let answer = answer.map_err(|error| unconfirmed(&error))?;
                    return Ok(self.learn(answer, begun));
                }
                // The write may have gone to a member that is stopped, or on a connection that is cut. The client outlives
                // this task.
                _ = primary.changed() => {}
                () = sleep(ANOTHER_AFTER) => {}
            }
        }
    }

    /// Begins to touch this server's document, in a task of its own: a write is never dropped half-way.
    fn begin(self: &Arc<Self>) -> JoinHandle<(mongodb::error::Result<Answer>, Instant)> {
        let (writer, begun) = (self.clone(), Instant::now());
        self.tasks.spawn(async move { (writer.touch().await, begun) })
    }

    /// Touches this server's document.
    async fn touch(&self) -> Result<Answer, mongodb::error::Error> {
        let mut session = self.client.start_session().causal_consistency(true).await?;
        // `$$NOW`, not `$currentDate`: the clock that the sale windows are judged by. The sessions are for the servers that
        // find a transaction of this one abandoned.
        let sessions = doc! { "$literal": self.sale_sessions.ids_of_transactions() };
        let seen = doc! { "$set": { "seenAt": "$$NOW", "sessions": sessions } };
        let touched = self
            .servers
            .find_one_and_update(doc! { "_id": self.server }, vec![seen])
            .upsert(true)
            .projection(doc! { "seenAt": 1 })
            .return_document(ReturnDocument::After)
            .session(&mut session)
            .await?;
        let missing = || mongodb::error::Error::custom("the heartbeat's answer has no time");
        let seen_at = touched.and_then(|server| server.get_datetime("seenAt").ok().copied());
        Ok(Answer {
            database_time: seen_at.ok_or_else(missing)?,
            point: Point {
                operation_time: session.operation_time().ok_or_else(missing)?,
                cluster_time: session.cluster_time().cloned(),
            },
        })
    }

    fn learn(&self, answer: Answer, begun: Instant) -> Arc<Point> {
        let received = Instant::now();
        let point = Arc::new(answer.point);
        let database_time = answer.database_time.into();
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        match last.as_mut() {
            None => {
                let clock = Clock::new(database_time, received);
                *last = Some(Sample { clock, begun, point: point.clone() });
            }
            Some(sample) => {
                sample.clock.learn(database_time, begun, received);
                sample.begun = sample.begun.max(begun);
                if sample.point.operation_time < point.operation_time {
                    sample.point = point.clone();
                }
            }
        }
        point
    }
}
