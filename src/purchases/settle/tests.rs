//! Compares the settlement with a model that can be checked by eye, and checks its promises, over made-up sales.

use mongodb::bson::DateTime;
use proptest::prelude::*;

use super::*;
use crate::model::money::Money;
use crate::model::purchase::Purchase;

/// A request of a made-up sale: which user (0..5), how many units, which key (0..4).
type Wish = (u8, i64, Option<u8>);

fn user(number: u8) -> Id {
    Id::from_bytes([number; 12])
}

fn request((number, quantity, key): Wish) -> Request {
    let key = key.map(|key| format!("key-{key}").into());
    Request { user: user(number), quantity, key, arrived_at: DateTime::MAX, key_used_elsewhere: false }
}

/// The model: takes one request after the other and searches a list of all purchases each time.
fn model(stock: i64, limit: i64, open: bool, wishes: &[Wish]) -> Vec<&'static str> {
    let mut bought: Vec<Wish> = Vec::new();
    let mut decide = |wish: &Wish| {
        let earlier = bought.iter().find(|(user, _, key)| (*user, *key) == (wish.0, wish.2) && key.is_some());
        let left = stock - bought.iter().map(|wish| wish.1).sum::<i64>();
        let mine = bought.iter().filter(|(user, ..)| *user == wish.0).map(|wish| wish.1).sum::<i64>();
        match earlier {
            Some(earlier) if earlier.1 == wish.1 => return "replayed",
            Some(_) => return "key reused",
            None if !open => return "closed",
            None if left == 0 => return "sold out",
            None if mine + wish.1 > limit => return "limit",
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
        Outcome::Refused(Refusal::NotStarted | Refusal::Ended) => "closed",
        Outcome::Refused(Refusal::SoldOut) => "sold out",
        Outcome::Refused(Refusal::Reopened) => "reopened",
        Outcome::Refused(Refusal::LimitReached { .. }) => "limit",
        Outcome::Refused(Refusal::InsufficientStock { .. }) => "too few",
    }
}

/// Does what the lane does with a settlement: records its purchases and counts on.
fn apply(sale: &mut Sale, buyers: &mut Buyers, requests: &[Request], settlement: &Settlement) {
    for (request, outcome) in requests.iter().zip(&settlement.outcomes) {
        if let Outcome::Bought { sequence, first_unit } = outcome {
            buyers.record(&Purchase {
                id: user(u8::try_from(*sequence).unwrap()),
                product_id: user(99),
                user_id: request.user,
                buyer: "Ada L.".into(),
                quantity: request.quantity,
                unit_price: Money { amount: 100, currency: "EUR".into() },
                sequence: *sequence,
                first_unit: *first_unit,
                purchased_at: DateTime::from_millis(0),
                network: None,
                idempotency_key: request.key.as_deref().map(str::to_owned),
            });
            sale.purchase_count = *sequence;
        }
    }
    sale.stock -= settlement.units;
}

