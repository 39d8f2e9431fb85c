//! All rules of a sale, as one pure function: from what is known about the product and its buyers, and from the
//! requests in order of arrival, it computes an outcome for each request and the one change to commit.
//!
//! No clock, no database, no HTTP: whether the outcomes hold is decided when the change is committed.

use std::collections::HashMap;
use std::sync::Arc;

use mongodb::bson::DateTime;

use self::transitions::{Figures, LAPSES_MAX, Transition, TransitionOutcome};
use super::buyers::Buyers;
use crate::model::id::Id;
use crate::model::money::Price;
use crate::model::purchase::Purchase;
use crate::sabotage::Mistake;

pub mod transitions;

/// What is known about the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sale {
    pub window: Window,
    /// The first moment of the sale.
    pub start: DateTime,
    /// When a purchase that was refused before may last have become possible: see `Product`.
    pub reopened_at: DateTime,
    /// Nothing is sold until an admin lets the sale go on.
    pub paused: bool,
    /// Accounts that were made later may not buy.
    pub registered_before: Option<DateTime>,
    /// What one unit costs.
    pub price: Price,
    /// A purchase holds its units until it is paid for.
    pub has_payment_window: bool,
    pub stock: i64,
    pub purchase_limit: i64,
    /// The last sequence number that was given.
    pub purchase_count: i64,
}

impl Sale {
    /// Whether anything can be bought.
    pub fn is_selling(&self) -> bool {
        self.window == Window::Open && !self.paused && self.stock > 0
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
    /// The price that the client has seen; `None` takes any.
    pub expected_price: Option<Price>,
    /// When the user's account was made; `None` if nobody knows.
    pub registered_at: Option<DateTime>,
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
    Paused,
    NotStarted,
    Ended,
    /// The account is younger than this sale is for, or nobody knows how old it is.
    AccountTooNew,
    SoldOut,
    /// The price is not the expected one.
    PriceChanged,
    /// The buyer would have more than the limit.
    LimitReached {
        /// Units that one buyer may have.
        limit: i64,
        /// Units that this buyer has.
        purchased: i64,
    },
    /// The buyer let too many purchases lapse to hold this product once more.
    TooManyLapses {
        lapses: i64,
    },
    /// The request may have arrived before the sale started or the product was reopened. A retry with its key may have been
    /// refused meanwhile, and that refusal is final.
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
            // Where purchases can lapse, everything is known of each buyer.
            Self::TooManyLapses { .. } => false,
            Self::InsufficientStock { .. } => true,
            Self::KeyReused
            | Self::Paused
            | Self::NotStarted
            | Self::Ended
            | Self::AccountTooNew
            | Self::SoldOut
            | Self::PriceChanged
            | Self::Reopened => false,
        }
    }
}

/// The outcomes, and how they change the product.
#[derive(Debug, PartialEq, Eq)]
pub struct Settlement {
    /// One for each request, in the same order.
    pub outcomes: Vec<Outcome>,
    /// One for each transition, in the same order.
    pub transitions: Vec<TransitionOutcome>,
    /// How the figures of the product change.
    pub figures: Figures,
}

impl Settlement {
    /// Whether there is anything to commit.
    pub fn has_change(&self) -> bool {
        let is_change = |outcome: &TransitionOutcome| matches!(outcome, TransitionOutcome::Changed(_));
        let is_purchase = |outcome: &Outcome| matches!(outcome, Outcome::Bought { .. });
        self.outcomes.iter().any(is_purchase) || self.transitions.iter().any(is_change)
    }

    /// Whether an answer stands on something that a commit does not verify: on the clock, or on a purchase that stays as it
    /// is.
    pub fn needs_confirmation(&self) -> bool {
        let is_by_clock =
            |outcome: &Outcome| matches!(outcome, Outcome::Refused(Refusal::NotStarted | Refusal::Ended));
        let stays = |outcome: &TransitionOutcome| !matches!(outcome, TransitionOutcome::Changed(_));
        !self.has_change() || self.outcomes.iter().any(is_by_clock) || self.transitions.iter().any(stays)
    }
}

/// Decides one batch: first the requests to buy, then the changes of earlier purchases. All of them are under way at the
/// same time, so any order is a right one; in this one nobody buys what is given back in the same batch, for which a
/// request with a key might have come too early (see `refusal`).
///
/// For a user whom `buyers` do not know completely, the outcome is based on what
/// is recorded: if there is more, the commit of a purchase fails; a refusal has to be looked up.
pub fn settle(sale: &Sale, buyers: &Buyers, requests: &[Request], transitions: &[Transition]) -> Settlement {
    let mut batch = Settling {
        sale,
        buyers,
        figures: Figures::default(),
        sequence: sale.purchase_count,
        by_user: HashMap::new(),
        by_key: HashMap::new(),
        by_purchase: HashMap::new(),
    };
    let outcomes = requests.iter().enumerate().map(|(index, request)| batch.decide(index, request)).collect();
    let transitions = transitions.iter().map(|transition| batch.change(transition)).collect();
    Settlement { outcomes, transitions, figures: batch.figures }
}

