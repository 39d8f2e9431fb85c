//! Histories of what has to be paid for, written by hand: each breaks one promise, which the checker has to name.

use super::*;
use crate::record::*;
use crate::shop::user_id;

const START: i64 = 1_000_000;
const WINDOW_MS: i64 = 60_000;
const OK: Reply = Reply::Answer { status: 200, code: Code::None, has_retry_after: false };

fn refused(code: Code) -> Reply {
    Reply::Answer {
        status: if code == Code::AmountMismatch { 422 } else { 409 },
        code,
        has_retry_after: false,
    }
}

fn at(sent: u64, reply: Reply) -> Exchange {
    Exchange { server: 0, sent: sent * SECOND, ended: sent * SECOND + SECOND / 2, reply }
}

fn purchase(sequence: i64) -> Purchase {
    let mut bytes = [0; 12];
    bytes[11] = u8::try_from(sequence).unwrap();
    let id = mongodb::bson::oid::ObjectId::from_bytes(bytes);
    Purchase { id, sequence, quantity: 1, price: 100, purchased_at: START + 100 * sequence }
}

fn expires_at(sequence: i64) -> i64 {
    purchase(sequence).purchased_at + WINDOW_MS
}

fn pay(payment: u32) -> Ask {
    Ask::Confirm { payment, is_right: true }
}

const CANCEL: Ask = Ask::Cancel { by_buyer: true };
const REFUND: Ask = Ask::Refund { restock: true };

/// A clean history under construction: user n has bought number n, and all are pending.
struct Story(History);

impl Story {
    fn new() -> Self {
        let terms = Terms { price: 100, limit: 1, start: START, end: START + 1_000_000 };
        let plan =
            ProductPlan { stock: 6, has_crowd: false, payment_window_seconds: Some(60), terms: vec![terms] };
        let mut history = History { products: vec![plan], ..History::default() };
        for (number, user) in (1..=6).zip(1..) {
            let told = purchase(number);
            history.tries.push(Try {
                user,
                product: 0,
                key: None,
                quantity: 1,
                reuses_key: false,
                exchange: Exchange {
                    reply: Reply::Answer { status: 201, code: Code::None, has_retry_after: false },
                    ..at(u64::from(user), OK)
                },
                told: Some(told),
                is_replay: false,
                promised_id: None,
            });
            history.stored.purchases.push(StoredPurchase {
                user,
                product: 0,
                key: None,
                purchase: told,
                status: Status::Pending,
                payment: None,
                refund_due: false,
                expires_at: Some(expires_at(number)),
            });
        }
        let figures = Figures { product: 0, version: 7, stock: 0, held: 6, sold: 0, total: 6 };
        history.stored.products.push(figures);
        Self(history)
    }

    fn stored(&mut self, number: usize) -> &mut StoredPurchase {
        &mut self.0.stored.purchases[number - 1]
    }

    /// Somebody asks about the purchase at this second, and is told how it stands by then.
    fn asks(&mut self, number: usize, sent: u64, ask: Ask, reply: Reply) {
        let stored = *self.stored(number);
        let told = Standing {
            purchase: stored.purchase,
            status: stored.status,
            payment: stored.payment,
            refund_due: stored.refund_due,
            expires_at: stored.expires_at,
        };
        let told = (reply == OK).then_some(told);
        let step =
            Step { user: stored.user, purchase: stored.purchase.id, ask, exchange: at(sent, reply), told };
        self.0.steps.push(step);
    }

    /// The purchase moves on; the figures follow.
    fn moves(&mut self, number: usize, to: Status, payment: Option<u32>, actor: Option<u32>) {
        let after = self.0.stored.entries.len() as i64;
        let stored = self.stored(number);
        let from = std::mem::replace(&mut stored.status, to);
        stored.payment = payment.or(stored.payment);
        let due = if to == Status::Expired { stored.expires_at.unwrap() } else { START + 10_000 };
        let (purchase, late) = (stored.purchase.id, if from == Status::Expired { WINDOW_MS } else { 0 });
        let entry = Entry {
            purchase,
            at: due + late + after,
            actor: actor.map(user_id),
            what: Noted::Move { from, to, payment, restock: to == Status::Refunded },
        };
        self.0.stored.entries.push(entry);
        let figures = &mut self.0.stored.products[0];
        for (status, by) in [(from, -1), (to, 1)] {
            match status {
                Status::Pending => figures.held += by,
                Status::Confirmed => figures.sold += by,
                Status::Expired | Status::Canceled | Status::Refunded => figures.stock += by,
            }
        }
    }

