//! The directory with all files of an embedded MongoDB:
//!
//! ```text
//! lock                 locked by the server that uses the directory; contains its process id
//! port                 the port of the last start
//! mongodb-uri          the connection string of the last start, with the password; only its owner may read it
//! mongodb-key          the key that mongod runs with, new at each start; only its owner may read it
//! mongod.log           the log of this start
//! mongod.previous.log  the log of the start before
//! mongodb/             mongod's own files
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::EmbeddedError;
use crate::config::Secret;
use crate::secret_file;

/// How long a `mongod` whose server was killed may take to end. Usually milliseconds, in which the system frees its
/// memory.
const PREVIOUS_MONGOD_SECONDS_MAX: u64 = 10;
const PREVIOUS_MONGOD_POLL_MILLISECONDS: u64 = 5;
/// How much of the end of the log is searched for errors.
const LOG_TAIL_BYTES_MAX: u64 = 64 * 1024;
/// How many lines of the log an error message shows, and how much of each.
const LOG_LINES_MAX: usize = 3;
const LOG_LINE_CHARACTERS_MAX: usize = 500;

/// The file with the port of the last start.
const PORT_FILE: &str = "port";

/// An existing data directory, locked until this is dropped.
#[derive(Debug)]
pub(super) struct DataDirectory {
    root: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Creates what is missing, readable only by its owner, and locks the directory. A lock file left by a killed
    /// server does no harm: the kernel holds the lock, and the file alone means nothing.
    ///
    /// # Errors
    /// Another server uses the directory, or it cannot be created or written to.
    pub(super) fn open(path: &Path) -> Result<Self, EmbeddedError> {
        let root = std::path::absolute(path).map_err(EmbeddedError::file("find", path))?;
        // The mode applies to directories created here. One that exists keeps the mode that its creator chose.
        let created = DirBuilder::new().recursive(true).mode(0o700).create(&root);
        created.map_err(EmbeddedError::file("create", &root))?;
        let lock = lock(&root)?;
        let directory = Self { root, _lock: lock };

        let mongodb = directory.mongodb();
        let created = DirBuilder::new().recursive(true).mode(0o700).create(&mongodb);
        created
            .and_then(|()| fs::set_permissions(&mongodb, Permissions::from_mode(0o700)))
            .map_err(EmbeddedError::file("create", &mongodb))?;
        Ok(directory)
    }

    pub(super) fn mongodb(&self) -> PathBuf {
        self.root.join("mongodb")
    }

    /// The log of the running `mongod`.
    pub(super) fn log(&self) -> PathBuf {
        self.root.join("mongod.log")
    }

    fn port_file(&self) -> PathBuf {
        self.root.join(PORT_FILE)
    }

    /// The key that `mongod` runs with.
    pub(super) fn key_file(&self) -> PathBuf {
        self.root.join("mongodb-key")
    }

    /// The connection string, for people and for a rehearsal.
    pub(super) fn uri_file(&self) -> PathBuf {
        uri_file(&self.root)
    }

    pub(super) fn write_key(&self, key: &Secret) -> Result<(), EmbeddedError> {
        write_secret(&self.key_file(), key)
    }

    /// Saves the connection string for [`kept_uri`](Self::kept_uri) of the next start.
    pub(super) fn keep_uri(&self, uri: &Secret) -> Result<(), EmbeddedError> {
        write_secret(&self.uri_file(), uri)
    }

    /// The connection string of the last start. `None` if there is none, or if somebody else may know it: the file is
    /// not ours, or others may read or write it.
    pub(super) fn kept_uri(&self) -> Result<Option<Secret>, EmbeddedError> {
        let path = self.uri_file();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(EmbeddedError::file("read", &path)(source)),
        };
        let metadata = file.metadata().map_err(EmbeddedError::file("read", &path))?;
        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if !is_ours || secret_file::mode_for_others(&metadata).is_some() {
            tracing::warn!(
                "others than this user could read or write {}, which has the password of the embedded MongoDB (its mode \
                 was {:03o}). The password is replaced, and the file is for this user alone again. If somebody may have \
                 used it, check the accounts and the purchases",
                path.display(),
                metadata.permissions().mode() & 0o777,
            );
            return Ok(None);
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(EmbeddedError::file("read", &path))?;
        Ok(Some(Secret::new(text)))
    }

