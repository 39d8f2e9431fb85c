//! Compares the settlement with a model that can be checked by eye, and checks its promises, over made-up sales.

use mongodb::bson::DateTime;
use proptest::prelude::*;

use super::*;
use crate::model::money::Money;
use crate::model::purchase::Purchase;

/// A request of a made-up sale: which user (0..5), how many units, which key (0..4), what it expects and how old its
/// account is.
pub(super) type Wish = (u8, i64, Option<u8>, Terms);

/// The expected price, and the moment of the registration.
pub(super) type Terms = (Option<i64>, Option<i64>);

/// Any price will do, and the account is of the first moment.
const ANY: Terms = (None, Some(0));

/// What one unit costs in all made-up sales.
const PRICE: i64 = 100;

fn price(amount: i64) -> Price {
    Price::from(&Money { amount, currency: "EUR".into() })
}

pub(super) fn user(number: u8) -> Id {
    Id::from_bytes([number; 12])
}

pub(super) fn request((number, quantity, key, (expected, registered)): Wish) -> Request {
    Request {
        user: user(number),
        quantity,
        expected_price: expected.map(price),
        registered_at: registered.map(DateTime::from_millis),
        key: key.map(|key| format!("key-{key}").into()),
        arrived_at: DateTime::MAX,
        key_used_elsewhere: false,
    }
}

/// The model: takes one request after the other and searches a list of all purchases each time.
fn model(sale: &Sale, wishes: &[Wish]) -> Vec<&'static str> {
    let before = sale.registered_before.map(|before| before.timestamp_millis());
    let is_old =
        |registered: Option<i64>| before.is_none_or(|before| registered.is_some_and(|at| at <= before));
    let mut bought: Vec<Wish> = Vec::new();
    let mut decide = |wish: &Wish| {
        let (expected, registered) = wish.3;
        let is_right = expected.is_none_or(|expected| expected == PRICE);
        let earlier =
            bought.iter().find(|(user, _, key, _)| (*user, *key) == (wish.0, wish.2) && key.is_some());
        let left = sale.stock - bought.iter().map(|wish| wish.1).sum::<i64>();
        let mine = bought.iter().filter(|(user, ..)| *user == wish.0).map(|wish| wish.1).sum::<i64>();
        match earlier {
            Some(earlier) if earlier.1 == wish.1 && is_right => return "replayed",
            Some(_) => return "key reused",
            None if sale.paused => return "paused",
            None if sale.window != Window::Open => return "closed",
            None if !is_old(registered) => return "too new",
            None if left == 0 => return "sold out",
            None if !is_right => return "price",
            None if mine + wish.1 > sale.purchase_limit => return "limit",
            None if wish.1 > left => return "too few",
            None => bought.push(*wish),
        }
        "bought"
    };
    wishes.iter().map(&mut decide).collect()
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Bought { .. } => "bought",
        Outcome::Replayed(_) | Outcome::ReplayedInBatch(_) => "replayed",
        Outcome::Refused(Refusal::KeyReused) => "key reused",
        Outcome::Refused(Refusal::Paused) => "paused",
        Outcome::Refused(Refusal::NotStarted | Refusal::Ended) => "closed",
        Outcome::Refused(Refusal::AccountTooNew) => "too new",
        Outcome::Refused(Refusal::PriceChanged) => "price",
        Outcome::Refused(Refusal::TooManyLapses { .. }) => "lapses",
        Outcome::Refused(Refusal::SoldOut) => "sold out",
        Outcome::Refused(Refusal::Reopened) => "reopened",
        Outcome::Refused(Refusal::LimitReached { .. }) => "limit",
        Outcome::Refused(Refusal::InsufficientStock { .. }) => "too few",
    }
}

/// A purchase that needs no payment, as the lane makes it for a request.
pub(super) fn new_purchase(request: &Request, sequence: i64, first_unit: i64) -> Purchase {
    let price = Money { amount: PRICE, currency: "EUR".into() };
    Purchase {
        id: user(u8::try_from(sequence).unwrap()),
        quantity: request.quantity,
        first_unit,
        idempotency_key: request.key.as_deref().map(str::to_owned),
        ..Purchase::new(user(99), request.user, sequence, price, DateTime::from_millis(0))
    }
}

/// Does what the lane does with a settlement: records its purchases and counts on.
fn apply(sale: &mut Sale, buyers: &mut Buyers, requests: &[Request], settlement: &Settlement) {
    for (request, outcome) in requests.iter().zip(&settlement.outcomes) {
        if let Outcome::Bought { sequence, first_unit } = outcome {
            buyers.record(&new_purchase(request, *sequence, *first_unit));
            sale.purchase_count = *sequence;
        }
    }
    sale.stock += settlement.figures.stock;
}

