//! What may become of a purchase that was made: it is paid for, given up, expires, or is refunded. A part of `settle`,
//! and as pure.

use std::sync::Arc;

use super::Settling;
use crate::model::money::{Money, Price};
use crate::model::purchase::{Purchase, PurchaseStatus};
use crate::sabotage::Mistake;

/// Who lets this many purchases of a product lapse may not hold it any more.
pub const LAPSES_MAX: i64 = 3;

/// What is asked of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// It is paid for.
    Confirm {
        /// What the payment service calls the payment.
        reference: Arc<str>,
        /// What was paid, if the payment service says so.
        paid: Option<Paid>,
    },
    /// It is given up before it is paid for.
    Cancel {
        /// By its buyer, for whom it counts as a lapse; or by an admin.
        by_buyer: bool,
    },
    /// It was not paid for in time. Whether its time is over is decided at the commit, by the database's clock.
    Expire,
    /// The money goes back.
    Refund {
        /// Its units are for sale again.
        restock: bool,
    },
}

/// What was paid, as a payment service tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paid {
    /// In the minor unit of a currency that it does not name.
    Amount(i64),
    Money(Price),
}

impl Paid {
    fn is(self, total: &Money) -> bool {
        match self {
            Self::Amount(amount) => amount == total.amount,
            Self::Money(paid) => paid == Price::from(total),
        }
    }
}

/// A wish, and the purchase as it was read; `None` if there is none.
#[derive(Debug, Clone)]
pub struct Transition {
    pub wish: Wish,
    pub purchase: Option<Arc<Purchase>>,
}

/// What becomes of one wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransitionOutcome {
    /// It is one of the changes to commit.
    Changed(Changed),
    /// It was done before: the purchase is as it was wished.
    Stands(Arc<Purchase>),
    Refused(TransitionRefusal),
}

/// One step of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub before: Arc<Purchase>,
    /// When it is dated is decided at the commit.
    pub after: Arc<Purchase>,
    /// The step only notes a payment for which nothing is left.
    pub is_unfillable: bool,
}

/// Why a purchase stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransitionRefusal {
    /// There is no such purchase.
    NotFound,
    /// It has this status, from which there is no way to what was wished.
    NotPending(PurchaseStatus),
    /// It costs another amount than was paid.
    AmountMismatch { total: Money },
    /// The payment was noted before as one for which nothing was left. That is final: the money may have gone back since.
    Unfillable(PurchaseStatus),
}

/// How a change of a purchase changes the figures of its product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Figures {
    /// Units that can be bought.
    pub stock: i64,
    /// Units that are bought and not yet paid for.
    pub held: i64,
    /// Units that are paid for, or need no payment.
    pub sold: i64,
    /// Purchases that are expired, canceled or refunded.
    pub released: i64,
}

impl Figures {
    fn moved(from: &mut i64, to: &mut i64, units: i64) {
        *from -= units;
        *to += units;
    }

    /// Takes units from the stock, as held or as sold.
    pub fn take(&mut self, units: i64, is_held: bool) {
        Self::moved(&mut self.stock, if is_held { &mut self.held } else { &mut self.sold }, units);
    }
}

