//! What has to be paid for, at every moment: the purchases and the steps that the audit log tells are gone through by the
//! database's clock, and after each millisecond nobody has more than the limit, nothing is sold that is not there, and nobody
//! buys who has let too much lapse. Within a millisecond the order is not known, and not looked at.

use std::collections::{BTreeMap, HashMap, HashSet};

use mongodb::bson::oid::ObjectId;

use super::{Facts, Report, Violation};
use crate::record::{Noted, Status, StoredPurchase};

/// Who lets this many purchases of a product lapse may not hold it any more.
const LAPSES_MAX: usize = 3;

/// What happened to a product in one millisecond.
#[derive(Default)]
struct Moment<'a> {
    bought: Vec<&'a StoredPurchase>,
    /// Purchases whose units came back, or did not; and whether it is a lapse.
    released: Vec<(&'a StoredPurchase, bool, bool)>,
    /// Paid for late.
    retaken: Vec<&'a StoredPurchase>,
    restocked: i64,
}

/// A product as it is gone through.
#[derive(Default)]
struct Shelf {
    units: HashMap<u32, i64>,
    lapses: HashMap<u32, HashSet<ObjectId>>,
    /// Held, sold, or refunded and not back.
    taken: i64,
    stock: i64,
}

pub fn check(facts: &Facts, report: &mut Report) {
    for (product, plan) in (0_u8..).zip(&facts.history.products) {
        if plan.payment_window_seconds.is_none() {
            continue;
        }
        let limit = plan.terms[0].limit;
        let mut shelf = Shelf { stock: plan.stock, ..Shelf::default() };
        for (at, moment) in moments(facts, product) {
            report.checked("moments of what has to be paid for", 1);
            shelf.go_on(product, at, &moment, limit, report);
        }
    }
}

fn moments<'a>(facts: &Facts<'a>, product: u8) -> BTreeMap<i64, Moment<'a>> {
    let mut moments: BTreeMap<i64, Moment> = BTreeMap::new();
    for stored in &facts.in_order[usize::from(product)] {
        moments.entry(stored.purchase.purchased_at).or_default().bought.push(stored);
    }
    for entry in &facts.history.stored.entries {
        let Some(stored) = facts.by_id.get(&entry.purchase).filter(|stored| stored.product == product) else {
            continue;
        };
        let Noted::Move { to, restock, .. } = entry.what else { continue };
        let moment = moments.entry(entry.at).or_default();
        let is_by_buyer = entry.actor == Some(crate::shop::user_id(stored.user));
        match to {
            Status::Expired => moment.released.push((stored, true, true)),
            Status::Canceled => moment.released.push((stored, true, is_by_buyer)),
            Status::Refunded => moment.released.push((stored, restock, false)),
            Status::Confirmed => {
                if matches!(entry.what, Noted::Move { from: Status::Expired | Status::Canceled, .. }) {
                    moment.retaken.push(stored);
                }
            }
            Status::Pending => {}
        }
    }
    // These are dated by an estimate that is not ahead of the clock.
    for (_, at, units) in facts.history.stored.restocks.iter().filter(|(of, ..)| *of == product) {
        moments.entry(*at).or_default().restocked += units;
    }
    moments
}

impl Shelf {
    fn go_on(&mut self, product: u8, at: i64, moment: &Moment<'_>, limit: i64, report: &mut Report) {
        for stored in &moment.retaken {
            self.lapses.entry(stored.user).or_default().remove(&stored.purchase.id);
        }
        for stored in &moment.bought {
            let lapses = self.lapses.get(&stored.user).map_or(0, HashSet::len);
            if lapses >= LAPSES_MAX {
                let (user, sequence) = (stored.user, stored.purchase.sequence);
                report.add(Violation::LapsedTooOften { user, product, sequence, lapses });
            }
        }
        self.stock += moment.restocked;
        for stored in moment.bought.iter().chain(&moment.retaken) {
            *self.units.entry(stored.user).or_default() += stored.purchase.quantity;
            self.taken += stored.purchase.quantity;
        }
        for (stored, comes_back, is_lapse) in &moment.released {
            *self.units.entry(stored.user).or_default() -= stored.purchase.quantity;
            if *comes_back {
                self.taken -= stored.purchase.quantity;
            }
            if *is_lapse && !moment.retaken.iter().any(|again| again.purchase.id == stored.purchase.id) {
                self.lapses.entry(stored.user).or_default().insert(stored.purchase.id);
            }
        }
        for stored in moment.bought.iter().chain(&moment.retaken) {
            let (user, units) = (stored.user, self.units[&stored.user]);
            if units > limit {
                report.add(Violation::LimitExceeded { user, product, units, limit });
            }
        }
        if self.taken > self.stock {
            let (units, stock) = (self.taken, self.stock);
            report.add(Violation::SoldTwice { product, at, units, stock });
        }
    }
}
