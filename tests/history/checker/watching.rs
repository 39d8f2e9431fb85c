//! Watchers: every purchase, in order, across their connections; the stock never back within one.

use std::collections::HashMap;

use super::{Facts, Report, Violation, books};
use crate::record::Told;

pub fn check(facts: &Facts, report: &mut Report) {
    let mut watchers: HashMap<(u8, u8), Watched> = HashMap::new();
    for event in &facts.history.events {
        let watched = watchers.entry((event.watcher, event.product)).or_default();
        watched.note(facts, event.watcher, event.product, event.told, report);
    }
    for ((watcher, product), watched) in watchers {
        let last = facts.in_order[usize::from(product)].len() as i64;
        // One that never began to follow the purchases was never connected.
        if let Some(expected) = watched.next.filter(|next| *next <= last) {
            report.add(Violation::EventsMissing { watcher, product, expected, found: None });
        }
    }
}

/// What one watcher knows of one product.
#[derive(Default)]
struct Watched {
    /// The number of the next purchase.
    next: Option<i64>,
    /// The newest version of this connection.
    version: i64,
}

impl Watched {
    fn note(&mut self, facts: &Facts, watcher: u8, product: u8, told: Told, report: &mut Report) {
        match told {
            Told::Connected { after } => {
                self.version = 0;
                // Without a number to go on after, it begins where it is told to.
                let next = after.map(|after| after + 1);
                // The ids that it was told may not count what it was not told.
                if let Some(expected) = self.next.filter(|expected| next != Some(*expected)) {
                    report.add(Violation::EventsMissing { watcher, product, expected, found: next });
                }
                self.next = next;
            }
            Told::Purchase { sequence, quantity, purchased_at } => {
                report.checked("purchases told to watchers in order", 1);
                if let Some(expected) = self.next.filter(|next| *next != sequence) {
                    let found = Some(sequence);
                    report.add(Violation::EventsMissing { watcher, product, expected, found });
                }
                self.next = Some(sequence + 1);
                let place = usize::try_from(sequence - 1).unwrap_or(usize::MAX);
                let stored = facts.in_order[usize::from(product)].get(place);
                let is_it = stored.is_some_and(|stored| {
                    (stored.purchase.quantity, stored.purchase.purchased_at) == (quantity, purchased_at)
                });
                if !is_it {
                    report.add(Violation::EventDiffers { watcher, product, sequence });
                }
            }
            Told::Stock { version, figures } => {
                report.checked("stocks told to watchers", 1);
                if let Some(figures) = figures {
                    books::add_up(figures, report);
                }
                if version < self.version {
                    let before = self.version;
                    report.add(Violation::EventWentBack { watcher, product, version, before });
                }
                self.version = version;
            }
        }
    }
}
