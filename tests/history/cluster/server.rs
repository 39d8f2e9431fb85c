//! One of our servers, as a program, at a port that it keeps.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

use super::process::Process;
use super::soon;
use crate::client::Connection;
use crate::settings::Settings;

/// The secret of the tokens.
pub const SECRET: &str = "kZ3v9Qm1xY7pL0tR5wB8nC2dF6gH4jS1";
/// A server ends its open requests within ten seconds.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// A server.
pub struct Server {
    pub port: u16,
    uri: String,
    directory: PathBuf,
    settings: Settings,
    process: Mutex<Option<Process>>,
}

impl Server {
    /// Starts it.
    pub async fn start(settings: Settings, directory: PathBuf, port: u16, uri: String) -> Self {
        std::fs::create_dir_all(&directory).expect("a directory for a server");
        let server = Self { port, uri, directory, settings, process: Mutex::default() };
        server.restart().await;
        server
    }

    /// Starts it again, and again when the database is not there yet; returns when it is ready.
    pub async fn restart(&self) {
        self.spawn();
        let ready = async {
            while !self.is_ready().await {
                let has_ended = self.lock().as_mut().is_none_or(|process| process.ended().is_some());
                if has_ended {
                    self.spawn();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        soon("a server that is ready", ready).await;
    }

    fn spawn(&self) {
        let log = self.directory.join("server.log");
        let started = Process::start(self.command(), &log).expect("a server starts");
        *self.lock() = Some(started);
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.settings.server);
        command
            .env_clear()
            .current_dir(&self.directory)
            .env("PORT", self.port.to_string())
            .env("MONGO_URI", &self.uri)
            .env("JWT_SECRET", SECRET)
            .env("ADMIN_EMAIL", "grace@shop.example")
            .env("ADMIN_PASSWORD", "a rear admiral's password")
            .env("RUST_LOG", &self.settings.server_log);
        if let Some(sabotage) = &self.settings.sabotage {
            command.env("FLASH_SALE_SABOTAGE", sabotage);
        }
        command
    }

    /// Whether it says that a purchase could commit now.
    pub async fn is_ready(&self) -> bool {
        let mut connection = Connection::to(self.port);
        let patience = Duration::from_secs(2);
        connection.get("/health/ready", None, patience).await.is_ok_and(|answer| answer.status == 200)
    }

    /// Kills it at once.
    pub fn kill(&self) {
        drop(self.lock().take());
    }

    /// Asks it to end, and waits for that. Whether it did, in time.
    pub async fn stop(&self) -> bool {
        let process = self.lock().take();
        let Some(process) = process else { return true };
        process.signal(Signal::TERM);
        process.end(STOP_PATIENCE).await
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = &*self.lock() {
            process.signal(signal);
        }
    }

    /// Whether it runs, as far as we have not ended it ourselves.
    pub fn runs(&self) -> bool {
        self.lock().as_mut().is_some_and(|process| process.ended().is_none())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
