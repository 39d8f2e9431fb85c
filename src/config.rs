//! Every setting and every limit, read once at the start and handed down.
//!
//! Only `embedded`, to find a `mongod`, reads the environment besides this module. All problems are reported together.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use tracing_subscriber::filter::Targets;

use crate::model::email;
use crate::model::user::PASSWORD_CHARACTERS;

pub use limits::{
    AccountsLimits, HttpLimits, Limits, LiveLimits, ProductsLimits, PurchasesLimits, StoreLimits,
};
pub use settings::{SETTINGS, Setting};

use env_file::EnvFile;

mod env_file;
mod limits;
mod mongo_uri;
mod settings;
#[cfg(test)]
mod tests;

/// The database's name if the path of `MONGO_URI` has none.
pub const DATABASE_NAME_DEFAULT: &str = "flashsale";
/// The shortest `JWT_SECRET`, in bytes: the size of an HS256 key (RFC 7518, 3.2).
pub const JWT_SECRET_BYTES_MIN: usize = 32;
/// A secret with fewer different bytes than this is refused as a placeholder.
const JWT_SECRET_DISTINCT_BYTES_MIN: usize = 10;
/// A secret with one of these words (in any case) is refused as a copied example.
const PLACEHOLDER_WORDS: [&str; 8] =
    ["change", "placeholder", "example", "replace", "your-", "your_", "jwtsecret", "jwt_secret"];

/// The settings of one server process.
#[derive(Debug, Clone)]
pub struct Config {
    /// `HOST`: the address or host name to listen on.
    pub host: String,
    /// `PORT`: 0 takes any free port.
    pub port: u16,
    /// Where the database is.
    pub database: Database,
    /// `ADMIN_EMAIL` and `ADMIN_PASSWORD`: the first admin.
    pub admin: Option<AdminCredentials>,
    /// `CORS_ORIGINS`: which pages of other origins may call the API.
    pub cors_origins: CorsOrigins,
    /// `METRICS_TOKEN`: what scrapers have to send; `None` if everybody may read the metrics.
    pub metrics_token: Option<Secret>,
    /// `LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `RUST_LOG`.
    pub log_filter: Targets,
    /// Upper bounds for what the server takes on.
    pub limits: Limits,
    /// Whether an embedded database without an admin gets one with a random password, shown once. Not a setting: it is
    /// off only for a rehearsal's server, whose greeting nobody reads.
    pub makes_up_admin: bool,
}

/// Where the database is, and the secret that signs the tokens.
#[derive(Debug, Clone)]
pub enum Database {
    /// The server's own MongoDB, with all its data below one directory (`DATA_DIR`).
    Embedded {
        /// Created when missing.
        data_directory: PathBuf,
        /// `JWT_SECRET`; if `None`, the first run makes a secret and keeps it beside the data.
        jwt_secret: Option<Secret>,
    },
    /// `MONGO_URI`.
    External {
        /// The connection string; it may hold a password.
        uri: Secret,
        /// `JWT_SECRET`.
        jwt_secret: Secret,
    },
}

impl Database {
    /// Describes it for the log: hosts and database name, never users or passwords.
    pub fn place(&self) -> String {
        match self {
            Self::Embedded { data_directory, .. } => {
                format!("the embedded MongoDB in {}", data_directory.display())
            }
            Self::External { uri, .. } => mongo_uri::place(uri.reveal()),
        }
    }
}

/// The admin that the server creates if there is no such user.
#[derive(Debug, Clone)]
pub struct AdminCredentials {
    /// The e-mail address, in lower case.
    pub email: String,
    /// The password: 12 to 128 characters.
    pub password: Secret,
}

