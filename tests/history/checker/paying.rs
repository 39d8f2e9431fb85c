//! What became of each purchase: one way from its first status to its last, as it was asked for and answered; and nobody's
//! money without a record.

use std::collections::HashMap;

use mongodb::bson::oid::ObjectId;

use super::{Facts, Report, Violation};
use crate::record::{
    About, Ask, Code, Entry, Exchange, Noted, Reply, Standing, Status, Step, StoredPurchase,
};
use crate::run::EXPIRY_LATE_MS_MAX;

pub fn check(facts: &Facts, report: &mut Report) {
    let mut steps: HashMap<ObjectId, Vec<&Step>> = HashMap::new();
    for step in &facts.history.steps {
        steps.entry(step.purchase).or_default().push(step);
    }
    let mut entries: HashMap<ObjectId, Vec<&Entry>> = HashMap::new();
    for entry in &facts.history.stored.entries {
        entries.entry(entry.purchase).or_default().push(entry);
    }
    for stored in &facts.history.stored.purchases {
        let id = stored.purchase.id;
        let steps = steps.get(&id).cloned().unwrap_or_default();
        let entries = entries.get(&id).cloned().unwrap_or_default();
        let life = Life { stored, steps, entries };
        life.has_one_way(report);
        life.expires_in_time(facts, report);
        life.has_money_on_record(report);
        life.was_asked_for(report);
        life.answers_stand(report);
    }
    reads(facts, &steps, report);
}

/// The units that were refunded and did not come back: they stay sold.
pub fn kept_units(facts: &Facts, product: u8) -> i64 {
    let is_kept =
        |entry: &&Entry| matches!(entry.what, Noted::Move { to: Status::Refunded, restock: false, .. });
    let kept = facts.history.stored.entries.iter().filter(is_kept);
    let kept = kept.filter_map(|entry| facts.by_id.get(&entry.purchase));
    kept.filter(|stored| stored.product == product).map(|stored| stored.purchase.quantity).sum()
}

/// All that is known of one purchase.
struct Life<'a> {
    stored: &'a StoredPurchase,
    steps: Vec<&'a Step>,
    entries: Vec<&'a Entry>,
}

