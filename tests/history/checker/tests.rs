//! Histories written by hand, each with one broken promise, which the checker has to name; and one with none. This is what
//! proves that the checker can fail.

use super::*;
use crate::record::*;

const OK: Reply = Reply::Answer { status: 201, code: Code::None, has_retry_after: false };
const START: i64 = 1_000_000;
const LATER: Micros = 100 * SECOND;

fn refused(code: Code) -> Reply {
    Reply::Answer { status: 409, code, has_retry_after: false }
}

fn unavailable(code: Code) -> Reply {
    Reply::Answer { status: 503, code, has_retry_after: true }
}

fn at(sent: u64, reply: Reply) -> Exchange {
    Exchange { server: 0, sent: sent * SECOND, ended: sent * SECOND + SECOND / 2, reply }
}

fn read_of(sent: u64, about: About) -> Read {
    Read {
        exchange: at(sent, Reply::Answer { status: 200, code: Code::None, has_retry_after: false }),
        about,
    }
}

fn purchase(sequence: i64) -> Purchase {
    let mut bytes = [0; 12];
    bytes[11] = u8::try_from(sequence).unwrap();
    let id = ObjectId::from_bytes(bytes);
    Purchase { id, sequence, quantity: 1, price: 100, purchased_at: START + sequence }
}

fn stored(user: u32, key: Option<u32>, purchase: Purchase) -> StoredPurchase {
    StoredPurchase {
        user,
        product: 0,
        key,
        purchase,
        status: Status::Confirmed,
        payment: None,
        refund_due: false,
        expires_at: None,
    }
}

fn standing(sequence: i64) -> Standing {
    Standing {
        purchase: purchase(sequence),
        status: Status::Confirmed,
        payment: None,
        refund_due: false,
        expires_at: None,
    }
}

/// A try of user `user` at second `sent`.
fn one_try(user: u32, key: Option<u32>, sent: u64, reply: Reply) -> Try {
    let exchange = at(sent, reply);
    Try {
        user,
        product: 0,
        key,
        quantity: 1,
        reuses_key: false,
        exchange,
        told: None,
        is_replay: false,
        promised_id: None,
    }
}

/// A history in which user n buys number n in second 10 n, the first of them with a key that he repeats.
fn clean() -> History {
    let terms = Terms { price: 100, limit: 1, start: START, end: START + 1_000 };
    let mut history = History {
        products: vec![ProductPlan {
            stock: 3,
            has_crowd: false,
            payment_window_seconds: None,
            terms: vec![terms],
        }],
        ..History::default()
    };
    for number in 1..=3_u32 {
        let key = (number == 1).then_some(7);
        let told = purchase(i64::from(number));
        let bought = Try { told: Some(told), ..one_try(number, key, u64::from(number) * 10, OK) };
        history.tries.push(bought);
        history.stored.purchases.push(stored(number, key, told));
    }
    let again = Try { told: Some(purchase(1)), is_replay: true, ..one_try(1, Some(7), 15, OK) };
    let other =
        one_try(1, Some(7), 16, Reply::Answer { status: 422, code: Code::KeyReused, has_retry_after: false });
    let other = Try { quantity: 2, reuses_key: true, ..other };
    history.tries.extend([again, other, one_try(9, Some(1), 40, refused(Code::SoldOut))]);
    history.tries.push(one_try(8, None, 41, unavailable(Code::Unknown)));
    history.stored.products.push(figures(0, 3, 4));
    for (sent, stock, sold) in [(5, 3, 0), (12, 2, 1), (35, 0, 3)] {
        history.reads.push(read_of(sent, About::Product(Some(figures(stock, sold, 1 + sold)))));
    }
    history.reads.push(read_of(36, About::Leaderboard { product: 0, sequences: vec![1, 2, 3] }));
    let read = About::Purchase { wanted: purchase(2).id, found: Some(standing(2)) };
    history.reads.push(read_of(37, read));
    history.events = vec![event(Told::Connected { after: Some(0) }), told_event(1), told_event(2)];
    history.events.extend([event(Told::Connected { after: Some(2) }), told_event(3)]);
    history.sightings = Sightings { failovers: 1, conflicts: 1, resyncs: 1 };
    history
}

fn figures(stock: i64, sold: i64, version: i64) -> Figures {
    Figures { product: 0, version, stock, held: 0, sold, total: stock + sold }
}

fn event(told: Told) -> Event {
    Event { watcher: 0, product: 0, told }
}

fn told_event(sequence: i64) -> Event {
    let told = Told::Purchase { sequence, quantity: 1, purchased_at: START + sequence };
    event(told)
}

/// Checks a clean history after `break_it`: only this violation may be found.
#[track_caller]
fn names(expected: &str, break_it: impl FnOnce(&mut History)) {
    let mut history = clean();
    break_it(&mut history);
    let mut report = check(&history);
    answers::sightings(&history, &mut report);
    assert!(report.has(expected), "{expected} was not found, but {:#?}", report.violations);
}

