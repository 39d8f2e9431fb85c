//! Each try is bought at most once, a key at most once, and what was refused is not bought.

use std::collections::{HashMap, HashSet};

use mongodb::bson::oid::ObjectId;

use super::{Facts, Report, Violation};
use crate::record::{Code, Micros, Reply, StoredPurchase, Try};

pub fn check(facts: &Facts, report: &mut Report) {
    without_key(facts, report);
    let mut stored: HashMap<(u32, u32), Vec<&StoredPurchase>> = HashMap::new();
    for purchase in &facts.history.stored.purchases {
        if let Some(key) = purchase.key {
            stored.entry((purchase.user, key)).or_default().push(purchase);
        }
    }
    for ((user, _), purchases) in &stored {
        let key = (*user, purchases[0].key.unwrap_or_default());
        if !facts.by_key.contains_key(&key) {
            report.add(Violation::PurchaseFromNowhere { id: purchases[0].purchase.id, user: *user });
        }
    }
    for (&(user, key), tries) in &facts.by_key {
        let purchases = stored.get(&(user, key)).map_or(&[][..], Vec::as_slice);
        let one_key = OneKey { user, key, tries, purchases };
        one_key.check(report);
    }
}

/// Of tries without a key it cannot be told which of them has made a purchase, only how many may have.
fn without_key(facts: &Facts, report: &mut Report) {
    let mut tries: HashMap<(u32, u8), Vec<&Try>> = HashMap::new();
    for one in facts.history.tries.iter().filter(|one| one.key.is_none()) {
        tries.entry((one.user, one.product)).or_default().push(one);
    }
    let mut stored: HashMap<(u32, u8), Vec<ObjectId>> = HashMap::new();
    for purchase in facts.history.stored.purchases.iter().filter(|stored| stored.key.is_none()) {
        stored.entry((purchase.user, purchase.product)).or_default().push(purchase.purchase.id);
    }
    for ((user, product), ids) in stored {
        report.checked("purchases without a key, made once at most", ids.len());
        let Some(tries) = tries.get(&(user, product)) else {
            report.add(Violation::PurchaseFromNowhere { id: ids[0], user });
            continue;
        };
        let makers: Vec<_> =
            tries.iter().copied().filter(|one| one.told.is_some() || one.is_open()).collect();
        as_promised(&makers, &ids, report);
        if ids.len() > tries.len() {
            report.add(Violation::BoughtTwice { user, product, purchases: ids.len(), tries: tries.len() });
        } else if ids.len() > makers.len() {
            report.add(Violation::RefusedYetBought { user, product, purchases: ids.len() });
        }
    }
}

/// All about one key of one user.
struct OneKey<'a> {
    user: u32,
    key: u32,
    tries: &'a [&'a Try],
    purchases: &'a [&'a StoredPurchase],
}

impl OneKey<'_> {
    fn check(&self, report: &mut Report) {
        report.checked("keys with one purchase at most", 1);
        if self.purchases.len() > 1 {
            let (user, key, purchases) = (self.user, self.key, self.purchases.len());
            report.add(Violation::KeyBoughtTwice { user, key, purchases });
        }
        self.replays(report);
        self.after_confirmation(report);
        if let Some(stored) = self.purchases.first() {
            self.may_be_there(stored, report);
        }
    }

    /// All who were told of a purchase were told of the same one.
    fn replays(&self, report: &mut Report) {
        let (user, key) = (self.user, self.key);
        let told: HashSet<_> = self.tries.iter().filter_map(|one| Some(one.told?.id)).collect();
        report.checked("replays", self.tries.iter().filter(|one| one.is_replay).count());
        let mut ids = told.into_iter();
        if let (Some(first), Some(second)) = (ids.next(), ids.next()) {
            report.add(Violation::ReplayDiffers { user, key, first, second });
        } else if self.tries.iter().filter(|one| one.told.is_some() && !one.is_replay).count() > 1 {
            report.add(Violation::ReplayNotMarked { user, key });
        }
    }

    /// What was confirmed stays made, and its key is taken.
    fn after_confirmation(&self, report: &mut Report) {
        let (user, key) = (self.user, self.key);
        let Some(confirmed) = self.tries.iter().filter_map(|one| one.told_at()).min() else { return };
        for one in self.tries.iter().filter(|one| one.exchange.sent > confirmed) {
            let Reply::Answer { status, code, .. } = one.exchange.reply else { continue };
            if one.reuses_key {
                report.checked("used keys with another body", 1);
                if code != Code::KeyReused && status != 503 {
                    report.add(Violation::ReuseAccepted { user, key, status });
                }
            } else if code.is_refusal() || code == Code::KeyReused {
                report.add(Violation::ReplayRefused { user, key, code });
            }
        }
    }

    /// Some try may have made the purchase: one that was not answered with something else, and after which no other one
    /// was refused.
    fn may_be_there(&self, stored: &StoredPurchase, report: &mut Report) {
        let (user, key, id) = (self.user, self.key, stored.purchase.id);
        let told_as_new = |one: &&&Try| one.told.is_some() && !one.is_replay;
        let may_have_made = |one: &&&Try| told_as_new(one) || (one.is_open() && !one.reuses_key);
        // Who was told that he was the first was the one; else it may be any of those who were told nothing.
        let sent = match self.tries.iter().find(told_as_new) {
            Some(first) => Some(first.exchange.sent),
            None => self.tries.iter().filter(may_have_made).map(|one| one.exchange.sent).max(),
        };
        let makers: Vec<_> = self.tries.iter().copied().filter(|one| may_have_made(&one)).collect();
        as_promised(&makers, &[id], report);
        let Some(sent) = sent else {
            report.add(Violation::RefusedYetBought { user, product: stored.product, purchases: 1 });
            return;
        };
        // A refusal of what was confirmed before is another mistake, with a name of its own.
        let confirmed = self.tries.iter().filter_map(|one| one.told_at()).min().unwrap_or(Micros::MAX);
        let before = self.tries.iter().filter(|one| one.exchange.sent < confirmed);
        let Some((refused_try, refused, code)) = before.filter_map(|one| refusal(one)).max() else { return };
        report.checked("purchases whose key was refused before", 1);
        if sent < refused_try {
            report.add(Violation::KeyedRefusalThenBought { user, key, id, refused, code });
        }
    }
}

/// Where one try alone may have made the one purchase, it was made under the id that was told.
fn as_promised(makers: &[&Try], ids: &[ObjectId], report: &mut Report) {
    if let ([maker], [stored]) = (makers, ids)
        && let Some(promised) = maker.promised_id
    {
        report.checked("purchases in doubt with the id that was told", 1);
        if promised != *stored {
            report.add(Violation::OtherIdThanPromised { user: maker.user, promised, stored: *stored });
        }
    }
}

/// When the try was sent and when it was refused, if it was.
fn refusal(one: &Try) -> Option<(Micros, Micros, Code)> {
    let code = one.exchange.reply.code().filter(|code| code.is_refusal())?;
    Some((one.exchange.sent, one.exchange.ended, code))
}