impl Life<'_> {
    fn id(&self) -> ObjectId {
        self.stored.purchase.id
    }

    fn first_status(&self) -> Status {
        if self.stored.expires_at.is_some() { Status::Pending } else { Status::Confirmed }
    }

    fn moves(&self) -> impl Iterator<Item = (&Entry, Status, Status)> {
        self.entries.iter().filter_map(|entry| match entry.what {
            Noted::Move { from, to, .. } => Some((*entry, from, to)),
            _ => None,
        })
    }

    /// The log tells each step once, and one way that ends where the purchase stands.
    fn has_one_way(&self, report: &mut Report) {
        let id = self.id();
        let mut next: HashMap<Status, (Status, i64)> = HashMap::new();
        for (entry, from, to) in self.moves() {
            report.checked("steps of purchases, each once", 1);
            if next.insert(from, (to, entry.at)).is_some() {
                report.add(Violation::ChangedTwice { id, from });
                return;
            }
            let is_allowed = matches!(
                (from, to),
                (Status::Pending, Status::Confirmed | Status::Canceled | Status::Expired)
                    | (Status::Expired | Status::Canceled, Status::Confirmed)
                    | (Status::Confirmed, Status::Refunded)
            );
            if !is_allowed {
                report.add(Violation::ForbiddenStep { id, from, to });
            }
        }
        let (mut status, mut at, mut count) = (self.first_status(), self.stored.purchase.purchased_at, 0);
        while let Some((to, moved_at)) = next.get(&status).filter(|_| count < next.len()) {
            if *moved_at < at {
                report.add(Violation::StepWentBack { id, to: *to });
            }
            (status, at, count) = (*to, *moved_at, count + 1);
        }
        report.checked("purchases that stand where the audit log leads", 1);
        if (status, count) != (self.stored.status, next.len()) {
            let (stored, steps) = (self.stored.status, next.len());
            report.add(Violation::StandsElsewhere { id, stored, logged: status, steps });
        }
        let count = |is: fn(&Noted) -> bool| self.entries.iter().filter(|entry| is(&entry.what)).count();
        let unfillable = count(|what| matches!(what, Noted::Unfillable { .. }));
        let returned = count(|what| matches!(what, Noted::Returned));
        let is_due = unfillable > returned;
        if unfillable > 1 || returned > unfillable || is_due != self.stored.refund_due {
            report.add(Violation::MoneyUnclear { id, unfillable, returned });
        }
    }

    /// Not before its time; and in the end nothing is left that should have expired since nothing is broken any more. The date
    /// of a step does not tell how late it was: after a clock ran ahead, steps are dated no earlier than the last change.
    fn expires_in_time(&self, facts: &Facts, report: &mut Report) {
        let (id, stored) = (self.id(), self.stored);
        let window = facts.history.products[usize::from(stored.product)].payment_window_seconds;
        if stored.expires_at != window.map(|seconds| stored.purchase.purchased_at + seconds * 1_000) {
            report.add(Violation::WrongExpiry { id, expires_at: stored.expires_at });
        }
        let Some(expires_at) = stored.expires_at else { return };
        let peace = facts.history.stored.peace;
        for (entry, _, to) in self.moves() {
            if to != Status::Expired {
                continue;
            }
            report.checked("purchases that expired, in time", 1);
            if entry.at < expires_at {
                report.add(Violation::ExpiredAtWrongTime { id, expires_at, at: Some(entry.at) });
            }
        }
        let is_overdue = |(begin, end): (i64, i64)| end > expires_at.max(begin) + EXPIRY_LATE_MS_MAX;
        if stored.status == Status::Pending && peace.is_some_and(is_overdue) {
            report.add(Violation::ExpiredAtWrongTime { id, expires_at, at: None });
        }
    }

    /// Each payment that was taken, or noted as one for which nothing was left, is on record as that.
    fn has_money_on_record(&self, report: &mut Report) {
        let (id, stored) = (self.id(), self.stored);
        for step in &self.steps {
            let Ask::Confirm { payment, is_right } = step.ask else { continue };
            let is_recorded = stored.payment == Some(payment);
            let is_paid = matches!(stored.status, Status::Confirmed | Status::Refunded);
            let returned = || self.entries.iter().any(|entry| entry.what == Noted::Returned);
            let is_right = match step.exchange.reply.code() {
                Some(Code::None) => is_right && is_recorded && is_paid,
                Some(Code::Unfillable) => {
                    is_right && is_recorded && !is_paid && (stored.refund_due || returned())
                }
                // Whoever is told so gives the money back.
                Some(Code::NotPending | Code::AmountMismatch) => !is_recorded,
                _ => is_right || !is_recorded,
            };
            report.checked("payments whose answer is on record", 1);
            if !is_right {
                let (code, status) = (step.exchange.reply.code(), stored.status);
                report.add(Violation::MoneyNotAsTold { id, payment, code, status });
            }
        }
    }

    /// Somebody has asked for each step, and was not told that it was not made.
    fn was_asked_for(&self, report: &mut Report) {
        for entry in &self.entries {
            let is_wanted = |step: &&&Step| match (entry.what, step.ask) {
                (
                    Noted::Move { to: Status::Confirmed, payment, .. },
                    Ask::Confirm { payment: asked, is_right },
                ) => is_right && payment == Some(asked),
                (Noted::Unfillable { payment }, Ask::Confirm { payment: asked, is_right }) => {
                    is_right && payment == Some(asked)
                }
                (Noted::Move { to: Status::Canceled, .. }, Ask::Cancel { by_buyer }) => {
                    by_buyer == self.is_by_buyer(entry)
                }
                (Noted::Move { to: Status::Refunded, restock, .. }, Ask::Refund { restock: asked }) => {
                    restock == asked
                }
                (Noted::Returned, Ask::Refund { .. }) => true,
                _ => false,
            };
            let may_be_made = |step: &&Step| match step.exchange.reply {
                Reply::Cut | Reply::GaveUp => true,
                Reply::Answer { code, .. } => matches!(code, Code::None | Code::Unfillable | Code::Unknown),
                Reply::NotSent => false,
            };
            let is_expiry = matches!(entry.what, Noted::Move { to: Status::Expired, .. });
            let made = self.steps.iter().filter(is_wanted).any(may_be_made);
            if made == is_expiry || (is_expiry && entry.actor.is_some()) {
                report.add(Violation::NobodyAskedFor { entry: **entry });
            }
        }
    }

    fn is_by_buyer(&self, entry: &Entry) -> bool {
        entry.actor == Some(crate::shop::user_id(self.stored.user))
    }

    /// What was answered stays answered: later answers go on from there.
    fn answers_stand(&self, report: &mut Report) {
        for (place, first) in self.steps.iter().enumerate() {
            if !first.is_settled() {
                continue;
            }
            self.tells_what_was_asked(first, report);
            let later = self.steps[place + 1..].iter();
            for then in later.filter(|then| then.is_settled() && then.exchange.sent > first.exchange.ended) {
                report.checked("answers about purchases that go on from earlier ones", 1);
                if !may_follow(first, then) {
                    let (first, then) = (**first, **then);
                    report.add(Violation::AnswerTakenBack { first: Box::new(first), then: Box::new(then) });
                }
            }
        }
    }

    fn tells_what_was_asked(&self, step: &Step, report: &mut Report) {
        if step.exchange.reply.code() != Some(Code::None) {
            return;
        }
        let is_right = step.told.is_some_and(|told| {
            told.purchase == self.stored.purchase
                && told.expires_at == self.stored.expires_at
                && is_done(step.ask, told)
        });
        if !is_right {
            report.add(Violation::TellsSomethingElse { step: Box::new(*step) });
        }
    }
}

