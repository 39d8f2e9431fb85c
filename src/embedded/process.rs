//! The `mongod` process: start, signals, exit.
//!
//! A dedicated thread spawns it, waits for it, and ends with it. Linux sends the parent-death signal when the
//! *thread* that spawned ends, and a thread of the runtime's pool may end long before the server. Besides, no runtime
//! can cancel this wait, so `mongod` is always reaped and its end always known.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::data_directory::DataDirectory;
use super::error::EmbeddedError;
use super::replica_set::REPLICA_SET_NAME;

/// WiredTiger's cache. MongoDB's default is half of the machine's memory.
const CACHE_GIBIBYTES: f32 = 0.5;
/// The oplog, on disk. MongoDB's default is a twentieth of the free disk. At 20,000 purchases per second a change
/// stream may fall about a minute and a half behind with this size.
const OPLOG_MEBIBYTES: u32 = 1024;
/// How long old versions of documents are kept for reads of the past (`atClusterTime`), which the server never makes.
/// With MongoDB's default of 300 s, every transaction adds a version of the product, each write takes WiredTiger
/// longer the more versions there are, and after a minute of a sale that costs a quarter of MongoDB's time or more
/// (docs/PERFORMANCE.md).
const SNAPSHOT_HISTORY_SECONDS: u32 = 0;
/// One file of WiredTiger's journal. Every start reads the last one to its end, mostly zeros: with MongoDB's default of
/// 100 MiB that is a third of the start.
const JOURNAL_FILE_MEBIBYTES: u32 = 32;
/// The threads that write changed pages and make room in the cache. MongoDB's default of 4 occupies all cores of a
/// small machine every few seconds of a sale. With one, purchases at half of the capacity have a p99 of 28 ms instead
/// of 48, at the same cost (measured on two cores).
const EVICTION_THREADS: u32 = 1;
/// Slower operations are logged. MongoDB's default, 100 ms, fills the log under load.
const SLOW_OPERATION_MILLISECONDS: u32 = 1000;
/// The rounds of hashing between a password and what MongoDB stores of it: the fewest that MongoDB takes. They slow down
/// whoever guesses at a password from a stolen database; ours have 256 random bits, which nobody guesses, and every start
/// takes the rounds' time.
const PASSWORD_HASH_ROUNDS: u32 = 5_000;
/// How long a clean stop may take before `mongod` is killed. It takes 0.1 to 1.1 s: `mongod` waits for its replication
/// thread, which sleeps for a second at a time.
const STOP_SECONDS_MAX: u64 = 10;
/// How long the operating system may take to end a killed process.
const KILL_SECONDS_MAX: u64 = 5;

/// A `mongod` process, killed on drop if it still runs.
pub(super) struct Mongod {
    process: Arc<Process>,
    /// Set once, by `waiter`.
    exit: watch::Receiver<Option<ExitStatus>>,
    /// The thread that waits for `mongod`. Ends right after it has set `exit`.
    waiter: Option<JoinHandle<()>>,
}

impl Mongod {
    /// Starts `mongod` over the directory; it is going to listen on the loopback port.
    ///
    /// # Errors
    /// The program cannot be executed, or its log cannot be written.
    pub(super) async fn spawn(
        binary: &Path,
        directory: &DataDirectory,
        port: u16,
    ) -> Result<Self, EmbeddedError> {
        let command = command(binary, directory, port)?;
        let failed = |source| EmbeddedError::Spawn { binary: binary.to_owned(), source };
        let (started_sender, started) = oneshot::channel();
        let (exit_sender, exit) = watch::channel(None);
        let waiter = thread::Builder::new()
            .name("mongod".to_owned())
            .spawn(move || spawn_and_wait(command, started_sender, &exit_sender))
            .map_err(failed)?;
        // The answer comes as soon as the kernel has executed the program or refused to.
        let answer =
            started.await.unwrap_or_else(|_| Err(io::Error::other("the thread that starts it panicked")));
        Ok(Self { process: answer.map_err(failed)?, exit, waiter: Some(waiter) })
    }

    pub(super) fn process_id(&self) -> u32 {
        self.process.id.as_raw_nonzero().get().unsigned_abs()
    }

    /// Resolves at the end of `mongod`; `None` if it is not known how it ended.
    pub(super) fn exit(&self) -> impl Future<Output = Option<ExitStatus>> + Send + 'static + use<> {
        let mut exit = self.exit.clone();
        async move { exit.wait_for(Option::is_some).await.ok().and_then(|status| *status) }
    }

    /// As [`exit`](Self::exit), in words that follow "mongod has".
    pub(super) fn ended(&self) -> impl Future<Output = String> + Send + 'static + use<> {
        let exit = self.exit();
        async move { describe(exit.await) }
    }

    /// Ends `mongod` with a last checkpoint; kills it if that takes longer than ten seconds.
    pub(super) async fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        if timeout(Duration::from_secs(STOP_SECONDS_MAX), self.exit()).await.is_err() {
            let process_id = self.process_id();
            tracing::warn!(process_id, waited_s = STOP_SECONDS_MAX, "mongod does not stop: killing it");
            self.process.signal(Signal::KILL);
            if timeout(Duration::from_secs(KILL_SECONDS_MAX), self.exit()).await.is_err() {
                tracing::error!(
                    process_id,
                    waited_s = KILL_SECONDS_MAX,
                    "mongod survives a kill: leaving it behind"
                );
                return;
            }
        }
        // Reporting the exit was the thread's last act, so this does not block.
        if self.waiter.take().is_some_and(|waiter| waiter.join().is_err()) {
            tracing::error!("the thread that waited for mongod panicked");
        }
    }
}

