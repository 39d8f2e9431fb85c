//! Judges what became of purchases that have to be paid for: what is on record against what everybody was told.

use std::collections::{HashMap, HashSet};

use mongodb::bson::DateTime;
use serde::Deserialize;

use super::expiry::is_overdue;
use super::payments::{Answered, Payments, Told, reference};
use super::verdict::Standing;
use crate::model::id::Id;
use crate::model::purchase::PurchaseStatus;

/// The fields of a purchase that the promises concern.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    #[serde(rename = "_id")]
    pub id: Id,
    pub user_id: Id,
    pub sequence: i64,
    pub quantity: i64,
    pub purchased_at: DateTime,
    #[serde(default)]
    pub status: PurchaseStatus,
    pub expires_at: Option<DateTime>,
    pub payment_reference: Option<String>,
    #[serde(default)]
    pub refund_due: bool,
}

/// The books of some products.
pub struct PaymentBooks<'a> {
    payments: &'a Payments,
    /// The database's clock before they were read.
    now: DateTime,
    standing: Standing,
    /// Of the purchases with an answer: those that were found.
    answered: HashSet<Id>,
    references: HashSet<String>,
    /// How many purchases break which promise.
    broken: HashMap<&'static str, u64>,
}

const REFERENCE_TWICE: &str = "have the payment of another one";
const OVERDUE: &str = "should have expired";
const OTHERWISE: &str = "are not as their payment or cancel was answered";
const UNPAID: &str = "are confirmed, though nobody has paid for them";
const UNASKED: &str = "are canceled, though nobody has asked for it";
const NO_WINDOW: &str = "have no payment window";

impl<'a> PaymentBooks<'a> {
    /// Empty ones, at this moment of the database's clock.
    pub fn new(payments: &'a Payments, now: DateTime) -> Self {
        Self {
            payments,
            now,
            standing: Standing::default(),
            answered: HashSet::new(),
            references: HashSet::new(),
            broken: HashMap::new(),
        }
    }

    /// Empty ones for one more product.
    pub fn of_one_product(&self) -> Self {
        Self::new(self.payments, self.now)
    }

    /// Adds the books of another product.
    pub fn add(&mut self, one: Self) {
        self.standing.confirmed += one.standing.confirmed;
        self.standing.canceled += one.standing.canceled;
        self.standing.expired += one.standing.expired;
        self.standing.pending += one.standing.pending;
        self.standing.refund_due += one.standing.refund_due;
        self.answered.extend(one.answered);
        for (promise, count) in one.broken {
            *self.broken.entry(promise).or_default() += count;
        }
        for reference in one.references {
            self.note_reference(reference);
        }
    }

    /// Takes a purchase.
    pub fn take(&mut self, row: &Row) {
        match row.status {
            PurchaseStatus::Confirmed => self.standing.confirmed += 1,
            PurchaseStatus::Canceled => self.standing.canceled += 1,
            PurchaseStatus::Expired => self.standing.expired += 1,
            PurchaseStatus::Pending => self.standing.pending += 1,
            // Nobody gives money back in a rehearsal.
            PurchaseStatus::Refunded => self.break_promise(OTHERWISE),
        }
        self.standing.refund_due += u64::from(row.refund_due);
        if let Some(reference) = &row.payment_reference {
            self.note_reference(reference.clone());
        }
        match row.expires_at {
            None => self.break_promise(NO_WINDOW),
            Some(expires_at) if row.status == PurchaseStatus::Pending && is_overdue(expires_at, self.now) => {
                self.break_promise(OVERDUE);
            }
            Some(_) => {}
        }
        let answered = self.payments.answers.get(&row.id);
        self.answered.extend(answered.map(|_| row.id));
        if let Some(promise) = broken_by(row, answered) {
            self.break_promise(promise);
        }
    }

    fn note_reference(&mut self, reference: String) {
        if !self.references.insert(reference) {
            self.break_promise(REFERENCE_TWICE);
        }
    }

    fn break_promise(&mut self, promise: &'static str) {
        *self.broken.entry(promise).or_default() += 1;
    }

    /// How many purchases stand where, and the broken promises, one sentence each.
    pub fn close(self) -> (Standing, Vec<String>) {
        let mut broken: Vec<_> =
            self.broken.iter().map(|(promise, count)| format!("{count} purchases {promise}")).collect();
        broken.sort_unstable();
        let gone = self.payments.answers.len() - self.answered.len();
        if gone > 0 {
            broken.push(format!("{gone} purchases that were paid for or canceled are not in the database"));
        }
        let unexpected = self.payments.count(Told::Unexpected);
        if unexpected > 0 {
            broken.push(format!("{unexpected} answers to payments and cancels are not in the contract"));
        }
        (self.standing, broken)
    }
}