    /// Returns when no `mongod` uses the data any more: within milliseconds after a killed server.
    ///
    /// # Errors
    /// One still uses it after ten seconds.
    pub(super) async fn await_previous_mongod(&self) -> Result<(), EmbeddedError> {
        let deadline = Instant::now() + Duration::from_secs(PREVIOUS_MONGOD_SECONDS_MAX);
        // mongod also locks this file with flock, and writes its process id into it.
        let path = self.mongodb().join("mongod.lock");
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(EmbeddedError::file("open", &path)(source)),
        };
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(source)) => return Err(EmbeddedError::file("lock", &path)(source)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(PREVIOUS_MONGOD_POLL_MILLISECONDS)).await;
                }
                Err(TryLockError::WouldBlock) => {
                    let process_id = process_id_in(&path);
                    return Err(EmbeddedError::LeftBehind { directory: self.mongodb(), process_id });
                }
            }
        }
    }

    /// Keeps the log of the previous start, but no older one, so that logs do not pile up over many starts.
    pub(super) fn set_previous_log_aside(&self) -> Result<(), EmbeddedError> {
        let log = self.log();
        match fs::rename(&log, self.root.join("mongod.previous.log")) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(EmbeddedError::file("rename", &log)(source))
            }
            _ => Ok(()),
        }
    }

    /// Opens the log for appending. Only its owner may read it: `mongod` logs slow queries with their values.
    pub(super) fn open_log(&self) -> Result<File, EmbeddedError> {
        let log = self.log();
        let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
        opened.map_err(EmbeddedError::file("open", &log))
    }

    /// The last errors in the log, or its last lines if it has none. Never fails, because it is part of another error.
    pub(super) fn last_errors(&self) -> String {
        read_tail(&self.log())
            .map_or_else(|error| format!("(unreadable: {error})"), |tail| last_errors(&tail))
    }

    /// The port of the last start if it is free, because the replica set's member has it in its address; otherwise
    /// any free port, also if there was no last start or the file makes no sense.
    pub(super) fn port_to_use(&self) -> Result<u16, EmbeddedError> {
        let remembered = fs::read_to_string(self.port_file()).ok().and_then(|text| text.trim().parse().ok());
        match remembered {
            // Port 0 would mean any.
            Some(port @ 1..) if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() => Ok(port),
            Some(port @ 1..) => {
                tracing::warn!(
                    port,
                    "another program uses mongod's last port: moving its replica set to another one takes up to 30 s"
                );
                free_port()
            }
            _ => free_port(),
        }
    }

    /// Saves the port for [`port_to_use`](Self::port_to_use) of the next start.
    pub(super) fn remember_port(&self, port: u16) -> Result<(), EmbeddedError> {
        let path = self.port_file();
        fs::write(&path, format!("{port}\n")).map_err(EmbeddedError::file("write", &path))
    }
}

/// Where the data directory at `root` has the connection string.
pub(super) fn uri_file(root: &Path) -> PathBuf {
    root.join("mongodb-uri")
}

fn write_secret(path: &Path, secret: &Secret) -> Result<(), EmbeddedError> {
    secret_file::write(path, &format!("{}\n", secret.reveal())).map_err(EmbeddedError::file("write", path))
}

/// A loopback port that no program listens on at this moment.
pub(super) fn free_port() -> Result<u16, EmbeddedError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    let address = bound.map_err(EmbeddedError::file("find a free port on", Path::new("127.0.0.1")))?;
    Ok(address.port())
}

