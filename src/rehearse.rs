//! `flash-sale rehearse`: rehearses a sale against a running server, or one that it starts itself, and reports how
//! fast it was and whether every promise was kept.
//!
//! It creates marked products, sends a crowd that buys them, reads the outcome back from the database, and removes
//! everything again.

use std::io::{self, Write as _};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::open_files;
use crate::signals::{INTERRUPTED, Signals};

pub use arguments::{Arguments, within};

use crowd::Crowd;
use load::Load;
use origin::Origin;
use own_server::OwnServer;
use payments::Till;
use progress::{Progress, tell};
use report::{Course, Report};
use stage::Stage;

mod arguments;
mod origin;

mod crowd;
mod expiry;
pub mod load;
mod own_server;
mod payment_books;
mod payments;
mod probe;
mod stage;
pub mod wire;

mod plot;
pub mod progress;
mod report;
mod usage;
mod verdict;

/// The exit code when a promise was broken.
const BROKEN: u8 = 1;
/// The exit code of wrong usage, the same as for every command.
const REFUSED: u8 = 2;
/// The exit code when the rehearsal could not be held, or its products could not be removed or its result written.
const NOT_HELD: u8 = 3;

/// With a payment window of at most this, in seconds, the rehearsal waits until what nobody has paid for has expired.
const AWAITED_WINDOW_SECONDS_MAX: i64 = 60;

/// Why there is no result, as one sentence for the person who started the rehearsal.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// The arguments ask for something impossible.
    #[error("{0}")]
    Refused(String),
    /// The rehearsal could not be held.
    #[error("{0}")]
    NotHeld(String),
    /// A signal came before the crowd did.
    #[error("interrupted")]
    Interrupted,
    /// A second signal came.
    #[error("ended at once: products named `{}` and their purchases may still be there", stage::NAME)]
    EndedAtOnce,
}

impl RehearsalError {
    fn not_held(what: &str, cause: impl std::fmt::Display) -> Self {
        Self::NotHeld(format!("{what}: {cause}"))
    }

    /// The program's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => REFUSED,
            Self::NotHeld(_) => NOT_HELD,
            Self::Interrupted | Self::EndedAtOnce => INTERRUPTED,
        }
    }
}

/// The course of a rehearsal, and whether everything that it created was removed.
struct Outcome {
    course: Result<Course, RehearsalError>,
    cleaned: Result<(), RehearsalError>,
}

impl Outcome {
    fn without_a_trace(error: RehearsalError) -> Self {
        Self { course: Err(error), cleaned: Ok(()) }
    }
}

/// Rehearses, and prints the result. The first signal stops the rehearsal, which then removes what it has created; a
/// second signal ends it at once.
///
/// # Errors
/// Why there is no result.
pub async fn run(
    arguments: &Arguments,
    config: &Config,
    signals: &mut Signals,
) -> Result<ExitCode, RehearsalError> {
    arguments.plot.as_deref().map_or(Ok(()), plot::check)?;
    // If that fails, fewer connections open, and a message says so.
    drop(open_files::raise_limit());
    let interrupted = CancellationToken::new();
    let mut rehearsal = pin!(hold(arguments, config, &interrupted));
    let outcome = tokio::select! {
        outcome = &mut rehearsal => outcome,
        () = signals.next() => {
            tell("interrupted: removing what was created; a second signal ends at once");
            interrupted.cancel();
            tokio::select! {
                outcome = rehearsal => outcome,
                () = signals.next() => return Err(RehearsalError::EndedAtOnce),
            }
        }
    };
    tell_outcome(arguments, outcome)
}

/// Prints the result before anything else can fail.
fn tell_outcome(arguments: &Arguments, outcome: Outcome) -> Result<ExitCode, RehearsalError> {
    let course = match outcome.course {
        Ok(course) => course,
        Err(RehearsalError::Interrupted) => Course { interrupted: true, ..Course::default() },
        Err(error) => {
            outcome.cleaned.unwrap_or_else(|error| tell(&error.to_string()));
            return Err(error);
        }
    };
    let report = Report::new(arguments, &course);
    let text = if arguments.json { report.json() } else { report.text() };
    let told = writeln!(io::stdout(), "{text}")
        .map_err(|error| RehearsalError::not_held("the result cannot be written", error));
    let plotted = arguments.plot.as_deref().map_or(Ok(()), |path| plot::write(path, &course.events));
    let problems = [outcome.cleaned, told, plotted].into_iter().filter_map(Result::err);
    let not_held = problems.inspect(|problem| tell(&problem.to_string())).count() > 0;
    Ok(match () {
        () if report.is_bad() => ExitCode::from(BROKEN),
        () if not_held => ExitCode::from(NOT_HELD),
        () if course.interrupted => ExitCode::from(INTERRUPTED),
        () => ExitCode::SUCCESS,
    })
}

