//! How much all lanes together remember of their buyers: each lane is bounded, but there may be thousands of lanes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The buyers plus the purchases with a key that all lanes of this process remember.
#[derive(Default)]
pub struct RememberedCount(Arc<AtomicUsize>);

/// The part of one lane. Dropping it subtracts the part.
pub struct LaneRememberedCount {
    all: Arc<AtomicUsize>,
    count: usize,
}

impl RememberedCount {
    pub fn for_lane(&self) -> LaneRememberedCount {
        LaneRememberedCount { all: self.0.clone(), count: 0 }
    }
}

impl LaneRememberedCount {
    /// Sets how much this lane remembers; returns how much all lanes do.
    pub fn note(&mut self, count: usize) -> usize {
        // Thousands of lanes at most: the sum of their counts does not overflow.
        self.all.fetch_add(count, Ordering::Relaxed);
        let before = std::mem::replace(&mut self.count, count);
        self.all.fetch_sub(before, Ordering::Relaxed).saturating_sub(before)
    }
}

impl Drop for LaneRememberedCount {
    fn drop(&mut self) {
        self.note(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_count_together_until_they_end() {
        let memory = RememberedCount::default();
        let (mut first, mut second) = (memory.for_lane(), memory.for_lane());
        assert_eq!((first.note(10), second.note(5)), (10, 15));
        assert_eq!((first.note(12), first.note(0)), (17, 5));
        drop(second);
        assert_eq!(first.note(1), 1);
    }
}
