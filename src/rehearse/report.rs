//! The result of a rehearsal, as a table for people and as JSON for scripts.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::arguments::Arguments;
use super::load::Event;
use super::payments::{Payments, Told};
use super::usage::{Cost, Pair};
use super::verdict::{Standing, Verdict};
use super::wire::Kind;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// As requested.
    connections: usize,
    /// Fewer than `connections` if the server or this machine could not open more.
    connections_open: usize,
    buyers: usize,
    /// Fewer than `buyers` if the time ran out or the rehearsal was interrupted.
    buyers_came: usize,
    interrupted: bool,
    products: usize,
    /// Requested requests per second; `None` for a closed loop.
    rate: Option<f64>,
    /// From the first request to the last answer.
    seconds: f64,
    purchases_per_second: f64,
    refusals_per_second: f64,
    answers: Vec<Latencies>,
    /// `None` if nothing had to be paid for.
    #[serde(skip_serializing_if = "Option::is_none")]
    payments: Option<PaymentsReport>,
    cost: Pair<Cost>,
    /// `None` if the rehearsal was interrupted before the outcome was read back.
    verdict: Option<Verdict>,
}

/// What became of the purchases while the crowd bought.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PaymentsReport {
    window_seconds: i64,
    pay_share: f64,
    /// Neither paid for nor canceled.
    let_go: u64,
    /// Payments for which nothing was left.
    unfillable: u64,
    /// Nobody knows what became of these payments and cancels.
    unknown: u64,
    /// Payments and cancels, from the first request to the last answer.
    answers: Vec<Latencies>,
}

/// What happened during a rehearsal. The default is one in which nothing happened.
#[derive(Debug, Default)]
pub struct Course {
    /// One per request.
    pub events: Vec<Event>,
    /// At the start.
    pub connections_open: usize,
    /// Buyers who sent a request.
    pub buyers_came: usize,
    pub cost: Pair<Cost>,
    /// `None` if nothing had to be paid for.
    pub payments: Option<Payments>,
    /// `None` if the outcome was not read back.
    pub verdict: Option<Verdict>,
    pub interrupted: bool,
}

/// The latencies of one kind of answer, in milliseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Latencies {
    kind: &'static str,
    count: usize,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Latencies {
    fn of_kind(kind: Kind, events: &[Event]) -> Option<Self> {
        let of_kind = events.iter().filter(|event| event.kind == kind);
        Self::of(kind.name(), of_kind.map(|event| event.latency).collect())
    }

    fn of(kind: &'static str, latencies: Vec<Duration>) -> Option<Self> {
        let mut sorted = latencies;
        sorted.sort_unstable();
        let max = sorted.last()?.as_secs_f64() * 1000.0;
        // The smallest latency that at least this share of the answers did not exceed.
        let at = |share: f64| {
            let index = (sorted.len() as f64 * share).ceil() as usize;
            sorted[index.clamp(1, sorted.len()) - 1].as_secs_f64() * 1000.0
        };
        Some(Self {
            kind,
            count: sorted.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max,
        })
    }
}

impl PaymentsReport {
    fn of(arguments: &Arguments, payments: &Payments) -> Self {
        let latencies = |name, of_payments| {
            let answers = payments.answers.values().filter(|answer| answer.is_payment == of_payments);
            Latencies::of(name, answers.map(|answer| answer.latency).collect())
        };
        Self {
            window_seconds: arguments.window.unwrap_or_default(),
            pay_share: arguments.pay_share,
            let_go: payments.let_go,
            unfillable: payments.count(Told::Unfillable),
            unknown: payments.count(Told::Unknown),
            answers: latencies("payment", true).into_iter().chain(latencies("cancel", false)).collect(),
        }
    }
}

