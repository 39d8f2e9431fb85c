//! `crowd`: sends requests with the generator of `flash-sale rehearse`, to the product and its rivals alike.

use std::sync::Arc;
use std::time::Duration;

use flash_sale::model::timestamp::Timestamp;
use flash_sale::rehearse::load::{Event, Load, Ready};
use flash_sale::rehearse::progress::{self, Progress};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Outcome;

pub use arguments::Arguments;
pub use phase::Phase;
pub use report::Report;

mod arguments;
mod phase;
mod report;
mod requests;

use requests::Requests;

#[derive(Debug, Serialize)]
pub struct Reports {
    /// In the order of the phases.
    pub phases: Vec<Report>,
}

/// Sends the crowd and prints the reports.
pub async fn run(arguments: Arguments) -> Outcome {
    let phases = arguments.phases()?;
    let requests = requests::prepare(&arguments, &phases)?;
    // All connections are opened first, so that the phases follow one another without a gap.
    let mut prepared = Vec::new();
    for (phase, requests) in phases.into_iter().zip(requests) {
        prepared.push(Prepared::open(&arguments, phase, requests).await);
    }
    let mut running = Vec::new();
    for phase in prepared {
        running.push(phase.run().await?);
    }
    let mut reports = Reports { phases: Vec::new() };
    for phase in running {
        reports.phases.push(phase.report(arguments.goodput_ms).await?);
    }
    println!("{:#}", serde_json::to_value(reports)?);
    Ok(())
}

/// A phase whose connections are open.
struct Prepared {
    phase: Phase,
    loads: Vec<Ready>,
    pool: Option<usize>,
    progress: Arc<Progress>,
    stop: CancellationToken,
    /// One for each load.
    ends: Vec<CancellationToken>,
}

/// A phase that has sent everything; the last answers may still be on their way.
struct Running {
    phase: Phase,
    opened: usize,
    started_at: Timestamp,
    pool: Option<usize>,
    loads: Vec<JoinHandle<Vec<Event>>>,
}

impl Prepared {
    /// Spreads the phase evenly over the servers and opens its connections to them.
    async fn open(arguments: &Arguments, phase: Phase, requests: Vec<Requests>) -> Self {
        let servers = arguments.urls.len();
        let (progress, stop) = (Arc::new(Progress::default()), CancellationToken::new());
        let repeats = !arguments.once;
        let pool = arguments.once.then(|| requests.iter().map(Vec::len).sum());
        let (mut loads, mut ends) = (Vec::new(), Vec::new());
        for (target, requests) in arguments.urls.iter().zip(requests) {
            // Each load has its own end: one server's share may be sent before another's.
            let end = stop.child_token();
            ends.push(end.clone());
            let load = Load {
                address: target.address,
                connections: phase.connections.div_ceil(servers),
                rate: phase.rate.map(|rate| rate / servers as f64),
                requests: Arc::new(requests),
                repeats,
                progress: progress.clone(),
                stop: end,
            };
            loads.push(load.open().await);
        }
        Self { phase, loads, pool, progress, stop, ends }
    }

    /// Sends until the phase is over or everything is sent.
    async fn run(self) -> Outcome<Running> {
        let opened = self.loads.iter().map(Ready::connections).sum();
        let expected = self.pool.unwrap_or_else(|| self.phase.offered().unwrap_or_default());
        let display = tokio::spawn(progress::show(self.progress, expected, self.stop.clone()));
        let started_at = Timestamp::now_here();
        let loads = self.loads.into_iter().map(|load| tokio::spawn(load.run())).collect();
        let all_sent = futures_util::future::join_all(self.ends.iter().map(CancellationToken::cancelled));
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs_f64(self.phase.seconds)) => {}
            _ = all_sent => {}
        }
        self.stop.cancel();
        display.await?;
        Ok(Running { phase: self.phase, opened, started_at, pool: self.pool, loads })
    }
}

impl Running {
    async fn report(self, goodput_ms: u64) -> Outcome<Report> {
        let mut events = Vec::new();
        for load in self.loads {
            events.extend(load.await?);
        }
        Ok(Report::new(&self.phase, (self.opened, self.started_at), self.pool, &events, goodput_ms))
    }
}
