//! Compares what becomes of purchases with a model that can be checked by eye, over made-up lives of a product.

use mongodb::bson::DateTime;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::tests::{empty, new_purchase, request, user};
use super::super::{Outcome, Refusal, settle};
use super::*;
use crate::purchases::buyers::Buyers;

/// The purchase limit of all made-up sales.
const LIMIT: i64 = 3;

/// What somebody does: buys, or wishes something of one of the purchases before.
#[derive(Debug, Clone)]
enum Deed {
    Buy { user: u8, units: i64 },
    Change { purchase: Index, wish: Wish },
}

/// The model: a list of all purchases, and three figures.
struct Model {
    stock: i64,
    held: i64,
    sold: i64,
    purchases: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    user: u8,
    units: i64,
    status: PurchaseStatus,
    reference: Option<String>,
    refund_due: bool,
    lapsed: bool,
}

impl Model {
    fn of(&self, user: u8) -> i64 {
        let standing = |entry: &&Entry| {
            entry.user == user && matches!(entry.status, PurchaseStatus::Pending | PurchaseStatus::Confirmed)
        };
        self.purchases.iter().filter(standing).map(|entry| entry.units).sum()
    }

    fn buy(&mut self, user: u8, units: i64) -> &'static str {
        let lapses = self.purchases.iter().filter(|entry| entry.user == user && entry.lapsed).count();
        if self.stock == 0 {
            return "sold out";
        }
        if lapses >= 3 {
            return "lapses";
        }
        if self.of(user) + units > LIMIT {
            return "limit";
        }
        if units > self.stock {
            return "too few";
        }
        (self.stock, self.held) = (self.stock - units, self.held + units);
        let status = PurchaseStatus::Pending;
        self.purchases.push(Entry { user, units, status, reference: None, refund_due: false, lapsed: false });
        "bought"
    }

    fn change(&mut self, index: usize, wish: &Wish) -> &'static str {
        use PurchaseStatus::{Canceled, Confirmed, Expired, Pending, Refunded};
        let mut entry = self.purchases[index].clone();
        let units = entry.units;
        let of_user = self.of(entry.user);
        let done = match (wish, entry.status) {
            (Wish::Confirm { paid: Some(paid), .. }, _) if *paid != Paid::Amount(100 * units) => "amount",
            (Wish::Confirm { reference, .. }, Pending) => {
                (self.held, self.sold) = (self.held - units, self.sold + units);
                (entry.status, entry.reference) = (Confirmed, Some(reference.to_string()));
                "changed"
            }
            (Wish::Confirm { reference, .. }, Confirmed | Refunded)
                if entry.reference.as_deref() == Some(&**reference) =>
            {
                "stands"
            }
            (Wish::Confirm { reference, .. }, Expired | Canceled) if entry.reference.is_none() => {
                entry.reference = Some(reference.to_string());
                if self.stock >= units && of_user + units <= LIMIT {
                    (self.stock, self.sold) = (self.stock - units, self.sold + units);
                    (entry.status, entry.lapsed) = (Confirmed, false);
                    "changed"
                } else {
                    entry.refund_due = true;
                    "noted"
                }
            }
            (Wish::Confirm { reference, .. }, Expired | Canceled)
                if entry.reference.as_deref() == Some(&**reference) =>
            {
                "unfillable"
            }
            (Wish::Cancel { by_buyer }, Pending) => {
                (self.held, self.stock) = (self.held - units, self.stock + units);
                (entry.status, entry.lapsed) = (Canceled, *by_buyer);
                "changed"
            }
            (Wish::Expire, Pending) => {
                (self.held, self.stock) = (self.held - units, self.stock + units);
                (entry.status, entry.lapsed) = (Expired, true);
                "changed"
            }
            (Wish::Refund { restock }, Confirmed) => {
                if *restock {
                    (self.sold, self.stock) = (self.sold - units, self.stock + units);
                }
                entry.status = Refunded;
                "changed"
            }
            (Wish::Refund { .. }, Expired | Canceled) if entry.reference.is_some() => {
                if std::mem::take(&mut entry.refund_due) { "changed" } else { "stands" }
            }
            (Wish::Cancel { .. }, Canceled) | (Wish::Refund { .. }, Refunded) => "stands",
            _ => "not pending",
        };
        self.purchases[index] = entry;
        done
    }
}

fn name_of_purchase(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Bought { .. } => "bought",
        Outcome::Refused(Refusal::SoldOut) => "sold out",
        Outcome::Refused(Refusal::TooManyLapses { .. }) => "lapses",
        Outcome::Refused(Refusal::LimitReached { .. }) => "limit",
        Outcome::Refused(Refusal::InsufficientStock { .. }) => "too few",
        other => panic!("{other:?}"),
    }
}

