//! Connects to MongoDB, and checks at the start that it can commit purchases.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::{
    ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, ServerAddress, WriteConcern,
};
use mongodb::{Client, Database, ServerType};
use tokio::sync::watch;

use super::sale_sessions::SaleSessions;
use super::{Store, diagnosis, failure};
use crate::config::{DATABASE_NAME_DEFAULT, StoreLimits};
use crate::metrics::database::DatabaseMetrics;

/// The oldest major version that is supported.
const MAJOR_VERSION_MIN: i32 = 6;
/// How long closing the driver's connections may take, in milliseconds.
const HANG_UP_MS_MAX: u64 = 500;
/// The pause between two looks for a primary.
const WAIT_PAUSE: Duration = Duration::from_millis(250);
/// The pause between two looks whether a primary tells the times of its answers.
const TIMES_PAUSE: Duration = Duration::from_millis(20);
/// How often the log says what the start waits for.
const WAITING_TOLD_EVERY: Duration = Duration::from_secs(5);
/// MongoDB's error code for a database whose name differs from that of another one only in case.
const DATABASE_DIFFERS_IN_CASE: i32 = 13_297;
/// MongoDB's error codes for a wrong or missing user or password.
const AUTHENTICATION_CODES: [i32; 3] = [13, 18, 8_000];

/// Why the database cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connection string is valid, but its host names cannot be resolved.
    #[error(
        "the hosts of MONGO_URI cannot be found: are their names right, and does this machine's name service work?"
    )]
    Uri,
    /// An option of the connection string cannot be used.
    #[error("MONGO_URI cannot be used: {0}")]
    Option(String),
    /// No primary answered in time.
    #[error("no MongoDB primary answered within {}s: {why}", .waited.as_secs())]
    Unreachable {
        /// How long the server waited.
        waited: Duration,
        /// What is in the way, and what to do about it.
        why: String,
    },
    /// There is a database of almost the same name.
    #[error(
        "MongoDB at {hosts} has a database whose name differs from that in MONGO_URI only in case: write it as it is there"
    )]
    OtherCase {
        /// The addresses that were tried.
        hosts: String,
    },
    /// Wrong user or password, or the user lacks rights.
    #[error(
        "MongoDB at {hosts} refuses the user or the password of MONGO_URI, or the user lacks the readWrite role\n\
         A user that was created in the database admin needs authSource=admin in MONGO_URI"
    )]
    Authentication {
        /// The addresses that were tried.
        hosts: String,
    },
    /// The server is not part of a replica set, so it has no transactions.
    #[error(
        "MongoDB at {hosts} is a standalone server, but purchases need transactions, which only a replica set has.\n\
         One node is enough: start it with `mongod --replSet rs0`, run `rs.initiate()` once in mongosh, and add ?replicaSet=rs0 to MONGO_URI"
    )]
    Standalone {
        /// The addresses that were tried.
        hosts: String,
    },
    /// The server is older than the oldest supported version.
    #[error("MongoDB at {hosts} is version {version}, but {MAJOR_VERSION_MIN}.0 or later is needed")]
    TooOld {
        /// The addresses that were tried.
        hosts: String,
        /// The server's version.
        version: String,
    },
    /// Any other error while creating the collections and indexes.
    #[error("the collections and indexes cannot be created: {0}")]
    Schema(mongodb::error::Error),
}