impl Settling<'_> {
    /// Decides one wish. A purchase may have several in one batch: each sees what the one before it has made.
    pub fn change(&mut self, transition: &Transition) -> TransitionOutcome {
        let Some(read) = &transition.purchase else {
            return TransitionOutcome::Refused(TransitionRefusal::NotFound);
        };
        let purchase = self.by_purchase.get(&read.id).unwrap_or(read).clone();
        let status = purchase.status;
        let refused = |refusal| TransitionOutcome::Refused(refusal);
        let not_pending = refused(TransitionRefusal::NotPending(status));
        match (&transition.wish, status) {
            (Wish::Confirm { paid: Some(paid), .. }, _) if !paid.is(&purchase.total()) => {
                refused(TransitionRefusal::AmountMismatch { total: purchase.total() })
            }
            (Wish::Confirm { reference, .. }, _) => self.confirm(&purchase, reference),
            (Wish::Cancel { by_buyer }, PurchaseStatus::Pending) => {
                self.give_back(&purchase, PurchaseStatus::Canceled, *by_buyer)
            }
            (Wish::Cancel { by_buyer }, PurchaseStatus::Canceled) if Mistake::GiveBackTwice.is_made() => {
                self.give_back(&purchase, PurchaseStatus::Canceled, *by_buyer)
            }
            (Wish::Cancel { .. }, PurchaseStatus::Canceled) => TransitionOutcome::Stands(purchase),
            (Wish::Expire, PurchaseStatus::Pending) if purchase.expires_at.is_some() => {
                self.give_back(&purchase, PurchaseStatus::Expired, true)
            }
            (Wish::Refund { restock }, PurchaseStatus::Confirmed) => self.refund(&purchase, *restock),
            (Wish::Refund { .. }, PurchaseStatus::Refunded) => TransitionOutcome::Stands(purchase),
            (Wish::Refund { .. }, PurchaseStatus::Expired | PurchaseStatus::Canceled)
                if purchase.payment_reference.is_some() =>
            {
                self.return_payment(&purchase)
            }
            (Wish::Cancel { .. } | Wish::Expire | Wish::Refund { .. }, _) => not_pending,
        }
    }

    fn confirm(&mut self, purchase: &Arc<Purchase>, reference: &str) -> TransitionOutcome {
        let known = purchase.payment_reference.as_deref();
        match purchase.status {
            PurchaseStatus::Pending => {
                Figures::moved(&mut self.figures.held, &mut self.figures.sold, purchase.quantity);
                self.note(purchase, paid(purchase, reference), false)
            }
            // An answer that got lost is asked for again, whatever has become of the purchase since.
            PurchaseStatus::Confirmed | PurchaseStatus::Refunded if known == Some(reference) => {
                TransitionOutcome::Stands(purchase.clone())
            }
            PurchaseStatus::Expired | PurchaseStatus::Canceled if known.is_none() => {
                self.confirm_late(purchase, reference)
            }
            status if known == Some(reference) => {
                TransitionOutcome::Refused(TransitionRefusal::Unfillable(status))
            }
            status => TransitionOutcome::Refused(TransitionRefusal::NotPending(status)),
        }
    }

    /// Takes the units again, if stock and limit allow it; otherwise notes whose money it is.
    fn confirm_late(&mut self, purchase: &Arc<Purchase>, reference: &str) -> TransitionOutcome {
        let is_there = self.remaining() >= purchase.quantity;
        let is_allowed = self.purchased(purchase.user_id) + purchase.quantity <= self.sale.purchase_limit;
        if !is_there || !is_allowed {
            let noted = Purchase {
                payment_reference: Some(reference.to_owned()),
                refund_due: true,
                ..purchase.as_ref().clone()
            };
            return self.note(purchase, noted, true);
        }
        self.figures.take(purchase.quantity, false);
        self.figures.released -= 1;
        *self.by_user.entry(purchase.user_id).or_default() += purchase.quantity;
        self.note(purchase, paid(purchase, reference), false)
    }

    fn give_back(
        &mut self,
        purchase: &Arc<Purchase>,
        status: PurchaseStatus,
        lapsed: bool,
    ) -> TransitionOutcome {
        Figures::moved(&mut self.figures.held, &mut self.figures.stock, purchase.quantity);
        self.release(purchase);
        self.note(purchase, Purchase { status, lapsed, ..purchase.as_ref().clone() }, false)
    }

    fn refund(&mut self, purchase: &Arc<Purchase>, restock: bool) -> TransitionOutcome {
        if restock {
            Figures::moved(&mut self.figures.sold, &mut self.figures.stock, purchase.quantity);
        }
        self.release(purchase);
        let refunded = Purchase { status: PurchaseStatus::Refunded, ..purchase.as_ref().clone() };
        self.note(purchase, refunded, false)
    }

    /// The money of a payment that came too late has gone back. The purchase stays what it is, and its reference is kept, so
    /// that the same payment is never taken for a new one.
    fn return_payment(&mut self, purchase: &Arc<Purchase>) -> TransitionOutcome {
        if !purchase.refund_due {
            return TransitionOutcome::Stands(purchase.clone());
        }
        self.note(purchase, Purchase { refund_due: false, ..purchase.as_ref().clone() }, false)
    }

    /// The limit of its buyer is free again.
    fn release(&mut self, purchase: &Purchase) {
        self.figures.released += 1;
        *self.by_user.entry(purchase.user_id).or_default() -= purchase.quantity;
    }

    fn note(&mut self, before: &Arc<Purchase>, after: Purchase, is_unfillable: bool) -> TransitionOutcome {
        let after = Arc::new(after);
        self.by_purchase.insert(after.id, after.clone());
        TransitionOutcome::Changed(Changed { before: before.clone(), after, is_unfillable })
    }
}

/// The purchase once it is paid for. Whoever pays late has not let it lapse.
fn paid(purchase: &Purchase, reference: &str) -> Purchase {
    Purchase {
        status: PurchaseStatus::Confirmed,
        payment_reference: Some(reference.to_owned()),
        lapsed: false,
        ..purchase.clone()
    }
}

#[cfg(test)]
mod tests;
