//! How many purchases may be under way so that none waits too long, by Little's law: a new purchase waits as long as
//! those under way take at the recent rate. No I/O and no clock: the time is passed in.

use std::time::{Duration, Instant};

/// A rate is measured over at least this time: over less, a single batch would change it too much.
const WINDOW: Duration = Duration::from_millis(100);
/// A rate measured over this time replaces the one before; over less, it counts in proportion.
const AVERAGED_OVER: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From this estimated wait on, no more purchases are let in.
    pub wait_max: Duration,
    /// This many are let in whatever the estimate: they show when the rate rises again.
    pub purchases_min: usize,
    /// Never more than this; while no rate is known, exactly this many.
    pub purchases_max: usize,
}

/// The estimate for one product's purchases, or for all.
#[derive(Debug)]
pub struct WaitEstimate {
    bounds: Bounds,
    under_way: usize,
    /// Decisions per second while purchases had to wait; `None` until some had to. Kept over quiet times, when fewer
    /// decisions do not mean less speed.
    per_second: Option<f64>,
    /// When a batch was last decided, or a purchase last came while none was under way.
    progress: Instant,
    /// Since when nothing is under way, if so.
    empty_since: Instant,
    /// Moved forward by the time in which nothing was under way.
    window_start: Instant,
    window_decided: u32,
    /// The sum of the waits of those decided in the window.
    window_waited: Duration,
}

impl WaitEstimate {
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

    /// How many purchases may be under way at once.
    pub fn capacity(&self) -> usize {
        let Bounds { wait_max, purchases_min, purchases_max } = self.bounds;
        // The cast saturates.
        let in_time = self.per_second.map_or(usize::MAX, |rate| (rate * wait_max.as_secs_f64()) as usize);
        in_time.max(purchases_min).min(purchases_max)
    }

    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether one more purchase would wait too long.
    pub fn is_full(&self) -> bool {
        self.under_way >= self.capacity()
    }

    /// Whether no purchase was decided for so long that the rate means nothing any more.
    pub fn has_stalled(&self, now: Instant) -> bool {
        self.under_way >= self.bounds.purchases_min
            && now.saturating_duration_since(self.progress) >= self.bounds.wait_max
    }

    /// Counts one more purchase under way.
    pub fn enter(&mut self, now: Instant) {
        if self.under_way == 0 {
            // The idle time before does not count: there was nothing to decide.
            self.progress = now;
            self.window_start += now.saturating_duration_since(self.empty_since);
        }
        self.under_way += 1;
    }

    /// Counts one purchase less under way: it was answered or given up.
    pub fn leave(&mut self, now: Instant) {
        self.under_way -= 1;
        self.empty_since = now;
    }

    /// Takes note of a batch: `count` purchases were decided, after a wait of `waited` each.
    pub fn decided(&mut self, now: Instant, count: u32, waited: Duration) {
        if count > 0 {
            self.progress = now;
        }
        self.window_decided += count;
        self.window_waited += waited * count;
        let time = now.saturating_duration_since(self.window_start);
        let is_enough = match self.per_second {
            Some(_) => self.window_decided as usize >= self.bounds.purchases_min || time >= AVERAGED_OVER,
            // The first purchase of a product is a batch of its own, and a slow one, since the lane has to read
            // first. It says nothing about later batches, however many purchases come behind it.
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
            // The first crowd: at this rate, those under way already wait too long.
            None if self.under_way as f64 >= measured * wait_max.as_secs_f64() => Some(measured),
            None => None,
            // Purchases waited, so this was full speed.
            Some(known) if waited >= wait_max / 2 => {
                let weight = (time.as_secs_f64() / AVERAGED_OVER.as_secs_f64()).min(1.0);
                Some(known + (measured - known) * weight)
            }
            // They did not, so full speed is at least this.
            Some(known) => Some(known.max(measured)),
        };
    }
}

#[cfg(test)]
mod tests;
