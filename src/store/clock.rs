//! The database's clock, as far as it can be known here: never ahead of it, and as little behind as the quickest answer was.
//!
//! An answer with the database's time was written some time between question and receipt. So the time of the receipt less
//! the answer's time is at most how far the clocks are apart, and the time of the question gives the other bound. Of all
//! answers the quickest tells most; what it told is kept, less what the clocks may have drifted apart since.

use std::time::Instant;

use crate::model::timestamp::Timestamp;

/// How fast two clocks drift apart at the most: 100 millionths, twice what a quartz does.
const DRIFT_DIVISOR: i64 = 10_000;
/// The database's clock counts in milliseconds, and an answer has the last full one.
const RESOLUTION_MICROSECONDS: i64 = 1_000;

/// What is known of the database's clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// The latest moment, in microseconds since 1970, that the database's clock is known to have reached...
    microseconds: i64,
    /// ... at this moment here.
    at: Instant,
}

impl Clock {
    /// Knows what one answer tells.
    pub fn new(database_time: Timestamp, received: Instant) -> Self {
        Self { microseconds: database_time.milliseconds().saturating_mul(1_000), at: received }
    }

    /// Learns from one more answer, to a question that was sent at `sent`.
    pub fn learn(&mut self, database_time: Timestamp, sent: Instant, received: Instant) {
        let answer = Self::new(database_time, received);
        let latest = Self::new(database_time, sent).microseconds_at(received) + RESOLUTION_MICROSECONDS;
        let known = self.microseconds_at(received);
        // Later than it can be: the database's clock was set back, or another server's counts now.
        let is_refuted = known > latest + microseconds_between(sent, received) / DRIFT_DIVISOR;
        if is_refuted || answer.microseconds > known {
            *self = answer;
        } else {
            *self = Self { microseconds: known, at: received };
        }
    }

    /// The database's time at the moment `now`.
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

    /// The database's clock is at `database_ms` when the answer is written, which takes `there_ms` and `back_ms`.
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
        // A slow one does not make it worse, but for the drift.
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
            // 50 millionths slower than here.
            let database_ms = i64::try_from(second * 1_000 - second / 20 - 1).unwrap();
            ask(&mut clock, start, second * 1_000, database_ms, 0, 3);
            assert!(
                clock.time_at(start + Duration::from_millis(second * 1_000 + 3)).milliseconds()
                    <= database_ms + 4
            );
        }
    }
}