    fn notes(&mut self, number: usize, what: Noted) {
        let stored = self.stored(number);
        let entry = Entry { purchase: stored.purchase.id, at: START + 200_000, actor: None, what };
        self.0.stored.entries.push(entry);
    }

    /// Number 1 is paid for, twice told of; 2 is canceled and bought again; 3 expires, and its money comes too late for it; 4
    /// is refunded; 5 expires; 6 stays pending.
    fn clean() -> Self {
        let mut story = Self::new();
        story.moves(1, Status::Confirmed, Some(1), None);
        story.asks(1, 10, pay(1), OK);
        story.asks(1, 12, pay(1), OK);
        story.asks(1, 13, pay(11), refused(Code::NotPending));
        story.asks(1, 14, CANCEL, refused(Code::NotPending));
        story.asks(1, 15, Ask::Confirm { payment: 12, is_right: false }, refused(Code::AmountMismatch));
        story.moves(2, Status::Canceled, None, Some(2));
        story.asks(2, 10, CANCEL, OK);
        story.moves(2, Status::Confirmed, Some(2), None);
        story.asks(2, 12, pay(2), OK);
        story.moves(3, Status::Expired, None, None);
        story.stored(3).payment = Some(3);
        story.stored(3).refund_due = true;
        story.notes(3, Noted::Unfillable { payment: Some(3) });
        story.asks(3, 80, pay(3), refused(Code::Unfillable));
        story.moves(4, Status::Confirmed, Some(4), None);
        story.asks(4, 10, pay(4), OK);
        story.moves(4, Status::Refunded, None, None);
        story.asks(4, 12, REFUND, OK);
        story.moves(5, Status::Expired, None, None);
        let found = |story: &mut Self, number: usize| {
            let stored = *story.stored(number);
            Standing {
                purchase: stored.purchase,
                status: stored.status,
                payment: stored.payment,
                refund_due: stored.refund_due,
                expires_at: stored.expires_at,
            }
        };
        for number in [1, 2, 3, 4] {
            let found = found(&mut story, number);
            let about = About::Purchase { wanted: found.purchase.id, found: Some(found) };
            story.0.reads.push(Read { exchange: at(90, OK), about });
        }
        story
    }
}

#[track_caller]
fn names(expected: &str, break_it: impl FnOnce(&mut Story)) {
    let mut story = Story::clean();
    break_it(&mut story);
    let report = check(&story.0);
    assert!(report.has(expected), "{expected} was not found, but {:#?}", report.violations);
}

#[test]
fn a_clean_history_passes() {
    let report = check(&Story::clean().0);
    assert_eq!(report.violations, []);
    assert!(report.checked.values().all(|count| *count > 0), "{}", report.summary());
}

#[test]
fn each_step_is_made_once_and_leads_where_the_purchase_stands() {
    names("ChangedTwice", |story| {
        let entry = story.0.stored.entries[0];
        story.0.stored.entries.push(entry);
    });
    names("ForbiddenStep", |story| {
        story.moves(6, Status::Refunded, None, None);
    });
    names("StandsElsewhere", |story| story.stored(1).status = Status::Pending);
    names("StandsElsewhere", |story| _ = story.0.stored.entries.remove(0));
    names("StepWentBack", |story| story.0.stored.entries[0].at = START);
    names("HeldIsNotPending", |story| {
        (story.0.stored.products[0].held, story.0.stored.products[0].stock) = (2, 2);
    });
    names("SoldIsNotPurchased", |story| {
        (story.0.stored.products[0].sold, story.0.stored.products[0].stock) = (3, 2);
    });
    names("NobodyAskedFor", |story| story.moves(6, Status::Confirmed, Some(6), None));
    names("NobodyAskedFor", |story| {
        story.asks(
            6,
            20,
            CANCEL,
            Reply::Answer { status: 503, code: Code::Overloaded, has_retry_after: true },
        );
        story.moves(6, Status::Canceled, None, Some(6));
    });
    // What got no answer may have happened.
    let mut story = Story::clean();
    story.asks(6, 20, CANCEL, Reply::GaveUp);
    story.moves(6, Status::Canceled, None, Some(6));
    assert_eq!(check(&story.0).violations, []);
}

#[test]
fn nobodys_money_is_lost() {
    // An answered payment is not on record; it is undone; one that was given back is taken.
    names("MoneyNotAsTold", |story| story.stored(1).payment = Some(99));
    names("MoneyNotAsTold", |story| story.moves(1, Status::Canceled, None, Some(1)));
    names("MoneyNotAsTold", |story| story.stored(1).payment = Some(11));
    names("MoneyNotAsTold", |story| story.stored(3).refund_due = false);
    names("MoneyNotAsTold", |story| story.stored(3).payment = None);
    names("MoneyNotAsTold", |story| story.moves(3, Status::Confirmed, Some(3), None));
    names("MoneyUnclear", |story| story.stored(3).refund_due = false);
    names("MoneyUnclear", |story| story.notes(3, Noted::Unfillable { payment: Some(3) }));
    // Once it has gone back, nothing is due.
    let mut story = Story::clean();
    story.stored(3).refund_due = false;
    story.notes(3, Noted::Returned);
    story.asks(3, 95, REFUND, OK);
    assert_eq!(check(&story.0).violations, []);
}

