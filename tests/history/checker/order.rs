//! The numbers of a product's purchases: without gaps, in the order of real time, with times that do not decrease.

use std::collections::HashMap;

use mongodb::bson::oid::ObjectId;

use super::{Facts, Report, Violation};
use crate::record::Micros;

pub fn check(facts: &Facts, report: &mut Report) {
    let asked = first_asked(facts);
    for (product, purchases) in facts.in_order.iter().enumerate() {
        let product = u8::try_from(product).unwrap_or(u8::MAX);
        report.checked("purchases numbered without gaps", purchases.len());
        let mut before = i64::MIN;
        for (stored, expected) in purchases.iter().zip(1..) {
            let found = stored.purchase.sequence;
            if found != expected {
                report.add(Violation::SequenceWrong { product, expected, found });
                break;
            }
            if stored.purchase.purchased_at < before {
                report.add(Violation::TimeWentBack { product, sequence: found });
            }
            before = stored.purchase.purchased_at;
        }
    }
    for product in 0..facts.history.products.len() {
        real_time(facts, &asked, u8::try_from(product).unwrap_or(u8::MAX), report);
    }
}

/// When a purchase was first asked for, by any try with its key.
fn first_asked(facts: &Facts) -> HashMap<ObjectId, Micros> {
    let mut asked: HashMap<ObjectId, Micros> = HashMap::new();
    for one in &facts.history.tries {
        let Some(told) = one.told else { continue };
        let with_key = one.key.and_then(|key| facts.by_key.get(&(one.user, key)));
        let sent = with_key.into_iter().flatten().map(|one| one.exchange.sent).min();
        let sent = sent.unwrap_or(one.exchange.sent);
        asked.entry(told.id).and_modify(|moment| *moment = sent.min(*moment)).or_insert(sent);
    }
    asked
}

/// Who asked after somebody else was told has the larger number.
fn real_time(facts: &Facts, asked: &HashMap<ObjectId, Micros>, product: u8, report: &mut Report) {
    let tries = || facts.history.tries.iter().filter(|one| one.product == product);
    let mut told: Vec<_> = tries().filter_map(|one| Some((one.told_at()?, one.told?.sequence))).collect();
    told.sort_unstable();
    let mut begun: Vec<_> =
        tries().filter_map(|one| Some((*asked.get(&one.told?.id)?, one.told?.sequence))).collect();
    begun.sort_unstable();
    let (mut told, mut newest) = (told.into_iter().peekable(), 0);
    report.checked("purchases in the order of real time", begun.len());
    for (sent, sequence) in begun {
        while let Some((_, confirmed)) = told.next_if(|(moment, _)| *moment < sent) {
            newest = newest.max(confirmed);
        }
        if newest > sequence {
            report.add(Violation::OrderAgainstTime { product, confirmed: newest, asked_later: sequence });
        }
    }
}
