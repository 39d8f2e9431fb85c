//! Whose turn it is at a product that several servers sell.
//!
//! Inside a transaction the second writer of a document fails at once. So servers that sell the same product take rotation,
//! in the order of their ids, and nobody is asked: each purchase notes who sold it, and the change stream tells everybody.
//! Whoever comes after the last seller goes at once; the others wait, in case those before them do not want to sell. A
//! wrong guess costs a wait, or a transaction that has to be run again, and nothing else: the version decides.
//!
//! No I/O and no clock: what was sold, and the time, are told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::id::Id;
use crate::products::cache::LastSale;

/// A server that has sold nothing for so long is no rival, in milliseconds.
const RIVALRY_MS: u64 = 1_000;
/// How long a rival is waited for at the least and at the most, in milliseconds.
const PATIENCE_MS: std::ops::RangeInclusive<u64> = 2..=300;
/// How long a commit counts as taking until one was measured, in milliseconds.
const COMMIT_MS_UNKNOWN: u64 = 10;
/// A rival hears of the sale before, settles and commits, and is heard of: as long as so many commits.
const COMMITS_OF_PATIENCE: u32 = 4;
/// The same for one that has sold once: it may have had a single buyer, for whom a crowd here should not stand still.
const COMMITS_OF_PATIENCE_ONCE: u32 = 1;
/// The last commit counts for this part of the measured time, the ones before for the idle.
const LAST_COMMIT_PART: u32 = 4;

/// The turns of one product, as this server sees them.
pub struct Rotation {
    server: Id,
    /// The other servers that have sold it.
    rivals: BTreeMap<Id, Rival>,
    /// The last sale that was told of, one's own included.
    last: Option<LastSale>,
    /// How long a commit of this server takes.
    commit_time: Duration,
}

/// Another server that sells the product.
struct Rival {
    /// When a sale of it was last told of.
    told: Instant,
    /// It has used its turn again.
    has_more: bool,
}

impl Rival {
    fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.told) < Duration::from_millis(RIVALRY_MS)
    }
}

impl Rotation {
    /// Nobody is known to sell it.
    pub fn new(server: Id) -> Self {
        let commit_time = Duration::from_millis(COMMIT_MS_UNKNOWN);
        Self { server, rivals: BTreeMap::new(), last: None, commit_time }
    }

    /// A sale was told of.
    pub fn hear(&mut self, sale: LastSale) {
        if let Some(last) = self.last {
            if sale.version <= last.version {
                return;
            }
            if sale.version == last.version + 1 {
                // Those whose rotation it would have been had nothing to sell.
                self.rivals.retain(|rival, _| !is_between(last.server, *rival, sale.server));
            }
        }
        if sale.server != self.server {
            let has_more = self.rivals.contains_key(&sale.server);
            self.rivals.insert(sale.server, Rival { told: sale.told, has_more });
        }
        self.last = Some(sale);
        self.rivals.retain(|_, rival| rival.is_recent(sale.told));
    }

    /// A commit of this server has taken so long.
    pub fn took(&mut self, time: Duration) {
        self.commit_time = (self.commit_time * (LAST_COMMIT_PART - 1) + time) / LAST_COMMIT_PART;
    }

    /// Whether others sell it too.
    pub fn has_rivals(&self, now: Instant) -> bool {
        self.rivals.values().any(|rival| rival.is_recent(now))
    }

    /// From when on this server may sell, if nothing is heard until then. None without rivals.
    pub fn at(&self, now: Instant) -> Option<Instant> {
        let last = self.last.filter(|_| self.has_rivals(now))?;
        let before = self
            .rivals
            .iter()
            .filter(|(id, rival)| rival.is_recent(now) && is_between(last.server, **id, self.server));
        let wait = before.map(|(_, rival)| self.patience(rival)).sum::<Duration>();
        // By then none of them is a rival any more.
        Some(last.told + wait.min(Duration::from_millis(RIVALRY_MS)))
    }

    /// How long the rival is waited for.
    fn patience(&self, rival: &Rival) -> Duration {
        let commits = if rival.has_more { COMMITS_OF_PATIENCE } else { COMMITS_OF_PATIENCE_ONCE };
        let (min, max) = (*PATIENCE_MS.start(), *PATIENCE_MS.end());
        (self.commit_time * commits).clamp(Duration::from_millis(min), Duration::from_millis(max))
    }
}

