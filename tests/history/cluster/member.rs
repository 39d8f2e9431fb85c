//! A member of the replica set.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, ServerAddress};
use rustix::process::Signal;
use tokio::net::TcpStream;

use super::clock::Clock;
use super::disk::Disk;
use super::process::Process;
use super::soon;

/// How long one command to a member may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(3);
/// How exactly a clock that was set has to be seen.
const CLOCK_TOLERANCE_MS: i64 = 2_000;

/// Where it writes what it does, and what it has: the latter may be on a small disk.
const LOG: &str = "mongod.log";
const DATA: &str = "data";

/// What a member has for itself, where that can be had.
pub struct Own {
    pub clock: Option<Clock>,
    pub disk: Option<Disk>,
}

impl Own {
    /// What can be had for a member with this directory, which is made. What cannot is told: what it is, and why.
    pub fn get(directory: &Path, mut tell: impl FnMut(&'static str, io::Error)) -> Self {
        std::fs::create_dir_all(directory.join(DATA)).expect("a directory for a member");
        let clock = Clock::new(directory).map_err(|error| tell("a clock that jumps", error)).ok();
        let disk = Disk::mount(&directory.join(DATA)).map_err(|error| tell("a full disk", error)).ok();
        Self { clock, disk }
    }
}

/// One mongod, at a port that it keeps.
pub struct Member {
    pub port: u16,
    binary: PathBuf,
    directory: PathBuf,
    process: Mutex<Option<Process>>,
    /// The operating system's number, 0 while it does not run: known before it makes its first connection.
    pub process_id: Arc<AtomicU32>,
    client: Client,
    clock: Option<Clock>,
    disk: Option<Disk>,
    /// Whether its disk was full since it was started: then it may end by itself.
    was_full: AtomicBool,
    /// Held while it starts.
    starting: tokio::sync::Mutex<()>,
}

impl Member {
    /// Starts it, empty.
    pub async fn start(binary: &Path, directory: PathBuf, port: u16, own: Own) -> Self {
        let mut options = ClientOptions::builder()
            .hosts(vec![ServerAddress::Tcp { host: "127.0.0.1".into(), port: Some(port) }])
            .direct_connection(true)
            .connect_timeout(COMMAND_PATIENCE)
            .server_selection_timeout(COMMAND_PATIENCE)
            .build();
        options.retry_writes = Some(false);
        let client = Client::with_options(options).expect("a client");
        let member = Self {
            port,
            binary: binary.into(),
            directory,
            process: Mutex::default(),
            process_id: Arc::default(),
            client,
            clock: own.clock,
            disk: own.disk,
            was_full: AtomicBool::default(),
            starting: tokio::sync::Mutex::default(),
        };
        member.restart().await;
        member
    }

