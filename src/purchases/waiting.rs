//! A purchase that waits: the lane's end of it, and its client's. Either may let go first, and exactly one decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::batch::Receipt;
use super::settle::Request;
use crate::error::{Error, Result};
use crate::id::Id;

/// The lane's end.
pub struct Waiting {
    /// What is wanted.
    pub request: Request,
    /// The buyer's display name.
    pub name: String,
    /// What the purchase will be called if it is made.
    pub purchase_id: Id,
    /// When it came.
    pub since: Instant,
    reply: oneshot::Sender<Result<Receipt>>,
    ticket: Arc<Ticket>,
}

/// The client's end. Dropping it gives the purchase up, if no lane has taken it yet.
pub struct Pending {
    purchase_id: Id,
    reply: oneshot::Receiver<Result<Receipt>>,
    ticket: Arc<Ticket>,
}

/// Who got hold of the purchase first: the lane, to make it, or its client, to give up.
#[derive(Default)]
struct Ticket(AtomicBool);

impl Ticket {
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// Both ends of a new purchase.
pub fn pair(request: Request, name: String) -> (Waiting, Pending) {
    let (sender, receiver) = oneshot::channel();
    let ticket = Arc::new(Ticket::default());
    let purchase_id = Id::new();
    (
        Waiting { request, name, purchase_id, since: Instant::now(), reply: sender, ticket: ticket.clone() },
        Pending { purchase_id, reply: receiver, ticket },
    )
}

impl Waiting {
    /// Takes the purchase out of its client's hands. False when the client has given up: then nothing may happen.
    pub fn take(&self) -> bool {
        self.ticket.take()
    }

    /// Tells the client. One that has hung up since finds the purchase among its own.
    pub fn reply(self, reply: Result<Receipt>) {
        drop(self.reply.send(reply));
    }
}

impl Pending {
    /// Waits for the reply. From `deadline` on the purchase is given up, unless a lane has taken it: then it replies
    /// within the time of a batch.
    ///
    /// # Errors
    /// The lane's; `overloaded` when no lane took it in time.
    pub async fn reply(mut self, deadline: Instant) -> Result<Receipt> {
        let reply = match timeout_at(deadline, &mut self.reply).await {
            Ok(reply) => reply,
            Err(_) if self.ticket.take() => {
                return Err(Error::Overloaded {
                    detail: "The purchase waited too long; nothing was bought.",
                });
            }
            Err(_) => (&mut self.reply).await,
        };
        match reply {
            Ok(reply) => reply,
            // The lane has panicked: before it took this purchase, or after, perhaps in the middle of a commit.
            Err(_) if self.ticket.take() => Err(Error::Internal),
            Err(_) => Err(Error::OutcomeUnknown { purchase_id: Some(self.purchase_id) }),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.ticket.take();
    }
}
