//! What waits in a lane has two ends, the lane's and the client's. Either may let go first; exactly one decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::accounts::current_user::CurrentUser;
use crate::error::{Error, Result};
use crate::model::id::Id;
use crate::model::network::Network;
use crate::model::purchase::Purchase;
use crate::purchases::lanes::PurchaseWish;
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

/// What a lane takes from its queue.
pub enum Queued {
    Purchase(QueuedPurchase),
    Change(QueuedChange),
}

/// The lane's end of a purchase.
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
    handle: Handle,
}

/// The lane's end of a wish to change a purchase that was made.
pub struct QueuedChange {
    pub asked: PurchaseWish,
    handle: Handle,
}

/// The way back to the client.
struct Handle {
    reply: oneshot::Sender<Reply>,
    claim: Arc<Claim>,
}

/// The client's end. Dropping it gives up what waits, if no lane has taken it yet.
pub struct PendingReply {
    /// The purchase that is made, perhaps; `None` for a change of one.
    purchase_id: Option<Id>,
    reply: oneshot::Receiver<Reply>,
    claim: Arc<Claim>,
}

/// Who takes it first: the lane, to decide it, or the client, to give it up.
#[derive(Default)]
struct Claim(AtomicBool);

impl Claim {
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

impl Handle {
    fn pair(purchase_id: Option<Id>) -> (Self, PendingReply) {
        let (sender, receiver) = oneshot::channel();
        let claim = Arc::new(Claim::default());
        (Self { reply: sender, claim: claim.clone() }, PendingReply { purchase_id, reply: receiver, claim })
    }
}

/// Both ends of a purchase.
pub fn pair(
    request: Request,
    user: CurrentUser,
    buyer: String,
    network: Option<Network>,
) -> (Queued, PendingReply) {
    let purchase_id = Id::new();
    let (handle, pending) = Handle::pair(Some(purchase_id));
    let since = Instant::now();
    let queued = QueuedPurchase { request, user, buyer, network, purchase_id, since, handle };
    (Queued::Purchase(queued), pending)
}

/// Both ends of a change.
pub fn pair_change(asked: PurchaseWish) -> (Queued, PendingReply) {
    let (handle, pending) = Handle::pair(None);
    (Queued::Change(QueuedChange { asked, handle }), pending)
}

impl Queued {
    /// Takes it from its client. False when the client has given up: then nothing may be done.
    pub fn take(&self) -> bool {
        self.handle().claim.take()
    }

    /// Whether something has to be read before it can be settled.
    pub fn reads_first(&self) -> bool {
        match self {
            Self::Purchase(purchase) => purchase.request.key.is_some(),
            Self::Change(_) => true,
        }
    }

    /// Answers with an error.
    pub fn refuse(self, error: Error, batch_id: Id) {
        match self {
            Self::Purchase(purchase) => purchase.reply(Err(error), Some(batch_id)),
            Self::Change(change) => change.reply(Err(error), Some(batch_id)),
        }
    }

    fn handle(&self) -> &Handle {
        match self {
            Self::Purchase(purchase) => &purchase.handle,
            Self::Change(change) => &change.handle,
        }
    }
}

impl QueuedPurchase {
    /// Whether the client has hung up.
    pub fn is_gone(&self) -> bool {
        self.handle.reply.is_closed()
    }

    /// Answers the client. A client that has hung up since finds the purchase in its own list.
    pub fn reply(self, result: Result<Receipt>, batch_id: Option<Id>) {
        drop(self.handle.reply.send(Reply { result, batch_id }));
    }
}

impl QueuedChange {
    /// Answers the client.
    pub fn reply(self, result: Result<Receipt>, batch_id: Option<Id>) {
        drop(self.handle.reply.send(Reply { result, batch_id }));
    }
}

impl PendingReply {
    /// Waits for the reply. At `deadline` the request is given up, unless a lane has taken it: then the lane replies
    /// within the time of a batch.
    ///
    /// # Errors
    /// The lane's; `overloaded` when no lane took the request in time.
    pub async fn reply(mut self, deadline: Instant) -> Reply {
        let undecided = |error| Reply { result: Err(error), batch_id: None };
        let reply = match timeout_at(deadline, &mut self.reply).await {
            Ok(reply) => reply,
            Err(_) if self.claim.take() => {
                let detail = match self.purchase_id {
                    Some(_) => "The purchase waited too long; nothing was bought.",
                    None => "The change waited too long; nothing was changed.",
                };
                return undecided(Error::Overloaded { detail });
            }
            Err(_) => (&mut self.reply).await,
        };
        match reply {
            Ok(reply) => reply,
            // The lane panicked: before it took this request, or after, perhaps in the middle of a commit.
            Err(_) if self.claim.take() => undecided(Error::Internal),
            Err(_) => undecided(Error::OutcomeUnknown { purchase_id: self.purchase_id }),
        }
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        self.claim.take();
    }
}
