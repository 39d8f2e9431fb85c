//! Which server's turn it is to sell a product that several servers sell.
//!
//! Inside a transaction the second writer of a document fails at once. So servers that sell the same product
//! alternate, in the order of their ids, without asking each other: each sale records its server, and the change
//! stream reports it to all. The server after the last seller goes at once; the others wait, in case those before
//! them have nothing to sell. A wrong guess costs only a wait, or a transaction that has to be run again: the version
//! decides.
//!
//! No I/O and no clock: sales and times are passed in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::id::Id;
use crate::products::cache::LastSale;

/// A server that has sold nothing for this time is not a rival, in milliseconds.
const RIVALRY_MS: u64 = 3_000;
/// How long to wait for a rival at least and at most, in milliseconds.
const PATIENCE_MS: std::ops::RangeInclusive<u64> = 2..=1_000;
/// A rival is waited for at least this many times as long as its last turn took.
const TURNS_OF_PATIENCE: u32 = 2;
/// The assumed time of a commit until one was measured, in milliseconds.
const COMMIT_MS_UNKNOWN: u64 = 10;
/// How many commits to wait for a rival: it hears of the previous sale, settles, commits, and is heard of.
const COMMITS_OF_PATIENCE: u32 = 4;
/// The same for a rival that has sold once: it may have had a single buyer, for whom a crowd here should not wait.
const COMMITS_OF_PATIENCE_ONCE: u32 = 1;
/// The last commit makes up one part in this many of the measured time, the earlier commits the rest.
const LAST_COMMIT_PART: u32 = 4;

/// The rotation of one product, as this server sees it.
pub struct Rotation {
    server: Id,
    /// The other servers that have sold it.
    rivals: BTreeMap<Id, Rival>,
    /// The last sale heard of, this server's own included.
    last: Option<LastSale>,
    /// How long a commit of this server takes, averaged.
    commit_time: Duration,
}

struct Rival {
    /// When its last sale was heard of.
    reported_at: Instant,
    /// It has sold more than once.
    has_more: bool,
    /// How long its last turn took, if that is known.
    turn: Option<Duration>,
}

impl Rival {
    fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.reported_at) < Duration::from_millis(RIVALRY_MS)
    }
}

impl Rotation {
    pub fn new(server: Id) -> Self {
        let commit_time = Duration::from_millis(COMMIT_MS_UNKNOWN);
        Self { server, rivals: BTreeMap::new(), last: None, commit_time }
    }

    /// Takes note of a sale; a late report of an older one changes nothing.
    pub fn hear(&mut self, sale: LastSale) {
        if let Some(last) = self.last {
            if sale.version <= last.version {
                return;
            }
            if sale.version == last.version + 1 {
                // The servers whose turn was in between had nothing to sell.
                self.rivals.retain(|rival, _| !is_between(last.server, *rival, sale.server));
            }
        }
        if sale.server != self.server {
            let before = self.rivals.get(&sale.server);
            let rival = Rival {
                reported_at: sale.reported_at,
                has_more: before.is_some(),
                turn: self.turn_of(sale).or(before.and_then(|rival| rival.turn)),
            };
            self.rivals.insert(sale.server, rival);
        }
        self.last = Some(sale);
        self.rivals.retain(|_, rival| rival.is_recent(sale.reported_at));
    }

    /// How long the server took to sell once it could: from the report of the sale before.
    fn turn_of(&self, sale: LastSale) -> Option<Duration> {
        let last = self.last.filter(|last| last.server != sale.server && last.version + 1 == sale.version)?;
        Some(sale.reported_at.saturating_duration_since(last.reported_at))
    }

    /// Takes note of how long a commit of this server took.
    pub fn took(&mut self, time: Duration) {
        self.commit_time = (self.commit_time * (LAST_COMMIT_PART - 1) + time) / LAST_COMMIT_PART;
    }

    /// Whether other servers sell the product too.
    pub fn has_rivals(&self, now: Instant) -> bool {
        self.rivals.values().any(|rival| rival.is_recent(now))
    }

    /// When this server may sell if it hears of no sale until then. `None` without rivals.
    pub fn at(&self, now: Instant) -> Option<Instant> {
        let last = self.last.filter(|_| self.has_rivals(now))?;
        let before = self
            .rivals
            .iter()
            .filter(|(id, rival)| rival.is_recent(now) && is_between(last.server, **id, self.server));
        let wait = before.map(|(_, rival)| self.patience(rival)).sum::<Duration>();
        // After `RIVALRY_MS` none of them is a rival any more.
        Some(last.reported_at + wait.min(Duration::from_millis(RIVALRY_MS)))
    }

    fn patience(&self, rival: &Rival) -> Duration {
        let commits = if rival.has_more { COMMITS_OF_PATIENCE } else { COMMITS_OF_PATIENCE_ONCE };
        let (min, max) = (*PATIENCE_MS.start(), *PATIENCE_MS.end());
        // A rival that is farther from the database than this server takes longer.
        let measured = rival.turn.unwrap_or_default() * TURNS_OF_PATIENCE;
        let patience = (self.commit_time * commits).max(measured);
        patience.clamp(Duration::from_millis(min), Duration::from_millis(max))
    }
}

