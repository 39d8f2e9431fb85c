//! `flash-sale rehearse`: rehearses a sale against a running server, or one that it starts itself, and tells how fast it
//! was and whether every promise was kept.
//!
//! It creates marked products of its own, sends a crowd that buys them, reads back from the database what became of it,
//! and removes all of it again.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::signals::Signals;

pub use arguments::Arguments;

use crowd::Crowd;
use load::Load;
use progress::Live;
use stage::Stage;

mod arguments;

mod crowd;
pub mod load;
mod stage;
pub mod wire;

mod plot;
pub mod progress;
mod report;
mod usage;
mod verdict;

/// What the rehearsal cannot go on without, as one sentence for the person who started it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RehearsalError(String);

impl RehearsalError {
    fn new(what: &str, cause: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {cause}"))
    }
}

/// Rehearses; the exit code is 0 when every promise was kept, 1 when one was broken or the rehearsal could not be held.
///
/// # Errors
/// What was in the way.
pub async fn run(
    arguments: &Arguments,
    config: &Config,
    signals: &mut Signals,
) -> Result<ExitCode, RehearsalError> {
    arguments.check()?;
    let stage = Stage::set(arguments, config).await?;
    let result = perform(arguments, &stage, signals).await;
    // Whatever happened, nothing of it stays.
    let struck = stage.strike().await;
    let (report, plot) = result?;
    struck?;
    if let (Some(path), Some(plot)) = (&arguments.plot, plot) {
        std::fs::write(path, plot)
            .map_err(|error| RehearsalError::new(&format!("cannot write {}", path.display()), error))?;
    }
    println!("{}", if arguments.json { report.json() } else { report.text() });
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn perform(
    arguments: &Arguments,
    stage: &Stage,
    signals: &mut Signals,
) -> Result<(report::Report, Option<String>), RehearsalError> {
    let crowd = Crowd::gather(arguments, stage.tokens(), stage.products(), stage.host());
    let live = Arc::new(Live::default());
    let stop = CancellationToken::new();
    let load = Load {
        address: stage.address(),
        connections: arguments.connections,
        rate: arguments.rate,
        requests: Arc::new(crowd.requests),
        repeats: false,
        live: live.clone(),
        stop: stop.clone(),
    };
    let before = stage.usage();
    let display = tokio::spawn(progress::show(live, load.requests.len(), stop.clone()));
    let run = tokio::spawn(load.open().await.run());
    let limit = Duration::from_secs(arguments.duration);
    tokio::select! {
        () = tokio::time::sleep(limit) => {}
        _ = signals.next() => {}
        () = stop.cancelled() => {}
    }
    stop.cancel();
    let events = run.await.map_err(|error| RehearsalError::new("the crowd failed", error))?;
    let after = stage.usage();
    display.await.map_err(|error| RehearsalError::new("the display failed", error))?;
    let verdict = verdict::read(stage, arguments, &events).await?;
    let plot = arguments.plot.as_ref().map(|_| plot::svg(&events));
    Ok((report::Report::new(arguments, &events, usage::difference(before, after), verdict), plot))
}