/// The promise that the purchase breaks, after what was answered about it.
fn broken_by(row: &Row, answered: Option<&Answered>) -> Option<&'static str> {
    let status = row.status;
    let is_recorded = row.payment_reference.as_ref() == Some(&reference(row.id));
    let Some(Answered { is_payment, told, .. }) = answered else {
        return match status {
            PurchaseStatus::Confirmed => Some(UNPAID),
            PurchaseStatus::Canceled => Some(UNASKED),
            _ => row.payment_reference.is_some().then_some(OTHERWISE),
        };
    };
    let released = matches!(status, PurchaseStatus::Expired | PurchaseStatus::Canceled);
    let is_right = match (told, is_payment) {
        (Told::Confirmed, true) => status == PurchaseStatus::Confirmed && is_recorded,
        (Told::Unfillable, true) => released && is_recorded && row.refund_due,
        (Told::Canceled, false) => status == PurchaseStatus::Canceled && row.payment_reference.is_none(),
        // It had expired before.
        (Told::NotPending, false) => status == PurchaseStatus::Expired,
        // It may have happened or not.
        (Told::Unknown, true) => {
            status != PurchaseStatus::Canceled && (status != PurchaseStatus::Confirmed || is_recorded)
        }
        (Told::Unknown, false) => status != PurchaseStatus::Confirmed,
        // Counted by itself.
        (Told::Unexpected, _) => true,
        (Told::Confirmed | Told::Unfillable, false) | (Told::Canceled | Told::NotPending, true) => false,
    };
    (!is_right).then_some(OTHERWISE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: i64 = 1_000_000;

    fn row(number: u8, status: PurchaseStatus) -> Row {
        Row {
            id: Id::from_bytes([number; 12]),
            user_id: Id::from_bytes([number; 12]),
            sequence: number.into(),
            quantity: 1,
            purchased_at: DateTime::from_millis(NOW - 5_000),
            status,
            expires_at: Some(DateTime::from_millis(NOW)),
            payment_reference: None,
            refund_due: false,
        }
    }

    fn paid(number: u8, status: PurchaseStatus) -> Row {
        let row = row(number, status);
        Row { payment_reference: Some(reference(row.id)), ..row }
    }

    #[track_caller]
    fn check(told: &[(u8, bool, Told)], rows: &[Row], now: i64, broken: &[&str]) -> Standing {
        let answer = |(number, is_payment, told): &(u8, bool, Told)| {
            let answered = Answered { is_payment: *is_payment, told: *told, latency: Duration::ZERO };
            (Id::from_bytes([*number; 12]), answered)
        };
        let payments = Payments { answers: told.iter().map(answer).collect(), let_go: 0 };
        let mut all = PaymentBooks::new(&payments, DateTime::from_millis(now));
        for row in rows {
            let mut one = all.of_one_product();
            one.take(row);
            all.add(one);
        }
        let (standing, found) = all.close();
        assert_eq!(found, broken);
        standing
    }

    #[test]
    fn what_was_answered_is_on_record() {
        use PurchaseStatus::{Canceled, Confirmed, Expired, Pending};
        let told = [(1, true, Told::Confirmed), (2, false, Told::Canceled), (3, true, Told::Unfillable)];
        let late = || Row { refund_due: true, ..paid(3, Expired) };
        let rows = [paid(1, Confirmed), row(2, Canceled), late(), row(4, Expired), row(5, Pending)];
        let standing = check(&told, &rows, NOW, &[]);
        let expected = Standing { confirmed: 1, canceled: 1, expired: 2, pending: 1, refund_due: 1 };
        assert_eq!(standing, expected);
        let otherwise = ["1 purchases are not as their payment or cancel was answered"];
        for wrong in [row(1, Confirmed), row(1, Expired), paid(1, Canceled), row(1, Pending)] {
            check(&told[..1], &[wrong], NOW, &otherwise);
        }
        check(&told[1..2], &[row(2, Expired)], NOW, &otherwise);
        check(&told[2..], &[paid(3, Expired)], NOW, &otherwise);
        check(&told[2..], &[paid(3, Confirmed)], NOW, &otherwise);
        check(&told[..1], &[], NOW, &["1 purchases that were paid for or canceled are not in the database"]);
        check(
            &[],
            &[paid(1, Confirmed)],
            NOW,
            &["1 purchases are confirmed, though nobody has paid for them"],
        );
        check(&[], &[row(1, Canceled)], NOW, &["1 purchases are canceled, though nobody has asked for it"]);
        check(&[], &[row(1, Pending)], NOW + 5_001, &["1 purchases should have expired"]);
        let second =
            Row { payment_reference: Some(reference(Id::from_bytes([1; 12]))), ..paid(2, Confirmed) };
        let both = [(1, true, Told::Confirmed), (2, true, Told::Confirmed)];
        check(
            &both,
            &[paid(1, Confirmed), second],
            NOW,
            &[otherwise[0], "1 purchases have the payment of another one"],
        );
        let unexpected = ["1 answers to payments and cancels are not in the contract"];
        check(&[(1, true, Told::Unexpected)], &[row(1, Pending)], NOW, &unexpected);
        // Nobody knows what became of it.
        for row in [row(1, Pending), paid(1, Confirmed), row(1, Expired)] {
            check(&[(1, true, Told::Unknown)], &[row], NOW, &[]);
        }
    }
}
