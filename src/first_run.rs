//! What the first run creates if the settings lack it: the secret that signs tokens, kept beside the embedded MongoDB's
//! data, and the first admin's password, shown once.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::config::{AdminCredentials, Secret, check_jwt_secret};
use crate::secret_file;

/// The address of the created admin. Its domain can never receive mail (RFC 2606).
pub const ADMIN_EMAIL: &str = "admin@flash-sale.example";
const SECRET_FILE: &str = "jwt-secret";
/// The entropy of the secret, in bytes.
const SECRET_BYTES: usize = 48;
/// The entropy of the password, in bytes.
const PASSWORD_BYTES: usize = 15;

/// The secret in the data directory, created at the first start.
///
/// # Errors
/// The file that cannot be read or written, and why.
pub fn jwt_secret(data_directory: &Path) -> Result<Secret, (PathBuf, io::Error)> {
    let path = data_directory.join(SECRET_FILE);
    read_or_make(&path).map_err(|cause| (path, cause))
}

/// The secret of a server that was started in this directory before.
///
/// # Errors
/// The file that cannot be read, and why.
pub fn kept_jwt_secret(data_directory: &Path) -> Result<Secret, (PathBuf, io::Error)> {
    let path = data_directory.join(SECRET_FILE);
    File::open(&path).and_then(read).map_err(|cause| (path, cause))
}

fn read_or_make(path: &Path) -> io::Result<Secret> {
    match File::open(path) {
        Ok(file) => read(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(error) => Err(error),
    }
}

fn read(mut file: File) -> io::Result<Secret> {
    let refused = |problem| io::Error::new(io::ErrorKind::InvalidData, problem);
    check_mode(&file.metadata()?).map_err(refused)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let text = text.trim();
    check_jwt_secret(text).map_err(refused)?;
    Ok(Secret::new(text))
}

/// Refuses a secret that others may read or write: anybody who knows it can sign an admin's token.
fn check_mode(metadata: &fs::Metadata) -> Result<(), String> {
    let Some(mode) = secret_file::mode_for_others(metadata) else { return Ok(()) };
    Err(format!(
        "not only its owner may read or write it (mode {mode:03o})\nRun `chmod 600` on it; or, if somebody may have read \
         it, remove it: the next start makes a new one, and everybody has to log in again"
    ))
}

fn make(path: &Path) -> io::Result<Secret> {
    let secret = random_text::<SECRET_BYTES>();
    secret_file::write(path, &secret)?;
    Ok(Secret::new(secret))
}

/// An admin with a random password.
pub fn made_up_admin() -> AdminCredentials {
    AdminCredentials { email: ADMIN_EMAIL.into(), password: Secret::new(random_text::<PASSWORD_BYTES>()) }
}

fn random_text<const BYTES: usize>() -> String {
    let mut bytes = [0_u8; BYTES];
    rand::fill(&mut bytes);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// An empty directory, removed on drop.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("flash-sale-{}", random_text::<12>()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_can_read_it() {
        let directory = Directory::new();
        let made = jwt_secret(&directory.0).unwrap();
        assert_eq!(jwt_secret(&directory.0).unwrap(), made);
        assert_eq!(mode(&directory.0.join(SECRET_FILE)), 0o600);
    }

    #[test]
    fn a_secret_that_others_may_read_or_write_is_refused() {
        let directory = Directory::new();
        let made = jwt_secret(&directory.0).unwrap();
        let path = directory.0.join(SECRET_FILE);
        for mode in [0o640, 0o620, 0o604, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let (_, problem) = jwt_secret(&directory.0).unwrap_err();
            let problem = problem.to_string();
            assert!(problem.contains("chmod 600") && problem.contains(&format!("{mode:o}")), "{problem}");
            assert!(!problem.contains(made.reveal()), "{problem}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(jwt_secret(&directory.0).unwrap(), made);
    }

    #[test]
    fn a_planted_link_is_not_followed() {
        let directory = Directory::new();
        let victim = directory.0.join("victim");
        fs::write(&victim, "untouched").unwrap();
        symlink(&victim, directory.0.join(SECRET_FILE).with_extension("new")).unwrap();
        jwt_secret(&directory.0).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert!(!fs::symlink_metadata(directory.0.join(SECRET_FILE)).unwrap().is_symlink());
    }
}
