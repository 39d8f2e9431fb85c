//! Transactions that nobody will commit any more, and that may still be open in the database: their statements or their commit
//! got no answer. Until such a one is over, nobody can sell its products, on no server.

use std::time::Duration;

use mongodb::ClientSession;
use mongodb::bson::doc;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::store::Store;

/// How long is waited for the database's word that the transaction is over.
const PATIENCE_MS_MAX: u64 = 500;
/// The pause before the database is asked again.
const RETRY_PAUSE_MS: u64 = 250;
/// The pause before the database is asked once more after it has answered.
const SECOND_PAUSE_MS: u64 = 1_000;
/// How long it is tried: by then MongoDB has ended the transaction itself (`transactionLifetimeLimitSeconds`).
const TRIED_SECONDS_MAX: u64 = 90;

/// Ends whatever transaction of `session` is open, and goes on with it in a task of its own while the database is away. After
/// a commit that got no answer, it is the commit's last chance: what became of it is certain afterwards.
///
/// The driver's own abort will not do: it keeps to itself whether it got an answer.
pub async fn end(store: &Store, session: ClientSession) {
    let (over, is_over) = oneshot::channel();
    store.spawn(end_twice(store.clone(), session, over));
    if timeout(Duration::from_millis(PATIENCE_MS_MAX), is_over).await.is_err() {
        tracing::warn!("a transaction may still be open; the database is asked to end it until it answers");
    }
}

/// Twice, since a statement that the database had not read by the first time would begin the transaction afterwards. The
/// session is held until then: another transaction of it would be ended too.
async fn end_twice(store: Store, session: ClientSession, over: oneshot::Sender<()>) {
    let deadline = Instant::now() + Duration::from_secs(TRIED_SECONDS_MAX);
    if kill(&store, &session, deadline).await {
        // Nobody may be waiting for it any more.
        let _ = over.send(());
        sleep(Duration::from_millis(SECOND_PAUSE_MS)).await;
        kill(&store, &session, deadline).await;
    }
}

async fn kill(store: &Store, session: &ClientSession, deadline: Instant) -> bool {
    let admin = store.client.database("admin");
    while let Err(error) = admin.run_command(doc! { "killSessions": [session.id()] }).await {
        tracing::warn!("a transaction could not be ended: {error}");
        if Instant::now() >= deadline {
            return false;
        }
        sleep(Duration::from_millis(RETRY_PAUSE_MS)).await;
    }
    true
}
