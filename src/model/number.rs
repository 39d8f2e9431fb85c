//! Numbers from elsewhere.

/// Up to here a floating-point number holds every whole number exactly.
const EXACT_MAX: f64 = 9_007_199_254_740_991.0;

/// A whole number that was written as a floating-point number. `None` if it has a fraction, or is too large for its digits
/// to be exact.
#[expect(clippy::cast_possible_truncation, reason = "it is whole, and within the bounds")]
pub fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= EXACT_MAX).then_some(number as i64)
}
