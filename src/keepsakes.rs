//! What the server makes up when nobody gave it: the secret of its tokens, kept beside the embedded MongoDB's data,
//! and the first admin's password, shown once.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::config::{AdminCredentials, Secret, check_jwt_secret};

/// The made-up admin's address. The domain is one that can never receive mail (RFC 2606).
pub const ADMIN_EMAIL: &str = "admin@flash-sale.example";
const SECRET_FILE: &str = "jwt-secret";
/// The entropy of the secret, in bytes.
const SECRET_BYTES: usize = 48;
/// The entropy of the password, in bytes.
const PASSWORD_BYTES: usize = 15;

/// The secret in the data directory, made at the first start.
///
/// # Errors
/// The file that cannot be read or written, and why.
pub fn jwt_secret(data_directory: &Path) -> Result<Secret, (PathBuf, io::Error)> {
    let path = data_directory.join(SECRET_FILE);
    read_or_make(&path).map_err(|cause| (path, cause))
}

fn read_or_make(path: &Path) -> io::Result<Secret> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let text = text.trim();
            check_jwt_secret(text).map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))?;
            Ok(Secret::new(text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = random_text::<SECRET_BYTES>();
            // Complete or not at all: a crash in between must not leave half a secret.
            let temporary = path.with_extension("new");
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&temporary)?;
            file.write_all(secret.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            Ok(Secret::new(secret))
        }
        Err(error) => Err(error),
    }
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
