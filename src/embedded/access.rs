//! Who may use the embedded `mongod`: nobody without a password, also no other user of this machine.
//!
//! `mongod` runs with a key file, so it asks for a password, and without MongoDB's exception for connections from the
//! same machine, through which anybody here could make himself its first user. The key is also the password of
//! `__system`, MongoDB's own user, as which we set up the replica set and, at each start, the user of flash-sale servers.
//! So a crash between two steps locks nobody out, nor does a file that is lost: the next start makes what is missing, in
//! the data of an earlier version as well, which had no users.

use mongodb::Database;
use mongodb::bson::{Document, doc};
use mongodb::error::Error;
use mongodb::options::{AuthMechanism, ConnectionString, Credential};

use super::data_directory::DataDirectory;
use super::error::EmbeddedError;
use super::replica_set::member_host;
use crate::config::{DATABASE_NAME_DEFAULT, Secret};

/// The user of flash-sale servers, in MongoDB's database `admin`.
const USER: &str = "flash-sale";
/// What this user may do in its database: `readWrite` is all that selling takes; `dbAdmin` lets a new version change the
/// rules of a collection, for which there is nobody else here.
const ROLES: [&str; 2] = ["readWrite", "dbAdmin"];
/// MongoDB's own user, whose password is the content of the key file.
const SYSTEM_USER: &str = "__system";

/// The two passwords of an embedded `mongod`.
#[derive(Debug)]
pub(super) struct Access {
    /// Made at each start: nothing in the data depends on it.
    key: Secret,
    /// Made once, so that people's tools can keep it.
    password: Secret,
}

impl Access {
    /// Makes a new key, and a password unless the directory has one that only its owner could read.
    ///
    /// # Errors
    /// The file that cannot be read or written.
    pub(super) fn prepare(directory: &DataDirectory) -> Result<Self, EmbeddedError> {
        let key = random_secret();
        directory.write_key(&key)?;
        let kept = directory.kept_uri()?.and_then(|uri| password_in(uri.reveal()));
        let password = kept.unwrap_or_else(|| {
            tracing::info!("the embedded MongoDB gets a new password");
            random_secret()
        });
        Ok(Self { key, password })
    }

    /// The connection string of flash-sale servers, with their database as its path. `directConnection`, because
    /// discovering the only member would cost a second round trip.
    pub(super) fn uri(&self, port: u16) -> Secret {
        let (password, host) = (self.password.reveal(), member_host(port));
        Secret::new(format!(
            "mongodb://{USER}:{password}@{host}/{DATABASE_NAME_DEFAULT}?authSource=admin&directConnection=true"
        ))
    }

    /// The connection string of MongoDB's own user, who may do everything.
    pub(super) fn system_uri(&self, port: u16) -> Secret {
        let (key, host) = (self.key.reveal(), member_host(port));
        Secret::new(format!(
            "mongodb://{SYSTEM_USER}:{key}@{host}/?authSource=local&authMechanism=SCRAM-SHA-256&directConnection=true"
        ))
    }

    /// The same user, for the driver.
    pub(super) fn system(&self) -> Credential {
        Credential::builder()
            .username(SYSTEM_USER.to_owned())
            .password(self.key.reveal().to_owned())
            .source("local".to_owned())
            .mechanism(AuthMechanism::ScramSha256)
            .build()
    }

    /// Gives the user of flash-sale servers its password and its roles, whatever it had before. `admin` is a connection
    /// of [`system`](Self::system) to a primary.
    pub(super) async fn grant(&self, admin: &Database) -> Result<(), Error> {
        let known = admin.run_command(doc! { "usersInfo": { "forAllDBs": true } }).await?;
        let known = known.get_array("users").into_iter().flatten();
        let mut known: Vec<_> = known.filter_map(|user| user.as_document()?.get_str("_id").ok()).collect();
        let all = known.len();
        known.retain(|id| *id != format!("admin.{USER}"));
        let command = if known.len() < all { "updateUser" } else { "createUser" };
        if !known.is_empty() {
            tracing::warn!(
                "the embedded MongoDB has users that the server did not make: {known:?}. Before it had a password, \
                 anybody on this machine could make one. docs/OPERATIONS.md says how to remove them"
            );
        }
        let roles: Vec<Document> =
            ROLES.iter().map(|role| doc! { "role": role, "db": DATABASE_NAME_DEFAULT }).collect();
        let user = doc! {
            command: USER,
            "pwd": self.password.reveal(),
            "roles": roles,
            "mechanisms": ["SCRAM-SHA-256"],
            "writeConcern": { "w": "majority", "j": true },
        };
        admin.run_command(user).await.map(drop)
    }
}

/// 256 random bits in hexadecimal digits, which need no quoting in a connection string, a shell or a key file.
fn random_secret() -> Secret {
    Secret::new(format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>()))
}

/// The password of our user in a connection string; `None` if it makes no sense.
fn password_in(uri: &str) -> Option<Secret> {
    let credential = ConnectionString::parse(uri.trim()).ok()?.credential?;
    let is_ours = credential.username.as_deref() == Some(USER);
    credential.password.filter(|password| is_ours && !password.is_empty()).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::embedded::data_directory::tests::Scratch;

    #[test]
    fn the_password_is_kept_and_the_key_is_not() {
        let root = Scratch::new("access");
        let directory = DataDirectory::open(root.path()).unwrap();
        let first = Access::prepare(&directory).unwrap();
        directory.keep_uri(&first.uri(27_017)).unwrap();
        let second = Access::prepare(&directory).unwrap();
        assert_eq!(second.password, first.password);
        assert_ne!(second.key, first.key);
        for file in ["mongodb-key", "mongodb-uri"] {
            let mode = root.path().join(file).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert_eq!(fs::read_to_string(directory.key_file()).unwrap().trim(), second.key.reveal());
    }

    #[test]
    fn a_password_that_is_lost_broken_or_exposed_is_replaced() {
        let root = Scratch::new("access-lost");
        let directory = DataDirectory::open(root.path()).unwrap();
        let first = Access::prepare(&directory).unwrap();
        assert_ne!(Access::prepare(&directory).unwrap().password, first.password, "nothing was kept");
        let file = root.path().join("mongodb-uri");
        for nonsense in
            ["", "\n", "mongodb://127.0.0.1", "mongodb://flash-sale@127.0.0.1", "mongodb://eve:x@127.0.0.1"]
        {
            directory.keep_uri(&Secret::new(nonsense)).unwrap();
            assert!(Access::prepare(&directory).unwrap().password.reveal().len() == 64, "{nonsense:?}");
        }
        for mode in [0o640, 0o620, 0o604, 0o602] {
            directory.keep_uri(&first.uri(27_017)).unwrap();
            assert_eq!(Access::prepare(&directory).unwrap().password, first.password);
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_ne!(Access::prepare(&directory).unwrap().password, first.password, "mode {mode:o}");
        }
    }
}
