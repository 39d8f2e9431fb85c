//! A MongoDB of our own, for a machine that has none: to try the server out, to develop, to test.
//!
//! One `mongod`, a replica set with a single member, on a loopback port, with all it keeps below one
//! directory. It asks nobody for a password: every user of this machine can reach it. Production brings its
//! own, through `MONGO_URI`.
//!
//! - `binary`: where the `mongod` program is; the only place that reads the environment
//! - `fetch`: how it gets into the cache when it is nowhere
//! - `data_directory`: the files, the lock, the remembered port, the end of the log
//! - `process`: start, signals, exit
//! - `replica_set`: from a `mongod` that has just been started to a primary that takes writes
//! - `error`: all that can go wrong, and what to do about it
//!
//! What survives: a write acknowledged with majority and journal, whichever way the server or `mongod` ends.
//! What does not: `mongod` itself, when the server is gone. On Linux the kernel ends it with the server, even
//! one that is killed; elsewhere a *killed* server leaves its `mongod` behind, and the next start says so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

pub use error::EmbeddedError;

use binary::BinarySearch;
use data_directory::DataDirectory;
use process::Mongod;

mod binary;
mod fetch;

mod data_directory;
mod process;
mod replica_set;

mod error;

/// How long one `mongod` may take from its start to a writable primary. Half a second is usual. After a kill
/// the journal is replayed within this time; and when another program holds the port of the last start and
/// never says a word to those who connect, `mongod` spends 30 s on finding out that this is not itself.
const START_SECONDS_MAX: u64 = 45;
/// How many ports are tried, when others take them between our look and `mongod`'s bind.
const PORT_ATTEMPTS_MAX: u32 = 5;
/// `mongod`'s exit code when it cannot listen on its port (`EXIT_NET_ERROR`).
const EXIT_CODE_CANNOT_LISTEN: i32 = 48;

/// A running `mongod`, writable, that belongs to this process alone.
///
/// End it with [`stop`](Self::stop). Dropping it kills `mongod` at once: no acknowledged write is lost, but
/// the next start replays the journal and the counts that MongoDB estimates may be off.
#[derive(Debug)]
pub struct EmbeddedMongo {
    /// Before `directory`: the lock on the data goes last.
    mongod: Mongod,
    port: u16,
    /// Kept for its lock.
    directory: DataDirectory,
}

impl EmbeddedMongo {
    /// Finds or fetches `mongod`, starts it on a free loopback port over `data_directory` (created when
    /// missing), and returns when it takes writes: within about half a second, or after one download per
    /// user.
    ///
    /// # Errors
    ///
    /// Every [`EmbeddedError`] says what happened and what to do. Nothing is left running after one.
    pub async fn start(data_directory: &Path) -> Result<Self, EmbeddedError> {
        Self::start_found_by(&BinarySearch::from_environment(), data_directory).await
    }

    async fn start_found_by(search: &BinarySearch, data_directory: &Path) -> Result<Self, EmbeddedError> {
        // Before the search: whoever starts a second server should hear of it before a download.
        let directory = DataDirectory::open(data_directory)?;
        let binary = search.find().await?;
        directory.await_previous_mongod().await?;
        directory.set_previous_log_aside()?;

        let mut port = directory.port_to_use()?;
        for _ in 0..PORT_ATTEMPTS_MAX {
            match start_on(&binary, &directory, port).await? {
                Attempt::Primary(mongod) => return Ok(Self { mongod, port, directory }),
                Attempt::PortTaken => port = data_directory::free_port()?,
            }
        }
        Err(EmbeddedError::NoPort { attempts: PORT_ATTEMPTS_MAX })
    }

    /// The connection string, without a database: `mongodb://127.0.0.1:PORT/?directConnection=true`.
    ///
    /// Direct: there is nothing to discover, and no second round trip to do so.
    pub fn uri(&self) -> String {
        format!("mongodb://{}/?directConnection=true", replica_set::member_host(self.port))
    }

    /// The operating system's number of the `mongod` process.
    pub fn process_id(&self) -> u32 {
        self.mongod.process_id()
    }

    /// Resolves when `mongod` has ended for whatever reason, with a sentence that tells how and where its log
    /// is. The future borrows nothing: await it in a `select!` and still call [`stop`](Self::stop).
    pub fn ended(&self) -> impl Future<Output = String> + Send + 'static + use<> {
        let ending = self.mongod.ended();
        let process_id = self.process_id();
        let log = self.directory.log();
        async move {
            let how = ending.await;
            format!("mongod (process {process_id}) has {how}; its log is {}", log.display())
        }
    }

    /// Ends `mongod` in good order: within about a second, and within 15 in the worst case, when it is
    /// killed.
    pub async fn stop(mut self) {
        self.mongod.stop().await;
    }
}

/// The `mongod` program that a start would run, fetched when there is none: for those who start one in a way of their
/// own.
///
/// # Errors
/// Like [`EmbeddedMongo::start`].
pub async fn mongod_path() -> Result<PathBuf, EmbeddedError> {
    BinarySearch::from_environment().find().await
}

/// What became of one start on one port.
enum Attempt {
    Primary(Mongod),
    PortTaken,
}

/// Starts `mongod` and waits for the primary, for `mongod`'s end or for the deadline, whichever comes first.
async fn start_on(binary: &Path, directory: &DataDirectory, port: u16) -> Result<Attempt, EmbeddedError> {
    let deadline = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
    let mongod = Mongod::spawn(binary, directory, port).await?;
    let mut exit = std::pin::pin!(mongod.exit());
    tokio::select! {
        // First `mongod`'s end: it explains a connection that fails, not the other way round.
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
        primary = timeout_at(deadline, replica_set::bring_up(port, mongod.process_id())) => {
            primary.map_err(|_| EmbeddedError::StartTooSlow {
                seconds: START_SECONDS_MAX,
                lines: directory.last_errors(),
                log: directory.log(),
            })??;
            directory.remember_port(port)?;
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
