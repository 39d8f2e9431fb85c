//! The signals that end the program: Ctrl-C, on Unix SIGTERM, and on Linux SIGHUP, which the end of a terminal sends.

use std::io;

/// The end signals of this process, from now on.
pub struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    /// Takes the signals over from the system's default, which ends a process on the spot.
    ///
    /// # Errors
    /// The system's.
    #[cfg(unix)]
    pub fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = hangup_ends().then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
        })
    }

    /// Takes the signals over.
    ///
    /// # Errors
    /// None.
    #[cfg(not(unix))]
    pub fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Has SIGTERM come as soon as the process that started this one has ended, however that happens. Linux alone can do
    /// that; elsewhere nothing comes.
    ///
    /// # Errors
    /// Another process is the parent, so that one has ended already; or the system's.
    #[cfg(target_os = "linux")]
    pub fn follow(&self, parent: u32) -> io::Result<()> {
        use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // It may have ended before the line above: then there will be no signal.
        match getppid().map(Pid::as_raw_pid) {
            Some(process) if process.unsigned_abs() == parent => Ok(()),
            _ => Err(io::Error::other(format!("process {parent}, to end with, is not the parent"))),
        }
    }

    /// Nothing comes.
    ///
    /// # Errors
    /// None.
    #[cfg(not(target_os = "linux"))]
    pub fn follow(&self, _parent: u32) -> io::Result<()> {
        Ok(())
    }

    /// Resolves at the next one.
    pub async fn next(&mut self) {
        #[cfg(unix)]
        {
            let hangup = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = hangup => {}
            }
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Whether SIGHUP is to end this process. Not if whoever started it has it ignored (`nohup`), which a handler would undo;
/// where that cannot be known, the system's default holds.
#[cfg(unix)]
fn hangup_ends() -> bool {
    use rustix::process::Signal;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signals are counted from 1, the bits of the mask from 0 (proc_pid_status(5)).
    ignored.is_some_and(|mask| mask & (1 << (Signal::HUP.as_raw() - 1)) == 0)
}
