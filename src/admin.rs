//! `flash-sale admin`: makes admins on any database, whether a server runs or not. So an address that somebody else has
//! registered is no dead end.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;

use crate::accounts::access::Access;
use crate::accounts::service::Accounts;
use crate::config::{Config, Database, Secret};
use crate::embedded::{self, EmbeddedMongo};
use crate::error::Error;
use crate::model::text::is_hidden;
use crate::model::user::{NAME_CHARACTERS, User};
use crate::model::{email, password};
use crate::signals::{INTERRUPTED, Signals};
use crate::store::Store;
use crate::store::heartbeat::Heartbeat;

/// A longer standard input is no password, in bytes.
const PASSWORD_BYTES_MAX: u64 = 1_024;

/// What can be typed after `flash-sale admin`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create an admin's account.
    Create {
        /// The e-mail address
        #[arg(value_parser = address)]
        email: String,
        /// The name
        #[arg(long, default_value = "Admin", value_parser = name)]
        name: String,
    },
    /// Make an existing account an admin's: with a new password, enabled, and logged out everywhere.
    ///
    /// Whoever had the account before can no longer use it.
    Promote {
        /// The e-mail address of the account
        #[arg(value_parser = address)]
        email: String,
        /// Another name
        #[arg(long, value_parser = name)]
        name: Option<String>,
    },
}

/// Why there is no admin now.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The password cannot be used.
    #[error("{0}")]
    Password(String),
    /// Nothing was done, and why.
    #[error("{0}")]
    NotDone(String),
    /// A signal came.
    #[error("interrupted")]
    Interrupted,
}

impl AdminError {
    /// The exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotDone(_) => 1,
            Self::Password(_) => 2,
            Self::Interrupted => INTERRUPTED,
        }
    }
}

/// Reads the password, then creates or promotes the admin.
///
/// # Errors
/// What is wrong with the password, the address or the database.
pub async fn run(command: Command, config: &Config, end: &mut Signals) -> Result<(), AdminError> {
    // On a thread of its own: it cannot be interrupted.
    let password = tokio::task::spawn_blocking(read_password);
    let password = tokio::select! {
        password = password => password.map_err(|error| AdminError::NotDone(error.to_string()))??,
        _ = end.next() => return Err(AdminError::Interrupted),
    };
    let done = tokio::select! {
        done = make(command, password, config) => done?,
        _ = end.next() => return Err(AdminError::Interrupted),
    };
    drop(writeln!(io::stdout(), "{done}"));
    Ok(())
}

/// Makes the admin, and says what was done.
async fn make(command: Command, password: Secret, config: &Config) -> Result<String, AdminError> {
    let (Command::Create { email, .. } | Command::Promote { email, .. }) = &command;
    let own: Vec<_> = config.names.shops_own.iter().chain([email]).map(String::as_str).collect();
    password::check_strength(password.reveal(), &own)
        .map_err(|problem| AdminError::Password(format!("the password {problem}")))?;
    let (uri, mongo) = database(&config.database).await?;
    let made = match Store::connect(uri.reveal(), &config.limits.store).await {
        Ok(store) => {
            let made = make_in(&store, command, password, config).await;
            store.close(Duration::from_millis(config.limits.http.shutdown_ms_max)).await;
            made
        }
        Err(error) => Err(AdminError::NotDone(error.to_string())),
    };
    if let Some(mongo) = mongo {
        mongo.stop().await;
    }
    made
}

async fn make_in(
    store: &Store,
    command: Command,
    password: Secret,
    config: &Config,
) -> Result<String, AdminError> {
    let failed = |error: Error| match error {
        Error::EmailTaken => AdminError::NotDone(
            "this address has an account already; `flash-sale admin promote` makes it an admin's".into(),
        ),
        error => AdminError::NotDone(format!("{}. {}", error.code().title(), error.detail())),
    };
    let (heartbeat, _) = Heartbeat::start(store, &config.limits.store).await.map_err(failed)?;
    let (access, _) = Access::start(store, &config.limits.accounts).await.map_err(failed)?;
    let accounts = Accounts::new(store.clone(), heartbeat, access, &config.limits.accounts, Arc::default())
        .map_err(failed)?;
    match command {
        Command::Create { email, name } => {
            let User { id, .. } = accounts.create_admin(name, email, password).await.map_err(failed)?;
            Ok(format!("Admin {id} was created."))
        }
        Command::Promote { email, name } => {
            match accounts.promote(&email, name, password).await.map_err(failed)? {
                Some(User { id, .. }) => Ok(format!(
                    "User {id} is an admin now, with the new password; every earlier login has ended."
                )),
                None => Err(AdminError::NotDone(
                    "no account has this address; `flash-sale admin create` creates one".into(),
                )),
            }
        }
    }
}

/// The connection string; starts the embedded MongoDB unless a server runs on it.
async fn database(database: &Database) -> Result<(Secret, Option<EmbeddedMongo>), AdminError> {
    match database {
        Database::External { uri, .. } => Ok((uri.clone(), None)),
        Database::Embedded { data_directory, .. } => {
            embedded::start_or_join(data_directory).await.map_err(AdminError::NotDone)
        }
    }
}

/// The password, typed twice at the terminal, or all of standard input but the line break at its end.
fn read_password() -> Result<Secret, AdminError> {
    let unreadable = |error: io::Error| AdminError::Password(format!("the password cannot be read: {error}"));
    let password = if io::stdin().is_terminal() {
        let password = rpassword::prompt_password("New password: ").map_err(unreadable)?;
        if rpassword::prompt_password("The same again: ").map_err(unreadable)? != password {
            return Err(AdminError::Password("the two passwords differ".into()));
        }
        password
    } else {
        let mut text = String::new();
        io::stdin().lock().take(PASSWORD_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        line.strip_suffix('\r').unwrap_or(line).to_owned()
    };
    match password::check_length(&password) {
        Ok(()) => Ok(Secret::new(password)),
        Err(problem) => Err(AdminError::Password(format!(
            "the password {problem}, but {} were read",
            password.chars().count()
        ))),
    }
}

fn address(text: &str) -> Result<String, String> {
    let address = text.trim().to_lowercase();
    match email::canonical(&address) {
        Some(_) => Ok(address),
        None => Err("this is not an e-mail address on the internet".into()),
    }
}

fn name(text: &str) -> Result<String, String> {
    let name = text.trim();
    let is_name = NAME_CHARACTERS.contains(&name.chars().count()) && !name.chars().any(is_hidden);
    if is_name { Ok(name.to_owned()) } else { Err("a name has 1 to 80 visible characters".into()) }
}
