//! Limits how many purchases are under way. The number of places follows from how fast purchases are decided
//! (`wait_estimate`). It is kept for each product, so that a slow one does not cause refusals of others, and for all
//! products together, since they share the database.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::wait_estimate::{Bounds, WaitEstimate};
use crate::config::PurchasesLimits;
use crate::error::{Error, Result};

pub(crate) mod wait_estimate;

/// While every lane is full, one request in this many is still let in as far as its body: it may be for a product
/// that has no lane yet.
const LOOKED_AT: usize = 16;

/// The refusal when all places of the server are taken.
pub const FULL: Error = Error::Overloaded { detail: "Too many purchases are under way." };

/// The places of one server.
pub struct Admission {
    lane_bounds: Bounds,
    all: Mutex<All>,
}

struct All {
    estimate: WaitEstimate,
    /// The sum over all lanes.
    lane_capacity: usize,
    /// Requests that found all lanes full, counted before their product was known.
    turned_away: usize,
}

/// The places of one lane.
pub struct LaneAdmission {
    server: Arc<Admission>,
    estimate: Mutex<WaitEstimate>,
}

/// A place in a lane and on the server. Dropping it frees both.
pub struct AdmissionPermit {
    lane: Arc<LaneAdmission>,
}

impl Admission {
    pub fn new(limits: &PurchasesLimits) -> Self {
        let purchases_max = limits.purchases_in_flight_max;
        let bounds = Bounds {
            wait_max: Duration::from_millis(limits.estimated_wait_ms_max),
            purchases_min: limits.purchases_in_flight_min,
            purchases_max,
        };
        let lane_bounds = Bounds {
            wait_max: Duration::from_millis(limits.lane_estimated_wait_ms_max),
            purchases_min: limits.lane_purchases_in_flight_min,
            purchases_max,
        };
        let estimate = WaitEstimate::new(bounds, Instant::now());
        Self { lane_bounds, all: Mutex::new(All { estimate, lane_capacity: 0, turned_away: 0 }) }
    }

    /// Whether the server has no place left.
    pub fn is_full(&self) -> bool {
        self.lock().estimate.is_full()
    }

    /// Whether to refuse a request before its product is known: the server or every lane is full (see `LOOKED_AT`).
    pub fn refuses_early(&self) -> bool {
        let mut all = self.lock();
        if all.estimate.is_full() {
            return true;
        }
        let are_lanes_full = all.lane_capacity > 0 && all.estimate.under_way() >= all.lane_capacity;
        if are_lanes_full {
            all.turned_away = all.turned_away.wrapping_add(1);
        }
        are_lanes_full && !all.turned_away.is_multiple_of(LOOKED_AT)
    }

    /// Purchases that wait in lanes or are being decided.
    pub fn under_way(&self) -> usize {
        self.lock().estimate.under_way()
    }

    pub fn for_lane(self: &Arc<Self>) -> Arc<LaneAdmission> {
        let estimate = WaitEstimate::new(self.lane_bounds, Instant::now());
        self.lock().lane_capacity += estimate.capacity();
        Arc::new(LaneAdmission { server: self.clone(), estimate: Mutex::new(estimate) })
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LaneAdmission {
    /// Takes a place.
    ///
    /// # Errors
    /// `overloaded` when a purchase that took one now would wait too long.
    pub fn take(self: &Arc<Self>) -> Result<AdmissionPermit> {
        let now = Instant::now();
        // Lock order: first the server, then the lane.
        let (mut all, mut lane) = (self.server.lock(), self.lock());
        if all.estimate.is_full() {
            return Err(FULL);
        }
        if lane.is_full() || lane.has_stalled(now) {
            return Err(Error::Overloaded { detail: "Too many purchases of this product are under way." });
        }
        all.estimate.enter(now);
        lane.enter(now);
        Ok(AdmissionPermit { lane: self.clone() })
    }

    /// The lane has decided a batch after a wait of `waited`; asking again would not change `count` of its replies.
    pub fn decided(&self, count: usize, waited: Duration) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let now = Instant::now();
        let (mut all, mut lane) = (self.server.lock(), self.lock());
        let before = lane.capacity();
        lane.decided(now, count, waited);
        all.estimate.decided(now, count, waited);
        all.lane_capacity = all.lane_capacity + lane.capacity() - before;
    }

    fn lock(&self) -> MutexGuard<'_, WaitEstimate> {
        self.estimate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LaneAdmission {
    fn drop(&mut self) {
        self.server.lock().lane_capacity -= self.lock().capacity();
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        let now = Instant::now();
        let (mut all, mut lane) = (self.lane.server.lock(), self.lane.lock());
        lane.leave(now);
        all.estimate.leave(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(limits: PurchasesLimits) -> Arc<Admission> {
        Arc::new(Admission::new(&limits))
    }

    #[test]
    fn a_place_counts_for_the_lane_and_for_the_server() {
        let places = places(PurchasesLimits { purchases_in_flight_max: 2, ..PurchasesLimits::default() });
        let (lane, other) = (places.for_lane(), places.for_lane());
        let first = lane.take().unwrap();
        assert!(!places.refuses_early());
        let second = other.take().unwrap();
        assert!(places.refuses_early());
        assert!(lane.take().is_err());
        drop(first);
        assert!(!places.refuses_early());
        drop(second);
        assert_eq!((places.lock().estimate.under_way(), lane.lock().under_way()), (0, 0));
    }

    #[test]
    fn the_places_of_a_lane_go_with_the_lane_and_its_last_permit() {
        let places = places(PurchasesLimits::default());
        let lane = places.for_lane();
        let place = lane.take().unwrap();
        drop(lane);
        assert!(places.lock().lane_capacity > 0);
        drop(place);
        assert_eq!(places.lock().lane_capacity, 0);
        assert!(!places.refuses_early());
    }

    #[test]
    fn while_all_lanes_are_full_some_requests_are_still_looked_at() {
        // All lanes can be full while the server is not, for example when they are known to be slow.
        let places = places(PurchasesLimits::default());
        let lane = places.for_lane();
        let _place = lane.take().unwrap();
        places.lock().lane_capacity = 1;
        let looked_at = (0..10 * LOOKED_AT).filter(|_| !places.refuses_early()).count();
        assert_eq!(looked_at, 10);
        places.lock().lane_capacity = lane.lock().capacity();
    }
}
