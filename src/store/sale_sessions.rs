//! The sessions in which this server sells: a few, reused for every sale. Its change stream names them to MongoDB
//! (`products::change_stream`), which then skips their transactions as a whole instead of looking at every purchase.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mongodb::bson::Bson;
use mongodb::error::Error;
use mongodb::{Client, ClientSession};

/// The sessions created at the start: more than the transactions in flight, since a session whose transaction got no
/// answer is not free until that transaction is certainly over. More are created on demand; the change stream skips
/// those only after it is reopened, and until then they only cost MongoDB more.
const SESSIONS_AT_START: usize = 16;
/// The most idle sessions, retired sessions, and ids that are kept, each.
const SESSIONS_MAX: usize = 256;

pub struct SaleSessions {
    client: Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<ClientSession>,
    retired: Vec<ClientSession>,
    ids: VecDeque<Bson>,
    /// The sessions of transactions that change something else.
    others: Vec<Bson>,
}

impl SaleSessions {
    /// # Errors
    /// The driver's, when the database cannot be reached.
    pub async fn start(client: Client) -> Result<Self, Error> {
        let sessions = Self { client, state: Mutex::default() };
        let mut made = Vec::with_capacity(SESSIONS_AT_START);
        for _ in 0..SESSIONS_AT_START {
            made.push(sessions.make().await?);
        }
        sessions.lock().idle = made;
        Ok(sessions)
    }

    /// A session without a transaction.
    ///
    /// # Errors
    /// The driver's.
    pub async fn take(&self) -> Result<ClientSession, Error> {
        let idle = self.lock().idle.pop();
        match idle {
            Some(session) => Ok(session),
            None => self.make().await,
        }
    }

    /// Takes back a session whose transaction is certainly over.
    pub fn give_back(&self, session: ClientSession) {
        let idle = &mut self.lock().idle;
        if idle.len() < SESSIONS_MAX {
            idle.push(session);
        }
    }

    /// Keeps a session whose transaction may not be over. If it were dropped, the driver would reuse its id for other
    /// writes, and the change stream would skip those.
    pub fn retire(&self, session: ClientSession) {
        let retired = &mut self.lock().retired;
        if retired.len() < SESSIONS_MAX {
            retired.push(session);
        }
    }

    /// The ids of all sessions created, or of the last `SESSIONS_MAX`: binary values, the `id` inside MongoDB's `lsid`.
    pub fn ids(&self) -> Vec<Bson> {
        self.lock().ids.iter().cloned().collect()
    }

    /// Notes a session in which something else than a sale is about to be changed. With the next confirmation other servers
    /// learn of it, and end its transaction if this server is killed in the middle.
    pub fn note_other(&self, session: &ClientSession) {
        self.lock().others.extend(session.id().get("id").cloned());
    }

    /// Forgets what `note_other` has noted: that transaction is over.
    pub fn forget(&self, session: &ClientSession) {
        let id = session.id().get("id");
        self.lock().others.retain(|other| Some(other) != id);
    }

    /// The ids of all sessions in which this server may have a transaction.
    pub fn ids_of_transactions(&self) -> Vec<Bson> {
        let state = self.lock();
        state.ids.iter().chain(&state.others).cloned().collect()
    }

    async fn make(&self) -> Result<ClientSession, Error> {
        // Not causally consistent: the product's version guards each transaction, so there is no need to wait for
        // earlier operations of the session.
        let session = self.client.start_session().causal_consistency(false).await?;
        let mut state = self.lock();
        if state.ids.len() == SESSIONS_MAX {
            state.ids.pop_front();
        }
        state.ids.extend(session.id().get("id").cloned());
        drop(state);
        Ok(session)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