    /// Starts it again over what it has, with room on its disk, unless it runs; returns when it listens.
    pub async fn restart(&self) {
        let _turn = self.starting.lock().await;
        if self.runs() {
            return;
        }
        self.free_disk();
        let log = self.directory.join(LOG);
        self.was_full.store(false, Ordering::Relaxed);
        let started = Process::start(self.command(), &log).expect("mongod starts");
        let id = started.id();
        self.process_id.store(id, Ordering::Relaxed);
        *self.lock() = Some(started);
        let address = ("127.0.0.1", self.port);
        let listens = async {
            while TcpStream::connect(address).await.is_err() {
                let ended = self.lock().as_mut().and_then(Process::ended);
                assert!(ended.is_none(), "mongod has ended: {}", log.display());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon("a listening mongod", listens).await;
        Clock::forget(id);
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(["--replSet", "history", "--bind_ip", "127.0.0.1", "--nounixsocket", "--port"])
            .arg(self.port.to_string())
            .arg("--dbpath")
            .arg(self.directory.join(DATA))
            .args(["--oplogSize", "200", "--wiredTigerCacheSizeGB", "0.25", "--quiet", "--slowms", "2000"])
            .args(["--networkMessageCompressors", "disabled"]);
        let parameters = [
            "enableTestCommands=1",
            "diagnosticDataCollectionEnabled=false",
            "shutdownTimeoutMillisForSignaledShutdown=0",
        ];
        for parameter in parameters {
            command.args(["--setParameter", parameter]);
        }
        if let Some(clock) = &self.clock {
            clock.give_to(&mut command);
        }
        command
    }

    /// Whether it runs: we may have killed it, or it has ended as its disk was full.
    pub fn runs(&self) -> bool {
        let mut process = self.lock();
        let Some(running) = process.as_mut() else { return false };
        if running.ended().is_none() {
            return true;
        }
        let log = self.directory.join(LOG);
        assert!(self.was_full.load(Ordering::Relaxed), "mongod has ended: {}", log.display());
        println!("a member has ended, as its disk was full");
        self.process_id.store(0, Ordering::Relaxed);
        *process = None;
        false
    }

    /// Kills it at once.
    pub fn kill(&self) {
        self.process_id.store(0, Ordering::Relaxed);
        drop(self.lock().take());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = &*self.lock() {
            process.signal(signal);
        }
    }

    /// Runs a command of `admin` on this very member.
    pub async fn run(&self, command: Document) -> mongodb::error::Result<Document> {
        let late = |_| mongodb::error::Error::custom("the member does not answer");
        let admin = self.client.database("admin");
        tokio::time::timeout(COMMAND_PATIENCE, async { admin.run_command(command).await })
            .await
            .map_err(late)?
    }

    /// Whether it takes writes, as it believes.
    pub async fn is_primary(&self) -> bool {
        let hello = self.run(doc! { "hello": 1 }).await;
        hello.is_ok_and(|answer| answer.get_bool("isWritablePrimary").unwrap_or_default())
    }

    /// Has these commands fail: `mode` and `data` of the fail point.
    pub async fn fail(&self, mode: impl Into<mongodb::bson::Bson>, data: Document) {
        let command = doc! { "configureFailPoint": "failCommand", "mode": mode.into(), "data": data };
        drop(self.run(command).await);
    }

    /// Nothing fails any more.
    pub async fn fail_no_more(&self) {
        drop(self.run(doc! { "configureFailPoint": "failCommand", "mode": "off" }).await);
        self.follow_nobody(false).await;
    }

    /// Follows no other member any more, or does so again.
    pub async fn follow_nobody(&self, is_alone: bool) {
        let mode = if is_alone { "alwaysOn" } else { "off" };
        drop(self.run(doc! { "configureFailPoint": "stopReplProducer", "mode": mode }).await);
    }

    /// Whether its disk can be full.
    pub fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Fills its disk, and asks for a checkpoint, which comes once a minute by itself. A mongod that cannot write one ends.
    pub async fn fill_disk(&self) {
        let (Some(disk), Ok(_turn)) = (&self.disk, self.starting.try_lock()) else { return };
        if !self.runs() {
            return;
        }
        self.was_full.store(true, Ordering::Relaxed);
        disk.fill().expect("a file on the member's disk");
        drop(self.run(doc! { "fsync": 1 }).await);
    }

    /// Frees it, and starts the member again if it has ended or is about to; returns when it can write a checkpoint.
    pub async fn get_over_full_disk(&self) {
        self.free_disk();
        let is_over = async {
            while self.run(doc! { "fsync": 1 }).await.is_err() {
                self.restart().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        soon("a checkpoint", is_over).await;
    }

    /// Takes the ballast from its disk.
    pub fn free_disk(&self) {
        self.disk.iter().for_each(Disk::free);
    }

    /// Whether its clock can be set.
    pub fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    /// Sets its clock this much ahead; returns when it is seen there, or the member does not answer.
    pub async fn set_clock(&self, ahead_seconds: i64) {
        let Some(clock) = &self.clock else { return };
        clock.set(ahead_seconds).expect("a file for a clock");
        let is_seen = async {
            while let Ok(answer) = self.run(doc! { "hello": 1 }).await {
                let shown = answer.get_datetime("localTime").map_or(0, |time| time.timestamp_millis());
                // Somebody else may have set it meanwhile.
                if clock.error_of(shown).abs() < CLOCK_TOLERANCE_MS {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        soon("a clock that was set", is_seen).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