impl Store {
    /// Connects, checks that the server can commit purchases, and creates missing collections and indexes.
    ///
    /// # Errors
    /// Says what is wrong with the server or the connection string.
    pub async fn connect(uri: &str, limits: &StoreLimits) -> Result<Self, ConnectError> {
        let mut options = options(uri, limits).await?;
        let hosts = options.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let name = options.default_database.clone().unwrap_or_else(|| DATABASE_NAME_DEFAULT.into());
        // The probe keeps no warm connections. If the server refuses their password, the driver clears its pool, and
        // the check would report a missing server instead of the wrong password.
        let mut probe = options.clone();
        probe.min_pool_size = None;
        let probe = Client::with_options(probe).map_err(|error| unusable(&error, uri))?;
        let checked = wait(&probe, &options, &hosts, limits).await;
        hang_up(&probe).await;
        let version = checked?;
        let (primaries, primary) = watch::channel(None);
        let handler = EventHandler::callback(move |event| note(&primaries, &event));
        options.sdam_event_handler = Some(handler);
        let metrics = Arc::new(DatabaseMetrics::default());
        let counting = metrics.clone();
        options.cmap_event_handler = Some(EventHandler::callback(move |event| counting.note(&event)));
        let client = Client::with_options(options).map_err(|error| unusable(&error, uri))?;
        let database = client.database(&name);
        let prepared = async {
            super::schema::prepare(&database).await?;
            SaleSessions::start(client.clone()).await
        };
        let sale_sessions = match prepared.await {
            Ok(sale_sessions) => sale_sessions,
            Err(cause) => {
                hang_up(&client).await;
                return Err(explain(cause, &hosts));
            }
        };
        client.warm_connection_pool().await;
        Ok(Self::new(client, sale_sessions, database, primary, version, metrics, limits))
    }
}

async fn options(uri: &str, limits: &StoreLimits) -> Result<ClientOptions, ConnectError> {
    let mut options = ClientOptions::parse(uri).await.map_err(|error| unusable(&error, uri))?;
    options.app_name.get_or_insert_with(|| "flash-sale".into());
    options.max_pool_size = Some(limits.database_connections_max);
    options.min_pool_size = Some(limits.database_connections_min);
    options.connect_timeout = Some(Duration::from_millis(limits.server_selection_ms_max));
    options.server_selection_timeout = Some(Duration::from_millis(limits.server_selection_ms_max));
    // Reads see only what can no longer be rolled back; a write is confirmed once it is on disk on a majority.
    options.read_concern = Some(ReadConcern::majority());
    options.write_concern = Some(durable());
    // Only reads from the primary are sure to see a purchase that was answered before.
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    Ok(options)
}

/// Notes a new primary. While there is none, the last one stays.
fn note(primaries: &watch::Sender<Option<ServerAddress>>, event: &SdamEvent) {
    let SdamEvent::TopologyDescriptionChanged(change) = event else { return };
    let servers = change.new_description.servers();
    let Some(primary) = servers.values().find(|server| server.server_type() == ServerType::RsPrimary) else {
        return;
    };
    let primary = Some(primary.address().clone());
    primaries.send_if_modified(|known| std::mem::replace(known, primary.clone()) != primary);
}

/// The write is in the journals of a majority of the replica set, so it survives the loss of any minority.
pub fn durable() -> WriteConcern {
    WriteConcern::builder()
        .w(mongodb::options::Acknowledgment::Majority)
        .journal(true)
        .w_timeout(Duration::from_secs(5))
        .build()
}

/// The driver's message, with the password removed.
fn unusable(error: &mongodb::error::Error, uri: &str) -> ConnectError {
    let (ErrorKind::InvalidArgument { message, .. } | ErrorKind::InvalidTlsConfig { message, .. }) =
        error.kind.as_ref()
    else {
        return ConnectError::Uri;
    };
    // An option may contain an `@` too, so it is looked for before the path and the options only.
    let password = uri
        .split_once("://")
        .and_then(|(_, rest)| rest.split(['/', '?']).next()?.rsplit_once('@'))
        .and_then(|(user, _)| user.split_once(':'))
        .map(|(_, password)| password);
    match password.filter(|password| !password.is_empty()) {
        Some(password) => ConnectError::Option(message.replace(password, "[password]")),
        None => ConnectError::Option(message.clone()),
    }
}

