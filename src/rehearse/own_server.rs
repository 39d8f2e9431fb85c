//! The server that a rehearsal starts if `--url` names none.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::RehearsalError;
use super::origin::Origin;

/// How long the server may take to start: it may have to download `mongod`.
const START_SECONDS_MAX: u64 = 660;
const STOP_SECONDS_MAX: u64 = 30;

/// This program as a server on a free port, killed on drop if it still runs.
pub struct OwnServer {
    child: Child,
    /// Its standard output; taken by `ready`.
    greeting: Option<Lines<BufReader<ChildStdout>>>,
}

impl OwnServer {
    /// Starts the server. Linux ends it when the calling thread ends, so call this on a thread that lives to the end.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn start() -> Result<Self, RehearsalError> {
        let error = |cause| RehearsalError::not_held("cannot start a server", cause);
        let program = std::env::current_exe().map_err(error)?;
        let mut child = Command::new(program)
            .args(["serve", "--end-with", &std::process::id().to_string()])
            .env("PORT", "0")
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C reaches every process of the terminal's group, but the rehearsal has to end the server after it
            // has read the outcome and removed it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(error)?;
        let greeting = child.stdout.take().map(|output| BufReader::new(output).lines());
        Ok(Self { child, greeting })
    }

    pub fn process_id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the server is ready, and returns its address.
    ///
    /// # Errors
    /// The server has ended, or took too long.
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
            // Read and drop the rest, so that the server never blocks on a full pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        }
        origin.ok_or_else(|| {
            RehearsalError::NotHeld(
                "the server did not start; see its own message above. If one is already running on this database, \
                 name it with --url"
                    .into(),
            )
        })
    }

    /// Ends the server in order.
    ///
    /// # Errors
    /// The server does not end in time.
    pub async fn stop(mut self) -> Result<(), RehearsalError> {
        let error = |cause| RehearsalError::not_held("the server cannot be ended", cause);
        if let Some(process) = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)) {
            kill_process(process, Signal::TERM).map_err(|errno| error(errno.into()))?;
        }
        match timeout(Duration::from_secs(STOP_SECONDS_MAX), self.child.wait()).await {
            Ok(ended) => ended.map(drop).map_err(error),
            Err(_) => Err(RehearsalError::NotHeld(format!(
                "the server did not end within {STOP_SECONDS_MAX} s and was killed"
            ))),
        }
    }
}
