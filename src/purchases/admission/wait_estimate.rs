//! How many purchases may be under way so that nobody waits too long, by Little's law: who comes now waits for as long as
//! those who are there take at the recent rate. No I/O and no clock: the time is told.

use std::time::{Duration, Instant};

/// A rate is measured over at least this time: over less, one batch more or less would decide it.
const WINDOW: Duration = Duration::from_millis(100);
/// A rate that was measured over this time replaces the one before; over less, it counts in proportion.
const MEMORY: Duration = Duration::from_secs(1);

/// What a forecast keeps to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The predicted wait from which on nobody more is let in.
    pub wait_max: Duration,
    /// So many are let in whatever is predicted: from them it is learned that things go faster again.
    pub purchases_min: usize,
    /// More than that never, and as many as long as nothing is known.
    pub purchases_max: usize,
}

/// Of one product's purchases, or of all.
#[derive(Debug)]
pub struct WaitEstimate {
    bounds: Bounds,
    under_way: usize,
    /// Decisions a second while people had to wait for them; none as long as nobody had to. It is kept over quiet times,
    /// in which fewer decisions are no sign of a lack of speed.
    per_second: Option<f64>,
    /// When a batch was decided last, or came to where nobody was.
    progress: Instant,
    /// Since when nobody is there, if so.
    empty_since: Instant,
    /// Moved on by the time in which nobody was there.
    window_start: Instant,
    /// Those decided in the window.
    window_decided: u32,
    /// The waits of those, added up.
    window_waited: Duration,
}

impl WaitEstimate {
    /// Nothing is under way, and nothing known.
    pub fn new(bounds: Bounds, now: Instant) -> Self {
        Self {
            bounds,
            under_way: 0,
            per_second: None,
            progress: now,
            empty_since: now,
            window_start: now,
            window_decided: 0,
            window_waited: Duration::ZERO,
        }
    }

    /// How many may be under way at once.
    pub fn places(&self) -> usize {
        let Bounds { wait_max, purchases_min, purchases_max } = self.bounds;
        // The cast saturates.
        let in_time = self.per_second.map_or(usize::MAX, |rate| (rate * wait_max.as_secs_f64()) as usize);
        in_time.max(purchases_min).min(purchases_max)
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether who comes now would wait too long.
    pub fn is_full(&self) -> bool {
        self.under_way >= self.places()
    }

    /// Whether nobody was decided for so long that the rate says nothing any more.
    pub fn has_stalled(&self, now: Instant) -> bool {
        self.under_way >= self.bounds.purchases_min
            && now.saturating_duration_since(self.progress) >= self.bounds.wait_max
    }

    /// One more is under way.
    pub fn enter(&mut self, now: Instant) {
        if self.under_way == 0 {
            // Nothing was to be done, so nothing could be.
            self.progress = now;
            self.window_start += now.saturating_duration_since(self.empty_since);
        }
        self.under_way += 1;
    }

    /// One less is under way: answered, or given up.
    pub fn leave(&mut self, now: Instant) {
        self.under_way -= 1;
        self.empty_since = now;
    }

    /// So many were decided, in one batch, after they had waited for so long.
    pub fn decided(&mut self, now: Instant, count: u32, waited: Duration) {
        if count > 0 {
            self.progress = now;
        }
        self.window_decided += count;
        self.window_waited += waited * count;
        let time = now.saturating_duration_since(self.window_start);
        let is_enough = match self.per_second {
            Some(_) => self.window_decided as usize >= self.bounds.purchases_min || time >= MEMORY,
            // The first purchase of a product is a batch of its own, and a slow one: what is to be known of it has to be
            // read first. However many come behind it, and whatever they buy, that says nothing of those to come.
            None => {
                self.window_decided as usize >= self.bounds.purchases_min && time >= self.bounds.wait_max / 2
            }
        };
        if time >= WINDOW && is_enough && self.window_decided > 0 {
            self.learn(time);
            self.open_window(now);
        }
    }

    fn open_window(&mut self, now: Instant) {
        (self.window_start, self.window_decided, self.window_waited) = (now, 0, Duration::ZERO);
    }

    fn learn(&mut self, time: Duration) {
        let measured = f64::from(self.window_decided) / time.as_secs_f64();
        let waited = self.window_waited / self.window_decided;
        let wait_max = self.bounds.wait_max;
        self.per_second = match self.per_second {
            // The first crowd: those who have come already would wait too long, and nobody knew.
            None if self.under_way as f64 >= measured * wait_max.as_secs_f64() => Some(measured),
            None => None,
            // People waited, so it was as fast as it could be.
            Some(known) if waited >= wait_max / 2 => {
                let weight = (time.as_secs_f64() / MEMORY.as_secs_f64()).min(1.0);
                Some(known + (measured - known) * weight)
            }
            // They did not: it can be at least as fast as that.
            Some(known) => Some(known.max(measured)),
        };
    }
}

#[cfg(test)]
mod tests;