/// The result of the work, or `Interrupted` if the rehearsal is interrupted before.
async fn until<T>(
    interrupted: &CancellationToken,
    work: impl Future<Output = Result<T, RehearsalError>>,
) -> Result<T, RehearsalError> {
    interrupted.run_until_cancelled(work).await.unwrap_or(Err(RehearsalError::Interrupted))
}

/// Rehearses against the server of `--url`, or against one that it starts for this.
async fn hold(arguments: &Arguments, config: &Config, interrupted: &CancellationToken) -> Outcome {
    if let Some(origin) = &arguments.url {
        return hold_at(origin, None, arguments, config, interrupted).await;
    }
    tell("a server starts");
    // `main` awaits this on the program's first thread, which lives to the end, as `start` demands.
    let mut server = match OwnServer::start() {
        Ok(server) => server,
        Err(error) => return Outcome::without_a_trace(error),
    };
    let mut outcome = match until(interrupted, server.ready()).await {
        Ok(origin) => hold_at(&origin, server.process_id(), arguments, config, interrupted).await,
        Err(error) => Outcome::without_a_trace(error),
    };
    let stopped = server.stop().await;
    outcome.cleaned = outcome.cleaned.and(stopped);
    outcome
}

async fn hold_at(
    origin: &Origin,
    server: Option<u32>,
    arguments: &Arguments,
    config: &Config,
    interrupted: &CancellationToken,
) -> Outcome {
    let mut stage = match until(interrupted, Stage::set(origin, server, config)).await {
        Ok(stage) => stage,
        Err(error) => return Outcome::without_a_trace(error),
    };
    let course = perform(&mut stage, arguments, interrupted).await;
    // Always, whatever happened.
    Outcome { course, cleaned: stage.strike().await }
}

async fn perform(
    stage: &mut Stage,
    arguments: &Arguments,
    interrupted: &CancellationToken,
) -> Result<Course, RehearsalError> {
    // Must not be interrupted (see `put_on_sale`), and takes only milliseconds.
    stage.put_on_sale(arguments).await?;
    until(interrupted, probe::check(stage)).await?;
    tell("the buyers' tokens are signed");
    let gathering = async { Ok(Crowd::gather(arguments, stage).await) };
    let crowd = until(interrupted, gathering).await?;
    let sold = sell(stage, &crowd, arguments, interrupted).await?;
    if arguments.window.is_some_and(|window| window <= AWAITED_WINDOW_SECONDS_MAX) {
        tell("what nobody has paid for expires");
        let expiring = async { expiry::wait(stage).await };
        interrupted.run_until_cancelled(expiring).await.transpose()?;
    }
    tell("the outcome is read back");
    let buyers_came = crowd.buyers_among(sold.events.len());
    let reading = verdict::read(stage, arguments, &sold);
    // An interruption of the crowd still yields a verdict on what it has done. An interruption from here on yields
    // none.
    let verdict = match interrupted.is_cancelled() {
        true => Some(reading.await?),
        false => interrupted.run_until_cancelled(reading).await.transpose()?,
    };
    Ok(Course { buyers_came, verdict, interrupted: interrupted.is_cancelled(), ..sold })
}

/// Lets the crowd buy until everybody was served, the time is over, or the rehearsal is interrupted. The returned
/// course has no verdict yet.
async fn sell(
    stage: &Stage,
    crowd: &Crowd,
    arguments: &Arguments,
    interrupted: &CancellationToken,
) -> Result<Course, RehearsalError> {
    let progress = Arc::new(Progress::default());
    let stop = CancellationToken::new();
    let load = Load {
        address: stage.address(),
        connections: arguments.connections,
        rate: arguments.rate,
        requests: crowd.requests.clone(),
        repeats: false,
        progress: progress.clone(),
        stop: stop.clone(),
    };
    let before = stage.usage();
    tell("the connections are opened");
    let ready = until(interrupted, async { Ok(load.open().await) }).await?;
    let connections_open = ready.connections();
    if connections_open < arguments.connections {
        tell(&format!(
            "only {connections_open} of {} connections are open: the server takes no more, or this user may not open \
             more files (ulimit -n -H)",
            arguments.connections
        ));
    }
    tell("the crowd buys");
    let display = tokio::spawn(progress::show(progress, crowd.requests.len(), stop.clone()));
    let (bought, comes) = mpsc::unbounded_channel();
    let till = arguments.window.map(|_| Till::open(arguments, stage, crowd, comes, interrupted));
    let run = tokio::spawn(ready.run_telling(till.is_some().then_some(bought)));
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(arguments.duration)) => {}
        () = interrupted.cancelled() => {}
        () = stop.cancelled() => {}
    }
    stop.cancel();
    let events = run.await.map_err(|error| RehearsalError::not_held("the crowd failed", error))?;
    let after = stage.usage();
    display.await.map_err(|error| RehearsalError::not_held("the display failed", error))?;
    let cost = usage::difference(before, after);
    // The crowd has ended, and with it the channel.
    let payments = match till {
        Some(till) => Some(till.close().await),
        None => None,
    };
    Ok(Course { events, connections_open, cost, payments, ..Course::default() })
}