/// Which pages of other origins may call the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Those in the list; an empty list means none.
    List(Vec<String>),
    /// Every origin (`*`).
    Any,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A text that no log, error or debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text` from debug output.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the code that has to use it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// Everything that is wrong with the settings, one line each.
#[derive(Debug, thiserror::Error)]
#[error("the settings have {} problem(s):\n{}\nEvery setting is described in .env.example.", .0.len(), .0.iter().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl Config {
    /// Reads the environment, and `.env` in the working directory for what the environment does not set.
    ///
    /// # Errors
    /// Every bad or missing setting, in one error.
    pub fn from_environment() -> Result<Self, ConfigError> {
        let EnvFile { mut settings, mut problems } = env_file::read();
        // The environment wins over the file.
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str() else { continue };
            match value.to_str() {
                Some(value) => drop(settings.insert(name.to_owned(), value.to_owned())),
                // MONGOD is a path, which need not be UTF-8.
                None if is_setting(name) && name != "MONGOD" => {
                    problems.push(format!("{name} is no UTF-8"));
                }
                None => {}
            }
        }
        Self::read(&settings, problems)
    }

    /// Reads the settings from a map of names to values. An empty value counts as not set.
    ///
    /// # Errors
    /// Every bad or missing setting, in one error.
    pub fn from_settings(settings: &HashMap<String, String>) -> Result<Self, ConfigError> {
        Self::read(settings, Vec::new())
    }

    /// `problems` are those found before: settings that could not be read at all.
    fn read(settings: &HashMap<String, String>, problems: Vec<String>) -> Result<Self, ConfigError> {
        let mut reader = Reader { settings, is_all_known: problems.is_empty(), problems };
        let config = Self {
            host: reader.host(),
            port: reader.parsed("PORT", "a port number, 0 to 65535").unwrap_or(3000),
            database: reader.database(),
            admin: reader.admin(),
            cors_origins: reader.cors_origins(),
            metrics_token: reader.metrics_token(),
            log_format: reader.log_format(),
            log_filter: reader
                .parsed("RUST_LOG", "a list like `info,flash_sale=debug`")
                .unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO)),
            limits: reader.limits(),
            makes_up_admin: true,
        };
        if reader.problems.is_empty() { Ok(config) } else { Err(ConfigError(reader.problems)) }
    }
}

/// Reads the settings one by one and collects their problems.
struct Reader<'a> {
    settings: &'a HashMap<String, String>,
    /// False when some lines could not be read: a setting that is missing may be in one of them, so it is not reported.
    is_all_known: bool,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        debug_assert!(is_setting(name), "{name} is missing in the list of settings");
        self.value(name)
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.verbatim(name).map(str::trim)
    }

    /// A secret, which is not trimmed: blanks at its ends belong to it. What a tool has left around it is refused, because
    /// nobody could log in with what they believe the secret to be.
    fn secret(&mut self, name: &str) -> Option<&'a str> {
        let value = self.verbatim(name)?;
        if value.ends_with(['\n', '\r']) {
            self.problem(format!(
                "{name} ends with a line break, as `echo` makes it: write it with `printf %s`"
            ));
        }
        let is_quoted = |quote| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
        if is_quoted('"') || is_quoted('\'') {
            self.problem(format!("{name} is in quotes, which `docker run --env-file` keeps: leave them out"));
        }
        Some(value)
    }

    fn verbatim(&self, name: &str) -> Option<&'a str> {
        self.settings.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
    }

    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    fn missing(&mut self, text: &str) {
        if self.is_all_known {
            self.problem(text);
        }
    }

    fn parsed<T: std::str::FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        let value = self.text(name)?;
        let parsed = value.parse().ok();
        if parsed.is_none() {
            self.problem(format!("{name} is `{value}`, but it has to be {expected}"));
        }
        parsed
    }

    fn host(&mut self) -> String {
        let host = self.text("HOST").unwrap_or("127.0.0.1").to_owned();
        if url::Host::parse(&host).is_err() && host.parse::<std::net::IpAddr>().is_err() {
            self.problem(format!("HOST is `{host}`, which is neither an address nor a host name"));
        }
        host
    }

    fn database(&mut self) -> Database {
        let jwt_secret = self.jwt_secret();
        match (self.text("MONGO_URI"), jwt_secret) {
            (None, jwt_secret) => {
                self.check_misspelt_uri();
                let data_directory = self.text("DATA_DIR").unwrap_or(".data").into();
                Database::Embedded { data_directory, jwt_secret }
            }
            (Some(uri), jwt_secret) => {
                if let Err(problem) = mongo_uri::check(uri) {
                    self.problem(problem);
                }
                if jwt_secret.is_none() && self.text("JWT_SECRET").is_none() {
                    self.missing(
                        "JWT_SECRET is missing; with MONGO_URI it is required, the same on every server \
                         (make one: openssl rand -base64 48)",
                    );
                }
                Database::External {
                    uri: Secret::new(uri),
                    jwt_secret: jwt_secret.unwrap_or_else(|| Secret::new("")),
                }
            }
        }
    }

    /// A misspelt name would silently start an embedded MongoDB in place of the database that was meant. `DATABASE_URL`
    /// counts only with a MongoDB URI: it may belong to another program.
    fn check_misspelt_uri(&mut self) {
        for name in ["MONGO_URL", "MONGODB_URI", "MONGODB_URL", "DATABASE_URL"] {
            let is_meant = |uri: &str| name.starts_with("MONGO") || uri.starts_with("mongodb");
            if self.value(name).is_some_and(is_meant) {
                self.missing(&format!(
                    "{name} is set, but the setting is called MONGO_URI; with neither, the server runs its own MongoDB"
                ));
            }
        }
    }

    fn jwt_secret(&mut self) -> Option<Secret> {
        let secret = self.secret("JWT_SECRET")?;
        match check_jwt_secret(secret) {
            Ok(()) => Some(Secret::new(secret)),
            Err(problem) => {
                self.problem(problem);
                None
            }
        }
    }

    fn admin(&mut self) -> Option<AdminCredentials> {
        let (email, password) = (self.text("ADMIN_EMAIL"), self.secret("ADMIN_PASSWORD"));
        if let Some(email) = email.filter(|email| !email::is_address(email)) {
            self.problem(format!("ADMIN_EMAIL is `{email}`, which is not an e-mail address"));
        }
        if password.is_some_and(|password| !PASSWORD_CHARACTERS.contains(&password.chars().count())) {
            self.problem("ADMIN_PASSWORD has to have 12 to 128 characters");
        }
        if email.is_some() != password.is_some() {
            self.missing("ADMIN_EMAIL and ADMIN_PASSWORD go together: set both or neither");
        }
        Some(AdminCredentials { email: email?.to_lowercase(), password: Secret::new(password?) })
    }

    fn cors_origins(&mut self) -> CorsOrigins {
        let text = self.text("CORS_ORIGINS").unwrap_or_default();
        if text == "*" {
            return CorsOrigins::Any;
        }
        let mut origins = Vec::new();
        for origin in text.split(',').map(str::trim).filter(|origin| !origin.is_empty()) {
            match url::Url::parse(origin) {
                Ok(url) if url.origin().is_tuple() && url.origin().ascii_serialization() == origin => {
                    origins.push(origin.to_owned());
                }
                _ => self.problem(format!(
                    "CORS_ORIGINS has `{origin}`, which is not like https://shop.example (no path, no slash at the end)"
                )),
            }
        }
        CorsOrigins::List(origins)
    }

    fn limits(&mut self) -> Limits {
        let mut limits = Limits::default();
        let name = "WATCHERS_PER_ADDRESS_MAX";
        let watchers_max = &mut limits.live.watchers_per_address_max;
        *watchers_max = self.parsed(name, "a number of clients, at least 1").unwrap_or(*watchers_max);
        if *watchers_max == 0 {
            self.problem(format!("{name} is 0, but it has to be at least 1"));
        }
        let wait = &mut limits.store.start_wait_seconds_max;
        *wait = self.parsed("MONGO_WAIT_SECONDS", "a number of seconds").unwrap_or(*wait);
        limits
    }

    fn metrics_token(&mut self) -> Option<Secret> {
        let token = self.secret("METRICS_TOKEN")?;
        if token.bytes().any(|byte| !byte.is_ascii_graphic()) {
            self.problem("METRICS_TOKEN has other characters than visible ASCII, which no header can carry");
        }
        Some(Secret::new(token))
    }

    fn log_format(&mut self) -> LogFormat {
        match self.text("LOG_FORMAT") {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(other) => {
                self.problem(format!("LOG_FORMAT is `{other}`, but it has to be `text` or `json`"));
                LogFormat::Text
            }
        }
    }
}

fn is_setting(name: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.name == name)
}

/// Checks that `secret` may sign tokens; the error says why not.
pub fn check_jwt_secret(secret: &str) -> Result<(), String> {
    const ADVICE: &str = "make one with: openssl rand -base64 48";
    if secret.len() < JWT_SECRET_BYTES_MIN {
        return Err(format!(
            "JWT_SECRET has {} bytes, but at least {JWT_SECRET_BYTES_MIN} are needed ({ADVICE})",
            secret.len()
        ));
    }
    let lower = secret.to_lowercase();
    let distinct = secret.bytes().collect::<std::collections::HashSet<_>>().len();
    if distinct < JWT_SECRET_DISTINCT_BYTES_MIN || PLACEHOLDER_WORDS.iter().any(|word| lower.contains(word)) {
        return Err(format!("JWT_SECRET is a placeholder that anyone can guess ({ADVICE})"));
    }
    Ok(())
}