fn lock(root: &Path) -> Result<File, EmbeddedError> {
    let path = root.join("lock");
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = opened.map_err(EmbeddedError::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let process_id = process_id_in(&path);
            return Err(EmbeddedError::DirectoryInUse { directory: root.to_owned(), process_id });
        }
        Err(TryLockError::Error(source)) => return Err(EmbeddedError::file("lock", &path)(source)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(EmbeddedError::file("write", &path))?;
    Ok(file)
}

fn process_id_in(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn read_tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES_MAX)))?;
    let mut tail = Vec::new();
    file.take(LOG_TAIL_BYTES_MAX).read_to_end(&mut tail)?;
    Ok(String::from_utf8_lossy(&tail).into_owned())
}

/// mongod logs one JSON object per line; its `s` is the severity, of which E(rror) and F(atal) count here. Messages
/// of the dynamic linker or the command line parser are not JSON, and are the last lines.
fn last_errors(log: &str) -> String {
    let is_error = |line: &&str| line.contains(r#""s":"E""#) || line.contains(r#""s":"F""#);
    let mut lines: Vec<&str> = log.lines().rev().filter(is_error).take(LOG_LINES_MAX).collect();
    if lines.is_empty() {
        lines = log.lines().rev().filter(|line| !line.trim().is_empty()).take(LOG_LINES_MAX).collect();
    }
    if lines.is_empty() {
        return "(nothing)".to_owned();
    }
    let shortened =
        lines.iter().rev().map(|line| line.chars().take(LOG_LINE_CHARACTERS_MAX).collect::<String>());
    shortened.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A directory for one test, removed on drop.
    pub(in crate::embedded) struct Scratch(PathBuf);

    impl Scratch {
        pub(in crate::embedded) fn new(test: &str) -> Self {
            let name = format!("flash-sale-embedded-{}-{test}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(in crate::embedded) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_one_server_uses_a_directory_and_the_other_learns_which() {
        let root = Scratch::new("lock");
        let first = DataDirectory::open(root.path()).unwrap();
        let message = DataDirectory::open(root.path()).unwrap_err().to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        drop(first);
        DataDirectory::open(root.path()).unwrap();
    }

    #[test]
    fn only_the_owner_can_read_new_directories_and_an_existing_one_keeps_its_mode() {
        let root = Scratch::new("mode");
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        let directory = DataDirectory::open(&root.path().join("a/b")).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(root.path()), 0o755);
        assert_eq!(mode(&root.path().join("a/b")), 0o700);
        assert_eq!(mode(&directory.mongodb()), 0o700);
    }

    #[test]
    fn a_port_is_used_again_unless_it_is_taken_or_nonsense() {
        let root = Scratch::new("port");
        let directory = DataDirectory::open(root.path()).unwrap();
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        directory.remember_port(port).unwrap();
        assert_ne!(directory.port_to_use().unwrap(), port);
        drop(holder);
        assert_eq!(directory.port_to_use().unwrap(), port);
        for nonsense in ["", "0", "-1", "65536", "a port"] {
            fs::write(directory.port_file(), nonsense).unwrap();
            assert_ne!(directory.port_to_use().unwrap(), 0, "{nonsense:?}");
        }
    }

    #[test]
    fn one_log_is_kept_besides_the_current_one() {
        let root = Scratch::new("log");
        let directory = DataDirectory::open(root.path()).unwrap();
        directory.set_previous_log_aside().unwrap();
        for start in ["first", "second", "third"] {
            directory.set_previous_log_aside().unwrap();
            directory.open_log().unwrap().write_all(start.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(directory.log()).unwrap(), "third");
        assert_eq!(fs::read_to_string(root.path().join("mongod.previous.log")).unwrap(), "second");
    }

    #[test]
    fn the_last_errors_are_shown_or_else_the_last_lines() {
        let information = r#"{"s":"I","msg":"starting"}"#;
        let error = r#"{"s":"E","msg":"Failed to unlink socket file"}"#;
        let check =
            |log: &[&str], expected: &[&str]| assert_eq!(last_errors(&log.join("\n")), expected.join("\n"));
        check(&[], &["(nothing)"]);
        check(&[information, error, information], &[error]);
        check(&["1", "2", "3", "4", ""], &["2", "3", "4"]);
        assert_eq!(last_errors(&"x".repeat(10_000)).len(), LOG_LINE_CHARACTERS_MAX);
    }
}
