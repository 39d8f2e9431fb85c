//! Stock, sold units, limits, prices and windows: whether the books add up.

use std::collections::HashMap;

use super::{Facts, Report, Violation, paying};
use crate::record::{Change, Figures, Reply, Status, Terms, Try, What};

pub fn check(facts: &Facts, report: &mut Report) {
    totals(facts, report);
    oversold(facts, report);
    confirmed(facts, report);
    terms(facts, report);
}

/// Whether these figures add up.
pub fn add_up(figures: Figures, report: &mut Report) {
    let Figures { stock, held, sold, total, .. } = figures;
    report.checked("answers whose stock adds up", 1);
    if stock + held + sold != total || stock.min(held).min(sold) < 0 {
        report.add(Violation::StockDoesNotAddUp { figures });
    }
}

/// The final figures of each product, against what was added and what was bought.
fn totals(facts: &Facts, report: &mut Report) {
    for (figures, product) in facts.history.stored.products.iter().zip(0_u8..) {
        add_up(*figures, report);
        let planned = facts.history.products[usize::from(product)].stock;
        let restocks = || facts.history.changes.iter().filter_map(move |change| restock(change, product));
        let sure: i64 = restocks().filter(|(_, is_sure)| *is_sure).map(|(units, _)| units).sum();
        let all: i64 = restocks().map(|(units, _)| units).sum();
        if !(planned + sure..=planned + all).contains(&figures.total) {
            let (at_least, at_most) = (planned + sure, planned + all);
            report.add(Violation::TotalStockWrong { product, total: figures.total, at_least, at_most });
        }
        let confirmed = facts.units_that_are(product, Status::Confirmed);
        let purchased = confirmed + paying::kept_units(facts, product);
        if figures.sold != purchased {
            report.add(Violation::SoldIsNotPurchased { product, sold: figures.sold, purchased });
        }
        let pending = facts.units_that_are(product, Status::Pending);
        if figures.held != pending {
            report.add(Violation::HeldIsNotPending { product, held: figures.held, pending });
        }
    }
}

/// The units, and whether it is sure that they were added; none if they were not.
fn restock(change: &Change, product: u8) -> Option<(i64, bool)> {
    let What::Restock(units) = change.what else { return None };
    if change.product != product {
        return None;
    }
    match change.exchange.reply {
        Reply::Answer { status: 200, .. } => Some((units, true)),
        Reply::Answer { status: 503, code: crate::record::Code::Unknown, .. } => Some((units, false)),
        Reply::Cut | Reply::GaveUp => Some((units, false)),
        Reply::NotSent | Reply::Answer { .. } => None,
    }
}

/// At each confirmation, no more was sold than had been asked for to be in stock.
fn oversold(facts: &Facts, report: &mut Report) {
    for product in 0..facts.history.products.len() {
        let number = u8::try_from(product).unwrap_or(u8::MAX);
        // Of what comes back, `moments` tells more.
        if facts.is_held(number) {
            continue;
        }
        let mut added: Vec<_> = facts
            .history
            .changes
            .iter()
            .filter_map(|change| restock(change, number).map(|(units, _)| (change.exchange.sent, units)))
            .collect();
        added.sort_unstable();
        let mut told: Vec<_> = facts
            .history
            .tries
            .iter()
            .filter(|one| one.product == number)
            .filter_map(|one| Some((one.told_at()?, one.told?.sequence)))
            .collect();
        told.sort_unstable();
        let (mut stock_at_most, mut added) =
            (facts.history.products[product].stock, added.into_iter().peekable());
        report.checked("confirmations within the stock of the moment", told.len());
        for (moment, sequence) in told {
            while let Some((_, units)) = added.next_if(|(sent, _)| *sent < moment) {
                stock_at_most += units;
            }
            let units = facts.units_up_to(number, sequence);
            if units > stock_at_most {
                report.add(Violation::Oversold { product: number, sequence, units, stock_at_most });
            }
        }
    }
}

/// Each confirmed purchase is in the database, as it was told.
fn confirmed(facts: &Facts, report: &mut Report) {
    for one in &facts.history.tries {
        let Some(told) = one.told else { continue };
        report.checked("confirmed purchases in the database", 1);
        let is_his = |stored: &&&crate::record::StoredPurchase| is_of(stored, one);
        match facts.by_id.get(&told.id) {
            None => report.add(Violation::LostPurchase { told, confirmed: one.exchange.ended }),
            found @ Some(stored) if stored.purchase != told || found.filter(is_his).is_none() => {
                report.add(Violation::PurchaseDiffers { told, stored: stored.purchase });
            }
            Some(_) => {}
        }
    }
}

fn is_of(stored: &crate::record::StoredPurchase, one: &Try) -> bool {
    (stored.user, stored.product, stored.key) == (one.user, one.product, one.key)
        && stored.purchase.quantity == one.quantity
}

/// Each purchase was made under terms that its product had, whose price names them.
fn terms(facts: &Facts, report: &mut Report) {
    for (product, purchases) in facts.in_order.iter().enumerate() {
        let number = u8::try_from(product).unwrap_or(u8::MAX);
        let mut bought: HashMap<u32, i64> = HashMap::new();
        let mut newest = 0;
        for stored in purchases {
            let (user, purchase) = (stored.user, stored.purchase);
            let sequence = purchase.sequence;
            report.checked("purchases within limit, window and price", 1);
            let all = &facts.history.products[product].terms;
            let place = all.iter().position(|terms| terms.price == purchase.price);
            // Terms are changed one after the other, so those that were left do not come back.
            let Some(place) = place.filter(|place| *place >= newest) else {
                report.add(Violation::WrongPrice { product: number, sequence, price: purchase.price });
                continue;
            };
            newest = place;
            let Terms { limit, start, end, .. } = all[place];
            if !(start..end).contains(&purchase.purchased_at) {
                let purchased_at = purchase.purchased_at;
                report.add(Violation::OutsideWindow { product: number, sequence, purchased_at, start, end });
            }
            let units = bought.entry(user).or_default();
            *units += purchase.quantity;
            if *units > limit && !facts.is_held(number) {
                report.add(Violation::LimitExceeded { user, product: number, units: *units, limit });
            }
        }
    }
}
