//! Estimates the database's clock: never ahead of it, and behind it by at most what the quickest answer took.
//!
//! The database writes its time into an answer some time between our question and our receipt. At the receipt its
//! clock shows at least that time, and at the question it showed at most that time: this bounds the clocks' offset
//! from both sides. The quickest answer gives the tightest bounds, so the estimate keeps it, less what the clocks may
//! have drifted.

use std::time::Instant;

use crate::model::timestamp::Timestamp;

/// Two clocks drift apart by at most 1/10,000 (100 ppm), twice the drift of a quartz.
const DRIFT_DIVISOR: i64 = 10_000;
/// The database's time is cut to whole milliseconds.
const RESOLUTION_MICROSECONDS: i64 = 1_000;

#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The time, in microseconds since 1970, that the database's clock had certainly reached at `at`.
    microseconds: i64,
    /// By this process's clock.
    at: Instant,
}

impl Clock {
    /// The estimate from one answer.
    pub fn new(database_time: Timestamp, received: Instant) -> Self {
        Self { microseconds: database_time.milliseconds().saturating_mul(1_000), at: received }
    }

    /// Improves the estimate by another answer, to a question that was sent at `sent`.
    pub fn learn(&mut self, database_time: Timestamp, sent: Instant, received: Instant) {
        let answer = Self::new(database_time, received);
        let latest = Self::new(database_time, sent).microseconds_at(received) + RESOLUTION_MICROSECONDS;
        let known = self.microseconds_at(received);
        // The estimate is later than the answer allows: the database's clock was set back, or there is a new primary.
        let is_refuted = known > latest + microseconds_between(sent, received) / DRIFT_DIVISOR;
        if is_refuted || answer.microseconds > known {
            *self = answer;
        } else {
            *self = Self { microseconds: known, at: received };
        }
    }

    pub fn time_at(&self, now: Instant) -> Timestamp {
        Timestamp::from_milliseconds(self.microseconds_at(now).div_euclid(1_000))
    }

    fn microseconds_at(&self, now: Instant) -> i64 {
        let elapsed = microseconds_between(self.at, now);
        self.microseconds.saturating_add(elapsed - elapsed / DRIFT_DIVISOR)
    }
}

fn microseconds_between(earlier: Instant, later: Instant) -> i64 {
    i64::try_from(later.saturating_duration_since(earlier).as_micros()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The question takes `there_ms`; the database's clock then shows `database_ms`; the answer takes `back_ms`.
    fn ask(clock: &mut Clock, start: Instant, at_ms: u64, database_ms: i64, there_ms: u64, back_ms: u64) {
        let sent = start + Duration::from_millis(at_ms);
        let received = sent + Duration::from_millis(there_ms + back_ms);
        clock.learn(Timestamp::from_milliseconds(database_ms), sent, received);
    }

    fn check(clock: &Clock, start: Instant, at_ms: u64, expected_ms: i64) {
        let time = clock.time_at(start + Duration::from_millis(at_ms));
        assert_eq!(time.milliseconds(), expected_ms);
    }

    #[test]
    fn the_quickest_answer_counts() {
        let start = Instant::now();
        // The database's clock is 1,000,000 ms ahead of `start`; the first answer came 40 ms late.
        let mut clock =
            Clock::new(Timestamp::from_milliseconds(1_000_000), start + Duration::from_millis(40));
        check(&clock, start, 40, 1_000_000);
        ask(&mut clock, start, 1_000, 1_001_001, 1, 1);
        check(&clock, start, 1_002, 1_001_001);
        // A slow answer does not make the estimate worse, except for the drift.
        ask(&mut clock, start, 2_000, 2_000 + 1_000_050, 50, 60);
        check(&clock, start, 2_110, 1_002_108);
    }

    #[test]
    fn a_clock_that_was_set_back_is_followed() {
        let start = Instant::now();
        let mut clock = Clock::new(Timestamp::from_milliseconds(1_000_000), start);
        ask(&mut clock, start, 1_000, 996_000, 1, 1);
        check(&clock, start, 1_002, 996_000);
    }

    #[test]
    fn it_is_never_ahead_of_a_clock_that_is_slower() {
        let start = Instant::now();
        let mut clock = Clock::new(Timestamp::from_milliseconds(0), start);
        for second in 1..=60_u64 {
            // The database's clock is 50 ppm slower than the one here.
            let database_ms = i64::try_from(second * 1_000 - second / 20 - 1).unwrap();
            ask(&mut clock, start, second * 1_000, database_ms, 0, 3);
            assert!(
                clock.time_at(start + Duration::from_millis(second * 1_000 + 3)).milliseconds()
                    <= database_ms + 4
            );
        }
    }
}
