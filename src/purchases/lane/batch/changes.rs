//! The changes of earlier purchases in a batch: they are read, written to the audit log, and answered.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use indexmap::IndexMap;
use mongodb::bson::{DateTime, Document, doc};

use super::Batch;
use crate::accounts::access::Access;
use crate::error::{Error, Result};
use crate::model::audit::{Action, AuditEntry};
use crate::model::id::Id;
use crate::model::purchase::{Purchase, PurchaseStatus};
use crate::purchases::commit::change::PurchaseChange;
use crate::purchases::history;
use crate::purchases::lane::queued::{QueuedChange, Receipt};
use crate::purchases::settle::Settlement;
use crate::purchases::settle::transitions::{Changed, TransitionOutcome, TransitionRefusal, Wish};
use crate::store::Store;

impl Batch {
    /// Whether it only sells.
    pub fn changes_nothing(&self) -> bool {
        self.changing.is_empty()
    }

    /// Refuses the changes of those whose access has ended since they asked.
    pub(super) fn refuse_ended_changes(&mut self, access: &Access) {
        let asking = self.changing.iter().filter_map(|change| change.asked.user.as_ref());
        let mut refusals = access.recheck(asking).into_iter();
        let (transitions, changing) = (mem::take(&mut self.transitions), mem::take(&mut self.changing));
        for (transition, change) in transitions.into_iter().zip(changing) {
            // Whoever is the server itself was not asked about.
            match change.asked.user.as_ref().and_then(|_| refusals.next().flatten()) {
                Some(refusal) => change.reply(Err(refusal), Some(self.id)),
                None => {
                    self.transitions.push(transition);
                    self.changing.push(change);
                }
            }
        }
    }

    /// Reads the purchases that are to change, unless that was done since the product was read.
    pub async fn read_transitions(&mut self, store: &Store) -> Result<()> {
        if self.are_transitions_read || self.changing.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = self.changing.iter().map(|change| change.asked.purchase_id).collect();
        let query = doc! { "_id": { "$in": ids }, "productId": self.product_id };
        let found: Vec<Purchase> = history::find_all(store, query).await?;
        let found: HashMap<_, _> =
            found.into_iter().map(|purchase| (purchase.id, Arc::new(purchase))).collect();
        for (transition, change) in self.transitions.iter_mut().zip(&self.changing) {
            transition.purchase = found.get(&change.asked.purchase_id).cloned();
        }
        self.are_transitions_read = true;
        Ok(())
    }

    /// To be called when the product is read again: the purchases may have changed with it.
    pub fn forget_transitions(&mut self) {
        self.are_transitions_read = false;
    }

    /// The users of whom has to be known what they have.
    pub fn users(&self) -> impl Iterator<Item = Id> + Clone {
        let buyers = self.requests.iter().map(|request| request.user);
        let purchases = self.transitions.iter().filter_map(|transition| transition.purchase.as_ref());
        buyers.chain(purchases.map(|purchase| purchase.user_id))
    }

    /// What the settlement makes of earlier purchases, each at most once, and an entry of the audit log for each step.
    pub fn changes(&self, settlement: &Settlement) -> (Vec<PurchaseChange>, Vec<AuditEntry>) {
        let (mut changes, mut entries) = (IndexMap::new(), Vec::new());
        for (outcome, change) in settlement.transitions.iter().zip(&self.changing) {
            let TransitionOutcome::Changed(step) = outcome else { continue };
            entries.push(entry(step, change));
            let (before, after) = (step.before.clone(), step.after.as_ref().clone());
            changes
                .entry(after.id)
                .and_modify(|change: &mut PurchaseChange| change.after = after.clone())
                .or_insert(PurchaseChange { before, after });
        }
        (changes.into_values().collect(), entries)
    }

    /// The answers to the changes once the settlement holds. `changed` are the purchases that it changed.
    pub(super) fn change_replies(
        &self,
        settlement: &Settlement,
        changed: &[Purchase],
    ) -> Vec<Result<Receipt>> {
        let changed: HashMap<_, _> = changed.iter().map(|purchase| (purchase.id, purchase)).collect();
        let dated = |purchase: &Purchase| match changed.get(&purchase.id) {
            // In one batch a purchase may have taken more than this step.
            Some(now) => Purchase {
                status_changed: now.status_changed,
                changed_in_version: now.changed_in_version,
                ..purchase.clone()
            },
            None => purchase.clone(),
        };
        let reply = |outcome: &TransitionOutcome| match outcome {
            TransitionOutcome::Changed(step) if step.is_unfillable => {
                Err(Error::PaymentUnfillable { status: step.after.status })
            }
            TransitionOutcome::Changed(step) => {
                Ok(Receipt { purchase: Arc::new(dated(&step.after)), replayed: false })
            }
            TransitionOutcome::Stands(purchase) => {
                Ok(Receipt { purchase: Arc::new(dated(purchase)), replayed: true })
            }
            TransitionOutcome::Refused(refusal) => Err(error_of(refusal)),
        };
        settlement.transitions.iter().map(reply).collect()
    }

    /// The answers to the changes if the commit got no answer.
    pub(super) fn change_replies_in_doubt(&self, settlement: &Settlement) -> Vec<Result<Receipt>> {
        let reply = |outcome: &TransitionOutcome| match outcome {
            TransitionOutcome::Refused(_) => Err(Error::DatabaseUnavailable),
            TransitionOutcome::Changed(_) | TransitionOutcome::Stands(_) => {
                Err(Error::OutcomeUnknown { purchase_id: None })
            }
        };
        settlement.transitions.iter().map(reply).collect()
    }
}

fn error_of(refusal: &TransitionRefusal) -> Error {
    match refusal {
        TransitionRefusal::NotFound => Error::PurchaseNotFound,
        TransitionRefusal::NotPending(status) => Error::PurchaseNotPending { status: *status },
        TransitionRefusal::AmountMismatch { total } => Error::AmountMismatch { total: total.clone() },
        TransitionRefusal::Unfillable(status) => Error::PaymentUnfillable { status: *status },
    }
}

/// The entry of one step. It is dated at the commit.
fn entry(step: &Changed, change: &QueuedChange) -> AuditEntry {
    let mut after = figures(&step.after);
    let action = match change.asked.wish {
        Wish::Confirm { .. } if step.is_unfillable => Action::PaymentUnfillable,
        Wish::Confirm { .. } => Action::PurchaseConfirmed,
        Wish::Cancel { .. } => Action::PurchaseCanceled,
        Wish::Expire => Action::PurchaseExpired,
        Wish::Refund { restock } if step.after.status == PurchaseStatus::Refunded => {
            after.insert("restock", restock);
            Action::PurchaseRefunded
        }
        Wish::Refund { .. } => Action::PaymentReturned,
    };
    if let Some(reason) = &change.asked.reason {
        after.insert("reason", reason);
    }
    let by = &change.asked.by;
    let entry = AuditEntry::new(&by.actor, action, step.after.id, DateTime::MIN);
    // What is refused is not stored under its key: it is judged anew.
    let change_key = by.key.clone().filter(|_| !step.is_unfillable);
    AuditEntry { change_key, ..entry.with_change(figures(&step.before), after) }
}

/// What may change of a purchase.
fn figures(purchase: &Purchase) -> Document {
    doc! {
        "status": purchase.status.name(),
        "paymentReference": purchase.payment_reference.as_deref(),
        "refundDue": purchase.refund_due,
    }
}