/// Settles the wishes in batches of `batch` and returns all outcomes.
fn run(mut sale: Sale, batch: usize, wishes: &[Wish]) -> Vec<Outcome> {
    let mut buyers = Buyers::all_of_none();
    let mut outcomes = Vec::new();
    for wishes in wishes.chunks(batch) {
        let requests: Vec<_> = wishes.iter().copied().map(request).collect();
        let settlement = settle(&sale, &buyers, &requests);
        apply(&mut sale, &mut buyers, &requests, &settlement);
        outcomes.extend(settlement.outcomes);
    }
    outcomes
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let wish = (0_u8..5, 1_i64..4, proptest::option::of(0_u8..4));
    proptest::collection::vec(wish, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn settles_like_the_model(stock in 0_i64..30, limit in 1_i64..8, batch in 1_usize..20, open: bool, wishes in wishes()) {
        let window = if open { Window::Open } else { Window::Ended };
        let sale = Sale { start: DateTime::MIN, reopened_at: DateTime::MIN, window, stock, purchase_limit: limit, purchase_count: 0 };
        let outcomes: Vec<_> = run(sale, batch, &wishes).iter().map(name).collect();
        prop_assert_eq!(outcomes, model(stock, limit, open, &wishes));
    }

    #[test]
    fn keeps_its_promises(stock in 0_i64..30, limit in 1_i64..8, batch in 1_usize..20, wishes in wishes()) {
        let sale = Sale { start: DateTime::MIN, reopened_at: DateTime::MIN, window: Window::Open, stock, purchase_limit: limit, purchase_count: 0 };
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
        let mut sale = Sale { start: DateTime::MIN, reopened_at: DateTime::MIN, window: Window::Open, stock: 200, purchase_limit: limit, purchase_count: 0 };
        let (mut all, mut some) = (Buyers::all_of_none(), Buyers::unknown());
        for (wish, noted) in wishes.iter().zip(noted) {
            let requests = [request(*wish)];
            let settlement = settle(&sale, &all, &requests);
            if noted {
                apply(&mut sale.clone(), &mut some, &requests, &settlement);
            }
            apply(&mut sale, &mut all, &requests, &settlement);
        }
        sale.stock = stock;
        let requests: Vec<_> = batch.iter().copied().map(request).collect();
        let [right, tried] = [&all, &some].map(|buyers| settle(&sale, buyers, &requests).outcomes);
        // Only the first wrong outcome matters: nothing after it is committed.
        let wrong = right.iter().zip(&tried).zip(&requests).find(|((right, tried), _)| right != tried);
        if let Some(((_, tried), request)) = wrong {
            let key_is_used = request.key.as_ref().is_some_and(|key| all.purchase_with_key(request.user, key).is_some());
            let is_noticed = match tried {
                Outcome::Bought { first_unit, .. } => key_is_used || *first_unit <= all.units(request.user),
                Outcome::Refused(refusal) => key_is_used || refusal.depends_on_history(),
                _ => false,
            };
            prop_assert!(is_noticed, "{:?} {:?}", request, tried);
        }
    }
}

fn check(sale: Sale, request: Request, expected: Outcome) {
    let settlement = settle(&sale, &Buyers::all_of_none(), &[request]);
    assert_eq!(settlement.outcomes, [expected]);
}

const OPEN: Sale = Sale {
    start: DateTime::MIN,
    reopened_at: DateTime::MIN,
    window: Window::Open,
    stock: 2,
    purchase_limit: 5,
    purchase_count: 7,
};

#[test]
fn a_refusal_says_what_is_left() {
    check(OPEN, request((1, 3, None)), Outcome::Refused(Refusal::InsufficientStock { remaining: 2 }));
    check(Sale { stock: 0, ..OPEN }, request((1, 3, None)), Outcome::Refused(Refusal::SoldOut));
    check(OPEN, request((1, 6, None)), Outcome::Refused(Refusal::LimitReached { limit: 5, purchased: 0 }));
}

#[test]
fn a_purchase_takes_the_next_number() {
    check(OPEN, request((1, 2, None)), Outcome::Bought { sequence: 8, first_unit: 1 });
}

#[test]
fn the_window_is_shut_on_both_sides() {
    let sale = Sale { start: DateTime::MIN, reopened_at: DateTime::MIN, window: Window::NotStarted, ..OPEN };
    check(sale, request((1, 1, None)), Outcome::Refused(Refusal::NotStarted));
    check(
        Sale { start: DateTime::MIN, reopened_at: DateTime::MIN, window: Window::Ended, ..OPEN },
        request((1, 1, None)),
        Outcome::Refused(Refusal::Ended),
    );
}

#[test]
fn a_key_of_another_product_is_refused_before_all_else() {
    let request = Request { key_used_elsewhere: true, ..request((1, 1, Some(1))) };
    check(Sale { stock: 0, ..OPEN }, request, Outcome::Refused(Refusal::KeyReused));
}

/// The outcome, at an open sale that began at 100 and was reopened at 200, of a request that arrived at `arrived`.
fn outcome_of(arrived: i64, key: Option<u8>) -> &'static str {
    let at = DateTime::from_millis;
    let sale = Sale { start: at(100), reopened_at: at(200), ..OPEN };
    let request = Request { arrived_at: at(arrived), ..request((1, 1, key)) };
    name(&settle(&sale, &Buyers::all_of_none(), &[request]).outcomes[0])
}

#[test]
fn a_request_with_a_key_is_decided_as_of_its_arrival() {
    assert_eq!(outcome_of(99, Some(1)), "reopened");
    assert_eq!(outcome_of(100, Some(1)), "reopened");
    assert_eq!(outcome_of(199, Some(1)), "reopened");
    assert_eq!(outcome_of(200, Some(1)), "bought");
    assert_eq!(outcome_of(99, None), "bought");
}
