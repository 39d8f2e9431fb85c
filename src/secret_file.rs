//! Files that hold a secret: whole or not there, and readable by nobody but their owner.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Puts a file with `secret`, which only its owner may read, in the place of what is at `path`.
///
/// # Errors
/// The operating system's.
pub fn write(path: &Path, secret: &str) -> io::Result<()> {
    // Written to another file and renamed: a crash in between must not leave half a secret.
    let temporary = path.with_extension("new");
    // Removes what an earlier crash has left, or a link that somebody has planted (the link, not its target).
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(secret.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// The file's mode (like `0o644`) if others than its owner may read or write it.
#[cfg(unix)]
pub fn mode_for_others(metadata: &fs::Metadata) -> Option<u32> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

/// Other systems have no such mode.
#[cfg(not(unix))]
pub fn mode_for_others(_: &fs::Metadata) -> Option<u32> {
    None
}