impl Report {
    pub fn new(arguments: &Arguments, course: &Course) -> Self {
        let Course { events, connections_open, buyers_came, cost, payments, verdict, interrupted } = course;
        let end = events.iter().map(|event| event.at + event.latency).max().unwrap_or(Duration::ZERO);
        let seconds = end.as_secs_f64().max(1e-9);
        let count =
            |wanted: fn(Kind) -> bool| events.iter().filter(|event| wanted(event.kind)).count() as f64;
        Self {
            connections: arguments.connections,
            connections_open: *connections_open,
            buyers: arguments.buyers,
            buyers_came: *buyers_came,
            interrupted: *interrupted,
            products: arguments.products,
            rate: arguments.rate,
            seconds,
            purchases_per_second: count(|kind| kind == Kind::Bought) / seconds,
            refusals_per_second: count(|kind| kind != Kind::Bought && kind.is_definite()) / seconds,
            answers: Kind::ALL.iter().filter_map(|kind| Latencies::of_kind(*kind, events)).collect(),
            payments: payments.as_ref().map(|payments| PaymentsReport::of(arguments, payments)),
            cost: *cost,
            verdict: verdict.clone(),
        }
    }

    /// Whether a promise was broken.
    pub fn is_bad(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| !verdict.broken.is_empty())
    }

    /// For scripts.
    pub fn json(&self) -> String {
        format!("{:#}", json!(self))
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).unwrap_or_default();
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        if self.buyers_came < self.buyers || self.interrupted {
            let why = if self.interrupted { "INTERRUPTED" } else { "The time ran out" };
            writeln!(text, "{why}: {} of {} buyers came\n", self.buyers_came, self.buyers)?;
        }
        if !self.answers.is_empty() {
            self.write_figures(text)?;
        }
        let Some(Verdict { purchases, standing, broken }) = &self.verdict else {
            return write!(text, "The outcome was not read back");
        };
        if !broken.is_empty() {
            return write!(text, "BROKEN PROMISES:\n  - {}", broken.join("\n  - "));
        }
        write!(
            text,
            "{purchases} purchases read back: not oversold, nobody over the limit, no gap in the sequence, times in \
             order, every answer true"
        )?;
        let Some(Standing { confirmed, canceled, expired, pending, refund_due }) = standing else {
            return Ok(());
        };
        write!(
            text,
            ";\n{confirmed} confirmed, {canceled} canceled, {expired} expired, {pending} held and not yet due, {refund_due} \
             with a refund due: stock, held and sold add up, every payment is on record once"
        )
    }

    fn write_figures(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "{} buyers, {} connections, {} product(s), {}\n\n{:.0} purchases/s, {:.0} refusals/s, {:.2} s in all\n",
            self.buyers,
            self.connections_open,
            self.products,
            self.rate.map_or("closed loop".to_owned(), |rate| format!("open loop at {rate} requests/s")),
            self.purchases_per_second,
            self.refusals_per_second,
            self.seconds,
        )?;
        let names = ["p50", "p90", "p99", "p99.9", "max"].map(|name| format!("{name:>10}")).concat();
        writeln!(text, "{:<16}{:>9}{names}  (ms)", "answer", "count")?;
        let payments = self.payments.iter().flat_map(|payments| &payments.answers);
        for row in self.answers.iter().chain(payments) {
            let figures =
                [row.p50, row.p90, row.p99, row.p999, row.max].map(|value| format!("{value:>10.2}")).concat();
            writeln!(text, "{:<16}{:>9}{figures}", row.kind, row.count)?;
        }
        let answers: usize = self.answers.iter().map(|row| row.count).sum();
        for (name, cost) in [("server", self.cost.server), ("mongod", self.cost.mongod)] {
            let Some(cost) = cost else { continue };
            let each = cost.cpu_microseconds as f64 / answers.max(1) as f64;
            let memory = cost.memory_peak_kibibytes as f64 / 1024.0;
            writeln!(
                text,
                "\n{name}: {each:.1} us of processor per request, {memory:.0} MiB of memory at its peak"
            )?;
        }
        writeln!(text)
    }
}
