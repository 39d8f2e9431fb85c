//! A token bucket: allows a burst, and then a steady rate. Twenty lines; a library for it brings keyed stores and clocks.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

#[derive(Debug)]
pub struct TokenBucket {
    burst: f64,
    per_second: f64,
    left: Mutex<(f64, Instant)>,
}

impl TokenBucket {
    /// A full bucket of `burst` tokens, refilled at `per_second`.
    pub fn new(burst: u32, per_second: u32) -> Self {
        let burst = f64::from(burst);
        Self { burst, per_second: f64::from(per_second), left: Mutex::new((burst, Instant::now())) }
    }

    /// Takes a token; false when none is left.
    pub fn take(&self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (amount, at) = *left;
        let refill = now.saturating_duration_since(at).as_secs_f64() * self.per_second;
        let amount = (amount + refill).min(self.burst);
        let is_enough = amount >= 1.0;
        *left = (if is_enough { amount - 1.0 } else { amount }, now);
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_is_emptied_and_refilled() {
        let bucket = TokenBucket::new(2, 10);
        let start = Instant::now() + Duration::from_secs(1);
        assert_eq!([0; 3].map(|_| bucket.take_at(start)), [true, true, false]);
        assert!(!bucket.take_at(start + Duration::from_millis(90)));
        assert!(bucket.take_at(start + Duration::from_millis(190)));
        assert!(!bucket.take_at(start + Duration::from_millis(190)));
        let later = start + Duration::from_secs(60);
        assert_eq!([0; 3].map(|_| bucket.take_at(later)), [true, true, false]);
    }
}