impl Drop for Mongod {
    fn drop(&mut self) {
        self.process.signal(Signal::KILL);
    }
}

impl fmt::Debug for Mongod {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Mongod").field("process_id", &self.process_id()).finish_non_exhaustive()
    }
}

/// How `mongod` ended, in words that follow "mongod has".
pub(super) fn describe(exit: Option<ExitStatus>) -> String {
    exit.map_or_else(|| "ended in an unknown way".to_owned(), |status| format!("ended ({status})"))
}

/// The process by its id, which is valid until the process is reaped.
struct Process {
    id: Pid,
    reaped: Mutex<bool>,
}

impl Process {
    /// Does nothing if the process was reaped: its id may belong to another process by now.
    fn signal(&self, signal: Signal) {
        let reaped = self.lock();
        if !*reaped && let Err(error) = rustix::process::kill_process(self.id, signal) {
            tracing::error!(process_id = %self.id, %error, "cannot send a signal to mongod");
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // No code panics while it holds the lock; even then the flag would be right.
        self.reaped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything the thread does.
fn spawn_and_wait(
    mut command: Command,
    started: oneshot::Sender<io::Result<Arc<Process>>>,
    exit: &watch::Sender<Option<ExitStatus>>,
) {
    let spawned = command.spawn();
    // It keeps the log open and is no longer needed.
    drop(command);
    let child = match spawned {
        Ok(child) => child,
        Err(source) => {
            // Fails only if the start was given up; then nobody needs the error.
            let _ = started.send(Err(source));
            return;
        }
    };
    let process = Arc::new(Process { id: Pid::from_child(&child), reaped: Mutex::new(false) });
    if started.send(Ok(Arc::clone(&process))).is_err() {
        // The start was given up meanwhile.
        process.signal(Signal::KILL);
    }
    match wait(child, &process) {
        Ok(status) => {
            exit.send_replace(Some(status));
        }
        // The receivers see that the sender is dropped, and take it for the end.
        Err(error) => tracing::error!(process_id = %process.id, %error, "cannot wait for mongod"),
    }
}

/// Waits for the end without reaping, then reaps under the lock, so that no signal goes to an id that is free again.
fn wait(mut child: Child, process: &Process) -> io::Result<ExitStatus> {
    let ended_but_not_reaped = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(process.id), ended_but_not_reaped))?;
    let mut reaped = process.lock();
    let status = child.wait();
    *reaped = true;
    status
}

fn command(binary: &Path, directory: &DataDirectory, port: u16) -> Result<Command, EmbeddedError> {
    let log = directory.open_log()?;
    let errors = log.try_clone().map_err(EmbeddedError::file("open", &directory.log()))?;
    let engine = format!(
        "log=(file_max={JOURNAL_FILE_MEBIBYTES}MB),eviction=(threads_min={EVICTION_THREADS},threads_max={EVICTION_THREADS})"
    );
    let mut command = Command::new(binary);
    command
        .args(["--replSet", REPLICA_SET_NAME, "--oplogSize", &OPLOG_MEBIBYTES.to_string()])
        .args(["--bind_ip", "127.0.0.1", "--nounixsocket", "--port", &port.to_string()])
        // Compression wastes time on a loopback connection, and zlib leaks memory in mongod before 6.0.27.
        .args(["--networkMessageCompressors", "disabled"])
        .arg("--dbpath")
        .arg(directory.mongodb())
        // With it, mongod asks everybody for a password.
        .arg("--keyFile")
        .arg(directory.key_file())
        // Otherwise anybody on this machine could make himself the first user before we make ours.
        .args(["--setParameter", "enableLocalhostAuthBypass=false"])
        .args(["--setParameter", &format!("scramSHA256IterationCount={PASSWORD_HASH_ROUNDS}")])
        .args(["--wiredTigerCacheSizeGB", &CACHE_GIBIBYTES.to_string()])
        .args(["--wiredTigerEngineConfigString", &engine])
        .args(["--setParameter", &format!("minSnapshotHistoryWindowInSeconds={SNAPSHOT_HISTORY_SECONDS}")])
        .arg("--logpath")
        .arg(directory.log())
        .args(["--logappend", "--quiet", "--slowms", &SLOW_OPERATION_MILLISECONDS.to_string()])
        // Otherwise mongod writes measurements for MongoDB's support, several MB per hour.
        .args(["--setParameter", "diagnosticDataCollectionEnabled=false"])
        // By default mongod waits 15 s for a secondary to take over, and there is none.
        .args(["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=0"])
        .stdin(Stdio::null())
        // Messages of mongod or the dynamic linker from before the log is open go into the log, too.
        .stdout(log)
        .stderr(errors)
        // Ctrl-C reaches every process of the terminal's group, but the server has to end mongod after its own work.
        .process_group(0);
    end_with_parent(&mut command);
    Ok(command)
}

/// Asks the kernel to kill the process when the spawning thread ends: with the server, however that ends.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the parent-death signal has to be set between fork and exec")]
fn end_with_parent(command: &mut Command) {
    let server = rustix::process::getpid();
    let in_child = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // If the server died before the line above, no signal comes.
        if rustix::process::getppid() == Some(server) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: the closure runs in the child of a process with many threads, so it may do only what is safe in a signal
    // handler. It makes two system calls; it neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(in_child);
    }
}

/// Other systems have no such signal: a killed server leaves its `mongod` behind, and the next start says so.
#[cfg(not(target_os = "linux"))]
fn end_with_parent(_command: &mut Command) {}