/// Settles the wishes in batches of `batch` and returns all outcomes.
fn run(mut sale: Sale, batch: usize, wishes: &[Wish]) -> Vec<Outcome> {
    let mut buyers = Buyers::all_of_none();
    let mut outcomes = Vec::new();
    for wishes in wishes.chunks(batch) {
        let requests: Vec<_> = wishes.iter().copied().map(request).collect();
        let settlement = settle(&sale, &buyers, &requests, &[]);
        apply(&mut sale, &mut buyers, &requests, &settlement);
        outcomes.extend(settlement.outcomes);
    }
    outcomes
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let expected = prop_oneof![3 => Just(None), 2 => Just(Some(PRICE)), 1 => Just(Some(PRICE + 1))];
    let terms = (expected, proptest::option::weighted(0.9, 0_i64..4));
    let wish = (0_u8..5, 1_i64..4, proptest::option::of(0_u8..4), terms);
    proptest::collection::vec(wish, 0..60)
}

/// A sale that is open, mostly.
fn sale() -> impl Strategy<Value = Sale> {
    let rules = (prop_oneof![9 => Just(false), 1 => Just(true)], proptest::option::of(0_i64..4));
    let window =
        prop_oneof![8 => Just(Window::Open), 1 => Just(Window::NotStarted), 1 => Just(Window::Ended)];
    (0_i64..30, 1_i64..8, window, rules).prop_map(|(stock, purchase_limit, window, (paused, before))| Sale {
        stock,
        purchase_limit,
        window,
        paused,
        registered_before: before.map(DateTime::from_millis),
        ..empty(stock, purchase_limit)
    })
}

/// A sale that is open for everybody, of which nothing is sold yet.
pub(super) fn empty(stock: i64, purchase_limit: i64) -> Sale {
    let no_time = DateTime::MIN;
    Sale {
        window: Window::Open,
        start: no_time,
        reopened_at: no_time,
        paused: false,
        registered_before: None,
        price: price(PRICE),
        has_payment_window: false,
        stock,
        purchase_limit,
        purchase_count: 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn settles_like_the_model(sale in sale(), batch in 1_usize..20, wishes in wishes()) {
        let outcomes: Vec<_> = run(sale, batch, &wishes).iter().map(name).collect();
        prop_assert_eq!(outcomes, model(&sale, &wishes));
    }

    #[test]
    fn keeps_its_promises(stock in 0_i64..30, limit in 1_i64..8, batch in 1_usize..20, wishes in wishes()) {
        let sale = empty(stock, limit);
        let outcomes = run(sale, batch, &wishes);
        let bought: Vec<_> = outcomes.iter().zip(&wishes).filter_map(|(outcome, wish)| match outcome {
            Outcome::Bought { sequence, first_unit } => Some((*sequence, *first_unit, *wish)),
            _ => None,
        }).collect();
        let sold: i64 = bought.iter().map(|(_, _, wish)| wish.1).sum();
        prop_assert!(sold <= stock, "sold {} of {}", sold, stock);
        let sequences: Vec<_> = bought.iter().map(|(sequence, ..)| *sequence).collect();
        prop_assert_eq!(sequences, (1..=i64::try_from(bought.len()).unwrap()).collect::<Vec<_>>());
        for number in 0..5 {
            let mut next_unit = 1;
            for (_, first_unit, wish) in bought.iter().filter(|(_, _, wish)| wish.0 == number) {
                prop_assert_eq!(*first_unit, next_unit);
                next_unit += wish.1;
            }
            prop_assert!(next_unit - 1 <= limit);
        }
    }

    /// A lane that has not followed all sales of its rivals makes no mistake: if its outcome is wrong, a unique index
    /// refuses the purchase, or the refusal is looked up.
    #[test]
    fn a_lane_that_knows_too_little_notices(
        limit in 1_i64..8, stock in 0_i64..5, noted in proptest::collection::vec(any::<bool>(), 60), wishes in wishes(), batch in wishes(),
    ) {
        let mut sale = empty(200, limit);
        let (mut all, mut some) = (Buyers::all_of_none(), Buyers::unknown());
        for (wish, noted) in wishes.iter().zip(noted) {
            let requests = [request(*wish)];
            let settlement = settle(&sale, &all, &requests, &[]);
            if noted {
                apply(&mut sale.clone(), &mut some, &requests, &settlement);
            }
            apply(&mut sale, &mut all, &requests, &settlement);
        }
        sale.stock = stock;
        let requests: Vec<_> = batch.iter().copied().map(request).collect();
        let [right, tried] = [&all, &some].map(|buyers| settle(&sale, buyers, &requests, &[]).outcomes);
        // Only the first wrong outcome matters: nothing after it is committed.
        let wrong = right.iter().zip(&tried).zip(&requests).find(|((right, tried), _)| right != tried);
        if let Some(((_, tried), request)) = wrong {
            let key_is_used = request.key.as_ref().is_some_and(|key| all.purchase_with_key(request.user, key).is_some());
            let is_noticed = match tried {
                Outcome::Bought { first_unit, .. } => key_is_used || *first_unit <= all.last_unit(request.user),
                Outcome::Refused(refusal) => key_is_used || refusal.depends_on_history(),
                _ => false,
            };
            prop_assert!(is_noticed, "{:?} {:?}", request, tried);
        }
    }
}

fn check(sale: Sale, request: Request, expected: Outcome) {
    let settlement = settle(&sale, &Buyers::all_of_none(), &[request], &[]);
    assert_eq!(settlement.outcomes, [expected]);
}

/// An open sale with two units left.
fn open() -> Sale {
    Sale { purchase_count: 7, ..empty(2, 5) }
}

#[test]
fn a_refusal_says_what_is_left() {
    check(open(), request((1, 3, None, ANY)), Outcome::Refused(Refusal::InsufficientStock { remaining: 2 }));
    check(Sale { stock: 0, ..open() }, request((1, 3, None, ANY)), Outcome::Refused(Refusal::SoldOut));
    check(
        open(),
        request((1, 6, None, ANY)),
        Outcome::Refused(Refusal::LimitReached { limit: 5, purchased: 0 }),
    );
}

#[test]
fn a_purchase_takes_the_next_number() {
    check(open(), request((1, 2, None, ANY)), Outcome::Bought { sequence: 8, first_unit: 1 });
}

#[test]
fn the_window_is_shut_on_both_sides() {
    let sale = Sale { window: Window::NotStarted, ..open() };
    check(sale, request((1, 1, None, ANY)), Outcome::Refused(Refusal::NotStarted));
    check(
        Sale { window: Window::Ended, ..open() },
        request((1, 1, None, ANY)),
        Outcome::Refused(Refusal::Ended),
    );
}

#[test]
fn a_key_of_another_product_is_refused_before_all_else() {
    let request = Request { key_used_elsewhere: true, ..request((1, 1, Some(1), ANY)) };
    check(Sale { stock: 0, ..open() }, request, Outcome::Refused(Refusal::KeyReused));
}

/// The outcome, at an open sale that began at 100 and was reopened at 200, of a request that arrived at `arrived`.
fn outcome_of(arrived: i64, key: Option<u8>) -> &'static str {
    let at = DateTime::from_millis;
    let sale = Sale { start: at(100), reopened_at: at(200), ..open() };
    let request = Request { arrived_at: at(arrived), ..request((1, 1, key, ANY)) };
    name(&settle(&sale, &Buyers::all_of_none(), &[request], &[]).outcomes[0])
}

