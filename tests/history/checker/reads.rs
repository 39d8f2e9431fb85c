//! Reads: never without what was confirmed before they began, never older than what the same server has told.

use std::collections::HashMap;

use super::{Facts, Report, Violation, books};
use crate::record::{About, Exchange, Figures, Micros, SECOND};

/// So late a crowd may see what was confirmed.
const CROWD_LATE_MAX: Micros = 2 * SECOND;

pub fn check(facts: &Facts, report: &mut Report) {
    let confirmed = Confirmed::of(facts);
    let mut products: Vec<(Exchange, Figures)> = Vec::new();
    for read in &facts.history.reads {
        match &read.about {
            About::Product(figures) => products.extend(figures.map(|figures| (read.exchange, figures))),
            About::Catalogue(all) => products.extend(all.iter().map(|figures| (read.exchange, *figures))),
            About::Purchase { wanted, found } => {
                // Whatever is no answer about the purchase says nothing.
                let Some(crate::record::Code::None | crate::record::Code::PurchaseNotFound) =
                    read.exchange.reply.code()
                else {
                    continue;
                };
                report.checked("confirmed purchases that were read", 1);
                let stored = facts.by_id.get(wanted).map(|stored| stored.purchase);
                if found.is_none() || found.map(|found| found.purchase) != stored {
                    let Exchange { server, sent, .. } = read.exchange;
                    report.add(Violation::PurchaseNotFound { id: *wanted, server, sent });
                }
            }
            About::Leaderboard { product, sequences } => {
                leaderboard(facts, &confirmed, read.exchange, *product, sequences, report);
            }
        }
    }
    for change in &facts.history.changes {
        products.extend(change.figures.map(|figures| (change.exchange, figures)));
    }
    for (exchange, figures) in &products {
        books::add_up(*figures, report);
        fresh(facts, &confirmed, *exchange, *figures, report);
    }
    never_back(&products, report);
}

/// When which number was confirmed: of each product, and of each product by each server.
struct Confirmed {
    by_product: HashMap<u8, Newest>,
    by_server: HashMap<(u8, u8), Newest>,
}

impl Confirmed {
    fn of(facts: &Facts) -> Self {
        let mut told: Vec<_> = facts
            .history
            .tries
            .iter()
            .filter_map(|one| Some((one.told_at()?, one.told?.sequence, one.product, one.exchange.server)))
            .collect();
        told.sort_unstable();
        let mut confirmed = Self { by_product: HashMap::new(), by_server: HashMap::new() };
        for (moment, sequence, product, server) in told {
            confirmed.by_product.entry(product).or_default().note(moment, sequence);
            confirmed.by_server.entry((product, server)).or_default().note(moment, sequence);
        }
        confirmed
    }

    /// The largest number that a read of this server has to have.
    fn at_least(&self, facts: &Facts, product: u8, exchange: Exchange) -> i64 {
        let has_crowd = facts.history.products[usize::from(product)].has_crowd;
        let late = if has_crowd { CROWD_LATE_MAX } else { 0 };
        let anywhere = self.by_product.get(&product);
        let anywhere = anywhere.map_or(0, |newest| newest.before(exchange.sent.saturating_sub(late)));
        let here = self.by_server.get(&(product, exchange.server));
        anywhere.max(here.map_or(0, |newest| newest.before(exchange.sent)))
    }
}

/// The largest number at each moment.
#[derive(Default)]
struct Newest(Vec<(Micros, i64)>);

impl Newest {
    /// Moments come in order.
    fn note(&mut self, moment: Micros, number: i64) {
        let newest = self.0.last().map_or(i64::MIN, |(_, newest)| *newest);
        self.0.push((moment, newest.max(number)));
    }

    fn before(&self, moment: Micros) -> i64 {
        let index = self.0.partition_point(|(noted, _)| *noted < moment);
        index.checked_sub(1).map_or(0, |index| self.0[index].1)
    }
}

fn fresh(facts: &Facts, confirmed: &Confirmed, exchange: Exchange, figures: Figures, report: &mut Report) {
    let product = figures.product;
    if facts.is_held(product) {
        return;
    }
    report.checked("reads that had what was confirmed", 1);
    let at_least = facts.units_up_to(product, confirmed.at_least(facts, product, exchange));
    if figures.sold < at_least {
        let (Exchange { server, sent, .. }, sold) = (exchange, figures.sold);
        report.add(Violation::StaleRead { product, server, sent, sold, at_least });
    }
}

fn leaderboard(
    facts: &Facts,
    confirmed: &Confirmed,
    exchange: Exchange,
    product: u8,
    sequences: &[i64],
    report: &mut Report,
) {
    const PAGE: i64 = 200;
    if exchange.reply.code() != Some(crate::record::Code::None) {
        return;
    }
    report.checked("leaderboards", 1);
    let at_least = confirmed.at_least(facts, product, exchange).min(PAGE);
    let is_whole = sequences.iter().zip(1..).all(|(found, expected)| *found == expected);
    if !is_whole || (sequences.len() as i64) < at_least {
        let (Exchange { server, sent, .. }, length) = (exchange, sequences.len());
        report.add(Violation::LeaderboardWrong { product, server, sent, length, at_least });
    }
}

/// The same server never tells a version that is older than one it has told before.
fn never_back(reads: &[(Exchange, Figures)], report: &mut Report) {
    let mut by_server: HashMap<(u8, u8), Vec<(Exchange, i64)>> = HashMap::new();
    for (exchange, figures) in reads {
        by_server.entry((figures.product, exchange.server)).or_default().push((*exchange, figures.version));
    }
    for ((product, server), mut reads) in by_server {
        let mut told = Newest::default();
        reads.sort_unstable_by_key(|(exchange, _)| exchange.ended);
        reads.iter().for_each(|(exchange, version)| told.note(exchange.ended, *version));
        for (Exchange { sent, .. }, version) in reads {
            report.checked("reads no older than one before", 1);
            let before = told.before(sent);
            if version < before {
                report.add(Violation::ReadWentBack { product, server, sent, version, before });
            }
        }
    }
}