/// Waits for a primary, which may start later than this server: as in a compose file without health checks. Returns its
/// version.
async fn wait(
    client: &Client,
    options: &ClientOptions,
    hosts: &str,
    limits: &StoreLimits,
) -> Result<String, ConnectError> {
    let waited = Duration::from_secs(limits.start_wait_seconds_max);
    let deadline = Instant::now() + waited;
    let mut logged_at: Option<Instant> = None;
    loop {
        let error = match check(client, hosts, deadline).await {
            Err(error) if failure::is_unavailable(&error) => error,
            Err(error) => return Err(explain(error, hosts)),
            Ok(checked) => return checked,
        };
        tracing::debug!("no primary yet: {error}");
        let seconds = waited.as_secs();
        if logged_at.is_none() {
            tracing::warn!("waiting for the database at {hosts}, for at most {seconds}s");
        }
        let why = diagnosis::explain(options).await;
        if logged_at.is_none_or(|logged_at| logged_at.elapsed() >= WAITING_TOLD_EVERY) {
            logged_at = Some(Instant::now());
            tracing::warn!("waiting for the database: {}", why.replace('\n', ". "));
        }
        if Instant::now() >= deadline {
            return Err(ConnectError::Unreachable { waited, why });
        }
        tokio::time::sleep(WAIT_PAUSE).await;
    }
}

/// Checks that the server has transactions and is new enough; returns its version. Until the deadline it waits for answers
/// with the time of the operation, which no confirmed read can do without: a MongoDB that asks for passwords signs its
/// times, and for a moment after its start it may have no key for that.
async fn check(
    client: &Client,
    hosts: &str,
    deadline: Instant,
) -> Result<Result<String, ConnectError>, mongodb::error::Error> {
    let admin = client.database("admin");
    // Ask for any member first: this finds a standalone server at once if it is alone in the URI.
    let nearest = ReadPreference::Nearest { options: None };
    let hello = run(&admin, doc! { "hello": 1 }, nearest).await?;
    let sharded = hello.get_str("msg").is_ok_and(|text| text == "isdbgrid");
    let is_member = hello.get_str("setName").is_ok() || hello.get_bool("isreplicaset").unwrap_or_default();
    if !sharded && !is_member {
        return Ok(Err(ConnectError::Standalone { hosts: hosts.to_owned() }));
    }
    let mut build = run(&admin, doc! { "buildInfo": 1 }, ReadPreference::Primary).await?;
    while !build.contains_key("operationTime") && Instant::now() < deadline {
        tokio::time::sleep(TIMES_PAUSE).await;
        build = run(&admin, doc! { "buildInfo": 1 }, ReadPreference::Primary).await?;
    }
    let version = build.get_str("version").unwrap_or("unknown").to_owned();
    let major = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    match major < MAJOR_VERSION_MIN {
        true => Ok(Err(ConnectError::TooOld { hosts: hosts.to_owned(), version })),
        false => Ok(Ok(version)),
    }
}

async fn run(
    admin: &Database,
    command: Document,
    preference: ReadPreference,
) -> Result<Document, mongodb::error::Error> {
    let criteria = SelectionCriteria::ReadPreference(preference);
    admin.run_command(command).selection_criteria(criteria).await
}

fn explain(cause: mongodb::error::Error, hosts: &str) -> ConnectError {
    // The driver's text is long and rarely helps an operator.
    tracing::debug!("the database at {hosts}: {cause}");
    let hosts = hosts.to_owned();
    match cause.kind.as_ref() {
        ErrorKind::Authentication { .. } => ConnectError::Authentication { hosts },
        ErrorKind::Command(error) if AUTHENTICATION_CODES.contains(&error.code) => {
            ConnectError::Authentication { hosts }
        }
        ErrorKind::Command(error) if error.code == DATABASE_DIFFERS_IN_CASE => {
            ConnectError::OtherCase { hosts }
        }
        ErrorKind::ServerSelection { .. } | ErrorKind::Io(_) => ConnectError::Unreachable {
            waited: Duration::ZERO,
            why: format!("the connection to {hosts} was lost"),
        },
        _ => ConnectError::Schema(cause),
    }
}

/// Disconnects and ends the driver's own tasks: one that still runs when the process exits would panic.
pub async fn hang_up(client: &Client) {
    let patience = Duration::from_millis(HANG_UP_MS_MAX);
    if tokio::time::timeout(patience, client.clone().shutdown().immediate(true)).await.is_err() {
        tracing::debug!("the driver did not disconnect in time");
    }
}
