//! The server's own MongoDB, for a machine without one: to try the server, to develop, to test.
//!
//! It is one `mongod`, a replica set with a single member, on a loopback port, with all its files below one
//! directory. Other users of this machine can reach the port, but nobody gets in without the password, which only this
//! server's user can read. Production uses a MongoDB of its own, through `MONGO_URI`.
//!
//! - `binary`: finds the `mongod` program; the only place that reads the environment
//! - `fetch`: downloads it into the cache if it is nowhere
//! - `data_directory`: the files, the lock, the remembered port, the end of the log
//! - `access`: the key and the password, and what the user of servers may do
//! - `process`: start, signals, exit
//! - `replica_set`: makes a `mongod` that has just started a primary that takes writes
//! - `error`: everything that can go wrong, and what to do about it
//!
//! A write acknowledged with majority and journal survives whichever way the server or `mongod` ends. `mongod` itself
//! does not outlive the server: on Linux the kernel ends it even when the server is killed. Elsewhere a *killed*
//! server leaves its `mongod` behind, and the next start says so.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

pub use error::EmbeddedError;

use access::Access;
use binary::BinarySearch;
use data_directory::DataDirectory;
use process::Mongod;

use crate::config::Secret;

mod binary;
mod fetch;

mod access;
mod data_directory;
mod process;
mod replica_set;

mod error;

/// How long `mongod` may take from its start to a writable primary; usually half a second. After a kill it replays
/// the journal in this time. And if another program has the port of the last start but never answers there, `mongod`
/// takes 30 s to find out that this is not itself.
const START_SECONDS_MAX: u64 = 45;
/// How many ports are tried if other programs take them between our check and `mongod`'s bind.
const PORT_ATTEMPTS_MAX: u32 = 5;
/// `mongod`'s exit code when it cannot listen on its port (`EXIT_NET_ERROR`).
const EXIT_CODE_CANNOT_LISTEN: i32 = 48;

/// A running, writable `mongod` that belongs to this process alone.
///
/// End it with [`stop`](Self::stop). Dropping it kills `mongod` at once: no acknowledged write is lost, but the next
/// start replays the journal, and MongoDB's estimated counts may be off.
#[derive(Debug)]
pub struct EmbeddedMongo {
    /// Before `directory`, because fields drop in this order and the lock on the data has to go last.
    mongod: Mongod,
    port: u16,
    access: Access,
    /// Holds the lock.
    directory: DataDirectory,
}

impl EmbeddedMongo {
    /// Finds or downloads `mongod`, starts it on a free loopback port over `data_directory` (created when missing), and
    /// returns when it takes writes: within about half a second, plus one download per user.
    ///
    /// # Errors
    /// Every [`EmbeddedError`] says what happened and what to do. Then nothing keeps running.
    pub async fn start(data_directory: &Path) -> Result<Self, EmbeddedError> {
        Self::start_found_by(&BinarySearch::from_environment(), data_directory).await
    }

    async fn start_found_by(search: &BinarySearch, data_directory: &Path) -> Result<Self, EmbeddedError> {
        // Before the search: that another server uses the directory should be reported before a download.
        let directory = DataDirectory::open(data_directory)?;
        let binary = search.find().await?;
        directory.await_previous_mongod().await?;
        directory.set_previous_log_aside()?;
        let access = Access::prepare(&directory)?;

        let mut port = directory.port_to_use()?;
        for _ in 0..PORT_ATTEMPTS_MAX {
            match start_on(&binary, &directory, &access, port).await? {
                Attempt::Primary(mongod) => {
                    directory.remember_port(port)?;
                    directory.keep_uri(&access.uri(port))?;
                    tracing::info!(
                        "the embedded MongoDB listens on {}; its connection string, with the password, is in {}",
                        replica_set::member_host(port),
                        directory.uri_file().display()
                    );
                    return Ok(Self { mongod, port, access, directory });
                }
                Attempt::PortTaken => port = data_directory::free_port()?,
            }
        }
        Err(EmbeddedError::NoPort { attempts: PORT_ATTEMPTS_MAX })
    }

    /// The connection string of a user who may use the database `flashsale` and no other.
    pub fn uri(&self) -> Secret {
        self.access.uri(self.port)
    }

