//! Bounds how many messages a second go to all watchers together.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A room with news takes an interval here, long enough to send one message to each of its watchers. A room without
/// news takes none, however many watch it.
pub struct Pace {
    /// The time for one message.
    message: Duration,
    free_at: Mutex<Instant>,
}

/// When a room may send its news, and over how long a time it spreads them.
#[derive(Debug, PartialEq, Eq)]
pub struct Interval {
    pub start: Instant,
    pub length: Duration,
}

impl Pace {
    pub fn new(messages_per_second_max: usize) -> Self {
        let message = Duration::from_secs_f64(1.0 / messages_per_second_max.max(1) as f64);
        Self { message, free_at: Mutex::new(Instant::now()) }
    }

    /// Takes the next interval, long enough for this many `watchers`.
    pub fn take(&self, watchers: usize, now: Instant) -> Interval {
        let length = self.message * u32::try_from(watchers).unwrap_or(u32::MAX);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = now.max(*free_at);
        *free_at = start + length;
        Interval { start, length }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_waits_only_for_the_rooms_before_it() {
        let pace = Pace::new(1_000);
        let start = Instant::now() + Duration::from_secs(1);
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let interval = |start, milliseconds| Interval { start, length: Duration::from_millis(milliseconds) };
        assert_eq!(pace.take(500, at(0)), interval(at(0), 500));
        assert_eq!(pace.take(1, at(10)), interval(at(500), 1));
        assert_eq!(pace.take(500, at(20)), interval(at(501), 500));
        // Unused time is not saved up.
        assert_eq!(pace.take(1, at(5_000)), interval(at(5_000), 1));
        assert_eq!(pace.take(1, at(5_000)), interval(at(5_001), 1));
    }
}
