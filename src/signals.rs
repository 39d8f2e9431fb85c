//! The signals that end the program: Ctrl-C, on Unix SIGTERM, and on Linux SIGHUP, which a closing terminal sends.

use std::io;

/// The exit code after an interruption: the one that a shell reports for a program ended by Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Receives the signals that end this process.
pub struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hangup: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    /// Replaces the system's default handling, which ends the process immediately.
    ///
    /// # Errors
    /// Those of the operating system.
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

    /// Does nothing on this system; [`next`](Self::next) waits for Ctrl-C.
    ///
    /// # Errors
    /// None.
    #[cfg(not(unix))]
    pub fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Asks Linux to send SIGTERM to this process as soon as its parent has ended, for whatever reason.
    ///
    /// # Errors
    /// The parent is another process, so `parent` has already ended; or those of the operating system.
    #[cfg(target_os = "linux")]
    pub fn follow(&self, parent: u32) -> io::Result<()> {
        use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // If the parent ended before the line above, no signal comes.
        match getppid().map(Pid::as_raw_pid) {
            Some(process) if process.unsigned_abs() == parent => Ok(()),
            _ => Err(io::Error::other(format!("process {parent}, named by --end-with, is not the parent"))),
        }
    }

    /// Does nothing: only Linux can signal the end of the parent.
    ///
    /// # Errors
    /// None.
    #[cfg(not(target_os = "linux"))]
    pub fn follow(&self, _parent: u32) -> io::Result<()> {
        Ok(())
    }

    /// Resolves at the next signal.
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

/// Whether to handle SIGHUP. Not if the process was started with SIGHUP ignored (`nohup`), which a handler would
/// undo. If that cannot be found out, the system's default stays.
#[cfg(unix)]
fn hangup_ends() -> bool {
    use rustix::process::Signal;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signals are counted from 1, the bits of the mask from 0 (proc_pid_status(5)).
    ignored.is_some_and(|mask| mask & (1 << (Signal::HUP.as_raw() - 1)) == 0)
}
