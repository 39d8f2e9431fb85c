//! The results of a crowd.

use std::collections::BTreeMap;
use std::time::Duration;

use flash_sale::model::timestamp::Timestamp;
use flash_sale::rehearse::load::Event;
use flash_sale::rehearse::wire::Kind;
use serde::Serialize;

use super::phase::Phase;
use crate::figures::Latencies;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Connections that the server accepted.
    pub connections: usize,
    /// When it began, in milliseconds since 1970 by this machine's clock.
    pub started_at_ms: i64,
    /// Requests that are due per second; `None` in a closed loop.
    pub rate: Option<f64>,
    /// The time that the rates refer to.
    pub seconds: f64,
    /// Requests that were due.
    pub offered: usize,
    /// Requests that were sent. The rest found no free connection before the phase was over.
    pub sent: usize,
    /// All answers, of any kind.
    pub answers_per_second: f64,
    /// Good answers: the server decided in time.
    pub good_per_second: f64,
    /// Good answers as a share of the requests that were due, 0 to 1.
    pub good_share: f64,
    pub answers: Vec<Answers>,
    /// What happened in each second, by the time when requests were due.
    pub series: Vec<Second>,
}

/// The answers of one kind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answers {
    kind: String,
    status: u16,
    per_second: f64,
    /// From the time when the request was due.
    #[serde(flatten)]
    latencies: Latencies,
    /// From the time when it was sent: without the delay of a crowd that is too slow.
    since_sent: Option<Latencies>,
}

/// One second of a phase.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Second {
    second: usize,
    sent: usize,
    good: usize,
    /// 503 and 429.
    turned_away: usize,
    /// No answer, or a wrong one.
    failed: usize,
    /// Of all answers.
    latencies: Option<Latencies>,
}

impl Report {
    /// `connections` were open when it began. `pool` is the number of available requests, if each is sent at most once.
    pub fn new(
        phase: &Phase,
        (connections, started_at): (usize, Timestamp),
        pool: Option<usize>,
        events: &[Event],
        goodput_ms: u64,
    ) -> Self {
        let in_time = Duration::from_millis(goodput_ms);
        let pool = pool.unwrap_or(usize::MAX);
        let offered = phase.offered().map_or(events.len(), |offered| offered.min(pool));
        let end = events.iter().map(|event| event.at + event.latency).max().unwrap_or_default();
        let seconds = match phase.rate {
            Some(rate) => phase.seconds.min(pool as f64 / rate),
            None => end.as_secs_f64(),
        }
        .max(1e-9);
        let good = events.iter().filter(|event| is_good(event, in_time)).count();
        Self {
            connections,
            started_at_ms: started_at.milliseconds(),
            rate: phase.rate,
            seconds,
            offered,
            sent: events.len(),
            answers_per_second: events.iter().filter(|event| event.status > 0).count() as f64 / seconds,
            good_per_second: good as f64 / seconds,
            good_share: good as f64 / offered.max(1) as f64,
            answers: answers(events, seconds),
            series: series(events, in_time),
        }
    }
}

/// Whether the server decided in time: a success, or a refusal that a repetition would not change.
fn is_good(event: &Event, in_time: Duration) -> bool {
    matches!(event.status, 200..=428 | 430..=499) && event.latency <= in_time
}

fn is_turned_away(event: &Event) -> bool {
    matches!(event.kind, Kind::Overloaded | Kind::Unavailable)
}

fn answers(events: &[Event], seconds: f64) -> Vec<Answers> {
    let mut kinds: BTreeMap<(u16, Kind), (Vec<Duration>, Vec<Duration>)> = BTreeMap::new();
    for event in events {
        let (latencies, since_sent) = kinds.entry((event.status, event.kind)).or_default();
        latencies.push(event.latency);
        since_sent.push(event.latency.saturating_sub(event.waited));
    }
    let summed = kinds.into_iter().filter_map(|((status, kind), (latencies, since_sent))| {
        let (latencies, since_sent) = (Latencies::of(latencies)?, Latencies::of(since_sent));
        // `Kind` is about purchases; for other requests the status says enough.
        let kind = if kind == Kind::Unexpected { status.to_string() } else { kind.name().to_owned() };
        Some(Answers { kind, status, per_second: latencies.count as f64 / seconds, latencies, since_sent })
    });
    summed.collect()
}

fn series(events: &[Event], in_time: Duration) -> Vec<Second> {
    let mut seconds: BTreeMap<u64, Vec<&Event>> = BTreeMap::new();
    for event in events {
        seconds.entry(event.at.as_secs()).or_default().push(event);
    }
    let summed = seconds.into_iter().map(|(second, events)| {
        let count = |wanted: &dyn Fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
        Second {
            second: second as usize,
            sent: events.len(),
            good: count(&|event| is_good(event, in_time)),
            turned_away: count(&is_turned_away),
            failed: count(&|event| event.status == 0 || event.status == 500 || event.kind == Kind::Unknown),
            latencies: Latencies::of(events.iter().map(|event| event.latency).collect()),
        }
    });
    summed.collect()
}
