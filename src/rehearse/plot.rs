//! Rate and latency over time, as a self-contained SVG.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use super::RehearsalError;
use super::load::Event;
use super::wire::Kind;

// The size of the picture and of each of its two panels, in pixels.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 460.0;
const PANEL_HEIGHT: f64 = 160.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
/// Points along the time axis.
const BUCKETS: usize = 80;

/// Makes sure before the rehearsal that the plot can be written. Keeps what is in the file.
///
/// # Errors
/// The file cannot be opened.
pub fn check(path: &Path) -> Result<(), RehearsalError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map(drop).map_err(|error| RehearsalError::Refused(unwritten(path, &error)))
}

/// Draws the events into the file.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, events: &[Event]) -> Result<(), RehearsalError> {
    fs::write(path, svg(events)).map_err(|error| RehearsalError::NotHeld(unwritten(path, &error)))
}

fn unwritten(path: &Path, error: &io::Error) -> String {
    format!("--plot: cannot write {}: {error}", path.display())
}

fn svg(events: &[Event]) -> String {
    let seconds = events.iter().map(|event| (event.at + event.latency).as_secs_f64()).fold(1e-3, f64::max);
    let mut bought = [0.0; BUCKETS];
    let mut refused = [0.0; BUCKETS];
    let mut failed = [0.0; BUCKETS];
    let mut latencies: Vec<Vec<f64>> = vec![Vec::new(); BUCKETS];
    for event in events {
        let answered = (event.at + event.latency).as_secs_f64() / seconds;
        let bucket = ((answered * BUCKETS as f64) as usize).min(BUCKETS - 1);
        let count = match event.kind {
            Kind::Bought => &mut bought,
            kind if kind.is_definite() => &mut refused,
            _ => &mut failed,
        };
        count[bucket] += BUCKETS as f64 / seconds;
        latencies[bucket].push(event.latency.as_secs_f64() * 1000.0);
    }
    latencies.iter_mut().for_each(|bucket| bucket.sort_unstable_by(f64::total_cmp));
    let percentile = |share: f64| -> Vec<f64> {
        let at = |bucket: &Vec<f64>| {
            bucket.get(((bucket.len() as f64 * share) as usize).min(bucket.len().saturating_sub(1))).copied()
        };
        latencies.iter().map(|bucket| at(bucket).unwrap_or(0.0)).collect()
    };
    let rates = [
        ("bought", "#0f766e", bought.to_vec()),
        ("refused", "#b45309", refused.to_vec()),
        ("failed", "#be123c", failed.to_vec()),
    ];
    let delays = [("p50", "#0f766e", percentile(0.5)), ("p99", "#6d28d9", percentile(0.99))];
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    );
    panel(&mut svg, 40.0, "answers per second", &rates, seconds).unwrap_or_default();
    panel(&mut svg, 265.0, "latency, ms", &delays, seconds).unwrap_or_default();
    svg.push_str("</svg>\n");
    svg
}

fn panel(
    svg: &mut String,
    top: f64,
    title: &str,
    lines: &[(&str, &str, Vec<f64>)],
    seconds: f64,
) -> std::fmt::Result {
    let highest = lines.iter().flat_map(|(_, _, values)| values.iter().copied()).fold(1e-9, f64::max);
    let width = WIDTH - LEFT - RIGHT;
    let bottom = top + PANEL_HEIGHT;
    write!(svg, "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"600\">{title}</text>", top - 12.0)?;
    for share in [0.0, 0.5, 1.0] {
        let y = bottom - PANEL_HEIGHT * share;
        let label = highest * share;
        write!(svg, "<path d=\"M{LEFT} {y}h{width}\" stroke=\"#e5e7eb\"/>")?;
        write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#6b7280\">{label:.0}</text>",
            LEFT - 8.0,
            y + 4.0
        )?;
        let (x, label) = (LEFT + width * share, seconds * share);
        let anchor = if share == 1.0 { "end" } else { "middle" };
        write!(
            svg,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\" fill=\"#6b7280\">{label:.1} s</text>",
            bottom + 18.0
        )?;
    }
    for (index, (name, color, values)) in lines.iter().enumerate() {
        let step = width / (BUCKETS - 1) as f64;
        let points: Vec<_> = values
            .iter()
            .enumerate()
            .map(|(bucket, value)| {
                format!("{:.1},{:.1}", LEFT + step * bucket as f64, bottom - PANEL_HEIGHT * value / highest)
            })
            .collect();
        write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" points=\"{}\"/>",
            points.join(" ")
        )?;
        let x = WIDTH - RIGHT - 80.0 * (lines.len() - index) as f64;
        write!(svg, "<text x=\"{x}\" y=\"{}\" fill=\"{color}\">● {name}</text>", top - 12.0)?;
    }
    Ok(())
}