/// A purchase number 3 is gone, as are all who were told of it.
fn without_the_third(history: &mut History) {
    history.stored.purchases.pop();
    history.stored.products[0] = figures(1, 2, 3);
    history.tries.remove(2);
    history.reads.clear();
    history.events.clear();
}

#[test]
fn a_clean_history_passes() {
    let mut report = check(&clean());
    answers::sightings(&clean(), &mut report);
    assert_eq!(report.violations, []);
    assert!(report.checked.values().all(|count| *count > 0), "{}", report.summary());
    assert!(report.checked.len() >= 15, "{}", report.summary());
}

#[test]
fn the_books() {
    names("Oversold", |history| {
        history.products[0].stock = 2;
        let exchange = at(90, OK);
        let restock = Change { product: 0, what: What::Restock(1), exchange, figures: None };
        history.changes.push(restock);
    });
    names("StockDoesNotAddUp", |history| {
        history.reads.push(read_of(50, About::Catalogue(vec![Figures { total: 4, ..figures(0, 3, 4) }])));
    });
    names("TotalStockWrong", |history| history.products[0].stock = 4);
    names("SoldIsNotPurchased", |history| history.stored.products[0] = figures(1, 2, 4));
    names("LostPurchase", |history| _ = history.stored.purchases.pop());
    names("PurchaseDiffers", |history| history.stored.purchases[2].purchase.quantity = 2);
    names("PurchaseDiffers", |history| history.stored.purchases[2].user = 4);
    names("LimitExceeded", |history| {
        history.stored.purchases[2].user = 2;
        history.tries[2].user = 2;
    });
    names("OutsideWindow", |history| history.products[0].terms[0].end = START + 3);
    names("WrongPrice", |history| history.products[0].terms[0].price = 99);
    names("WrongPrice", |history| {
        let terms = history.products[0].terms[0];
        history.products[0].terms.push(Terms { price: 101, ..terms });
        history.stored.purchases[1].purchase.price = 101;
        history.tries[1].told.as_mut().unwrap().price = 101;
    });
}

#[test]
fn tries_and_keys() {
    names("PurchaseFromNowhere", |history| history.tries.retain(|one| one.user != 3));
    names("PurchaseFromNowhere", |history| history.tries.retain(|one| one.key != Some(7)));
    names("BoughtTwice", |history| history.stored.purchases[2].user = 2);
    for code in [Code::SoldOut, Code::Overloaded, Code::Unavailable] {
        names("RefusedYetBought", |history| history.tries[2] = one_try(3, None, 30, refused(code)));
        names("RefusedYetBought", |history| {
            history.tries[2] = one_try(3, Some(1), 30, unavailable(code));
            history.stored.purchases[2].key = Some(1);
        });
    }
    for key in [None, Some(1)] {
        let in_doubt = move |history: &mut History, promised| {
            history.tries[2] = one_try(3, key, 30, unavailable(Code::Unknown));
            history.tries[2].promised_id = Some(promised);
            history.stored.purchases[2].key = key;
        };
        names("OtherIdThanPromised", |history| in_doubt(history, purchase(2).id));
        let mut history = clean();
        in_doubt(&mut history, purchase(3).id);
        assert_eq!(check(&history).violations, []);
    }
    names("KeyBoughtTwice", |history| {
        history.stored.purchases[1].user = 1;
        history.stored.purchases[1].key = Some(7);
    });
    names("ReplayDiffers", |history| history.tries[3].told = Some(purchase(2)));
    names("ReplayNotMarked", |history| history.tries[3].is_replay = false);
    names("ReplayRefused", |history| history.tries[3] = one_try(1, Some(7), 15, refused(Code::LimitReached)));
    names("ReuseAccepted", |history| history.tries[4].exchange.reply = OK);
}

#[test]
fn a_refusal_with_a_key_is_final_for_the_tries_before_it_alone() {
    let scene = |second: Reply, third: Option<Reply>| {
        move |history: &mut History| {
            without_the_third(history);
            history.tries.push(one_try(3, Some(1), 30, Reply::GaveUp));
            history.tries.push(one_try(3, Some(1), 32, second));
            history.tries.extend(third.map(|reply| one_try(3, Some(1), 34, reply)));
            let stored = stored(3, Some(1), purchase(3));
            history.stored.purchases.push(stored);
            history.stored.products[0] = figures(0, 3, 4);
        }
    };
    for code in [Code::SoldOut, Code::InsufficientStock, Code::LimitReached, Code::SaleEnded] {
        names("KeyedRefusalThenBought", scene(refused(code), None));
        names("KeyedRefusalThenBought", scene(refused(code), Some(unavailable(Code::Overloaded))));
    }
    for right in [
        scene(Reply::GaveUp, None),
        scene(unavailable(Code::Unavailable), None),
        scene(refused(Code::SoldOut), Some(Reply::GaveUp)),
        scene(refused(Code::SoldOut), Some(unavailable(Code::Unknown))),
    ] {
        let mut history = clean();
        right(&mut history);
        assert_eq!(check(&history).violations, []);
    }
}

