//! Ends transactions that nobody will commit any more and that may still be open in the database: a statement or the
//! commit got no answer, or the server was killed. Until such a transaction is over, no server can sell its products;
//! MongoDB itself waits for a minute or more.

use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::Error as DatabaseError;
use mongodb::options::ReadConcern;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::{Store, collect, schema};
use crate::error::Result;

/// How long to wait for the database to confirm that the transaction is over.
const PATIENCE_MS_MAX: u64 = 500;
/// The pause before the database is asked again after a failure.
const RETRY_PAUSE_MS: u64 = 250;
/// The pause before the database is asked a second time after it has confirmed.
const SECOND_PAUSE_MS: u64 = 1_000;
/// How long to keep trying: by then MongoDB has ended the transaction itself (`transactionLifetimeLimitSeconds`).
const TRIED_SECONDS_MAX: u64 = 90;

/// Ends the transaction of `session` if it is open, and keeps trying in a task of its own while the database is away.
/// Once this has succeeded, a commit that got no answer can no longer happen: its outcome is certain.
///
/// The driver's own abort is not enough: it does not report whether it got an answer.
pub async fn end(store: &Store, session: ClientSession) {
    end_then(store, session, |store, session, _| store.sale_sessions.forget(&session)).await;
}

/// The same for a transaction that sold: its session sells again, once it is certain that the transaction is over.
pub async fn end_sale(store: &Store, session: ClientSession) {
    end_then(store, session, |store, session, is_over| match is_over {
        true => store.sale_sessions.give_back(session),
        false => store.sale_sessions.retire(session),
    })
    .await;
}

async fn end_then(store: &Store, session: ClientSession, then: fn(&Store, ClientSession, bool)) {
    let (over, is_over) = oneshot::channel();
    store.spawn(end_twice(store.clone(), session, over, then));
    if timeout(Duration::from_millis(PATIENCE_MS_MAX), is_over).await.is_err() {
        tracing::warn!("a transaction may still be open; asking the database to end it until it answers");
    }
}

/// Ends all transactions of this and other servers on this database that have been idle for longer than `idle_max` and can
/// hardly succeed any more: their servers were killed or stand still. If such a server goes on, its commit fails, as it
/// would after MongoDB's own minute. The servers note their sessions in the database, so that no transaction of another
/// application is taken for one of theirs.
pub async fn end_all(store: &Store, idle_max: Duration) {
    let Ok(servers) = read_sessions(store).await else { return };
    let idle_microseconds = i64::try_from(idle_max.as_micros()).unwrap_or(i64::MAX);
    let abandoned = doc! {
        "type": "idleSession",
        "lsid.id": { "$in": servers },
        "transaction.timeInactiveMicros": { "$gt": idle_microseconds },
    };
    let sessions = [doc! { "$currentOp": { "idleSessions": true } }, doc! { "$match": abandoned }];
    let admin = store.client.database("admin");
    // `$currentOp` allows no other read concern.
    let look = admin.aggregate(sessions).read_concern(ReadConcern::local());
    let found = store.read_current_operations(async { look.await?.try_collect::<Vec<_>>().await }).await;
    let sessions: Vec<_> = found
        .iter()
        .flatten()
        .filter_map(|session| Some(doc! { "id": session.get_document("lsid").ok()?.get("id")?.clone() }))
        .collect();
    if sessions.is_empty() {
        return;
    }
    tracing::warn!("ending {} transactions of servers that are gone", sessions.len());
    if let Err(error) = kill(store, sessions).await {
        tracing::warn!("transactions of servers that are gone could not be ended: {error}");
    }
}

/// The ids of the sessions in which servers have transactions.
async fn read_sessions(store: &Store) -> Result<Vec<Bson>> {
    let servers = store.database.collection::<Document>(schema::SERVERS);
    let find = servers.find(doc! {}).projection(doc! { "sessions": 1 });
    let servers = store.read_sale(|session| collect(find, session)).await?;
    Ok(servers.iter().filter_map(|server| server.get_array("sessions").ok()).flatten().cloned().collect())
}

/// Ends the transaction twice, since a statement that the database had not read by the first kill would begin it
/// again. The session is kept until then: the second kill would also end another transaction that uses it.
async fn end_twice(
    store: Store,
    mut session: ClientSession,
    over: oneshot::Sender<()>,
    then: fn(&Store, ClientSession, bool),
) {
    let deadline = Instant::now() + Duration::from_secs(TRIED_SECONDS_MAX);
    let mut is_over = end_once(&store, &session, deadline).await;
    if is_over {
        // The receiver may be gone.
        let _ = over.send(());
        sleep(Duration::from_millis(SECOND_PAUSE_MS)).await;
        is_over = end_once(&store, &session, deadline).await;
        // The driver still considers the transaction open, unless its commit was sent.
        let patience = Duration::from_millis(PATIENCE_MS_MAX);
        is_over = is_over && timeout(patience, session.abort_transaction()).await.is_ok();
    }
    then(&store, session, is_over);
}

async fn end_once(store: &Store, session: &ClientSession, deadline: Instant) -> bool {
    while let Err(error) = kill(store, vec![session.id().clone()]).await {
        tracing::debug!("a transaction could not be ended: {error}");
        if Instant::now() >= deadline {
            return false;
        }
        sleep(Duration::from_millis(RETRY_PAUSE_MS)).await;
    }
    true
}

/// Has the database end everything that these sessions have open.
async fn kill(store: &Store, sessions: Vec<Document>) -> Result<(), DatabaseError> {
    store.client.database("admin").run_command(doc! { "killSessions": sessions }).await.map(drop)
}