/// The sale after what was decided so far.
struct Settling<'a> {
    sale: &'a Sale,
    buyers: &'a Buyers,
    figures: Figures,
    sequence: i64,
    /// Units that a buyer has more than before this batch; fewer, once earlier purchases are given back.
    by_user: HashMap<Id, i64>,
    /// The purchases with a key in this batch, by user and key: their index and quantity; their price is the sale's.
    by_key: HashMap<(Id, &'a str), (usize, i64)>,
    /// The earlier purchases that this batch has changed.
    by_purchase: HashMap<Id, Arc<Purchase>>,
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
        let (outcome, quantity, price) =
            if let Some(purchase) = self.buyers.purchase_with_key(request.user, key) {
                (Outcome::Replayed(purchase.id), purchase.quantity, purchase.unit_price)
            } else {
                let (index, quantity) = *self.by_key.get(&(request.user, key))?;
                (Outcome::ReplayedInBatch(index), quantity, self.sale.price)
            };
        // The product and the quantity make a purchase what it is. Whoever expects another price than was paid asks for
        // another purchase, however the price has changed since.
        let same_body =
            quantity == request.quantity && request.expected_price.is_none_or(|expected| expected == price);
        Some(if same_body { outcome } else { Outcome::Refused(Refusal::KeyReused) })
    }

    /// The first of the refusals that apply. This is their order: what concerns everybody comes before what concerns this
    /// buyer or this request, and what memory alone can tell (`precheck`) before what only the lane knows.
    fn refusal(&self, request: &Request) -> Option<Refusal> {
        let remaining = self.remaining();
        let limit = self.sale.purchase_limit;
        let purchased = self.purchased(request.user);
        match self.sale.window {
            _ if request.key_used_elsewhere => Some(Refusal::KeyReused),
            _ if self.sale.paused => Some(Refusal::Paused),
            Window::NotStarted => Some(Refusal::NotStarted),
            Window::Ended => Some(Refusal::Ended),
            Window::Open if self.is_too_new(request) => Some(Refusal::AccountTooNew),
            Window::Open if remaining == 0 => Some(Refusal::SoldOut),
            Window::Open if request.expected_price.is_some_and(|price| price != self.sale.price) => {
                Some(Refusal::PriceChanged)
            }
            Window::Open if self.has_lapsed_too_often(request.user) => {
                Some(Refusal::TooManyLapses { lapses: self.buyers.lapses(request.user) })
            }
            Window::Open if purchased + request.quantity > limit => {
                Some(Refusal::LimitReached { limit, purchased })
            }
            Window::Open if request.quantity > remaining => Some(Refusal::InsufficientStock { remaining }),
            // A refusal with a key is final for the tries before it, on every server. Only the start of the sale and a
            // reopening turn a refusal into a purchase, so a request with a key that may have arrived before them buys
            // nothing. Nor is it told that the sale has not started: `arrived_at` may be earlier than the arrival was.
            Window::Open if Mistake::SettleForClientThatIsGone.is_made() => None,
            Window::Open if request.key.is_some() && request.arrived_at < self.reopened_at(request.user) => {
                Some(Refusal::Reopened)
            }
            Window::Open => None,
        }
    }

    /// An account of which nobody says when it was made counts as too new: a provider that says nothing would get around
    /// the rule otherwise.
    fn is_too_new(&self, request: &Request) -> bool {
        let before = self.sale.registered_before;
        before.is_some_and(|before| request.registered_at.is_none_or(|registered_at| registered_at > before))
    }

    fn has_lapsed_too_often(&self, user: Id) -> bool {
        self.sale.has_payment_window && self.buyers.lapses(user) >= LAPSES_MAX
    }

    fn buy(&mut self, index: usize, request: &'a Request) -> Outcome {
        // Numbers go on from those of units that were given back.
        let first_unit = self.buyers.last_unit(request.user) + self.more(request.user) + 1;
        self.figures.take(request.quantity, self.sale.has_payment_window);
        self.sequence += 1;
        *self.by_user.entry(request.user).or_default() += request.quantity;
        if let Some(key) = request.key.as_deref() {
            self.by_key.insert((request.user, key), (index, request.quantity));
        }
        Outcome::Bought { sequence: self.sequence, first_unit }
    }

    /// When a refusal of this user may last have become a purchase: for everybody, or because something of their own was
    /// given back.
    fn reopened_at(&self, user: Id) -> DateTime {
        self.sale.reopened_at.max(self.sale.start).max(self.buyers.changed_at(user))
    }

    fn remaining(&self) -> i64 {
        self.sale.stock + self.figures.stock
    }

    fn purchased(&self, user: Id) -> i64 {
        self.buyers.units(user) + self.more(user)
    }

    fn more(&self, user: Id) -> i64 {
        self.by_user.get(&user).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
