//! The server that is started for a rehearsal when `--url` names none.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::RehearsalError;
use super::origin::Origin;

/// How long a server may take to start; the first one may have to fetch a mongod.
const START_SECONDS_MAX: u64 = 660;
/// How long the server may take to end.
const STOP_SECONDS_MAX: u64 = 30;

/// This very program as a server on a free port. It is killed when this is dropped while it still runs.
pub struct OwnServer {
    child: Child,
    /// What it says; taken once it has greeted.
    greeting: Option<Lines<BufReader<ChildStdout>>>,
}

impl OwnServer {
    /// Starts it. It ends with this process, or rather with the thread that calls this: that has to be one that stays.
    ///
    /// # Errors
    /// The system's.
    pub fn start() -> Result<Self, RehearsalError> {
        let error = |cause| RehearsalError::not_held("cannot start a server", cause);
        let program = std::env::current_exe().map_err(error)?;
        let mut child = Command::new(program)
            .args(["serve", "--end-with", &std::process::id().to_string()])
            .env("PORT", "0")
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C reaches every process of the terminal's group. The rehearsal ends the server, after it has looked at what
            // became of the sale and has removed it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(error)?;
        let greeting = child.stdout.take().map(|output| BufReader::new(output).lines());
        Ok(Self { child, greeting })
    }

    /// Its process.
    pub fn process_id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where it is, once it serves.
    ///
    /// # Errors
    /// It has ended, or took too long.
    pub async fn ready(&mut self) -> Result<Origin, RehearsalError> {
        let origin = async {
            let lines = self.greeting.as_mut()?;
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(url) = line.split_whitespace().find(|word| word.starts_with("http://")) {
                    return Origin::parse(url).ok();
                }
            }
            None
        };
        let origin = timeout(Duration::from_secs(START_SECONDS_MAX), origin).await.ok().flatten();
        if let Some(mut lines) = self.greeting.take() {
            // What else it says goes nowhere, but has to go.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        }
        origin.ok_or_else(|| {
            RehearsalError::NotHeld(
                "the server did not start; its own words are above. If one runs on this database already, name it with \
                 --url"
                    .into(),
            )
        })
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(mut self) -> Result<(), RehearsalError> {
        let error = |cause| RehearsalError::not_held("the server cannot be ended", cause);
        if let Some(process) = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)) {
            kill_process(process, Signal::TERM).map_err(|errno| error(errno.into()))?;
        }
        match timeout(Duration::from_secs(STOP_SECONDS_MAX), self.child.wait()).await {
            Ok(ended) => ended.map(drop).map_err(error),
            Err(_) => Err(RehearsalError::NotHeld(format!(
                "the server did not end within {STOP_SECONDS_MAX} s, and is killed"
            ))),
        }
    }
}
