//! A member of the replica set.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, ServerAddress};
use rustix::process::Signal;
use tokio::net::TcpStream;

use super::process::Process;
use super::soon;

/// How long one command to a member may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(3);

/// One mongod, at a port that it keeps.
pub struct Member {
    pub port: u16,
    binary: PathBuf,
    directory: PathBuf,
    process: Mutex<Option<Process>>,
    /// The operating system's number, 0 while it does not run: known before it makes its first connection.
    pub process_id: Arc<AtomicU32>,
    client: Client,
}

impl Member {
    /// Starts it, empty.
    pub async fn start(binary: &Path, directory: PathBuf, port: u16) -> Self {
        std::fs::create_dir_all(&directory).expect("a directory for a member");
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
        };
        member.restart().await;
        member
    }

    /// Starts it again over what it has; returns when it listens.
    pub async fn restart(&self) {
        let log = self.directory.join("mongod.log");
        let started = Process::start(self.command(), &log).expect("mongod starts");
        self.process_id.store(started.id(), Ordering::Relaxed);
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
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(["--replSet", "history", "--bind_ip", "127.0.0.1", "--nounixsocket", "--port"])
            .arg(self.port.to_string())
            .arg("--dbpath")
            .arg(&self.directory)
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
        command
    }

    /// Whether it runs, as far as we have not killed it ourselves.
    pub fn runs(&self) -> bool {
        self.lock().is_some()
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