/// Whether `server` is between `first` and `last` in the circle of ids. If these are the same, every other server is.
fn is_between(first: Id, server: Id, last: Id) -> bool {
    if first < last { first < server && server < last } else { server < last || first < server }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Duration = Duration::from_millis(20);
    /// How many commits a server waits for a rival that has sold once, and for one that has sold more often.
    const ONCE: u32 = COMMITS_OF_PATIENCE_ONCE;
    const MORE: u32 = COMMITS_OF_PATIENCE;

    fn server(number: u8) -> Id {
        Id::from_bytes([number; 12])
    }

    /// The rotation as server 5 sees it after these sales, each one version and one millisecond after the previous
    /// one; and the time of the last sale.
    fn heard(sellers: &[u8]) -> (Rotation, Instant) {
        let mut rotation = Rotation { commit_time: COMMIT, ..Rotation::new(server(5)) };
        let mut reported_at = Instant::now();
        for (version, seller) in (2..).zip(sellers) {
            reported_at += Duration::from_millis(1);
            rotation.hear(LastSale { server: server(*seller), version, reported_at });
        }
        (rotation, reported_at)
    }

    /// Checks how many commits server 5 waits after these sales; `None` if there is nobody to wait for.
    fn check(sellers: &[u8], expected: Option<u32>) {
        let (rotation, last) = heard(sellers);
        assert_eq!(rotation.at(last), expected.map(|commits| last + COMMIT * commits), "{sellers:?}");
        assert_eq!(rotation.has_rivals(last), expected.is_some(), "{sellers:?}");
    }

    #[test]
    fn a_server_without_rivals_does_not_wait() {
        check(&[], None);
        check(&[5, 5], None);
    }

    #[test]
    fn the_next_server_goes_at_once() {
        check(&[3], Some(0));
        check(&[9], Some(0));
        check(&[3, 9, 3], Some(0));
        check(&[7, 9, 5, 7, 9], Some(0));
    }

    #[test]
    fn the_last_seller_waits_for_all_others() {
        check(&[3, 5], Some(ONCE));
        check(&[9, 5], Some(ONCE));
        check(&[9, 5, 9, 5], Some(MORE));
        check(&[3, 5, 9, 3, 5], Some(MORE + ONCE));
        check(&[1, 3, 5, 9, 1, 3, 5], Some(2 * MORE + ONCE));
        check(&[7, 9, 5, 7], Some(ONCE));
    }

    #[test]
    fn a_rival_that_let_its_turn_pass_is_forgotten() {
        // The turn of 9 was after 5 and before 3.
        check(&[3, 5, 9, 3, 5, 3, 5], Some(MORE));
        // Both 3 and 9 let their turn pass.
        check(&[3, 5, 9, 3, 5, 5], None);
        check(&[3, 5, 9, 3, 5, 5, 9, 5], Some(ONCE));
    }

    #[test]
    fn a_gap_in_the_versions_proves_nothing() {
        let (mut rotation, reported_at) = heard(&[3, 5, 9, 3, 5]);
        // In between, 9 may have sold, or an admin may have changed something.
        rotation.hear(LastSale { server: server(3), version: 8, reported_at });
        rotation.hear(LastSale { server: server(5), version: 9, reported_at });
        assert_eq!(rotation.at(reported_at), Some(reported_at + COMMIT * (MORE + ONCE)));
    }

    #[test]
    fn a_late_report_changes_nothing() {
        let (mut rotation, reported_at) = heard(&[3, 5]);
        rotation.hear(LastSale { server: server(9), version: 3, reported_at: reported_at + COMMIT });
        assert_eq!(rotation.at(reported_at), Some(reported_at + COMMIT * ONCE));
    }

    #[test]
    fn a_server_not_heard_of_for_a_while_is_not_a_rival() {
        let (mut rotation, reported_at) = heard(&[3, 5]);
        let later = reported_at + Duration::from_millis(RIVALRY_MS);
        assert!(!rotation.has_rivals(later));
        assert_eq!(rotation.at(later), None);
        rotation.hear(LastSale { server: server(9), version: 8, reported_at: later });
        assert_eq!(rotation.rivals.len(), 1);
    }

    #[test]
    fn a_rival_far_from_the_database_is_waited_for_as_long_as_its_turns_take() {
        let (mut rotation, reported_at) = heard(&[3, 5]);
        let turn = COMMIT * 10;
        rotation.hear(LastSale { server: server(3), version: 4, reported_at: reported_at + turn });
        rotation.hear(LastSale { server: server(5), version: 5, reported_at: reported_at + turn });
        assert_eq!(rotation.at(reported_at + turn), Some(reported_at + turn + turn * TURNS_OF_PATIENCE));
    }

    #[test]
    fn patience_follows_the_time_of_commits_within_bounds() {
        let (mut rotation, reported_at) = heard(&[3, 5]);
        let waits = |rotation: &Rotation| rotation.at(reported_at).unwrap() - reported_at;
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
