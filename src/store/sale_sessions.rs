//! The sessions in which this server sells: a few, and always the same. So its change stream can tell MongoDB which
//! transactions to pass over as a whole (`live::feed`), where it would look at every purchase in them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mongodb::bson::Bson;
use mongodb::error::Error;
use mongodb::{Client, ClientSession};

/// The sessions that are made at the start: more than there are transactions in flight, since one whose transaction got no
/// answer is not free until that is over for certain. Others are made when these do not suffice; the change stream knows
/// of them once it is opened again, and until then they only cost MongoDB more.
const SESSIONS_AT_START: usize = 16;
/// The sessions, and the ids of sessions that there were, which are kept.
const SESSIONS_MAX: usize = 256;

/// The sessions.
pub struct SaleSessions {
    client: Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<ClientSession>,
    retired: Vec<ClientSession>,
    ids: VecDeque<Bson>,
}

impl SaleSessions {
    /// Makes those of the start.
    ///
    /// # Errors
    /// The driver's, when there is no database.
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

    /// Takes back a session whose transaction is over for certain.
    pub fn give_back(&self, session: ClientSession) {
        let idle = &mut self.lock().idle;
        if idle.len() < SESSIONS_MAX {
            idle.push(session);
        }
    }

    /// Keeps one whose transaction may not be over: dropped, its id would be used by the driver for other writes, of which the
    /// change stream would then say nothing.
    pub fn retire(&self, session: ClientSession) {
        let retired = &mut self.lock().retired;
        if retired.len() < SESSIONS_MAX {
            retired.push(session);
        }
    }

    /// The ids of all that were made, or the last of them: binary values, the `id` of what MongoDB calls `lsid`.
    pub fn ids(&self) -> Vec<Bson> {
        self.lock().ids.iter().cloned().collect()
    }

    async fn make(&self) -> Result<ClientSession, Error> {
        // A transaction stands on the version of its product. To wait for what its session has seen before would gain nothing.
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