/// Whether `server` comes after `first` and before `last`, in the circle of their ids. Once around is every other server.
fn is_between(first: Id, server: Id, last: Id) -> bool {
    if first < last { first < server && server < last } else { server < last || first < server }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Duration = Duration::from_millis(20);
    /// The commits that a rival is waited for after its first sale, and after more.
    const ONCE: u32 = COMMITS_OF_PATIENCE_ONCE;
    const MORE: u32 = COMMITS_OF_PATIENCE;

    fn server(number: u8) -> Id {
        Id::from_bytes([number; 12])
    }

    /// The turns of server 5, which has heard of these sales, one version and one millisecond after the other; and when the
    /// last one was.
    fn heard(sellers: &[u8]) -> (Rotation, Instant) {
        let mut rotation = Rotation { commit_time: COMMIT, ..Rotation::new(server(5)) };
        let mut told = Instant::now();
        for (version, seller) in (2..).zip(sellers) {
            told += Duration::from_millis(1);
            rotation.hear(LastSale { server: server(*seller), version, told });
        }
        (rotation, told)
    }

    /// For how many commits server 5 waits after these sales; none if there is nobody to wait for.
    fn check(sellers: &[u8], expected: Option<u32>) {
        let (rotation, last) = heard(sellers);
        assert_eq!(rotation.at(last), expected.map(|commits| last + COMMIT * commits), "{sellers:?}");
        assert_eq!(rotation.has_rivals(last), expected.is_some(), "{sellers:?}");
    }

    #[test]
    fn who_is_alone_waits_for_nobody() {
        check(&[], None);
        check(&[5, 5], None);
    }

    #[test]
    fn who_comes_next_goes_at_once() {
        check(&[3], Some(0));
        check(&[9], Some(0));
        check(&[3, 9, 3], Some(0));
        check(&[7, 9, 5, 7, 9], Some(0));
    }

    #[test]
    fn who_has_sold_waits_for_all_others() {
        check(&[3, 5], Some(ONCE));
        check(&[9, 5], Some(ONCE));
        check(&[9, 5, 9, 5], Some(MORE));
        check(&[3, 5, 9, 3, 5], Some(MORE + ONCE));
        check(&[1, 3, 5, 9, 1, 3, 5], Some(2 * MORE + ONCE));
        check(&[7, 9, 5, 7], Some(ONCE));
    }

    #[test]
    fn who_did_not_take_a_turn_is_waited_for_no_more() {
        // 9 came after 5 and before 3.
        check(&[3, 5, 9, 3, 5, 3, 5], Some(MORE));
        // 3 and 9 both.
        check(&[3, 5, 9, 3, 5, 5], None);
        check(&[3, 5, 9, 3, 5, 5, 9, 5], Some(ONCE));
    }

    #[test]
    fn of_a_gap_nothing_is_concluded() {
        let (mut rotation, told) = heard(&[3, 5, 9, 3, 5]);
        // It is not known whether 9 has sold in between, or an admin has changed something.
        rotation.hear(LastSale { server: server(3), version: 8, told });
        rotation.hear(LastSale { server: server(5), version: 9, told });
        assert_eq!(rotation.at(told), Some(told + COMMIT * (MORE + ONCE)));
    }

    #[test]
    fn what_is_told_late_changes_nothing() {
        let (mut rotation, told) = heard(&[3, 5]);
        rotation.hear(LastSale { server: server(9), version: 3, told: told + COMMIT });
        assert_eq!(rotation.at(told), Some(told + COMMIT * ONCE));
    }

    #[test]
    fn who_was_not_heard_of_for_a_while_is_no_rival() {
        let (mut rotation, told) = heard(&[3, 5]);
        let later = told + Duration::from_millis(RIVALRY_MS);
        assert!(!rotation.has_rivals(later));
        assert_eq!(rotation.at(later), None);
        rotation.hear(LastSale { server: server(9), version: 8, told: later });
        assert_eq!(rotation.rivals.len(), 1);
    }

    #[test]
    fn patience_goes_by_how_long_commits_take_within_bounds() {
        let (mut rotation, told) = heard(&[3, 5]);
        let waits = |rotation: &Rotation| rotation.at(told).unwrap() - told;
        rotation.took(COMMIT * 5);
        assert_eq!(waits(&rotation), COMMIT * ONCE * 2);
        for _ in 0..50 {
            rotation.took(Duration::from_secs(60));
        }
        assert_eq!(waits(&rotation), Duration::from_millis(*PATIENCE_MS.end()));
        for _ in 0..100 {
            rotation.took(Duration::ZERO);
        }
        assert_eq!(waits(&rotation), Duration::from_millis(*PATIENCE_MS.start()));
    }
}