#[test]
fn what_was_answered_stays_answered() {
    names("AnswerTakenBack", |story| story.asks(1, 20, pay(1), refused(Code::NotPending)));
    names("AnswerTakenBack", |story| story.asks(1, 20, pay(1), refused(Code::Unfillable)));
    names("AnswerTakenBack", |story| story.asks(1, 20, pay(11), OK));
    names("AnswerTakenBack", |story| story.asks(1, 20, CANCEL, OK));
    names("AnswerTakenBack", |story| story.asks(3, 85, pay(3), OK));
    names("AnswerTakenBack", |story| story.asks(4, 20, REFUND, refused(Code::NotPending)));
    names("TellsSomethingElse", |story| story.0.steps[0].told.as_mut().unwrap().status = Status::Pending);
    names("TellsSomethingElse", |story| story.0.steps[0].told = None);
    let stale = |number: usize, status: Status| {
        move |story: &mut Story| {
            let About::Purchase { found: Some(found), .. } = &mut story.0.reads[number - 1].about else {
                panic!("it is a read of a purchase");
            };
            found.status = status;
        }
    };
    names("StaleStatus", stale(1, Status::Pending));
    names("StaleStatus", stale(2, Status::Pending));
    names("StaleStatus", stale(4, Status::Confirmed));
}

#[test]
fn it_expires_when_it_should() {
    names("WrongExpiry", |story| story.stored(6).expires_at = Some(expires_at(6) + 1));
    names("ExpiredAtWrongTime", |story| story.0.stored.entries.last_mut().unwrap().at = expires_at(5) - 1);
    let (due, late) = (expires_at(6), crate::run::EXPIRY_LATE_MS_MAX);
    names("ExpiredAtWrongTime", |story| story.0.stored.peace = Some((START, due + late + 1)));
    // What became due while things were broken may be late.
    let mut story = Story::clean();
    story.0.stored.peace = Some((due + 1_000, due + late));
    assert_eq!(check(&story.0).violations, []);
}

#[test]
fn at_no_moment_is_there_too_much() {
    names("SoldTwice", |story| story.0.products[0].stock = 5);
    // A restock counts once it is there.
    let restocked_at = |at: i64| {
        let mut story = Story::clean();
        story.0.products[0].stock = 5;
        story.0.stored.restocks = vec![(0, at, 1)];
        check(&story.0).has("SoldTwice")
    };
    assert!(!restocked_at(purchase(6).purchased_at) && restocked_at(purchase(6).purchased_at + 1));
    // User 5 buys number 6, too: while he holds number 5, and after it has expired.
    let buys_again = |story: &mut Story, at: i64| {
        (story.stored(6).user, story.0.tries[5].user) = (5, 5);
        story.stored(6).purchase.purchased_at = at;
        story.stored(6).expires_at = Some(at + WINDOW_MS);
        story.0.tries[5].told.as_mut().unwrap().purchased_at = at;
    };
    names("LimitExceeded", |story| buys_again(story, purchase(6).purchased_at));
    let mut story = Story::clean();
    buys_again(&mut story, expires_at(5) + 1_000);
    assert_eq!(check(&story.0).violations, []);
    // Late money takes the units again.
    names("LimitExceeded", |story| {
        buys_again(story, expires_at(5) + 1_000);
        story.moves(5, Status::Confirmed, Some(5), None);
    });
}

#[test]
fn who_lets_too_much_lapse_buys_no_more() {
    let lapsed = |by: Option<u32>| {
        move |story: &mut Story| {
            for number in 1..=6 {
                story.stored(number).user = 7;
                story.0.tries[number - 1].user = 7;
            }
            story.0.stored.entries.clear();
            for number in 1..=3 {
                story.stored(number).status = Status::Pending;
                story.moves(number, Status::Canceled, None, by);
            }
            // He buys the next one afterwards.
            let next = story.stored(6);
            next.purchase.purchased_at = START + 20_000;
        }
    };
    names("LapsedTooOften", lapsed(Some(7)));
    let mut story = Story::clean();
    lapsed(Some(8))(&mut story);
    assert!(!check(&story.0).has("LapsedTooOften"), "what an admin cancels counts for nobody");
}