    /// The connection string of a user who may do everything, valid until the next start. The server never uses it.
    pub fn system_uri(&self) -> Secret {
        self.access.system_uri(self.port)
    }

    /// The id of the `mongod` process.
    pub fn process_id(&self) -> u32 {
        self.mongod.process_id()
    }

    /// Resolves when `mongod` has ended for any reason, with a sentence that says how, and where its log is. The future
    /// borrows nothing, so that a `select!` can await it and still call [`stop`](Self::stop).
    pub fn ended(&self) -> impl Future<Output = String> + Send + 'static + use<> {
        let ending = self.mongod.ended();
        let process_id = self.process_id();
        let log = self.directory.log();
        async move {
            let how = ending.await;
            format!("mongod (process {process_id}) has {how}; its log is {}", log.display())
        }
    }

    /// Ends `mongod` in order, usually within a second; kills it if that takes too long. 15 s in the worst case.
    pub async fn stop(mut self) {
        self.mongod.stop().await;
    }
}

/// The `mongod` program that [`EmbeddedMongo::start`] would run, downloaded if there is none, for callers who start
/// it in another way.
///
/// # Errors
/// Those of [`EmbeddedMongo::start`] before the start.
pub async fn mongod_path() -> Result<PathBuf, EmbeddedError> {
    BinarySearch::from_environment().find().await
}

/// The connection string of the MongoDB in this data directory, and the MongoDB itself unless a server runs it already.
///
/// # Errors
/// What to do about it, in words.
pub async fn start_or_join(data_directory: &Path) -> Result<(Secret, Option<EmbeddedMongo>), String> {
    match EmbeddedMongo::start(data_directory).await {
        Ok(mongo) => Ok((mongo.uri(), Some(mongo))),
        Err(EmbeddedError::DirectoryInUse { .. }) => match kept_uri(data_directory) {
            Ok(uri) => Ok((uri, None)),
            Err((path, error)) => Err(format!("{} cannot be read: {error}", path.display())),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// The connection string of the embedded MongoDB that runs in this data directory, or did last.
///
/// # Errors
/// The file that cannot be read, and why.
pub fn kept_uri(data_directory: &Path) -> Result<Secret, (PathBuf, io::Error)> {
    let path = data_directory::uri_file(data_directory);
    match std::fs::read_to_string(&path) {
        Ok(uri) => Ok(Secret::new(uri.trim())),
        Err(error) => Err((path, error)),
    }
}

/// The outcome of one start on one port.
enum Attempt {
    Primary(Mongod),
    PortTaken,
}

/// Starts `mongod` and waits until it is a primary, it ends, or the deadline passes, whichever comes first.
async fn start_on(
    binary: &Path,
    directory: &DataDirectory,
    access: &Access,
    port: u16,
) -> Result<Attempt, EmbeddedError> {
    let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
    let mongod = Mongod::spawn(binary, directory, port).await?;
    let mut exit = std::pin::pin!(mongod.exit());
    tokio::select! {
        // The end of `mongod` first: it is the cause of a failed connection.
        biased;
        exit = &mut exit => match exit.and_then(|status| status.code()) {
            Some(EXIT_CODE_CANNOT_LISTEN) => Ok(Attempt::PortTaken),
            _ => Err(EmbeddedError::EndedAtStart {
                binary: binary.to_owned(),
                how: process::describe(exit),
                lines: directory.last_errors(),
                log: directory.log(),
            }),
        },
        primary = timeout_at(deadline, replica_set::bring_up(port, mongod.process_id(), access)) => {
            primary.map_err(|_| EmbeddedError::StartTooSlow {
                seconds: START_SECONDS_MAX,
                lines: directory.last_errors(),
                log: directory.log(),
            })??;
            Ok(Attempt::Primary(mongod))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_server_is_refused_before_anything_is_searched_or_fetched() {
        let root = data_directory::tests::Scratch::new("second-server");
        let _first = DataDirectory::open(root.path()).unwrap();
        let nowhere = BinarySearch { mongod: None, path: None, cache_directory: None };
        let refused = EmbeddedMongo::start_found_by(&nowhere, root.path()).await.unwrap_err();
        assert!(matches!(refused, EmbeddedError::DirectoryInUse { .. }), "{refused}");
    }
}