#[test]
fn a_request_with_a_key_is_decided_as_of_its_arrival() {
    assert_eq!(outcome_of(99, Some(1)), "reopened");
    assert_eq!(outcome_of(100, Some(1)), "reopened");
    assert_eq!(outcome_of(199, Some(1)), "reopened");
    assert_eq!(outcome_of(200, Some(1)), "bought");
    assert_eq!(outcome_of(99, None), "bought");
}

#[test]
fn a_pause_comes_before_all_else_but_a_replay() {
    let paused = |window| Sale { paused: true, window, stock: 0, ..open() };
    for window in [Window::NotStarted, Window::Open, Window::Ended] {
        check(paused(window), request((1, 1, None, ANY)), Outcome::Refused(Refusal::Paused));
        assert!(!paused(window).is_selling());
    }
}

#[test]
fn an_account_of_the_very_moment_is_old_enough() {
    let sale = Sale { registered_before: Some(DateTime::from_millis(10)), ..open() };
    let of = |registered| request((1, 1, None, (None, registered)));
    check(sale, of(Some(10)), Outcome::Bought { sequence: 8, first_unit: 1 });
    check(sale, of(Some(11)), Outcome::Refused(Refusal::AccountTooNew));
    check(sale, of(None), Outcome::Refused(Refusal::AccountTooNew));
}

#[test]
fn a_replay_costs_what_was_paid_not_what_it_costs_now() {
    let mut buyers = Buyers::all_of_none();
    let bought = request((1, 1, Some(1), (Some(PRICE), Some(0))));
    let mut sale = open();
    let settlement = settle(&sale, &buyers, std::slice::from_ref(&bought), &[]);
    apply(&mut sale, &mut buyers, std::slice::from_ref(&bought), &settlement);
    let dearer = Sale { price: price(PRICE + 50), ..sale };
    let names = |expected| {
        let again = request((1, 1, Some(1), (expected, Some(0))));
        name(&settle(&dearer, &buyers, &[again], &[]).outcomes[0])
    };
    assert_eq!(names(Some(PRICE)), "replayed");
    assert_eq!(names(None), "replayed");
    assert_eq!(names(Some(PRICE + 50)), "key reused");
}
