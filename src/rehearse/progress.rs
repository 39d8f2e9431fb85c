//! The progress of a rehearsal, on standard error.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::load::Event;
use super::wire::Kind;

/// How often the progress line is drawn.
const INTERVAL_MS: u64 = 250;
/// Latencies are counted in buckets, eight to each power of two of a microsecond: precise enough for a display.
const STEPS: usize = 8;
const BUCKETS: usize = 32 * STEPS;

/// Counts of answers, shared by all connections.
pub struct Progress {
    bought: AtomicUsize,
    refused: AtomicUsize,
    failed: AtomicUsize,
    latencies: [AtomicU32; BUCKETS],
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            bought: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            latencies: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }
}

impl Progress {
    /// Counts an answer.
    pub fn record(&self, event: &Event) {
        let count = match event.kind {
            Kind::Bought => &self.bought,
            kind if kind.is_definite() => &self.refused,
            _ => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.latencies[bucket(event.latency)].fetch_add(1, Ordering::Relaxed);
    }

    /// The p99 latency of the answers since the last call.
    fn take_p99(&self) -> Duration {
        let counts: Vec<_> =
            self.latencies.iter().map(|count| u64::from(count.swap(0, Ordering::Relaxed))).collect();
        let wanted = counts.iter().sum::<u64>() * 99 / 100;
        let mut seen = 0;
        let found = counts.iter().position(|count| {
            seen += count;
            seen > wanted
        });
        Duration::from_micros(found.map_or(0, |index| 2_f64.powf((index as f64 + 1.0) / STEPS as f64) as u64))
    }
}

fn bucket(latency: Duration) -> usize {
    let micros = latency.as_micros().max(1) as f64;
    ((micros.log2() * STEPS as f64) as usize).min(BUCKETS - 1)
}

/// Writes a line about the rehearsal to standard error.
pub fn tell(what: &str) {
    // Not `eprintln`, which panics if the reader is gone (Ctrl-C also ends a `tee`): the clean-up still has to run.
    drop(writeln!(io::stderr(), "{what}"));
}

/// Draws the progress line until `stop`. Draws nothing if standard error is not a terminal.
pub async fn show(progress: Arc<Progress>, requests: usize, stop: CancellationToken) {
    let bar = ProgressBar::new(requests as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {percent:>3} %  {msg}") {
        bar.set_style(style);
    }
    let mut done_before = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(INTERVAL_MS));
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let [bought, refused, failed] = [&progress.bought, &progress.refused, &progress.failed]
            .map(|count| count.load(Ordering::Relaxed));
        let done = bought + refused + failed;
        let rate = (done - done_before) as u64 * 1000 / INTERVAL_MS;
        done_before = done;
        bar.set_position(done as u64);
        bar.set_message(format!(
            "sold {bought}  refused {refused}  failed {failed}  {rate}/s  p99 {:.1} ms",
            progress.take_p99().as_secs_f64() * 1000.0
        ));
    }
    bar.finish_and_clear();
}