fn name(outcome: &TransitionOutcome) -> &'static str {
    match outcome {
        TransitionOutcome::Changed(step) if step.is_unfillable => "noted",
        TransitionOutcome::Changed(_) => "changed",
        TransitionOutcome::Stands(_) => "stands",
        TransitionOutcome::Refused(TransitionRefusal::NotPending(_)) => "not pending",
        TransitionOutcome::Refused(TransitionRefusal::AmountMismatch { .. }) => "amount",
        TransitionOutcome::Refused(TransitionRefusal::Unfillable(_)) => "unfillable",
        TransitionOutcome::Refused(TransitionRefusal::NotFound) => "not found",
    }
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let paid =
        prop_oneof![4 => Just(None), 2 => Just(Some(Paid::Amount(100))), 1 => Just(Some(Paid::Amount(7)))];
    let reference = (0_u8..3).prop_map(|number| Arc::from(format!("pi_{number}")));
    let wish = prop_oneof![
        3 => (reference, paid).prop_map(|(reference, paid)| Wish::Confirm { reference, paid }),
        2 => any::<bool>().prop_map(|by_buyer| Wish::Cancel { by_buyer }),
        2 => Just(Wish::Expire),
        1 => any::<bool>().prop_map(|restock| Wish::Refund { restock }),
    ];
    let buy = (0_u8..4, 1_i64..4).prop_map(|(user, units)| Deed::Buy { user, units });
    let change = (any::<Index>(), wish).prop_map(|(purchase, wish)| Deed::Change { purchase, wish });
    proptest::collection::vec(prop_oneof![2 => buy, 3 => change], 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn purchases_live_like_in_the_model(total in 0_i64..12, batch in 1_usize..12, deeds in deeds()) {
        let mut model = Model { stock: total, held: 0, sold: 0, purchases: Vec::new() };
        let (mut sale, mut buyers) = (empty(total, LIMIT), Buyers::all_of_none());
        sale.has_payment_window = true;
        let (mut held, mut sold, mut released) = (0, 0, 0);
        let mut purchases: Vec<Arc<Purchase>> = Vec::new();
        for (version, deeds) in (2..).zip(deeds.chunks(batch)) {
            // A batch buys first.
            let buys = deeds.iter().filter_map(|deed| match deed {
                Deed::Buy { user, units } => Some((*user, *units)),
                Deed::Change { .. } => None,
            });
            let buys: Vec<_> = buys.collect();
            let requests: Vec<_> =
                buys.iter().map(|(user, units)| request((*user, *units, None, (None, Some(0))))).collect();
            let changes = deeds.iter().filter_map(|deed| match deed {
                Deed::Change { purchase, wish } if !purchases.is_empty() => Some((purchase.index(purchases.len()), wish)),
                _ => None,
            });
            let changes: Vec<_> = changes.collect();
            let transition = |(index, wish): &(usize, &Wish)| Transition {
                wish: (*wish).clone(), purchase: Some(purchases[*index].clone()),
            };
            let transitions: Vec<_> = changes.iter().map(transition).collect();
            let settlement = settle(&sale, &buyers, &requests, &transitions);

            let expected: Vec<_> = buys.iter().map(|(user, units)| model.buy(*user, *units)).collect();
            prop_assert_eq!(settlement.outcomes.iter().map(name_of_purchase).collect::<Vec<_>>(), expected);
            let expected: Vec<_> = changes.iter().map(|(index, wish)| model.change(*index, wish)).collect();
            prop_assert_eq!(settlement.transitions.iter().map(name).collect::<Vec<_>>(), expected);

            // What the lane and the commit do with it.
            for (request, outcome) in requests.iter().zip(&settlement.outcomes) {
                if let Outcome::Bought { sequence, first_unit } = outcome {
                    let purchase = Purchase {
                        status: PurchaseStatus::Pending,
                        expires_at: Some(DateTime::from_millis(1)),
                        ..new_purchase(request, *sequence, *first_unit)
                    };
                    buyers.record(&purchase);
                    sale.purchase_count = *sequence;
                    purchases.push(Arc::new(purchase));
                }
            }
            for outcome in &settlement.transitions {
                if let TransitionOutcome::Changed(step) = outcome {
                    let at = purchases.iter().position(|purchase| purchase.id == step.after.id).unwrap();
                    let after = Purchase { changed_in_version: Some(version), ..step.after.as_ref().clone() };
                    buyers.record_change(&after);
                    purchases[at] = Arc::new(after);
                }
            }
            let figures = settlement.figures;
            sale.stock += figures.stock;
            (held, sold, released) = (held + figures.held, sold + figures.sold, released + figures.released);

            prop_assert_eq!((sale.stock, held, sold), (model.stock, model.held, model.sold));
            prop_assert!(sale.stock >= 0 && held >= 0 && sold >= 0 && sale.stock + held + sold == total);
            let is_released = |purchase: &&Arc<Purchase>| purchase.status.is_released();
            prop_assert_eq!(i64::try_from(purchases.iter().filter(is_released).count()).unwrap(), released);
            for (purchase, entry) in purchases.iter().zip(&model.purchases) {
                let told = (purchase.status, purchase.payment_reference.clone(), purchase.refund_due, purchase.lapsed);
                prop_assert_eq!(told, (entry.status, entry.reference.clone(), entry.refund_due, entry.lapsed));
            }
            for number in 0..4 {
                prop_assert_eq!(buyers.units(user(number)), model.of(number));
                prop_assert!(model.of(number) <= LIMIT);
            }
        }
    }
}

/// A request with a key that was under way when something of its buyer's own was given back decides nothing: another try may
/// have been refused meanwhile.
#[test]
fn what_a_buyer_gave_back_does_not_buy_what_was_under_way() {
    let mut buyers = Buyers::all_of_none();
    let bought = request((1, 3, None, (None, Some(0))));
    let given_back = Purchase {
        status: PurchaseStatus::Canceled,
        status_changed: Some(DateTime::from_millis(100)),
        changed_in_version: Some(2),
        ..new_purchase(&bought, 1, 1)
    };
    buyers.record(&given_back);
    let outcome = |user, arrived| {
        let request = super::super::Request {
            arrived_at: DateTime::from_millis(arrived),
            ..request((user, 3, Some(1), (None, Some(0))))
        };
        settle(&empty(10, LIMIT), &buyers, &[request], &[]).outcomes.remove(0)
    };
    assert_eq!(outcome(1, 99), Outcome::Refused(Refusal::Reopened));
    // Units are numbered on.
    assert_eq!(outcome(1, 100), Outcome::Bought { sequence: 1, first_unit: 4 });
    assert_eq!(outcome(2, 99), Outcome::Bought { sequence: 1, first_unit: 1 });
}
