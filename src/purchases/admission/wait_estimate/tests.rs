//! Tests the estimate on a simulated lane, millisecond by millisecond.

use std::collections::VecDeque;
use std::time::Duration;

use super::*;

const BOUNDS: Bounds =
    Bounds { wait_max: Duration::from_millis(500), purchases_min: 10, purchases_max: 10_000 };
const BATCH_MAX: usize = 1_000;
/// A purchase that no batch has taken after this time is given up.
const QUEUE_WAIT_MAX: Duration = Duration::from_millis(1_000);

/// A lane that decides at a given rate, in batches of all that wait, and the crowd in front of it.
struct Lane {
    estimate: WaitEstimate,
    now: Instant,
    waiting: VecDeque<Instant>,
    batch: Vec<Instant>,
    batch_end: Instant,
    /// What has not made up a whole purchase yet, in thousandths of a purchase.
    coming: u64,
    refused: usize,
    waits: Vec<Duration>,
}

impl Lane {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            estimate: WaitEstimate::new(BOUNDS, now),
            now,
            waiting: VecDeque::new(),
            batch: Vec::new(),
            batch_end: now,
            coming: 0,
            refused: 0,
            waits: Vec::new(),
        }
    }

    /// Runs the lane at these rates. Returns how many purchases were decided and refused, and the longest wait.
    fn run(
        &mut self,
        milliseconds: u64,
        come_per_second: u64,
        decide_per_second: u64,
    ) -> (usize, usize, Duration) {
        (self.refused, self.waits) = (0, Vec::new());
        for _ in 0..milliseconds {
            self.now += Duration::from_millis(1);
            self.coming += come_per_second;
            while self.coming >= 1_000 {
                self.coming -= 1_000;
                self.come();
            }
            self.decide(decide_per_second);
        }
        (self.waits.len(), self.refused, self.waits.iter().max().copied().unwrap_or_default())
    }

    fn come(&mut self) {
        if self.estimate.is_full() || self.estimate.has_stalled(self.now) {
            self.refused += 1;
        } else {
            self.estimate.enter(self.now);
            self.waiting.push_back(self.now);
        }
    }

    fn decide(&mut self, per_second: u64) {
        while self.waiting.front().is_some_and(|since| self.now - *since >= QUEUE_WAIT_MAX) {
            self.waiting.pop_front();
            self.estimate.leave(self.now);
        }
        if self.now < self.batch_end || per_second == 0 {
            return;
        }
        if let Some(middle) = self.batch.get(self.batch.len() / 2) {
            self.estimate.decided(self.now, self.batch.len() as u32, self.now - *middle);
        }
        for since in self.batch.drain(..) {
            self.waits.push(self.now - since);
            self.estimate.leave(self.now);
        }
        self.batch.extend(self.waiting.drain(..self.waiting.len().min(BATCH_MAX)));
        // The transaction itself takes 2 ms more.
        self.batch_end = self.now + Duration::from_millis(2 + self.batch.len() as u64 * 1_000 / per_second);
    }
}

#[test]
fn an_idle_lane_lets_everybody_in() {
    let mut estimate = WaitEstimate::new(BOUNDS, Instant::now());
    assert_eq!(estimate.capacity(), 10_000);
    let mut now = Instant::now();
    for _ in 0..10_000 {
        assert!(!estimate.is_full());
        estimate.enter(now);
    }
    assert!(estimate.is_full());
    // Light traffic, however little, does not mean that the lane is slow.
    let mut estimate = WaitEstimate::new(BOUNDS, now);
    for _ in 0..100 {
        estimate.enter(now);
        now += Duration::from_millis(50);
        estimate.decided(now, 1, Duration::from_millis(50));
        estimate.leave(now);
    }
    assert_eq!(estimate.capacity(), 10_000);
}

#[test]
fn up_to_its_capacity_nobody_is_refused() {
    let mut lane = Lane::new();
    for come_per_second in [100, 1_000, 1_900, 10] {
        let (_, refused, longest) = lane.run(5_000, come_per_second, 2_000);
        assert_eq!(refused, 0, "at {come_per_second}/s");
        assert!(longest < BOUNDS.wait_max, "at {come_per_second}/s: {longest:?}");
    }
}

