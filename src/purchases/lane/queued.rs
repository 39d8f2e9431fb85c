//! A waiting purchase has two ends, the lane's and the client's. Either may let go first; exactly one decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::accounts::current_user::CurrentUser;
use crate::error::{Error, Result};
use crate::model::id::Id;
use crate::model::network::Network;
use crate::model::purchase::Purchase;
use crate::purchases::settle::Request;

#[derive(Debug, Clone)]
pub struct Receipt {
    pub purchase: Arc<Purchase>,
    /// The purchase was made before, by a request with the same key.
    pub replayed: bool,
}

/// What the lane tells the client.
pub struct Reply {
    pub result: Result<Receipt>,
    /// The batch that decided it. The log line with the cause has the same id.
    pub batch_id: Option<Id>,
}

/// The lane's end.
pub struct QueuedPurchase {
    pub request: Request,
    /// The buyer.
    pub user: CurrentUser,
    /// The buyer, as the leaderboard shows it.
    pub buyer: String,
    /// The buyer's network, if the purchase is to keep it.
    pub network: Option<Network>,
    /// The id that the purchase gets if it is made.
    pub purchase_id: Id,
    /// When it arrived.
    pub since: Instant,
    reply: oneshot::Sender<Reply>,
    claim: Arc<Claim>,
}

/// The client's end. Dropping it gives the purchase up, if no lane has taken it yet.
pub struct PendingReply {
    purchase_id: Id,
    reply: oneshot::Receiver<Reply>,
    claim: Arc<Claim>,
}

/// Who takes the purchase first: the lane, to make it, or the client, to give it up.
#[derive(Default)]
struct Claim(AtomicBool);

impl Claim {
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

pub fn pair(
    request: Request,
    user: CurrentUser,
    buyer: String,
    network: Option<Network>,
) -> (QueuedPurchase, PendingReply) {
    let (sender, receiver) = oneshot::channel();
    let claim = Arc::new(Claim::default());
    let purchase_id = Id::new();
    (
        QueuedPurchase {
            request,
            user,
            buyer,
            network,
            purchase_id,
            since: Instant::now(),
            reply: sender,
            claim: claim.clone(),
        },
        PendingReply { purchase_id, reply: receiver, claim },
    )
}

impl QueuedPurchase {
    /// Whether the client has hung up.
    pub fn is_gone(&self) -> bool {
        self.reply.is_closed()
    }

    /// Takes the purchase from its client. False when the client has given up: then nothing may be bought.
    pub fn take(&self) -> bool {
        self.claim.take()
    }

    /// Answers the client. A client that has hung up since finds the purchase in its own list.
    pub fn reply(self, result: Result<Receipt>, batch_id: Option<Id>) {
        drop(self.reply.send(Reply { result, batch_id }));
    }
}

impl PendingReply {
    /// Waits for the reply. At `deadline` the purchase is given up, unless a lane has taken it: then the lane replies
    /// within the time of a batch.
    ///
    /// # Errors
    /// The lane's; `overloaded` when no lane took the purchase in time.
    pub async fn reply(mut self, deadline: Instant) -> Reply {
        let undecided = |error| Reply { result: Err(error), batch_id: None };
        let reply = match timeout_at(deadline, &mut self.reply).await {
            Ok(reply) => reply,
            Err(_) if self.claim.take() => {
                return undecided(Error::Overloaded {
                    detail: "The purchase waited too long; nothing was bought.",
                });
            }
            Err(_) => (&mut self.reply).await,
        };
        match reply {
            Ok(reply) => reply,
            // The lane panicked: before it took this purchase, or after, perhaps in the middle of a commit.
            Err(_) if self.claim.take() => undecided(Error::Internal),
            Err(_) => undecided(Error::OutcomeUnknown { purchase_id: Some(self.purchase_id) }),
        }
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        self.claim.take();
    }
}
