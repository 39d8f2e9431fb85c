//! Percentiles of latencies.

use std::time::Duration;

use serde::Serialize;

/// Percentiles of the answers' latencies, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latencies {
    pub count: usize,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Latencies {
    /// `None` if there are no latencies.
    pub fn of(mut latencies: Vec<Duration>) -> Option<Self> {
        latencies.sort_unstable();
        let max = latencies.last()?;
        // The smallest latency that covers at least this share of them.
        let at = |share: f64| {
            let index = (latencies.len() as f64 * share).ceil() as usize;
            milliseconds(latencies[index.clamp(1, latencies.len()) - 1])
        };
        Some(Self {
            count: latencies.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: milliseconds(*max),
        })
    }
}

/// Rounded to the digits that mean something.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_latencies() {
        let latencies = Latencies::of((1..=100).map(Duration::from_millis).collect()).unwrap();
        assert_eq!((latencies.p50_ms, latencies.p99_ms, latencies.max_ms), (50.0, 99.0, 100.0));
        assert!(Latencies::of(Vec::new()).is_none());
    }
}