#[test]
fn beyond_its_capacity_it_still_decides_at_full_speed_and_in_time() {
    let mut lane = Lane::new();
    // The first crowd exceeds an unknown capacity; a second later the capacity is known.
    lane.run(2_000, 20_000, 2_000);
    for come_per_second in [4_000, 10_000, 20_000, 200_000] {
        let (decided, _, longest) = lane.run(5_000, come_per_second, 2_000);
        assert!(decided >= 9_000, "at {come_per_second}/s: {decided}");
        assert!(longest < 2 * BOUNDS.wait_max, "at {come_per_second}/s: {longest:?}");
    }
}

#[test]
fn it_follows_a_lane_that_becomes_slower_or_faster() {
    let mut lane = Lane::new();
    lane.run(2_000, 50_000, 10_000);
    for decide_per_second in [1_000, 10_000, 500, 5_000] {
        // The effects of batches that were too large last a little longer than two seconds.
        lane.run(3_000, 50_000, decide_per_second);
        let (decided, _, longest) = lane.run(5_000, 50_000, decide_per_second);
        assert!(decided as u64 >= decide_per_second * 45 / 10, "{decide_per_second}/s: {decided}");
        assert!(longest < 2 * BOUNDS.wait_max, "{decide_per_second}/s: {longest:?}");
    }
}

#[test]
fn a_lane_that_stands_still_keeps_few_waiting_and_starts_again_at_once() {
    let mut lane = Lane::new();
    lane.run(3_000, 20_000, 2_000);
    lane.run(2_000, 20_000, 0);
    let in_batch = lane.batch.len();
    lane.run(5_000, 20_000, 0);
    assert!(lane.estimate.under_way() <= in_batch + BOUNDS.purchases_min, "{}", lane.estimate.under_way());
    // These are decided first; then the lane is as fast as before.
    lane.run(1_000, 20_000, 2_000);
    let (decided, _, longest) = lane.run(5_000, 20_000, 2_000);
    assert!(decided >= 9_000, "{decided}");
    assert!(longest < 2 * BOUNDS.wait_max, "{longest:?}");
}

#[test]
fn a_few_are_let_in_whatever_the_estimate() {
    let mut now = Instant::now();
    let mut estimate = WaitEstimate::new(BOUNDS, now);
    for _ in 0..100 {
        estimate.enter(now);
    }
    now += Duration::from_secs(60);
    estimate.decided(now, 100, Duration::from_secs(60));
    for _ in 0..100 {
        estimate.leave(now);
    }
    assert_eq!(estimate.capacity(), BOUNDS.purchases_min);
    for _ in 0..BOUNDS.purchases_min {
        now += Duration::from_secs(60);
        assert!(!estimate.is_full() && !estimate.has_stalled(now));
        estimate.enter(now);
    }
    assert!(estimate.is_full());
}

#[test]
fn a_purchase_given_up_is_not_a_decision() {
    let mut now = Instant::now();
    let mut estimate = WaitEstimate::new(BOUNDS, now);
    for _ in 0..100 {
        estimate.enter(now);
        now += Duration::from_secs(1);
        estimate.leave(now);
    }
    assert_eq!((estimate.under_way(), estimate.capacity()), (0, 10_000));
}

#[test]
fn a_slow_first_purchase_says_nothing_about_the_crowd_behind_it() {
    let mut now = Instant::now();
    let mut estimate = WaitEstimate::new(BOUNDS, now);
    for _ in 0..2_000 {
        estimate.enter(now);
    }
    now += Duration::from_millis(200);
    estimate.decided(now, 1, Duration::from_millis(200));
    estimate.leave(now);
    assert_eq!(estimate.capacity(), BOUNDS.purchases_max);
    now += Duration::from_millis(200);
    estimate.decided(now, 1_000, Duration::from_millis(400));
    // 1,001 in 400 ms, so 1,251 in 500 ms.
    assert_eq!(estimate.capacity(), 1_251);
}

#[test]
fn a_batch_without_decisions_is_not_progress() {
    let mut now = Instant::now();
    let mut estimate = WaitEstimate::new(BOUNDS, now);
    for _ in 0..BOUNDS.purchases_min {
        estimate.enter(now);
    }
    now += BOUNDS.wait_max;
    assert!(estimate.has_stalled(now));
    estimate.decided(now, 0, Duration::ZERO);
    assert!(estimate.has_stalled(now));
    estimate.decided(now, 1, BOUNDS.wait_max);
    assert!(!estimate.has_stalled(now));
}
