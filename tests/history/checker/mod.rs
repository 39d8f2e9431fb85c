//! Reads a history and says which promises were broken, and how many things it has looked at for each.

mod answers;
mod books;
mod keys;
mod moments;
mod order;
mod paying;
mod reads;
mod violation;
mod watching;

use std::collections::{BTreeMap, HashMap};

use mongodb::bson::oid::ObjectId;

use crate::record::{History, Status, StoredPurchase, Try};

pub use answers::sightings;
pub use violation::Violation;

#[cfg(test)]
mod paying_tests;
#[cfg(test)]
mod tests;

/// Of each kind at most so many are kept: a broken rule breaks a thousand times.
const KEPT_OF_A_KIND_MAX: usize = 5;

/// What the checker has found.
#[derive(Debug, Default)]
pub struct Report {
    pub violations: Vec<Violation>,
    /// How many of each kind there were, also those that were not kept.
    pub found: BTreeMap<String, usize>,
    /// How many things were checked.
    pub checked: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Counts things that are checked.
    fn checked(&mut self, what: &'static str, count: usize) {
        *self.checked.entry(what).or_default() += count as u64;
    }

    fn add(&mut self, violation: Violation) {
        let count = self.found.entry(violation.name()).or_default();
        *count += 1;
        if *count <= KEPT_OF_A_KIND_MAX {
            self.violations.push(violation);
        }
    }

    /// Whether a violation of this name was found.
    pub fn has(&self, name: &str) -> bool {
        self.found.contains_key(name)
    }

    /// The counts, one a line.
    pub fn summary(&self) -> String {
        let line = |(what, count): (&&str, &u64)| format!("  {count:>9} {what}\n");
        self.checked.iter().map(line).collect()
    }
}

/// Checks everything.
pub fn check(history: &History) -> Report {
    let facts = Facts::of(history);
    let mut report = Report::default();
    books::check(&facts, &mut report);
    keys::check(&facts, &mut report);
    order::check(&facts, &mut report);
    paying::check(&facts, &mut report);
    moments::check(&facts, &mut report);
    reads::check(&facts, &mut report);
    watching::check(&facts, &mut report);
    answers::check(history, &mut report);
    report
}

/// The history, with what several checks need of it.
struct Facts<'a> {
    history: &'a History,
    by_id: HashMap<ObjectId, &'a StoredPurchase>,
    /// By product: what is stored, in the order of `sequence`.
    in_order: Vec<Vec<&'a StoredPurchase>>,
    /// By product: the units of the first n purchases.
    units: Vec<Vec<i64>>,
    /// By user and key; those without a key are not here.
    by_key: HashMap<(u32, u32), Vec<&'a Try>>,
}

impl<'a> Facts<'a> {
    fn of(history: &'a History) -> Self {
        let stored = &history.stored.purchases;
        let mut in_order: Vec<Vec<&StoredPurchase>> = vec![Vec::new(); history.products.len()];
        for purchase in stored {
            in_order[usize::from(purchase.product)].push(purchase);
        }
        for purchases in &mut in_order {
            purchases.sort_by_key(|stored| stored.purchase.sequence);
        }
        let mut by_key: HashMap<_, Vec<&Try>> = HashMap::new();
        for one in &history.tries {
            if let Some(key) = one.key {
                by_key.entry((one.user, key)).or_default().push(one);
            }
        }
        Self {
            history,
            by_id: stored.iter().map(|stored| (stored.purchase.id, stored)).collect(),
            units: in_order.iter().map(|purchases| running_units(purchases)).collect(),
            in_order,
            by_key,
        }
    }

    /// Whether units of this product come back: then the purchases alone do not tell what is taken.
    fn is_held(&self, product: u8) -> bool {
        self.history.products[usize::from(product)].payment_window_seconds.is_some()
    }

    /// The units of the product's purchases with this status.
    fn units_that_are(&self, product: u8, status: Status) -> i64 {
        let purchases = self.in_order[usize::from(product)].iter();
        purchases.filter(|stored| stored.status == status).map(|stored| stored.purchase.quantity).sum()
    }

    /// The units of the product's purchases up to this number.
    fn units_up_to(&self, product: u8, sequence: i64) -> i64 {
        let units = &self.units[usize::from(product)];
        let index = usize::try_from(sequence).unwrap_or(0).min(units.len() - 1);
        units[index]
    }
}

/// Begins with 0, for no purchases.
fn running_units(purchases: &[&StoredPurchase]) -> Vec<i64> {
    let mut sum = 0;
    let sums = purchases.iter().map(|stored| {
        sum += stored.purchase.quantity;
        sum
    });
    std::iter::once(0).chain(sums.collect::<Vec<_>>()).collect()
}
