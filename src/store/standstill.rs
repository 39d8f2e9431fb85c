//! Notices that this process stood still: it was stopped, or its container or machine was frozen. What it reads from
//! connections afterwards may have waited there for long.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often the process shows that it runs.
pub const INTERVAL: Duration = Duration::from_millis(250);
/// A process that has not run for this long stood still; one that is only busy runs earlier.
const STANDSTILL: Duration = Duration::from_secs(1);
/// Within this time a process that runs again has read everything that waited.
const CATCHES_UP: Duration = Duration::from_secs(1);

/// When this process last ran, and when it last ran again.
pub struct Standstill(Mutex<State>);

struct State {
    ran: Instant,
    resumed: Option<Instant>,
}

impl Standstill {
    /// The process runs.
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(State { ran: now, resumed: None }))
    }

    /// Notes that the process runs, which the caller does once an `INTERVAL`.
    pub fn note(&self, now: Instant) {
        self.update(now, true);
    }

    /// Whether what is read now may have waited while the process stood still.
    pub fn may_have_waited(&self, now: Instant) -> bool {
        self.update(now, false)
    }

    fn update(&self, now: Instant, runs: bool) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.ran) > STANDSTILL {
            (state.ran, state.resumed) = (now, Some(now));
        } else if runs {
            state.ran = now;
        }
        state.resumed.is_some_and(|resumed| now.saturating_duration_since(resumed) < CATCHES_UP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_after_a_standstill_may_have_waited() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let standstill = Standstill::new(start);
        standstill.note(at(250));
        assert!(!standstill.may_have_waited(at(1_200)), "it may be busy");
        // Whoever comes first notices.
        assert!(standstill.may_have_waited(at(5_000)));
        standstill.note(at(5_100));
        assert!(standstill.may_have_waited(at(5_999)));
        standstill.note(at(5_900));
        assert!(!standstill.may_have_waited(at(6_001)));
        standstill.note(at(9_000));
        assert!(standstill.may_have_waited(at(9_001)));
    }
}