/// Whether this is what was asked for. A repeated question may be answered after the purchase went on.
fn is_done(ask: Ask, told: Standing) -> bool {
    match ask {
        Ask::Confirm { payment, .. } => {
            told.payment == Some(payment) && matches!(told.status, Status::Confirmed | Status::Refunded)
        }
        Ask::Cancel { .. } => told.status == Status::Canceled,
        Ask::Refund { .. } => {
            told.status == Status::Refunded || (!told.status.is_standing() && !told.refund_due)
        }
    }
}

/// Whether the one answer may come after the other.
fn may_follow(first: &Step, then: &Step) -> bool {
    let (first_code, code) = (first.exchange.reply.code(), then.exchange.reply.code());
    let is_refusal = code == Some(Code::NotPending);
    match (first.ask, first_code, then.ask) {
        // A wrong amount is wrong, whatever has happened.
        (_, _, Ask::Confirm { is_right: false, .. }) => code == Some(Code::AmountMismatch),
        // It is paid for: the same payment is the same answer, another one is refused, and nobody gives it up any more.
        (Ask::Confirm { payment, .. }, Some(Code::None), Ask::Confirm { payment: again, .. }) => {
            if payment == again { code == Some(Code::None) } else { is_refusal }
        }
        (Ask::Confirm { .. }, Some(Code::None), Ask::Cancel { .. }) => is_refusal,
        (Ask::Confirm { .. }, Some(Code::None), Ask::Refund { .. }) => code == Some(Code::None),
        (Ask::Confirm { payment, .. }, Some(Code::Unfillable), Ask::Confirm { payment: again, .. }) => {
            if payment == again {
                code == Some(Code::Unfillable)
            } else {
                is_refusal
            }
        }
        (Ask::Confirm { .. }, Some(Code::Unfillable), Ask::Refund { .. }) => code == Some(Code::None),
        (Ask::Confirm { payment, .. }, Some(Code::NotPending), Ask::Confirm { payment: again, .. }) => {
            payment != again || is_refusal
        }
        // It is not pending any more, so it does not expire either, and stays canceled but for late money.
        (Ask::Refund { .. }, Some(Code::None), Ask::Refund { .. }) => code == Some(Code::None),
        (Ask::Refund { .. }, Some(Code::None), Ask::Confirm { .. }) => code != Some(Code::AmountMismatch),
        _ => true,
    }
}

/// A read that begins after an answer knows of it.
fn reads(facts: &Facts, steps: &HashMap<ObjectId, Vec<&Step>>, report: &mut Report) {
    for read in &facts.history.reads {
        let About::Purchase { wanted, found: Some(found) } = read.about else { continue };
        let before = steps.get(&wanted).into_iter().flatten();
        for step in before.filter(|step| step.exchange.ended < read.exchange.sent) {
            let knows = match (step.ask, step.exchange.reply.code()) {
                (Ask::Confirm { .. } | Ask::Refund { .. }, Some(Code::None)) => is_done(step.ask, found),
                (Ask::Confirm { payment, .. }, Some(Code::Unfillable)) => {
                    found.payment == Some(payment) && !found.status.is_standing()
                }
                // Late money may have come.
                (Ask::Cancel { .. }, Some(Code::None)) => found.status != Status::Pending,
                _ => continue,
            };
            report.checked("purchases that were read as they were answered", 1);
            if !knows {
                let Exchange { server, sent, .. } = read.exchange;
                report.add(Violation::StaleStatus { id: wanted, server, sent, status: found.status });
            }
        }
    }
}