#[test]
fn numbers_and_times() {
    names("SequenceWrong", |history| {
        history.stored.purchases[2].purchase.sequence = 4;
        history.tries[2].told.as_mut().unwrap().sequence = 4;
    });
    names("SequenceWrong", |history| {
        history.stored.purchases[2].purchase.sequence = 2;
        history.tries[2].told.as_mut().unwrap().sequence = 2;
    });
    names("OrderAgainstTime", |history| history.tries[1].exchange = at(31, OK));
    names("TimeWentBack", |history| {
        history.stored.purchases[2].purchase.purchased_at = START + 1;
        history.tries[2].told.as_mut().unwrap().purchased_at = START + 1;
    });
}

#[test]
fn reads() {
    let stale = |history: &mut History| {
        history.reads.push(read_of(12, About::Product(Some(figures(3, 0, 1)))));
    };
    names("StaleRead", stale);
    names("StaleRead", |history| {
        history.products[0].has_crowd = true;
        // At the server that has confirmed it, there is no delay.
        stale(history);
    });
    names("StaleRead", |history| {
        history.products[0].has_crowd = true;
        let mut late = read_of(13, About::Product(Some(figures(3, 0, 1))));
        late.exchange.server = 1;
        history.reads.push(late);
    });
    let mut history = clean();
    history.products[0].has_crowd = true;
    let mut soon = read_of(12, About::Product(Some(figures(3, 0, 1))));
    soon.exchange.server = 1;
    history.reads.push(soon);
    assert_eq!(check(&history).violations, [], "a crowd elsewhere may be late");
    names("ReadWentBack", |history| {
        history.reads.push(read_of(38, About::Product(Some(figures(0, 3, 3)))));
    });
    names("PurchaseNotFound", |history| {
        let about = About::Purchase { wanted: purchase(2).id, found: None };
        let mut read = read_of(38, about);
        read.exchange.reply =
            Reply::Answer { status: 404, code: Code::PurchaseNotFound, has_retry_after: false };
        history.reads.push(read);
    });
    names("LeaderboardWrong", |history| {
        history.reads.push(read_of(38, About::Leaderboard { product: 0, sequences: vec![1, 2] }));
    });
    names("LeaderboardWrong", |history| {
        history.reads.push(read_of(38, About::Leaderboard { product: 0, sequences: vec![1, 3, 4] }));
    });
}

#[test]
fn watchers() {
    names("EventsMissing", |history| _ = history.events.remove(1));
    names("EventsMissing", |history| _ = history.events.pop());
    names("EventsMissing", |history| history.events[3] = event(Told::Connected { after: Some(1) }));
    names("EventDiffers", |history| {
        history.events[2] = event(Told::Purchase { sequence: 2, quantity: 5, purchased_at: START + 2 });
    });
    names("EventWentBack", |history| {
        for version in [3, 2] {
            history.events.push(event(Told::Stock { version, figures: None }));
        }
    });
    names("StockDoesNotAddUp", |history| {
        let figures = Some(Figures { stock: 9, ..figures(0, 3, 4) });
        history.events.push(event(Told::Stock { version: 4, figures }));
    });
}

#[test]
fn answers_and_sightings() {
    names("UndocumentedAnswer", |history| {
        history.tries[5].exchange.reply =
            Reply::Answer { status: 500, code: Code::Strange, has_retry_after: false };
    });
    names("UndocumentedAnswer", |history| {
        history.reads[0].exchange.reply =
            Reply::Answer { status: 404, code: Code::ProductNotFound, has_retry_after: false };
    });
    names("NoRetryAfter", |history| {
        let reply = Reply::Answer { status: 503, code: Code::Overloaded, has_retry_after: false };
        history.tries[5].exchange.reply = reply;
    });
    names("AnsweredTooLate", |history| history.tries[5].exchange.ended += 15 * SECOND);
    let cut = |history: &mut History| history.tries[6].exchange.reply = Reply::Cut;
    names("NoAnswer", cut);
    let mut history = clean();
    cut(&mut history);
    let fault = "kill".to_owned();
    history.spans.push(Span { fault, silent_server: Some(0), from: 0, to: LATER });
    assert_eq!(check(&history).violations, [], "who is dead cannot answer");
    names("NeverSaw", |history| history.sightings.failovers = 0);
    names("NeverSaw", |history| history.tries[6].exchange.reply = refused(Code::SoldOut));
    names("NeverSaw", |history| history.tries[5].exchange.reply = unavailable(Code::Overloaded));
}
