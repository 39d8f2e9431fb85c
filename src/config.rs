//! Every setting and every limit, read once at the start and handed down.
//!
//! Only `embedded`, to find a `mongod`, reads the environment besides this module. All problems are reported together.

use std::collections::HashMap;
use std::path::PathBuf;

use tracing_subscriber::filter::Targets;

use crate::model::name::NameRules;

pub use accounts::{AdminCredentials, Registration};
pub use clients::{ClientsLimits, Quota};
pub use cors_origins::CorsOrigins;
pub use limits::{AccountsLimits, HttpLimits, Limits, LiveLimits, ProductsLimits, StoreLimits};
pub use purchases_limits::PurchasesLimits;
pub use records_limits::RecordsLimits;
pub use secret::{JWT_SECRET_BYTES_MIN, Secret, check_jwt_secret};
pub use settings::{SETTINGS, Setting};
pub use trusted_proxies::TrustedProxies;

pub use shop::{Color, Shop};

use env_file::EnvFile;

mod accounts;
mod clients;
mod cors_origins;
mod env_file;
mod limits;
mod mongo_uri;
mod purchases_limits;
mod read_limits;
mod records_limits;
mod secret;
mod settings;
mod shop;
#[cfg(test)]
mod tests;
mod trusted_proxies;

/// The database's name if the path of `MONGO_URI` has none.
pub const DATABASE_NAME_DEFAULT: &str = "flashsale";
/// The largest `NETWORK_DAYS`: ten years.
const NETWORK_DAYS_MAX: u32 = 3_650;

/// The settings of one server process.
#[derive(Debug, Clone)]
pub struct Config {
    /// `HOST`: the address or host name to listen on.
    pub host: String,
    /// `PORT`: 0 takes any free port.
    pub port: u16,
    /// Where the database is.
    pub database: Database,
    /// `JWT_SECRET_PREVIOUS`: also verifies tokens, while the secret is rotated.
    pub jwt_secret_previous: Option<Secret>,
    /// `ADMIN_EMAIL` and `ADMIN_PASSWORD`: the first admin.
    pub admin: Option<AdminCredentials>,
    /// `CORS_ORIGINS`: which pages of other origins may call the API.
    pub cors_origins: CorsOrigins,
    /// How the storefront of this shop looks.
    pub shop: Shop,
    /// `TRUSTED_PROXIES`: the proxies that say who the client is.
    pub trusted_proxies: TrustedProxies,
    /// `REGISTRATION`: whether anybody may register.
    pub registration: Registration,
    /// `RESERVED_NAMES`, within the rules for names.
    pub names: NameRules,
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

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
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
            jwt_secret_previous: reader.jwt_secret("JWT_SECRET_PREVIOUS"),
            admin: reader.admin(),
            cors_origins: reader.cors_origins(),
            shop: reader.shop(),
            trusted_proxies: reader.trusted_proxies(),
            registration: reader.registration(),
            names: NameRules::new(reader.reserved_names()),
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
        let jwt_secret = self.jwt_secret("JWT_SECRET");
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

    fn trusted_proxies(&mut self) -> TrustedProxies {
        TrustedProxies::read(self.text("TRUSTED_PROXIES").unwrap_or_default()).unwrap_or_else(|problems| {
            self.problems.extend(problems);
            TrustedProxies::default()
        })
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

/// The parts of a list with commas, without blanks around them and without empty ones.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn is_setting(name: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.name == name)
}
