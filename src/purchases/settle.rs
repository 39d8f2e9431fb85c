//! All rules of a sale, as one pure function: from what is known about the product and its buyers, and from the
//! requests in order of arrival, it computes an outcome for each request and the one change to commit.
//!
//! No clock, no database, no HTTP: whether the outcomes hold is decided when the change is committed.

use std::collections::HashMap;
use std::sync::Arc;

use mongodb::bson::DateTime;

use super::buyers::Buyers;
use crate::model::id::Id;
use crate::sabotage::Mistake;

/// What is known about the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sale {
    pub window: Window,
    /// The first moment of the sale.
    pub start: DateTime,
    /// When a purchase that was refused before may last have become possible: a restock, another price, limit or window.
    pub reopened_at: DateTime,
    pub stock: i64,
    pub purchase_limit: i64,
    /// The last sequence number that was given.
    pub purchase_count: i64,
}

impl Sale {
    /// Whether anything can be bought.
    pub fn is_selling(&self) -> bool {
        self.window == Window::Open && self.stock > 0
    }
}

/// Where the database's clock is: before the sale, in it, or at or after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    NotStarted,
    Open,
    Ended,
}

#[derive(Debug, Clone)]
pub struct Request {
    pub user: Id,
    /// Units, at least 1.
    pub quantity: i64,
    pub key: Option<Arc<str>>,
    /// A moment of the database's clock that is not after the request's arrival.
    pub arrived_at: DateTime,
    /// The user made a purchase of *another* product with this key.
    pub key_used_elsewhere: bool,
}

/// What becomes of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is one of the purchases to commit.
    Bought {
        /// Its number among the product's purchases.
        sequence: i64,
        /// The number of its first unit among the buyer's.
        first_unit: i64,
    },
    /// It repeats the purchase with this id, which was committed before.
    Replayed(Id),
    /// It repeats the purchase that the request with this index makes in this very batch.
    ReplayedInBatch(usize),
    Refused(Refusal),
}

/// Why a request does not become a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A purchase with another body was made with this key.
    KeyReused,
    NotStarted,
    Ended,
    SoldOut,
    /// The buyer would have more than the limit.
    LimitReached {
        /// Units that one buyer may have.
        limit: i64,
        /// Units that this buyer has.
        purchased: i64,
    },
    /// The request arrived before the product was reopened. A retry with its key may have been refused since, and that
    /// refusal is final.
    Reopened,
    /// Some units are left, but fewer than requested.
    InsufficientStock {
        remaining: i64,
    },
}

impl Refusal {
    /// Whether the refusal would be a different one if the buyer had bought more than is known.
    pub fn depends_on_history(self) -> bool {
        match self {
            // A buyer at the limit cannot have more, unless the limit was lowered.
            Self::LimitReached { limit, purchased } => purchased != limit,
            Self::InsufficientStock { .. } => true,
            Self::KeyReused | Self::NotStarted | Self::Ended | Self::SoldOut | Self::Reopened => false,
        }
    }
}

/// The outcomes, and the units to take for them.
#[derive(Debug, PartialEq, Eq)]
pub struct Settlement {
    /// One for each request, in the same order.
    pub outcomes: Vec<Outcome>,
    /// Units bought by all requests together.
    pub units: i64,
}

/// Decides the requests of one batch. For a user whom `buyers` do not know completely, the outcome is based on what
/// is recorded: if there is more, the commit of a purchase fails; a refusal has to be looked up.
pub fn settle(sale: &Sale, buyers: &Buyers, requests: &[Request]) -> Settlement {
    let mut batch = Settling {
        sale,
        buyers,
        units: 0,
        sequence: sale.purchase_count,
        by_user: HashMap::new(),
        by_key: HashMap::new(),
    };
    let outcomes = requests.iter().enumerate().map(|(index, request)| batch.decide(index, request)).collect();
    Settlement { outcomes, units: batch.units }
}

/// The sale after the requests decided so far.
struct Settling<'a> {
    sale: &'a Sale,
    buyers: &'a Buyers,
    units: i64,
    sequence: i64,
    /// Units bought in this batch.
    by_user: HashMap<Id, i64>,
    /// The purchases with a key in this batch, by user and key: their index and quantity.
    by_key: HashMap<(Id, &'a str), (usize, i64)>,
}

impl<'a> Settling<'a> {
    fn decide(&mut self, index: usize, request: &'a Request) -> Outcome {
        debug_assert!(request.quantity >= 1);
        // The key comes first: a purchase that was made stays made, even if the sale is over now.
        if let Some(replay) = self.replay(request) {
            return replay;
        }
        match self.refusal(request) {
            Some(refusal) => Outcome::Refused(refusal),
            None => self.buy(index, request),
        }
    }

    fn replay(&self, request: &Request) -> Option<Outcome> {
        let key = request.key.as_deref().filter(|_| !Mistake::NoReplayCheck.is_made())?;
        let (outcome, quantity) = if let Some(purchase) = self.buyers.purchase_with_key(request.user, key) {
            (Outcome::Replayed(purchase.id), purchase.quantity)
        } else {
            let (index, quantity) = *self.by_key.get(&(request.user, key))?;
            (Outcome::ReplayedInBatch(index), quantity)
        };
        let same_body = quantity == request.quantity;
        Some(if same_body { outcome } else { Outcome::Refused(Refusal::KeyReused) })
    }

    fn refusal(&self, request: &Request) -> Option<Refusal> {
        let remaining = self.sale.stock - self.units;
        let limit = self.sale.purchase_limit;
        let purchased = self.purchased(request.user);
        match self.sale.window {
            _ if request.key_used_elsewhere => Some(Refusal::KeyReused),
            Window::NotStarted => Some(Refusal::NotStarted),
            Window::Ended => Some(Refusal::Ended),
            Window::Open if remaining == 0 => Some(Refusal::SoldOut),
            Window::Open if purchased + request.quantity > limit => {
                Some(Refusal::LimitReached { limit, purchased })
            }
            Window::Open if request.quantity > remaining => Some(Refusal::InsufficientStock { remaining }),
            // A refusal with a key is final for the tries before it, on every server. Only the start of the sale and a
            // reopening turn a refusal into a purchase, so a request with a key is decided as of its arrival.
            Window::Open if Mistake::SettleForClientThatIsGone.is_made() => None,
            Window::Open if request.key.is_some() && request.arrived_at < self.sale.start => {
                Some(Refusal::NotStarted)
            }
            Window::Open if request.key.is_some() && request.arrived_at < self.sale.reopened_at => {
                Some(Refusal::Reopened)
            }
            Window::Open => None,
        }
    }

    fn buy(&mut self, index: usize, request: &'a Request) -> Outcome {
        let first_unit = self.purchased(request.user) + 1;
        self.units += request.quantity;
        self.sequence += 1;
        *self.by_user.entry(request.user).or_default() += request.quantity;
        if let Some(key) = request.key.as_deref() {
            self.by_key.insert((request.user, key), (index, request.quantity));
        }
        Outcome::Bought { sequence: self.sequence, first_unit }
    }

    fn purchased(&self, user: Id) -> i64 {
        self.buyers.units(user) + self.by_user.get(&user).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
