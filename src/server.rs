//! One server, from its settings to its end: what is started, in which order, and how it is stopped again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::accounts::tokens::Tokens;
use crate::config::{AdminCredentials, Config, DATABASE_NAME_DEFAULT, Database, Limits, Secret};
use crate::embedded::{EmbeddedError, EmbeddedMongo};
use crate::error::Error;
use crate::first_run;
use crate::http::accept;
use crate::http::http_runtime::HttpRuntime;
use crate::open_files;
use crate::routes;
use crate::routes::state::App;
use crate::store::Store;
use crate::store::connect::ConnectError;
use crate::store::heartbeat::Heartbeat;

/// Files that a server has open besides its connections, about.
const FILES_BESIDES_CONNECTIONS: usize = 100;
/// What the last writes have at shutdown in any case, in milliseconds.
const LAST_WRITES_MS: u64 = 1_000;
/// How long the start waits for the change stream, in milliseconds; it goes on without.
const FEED_OPENING_MS_MAX: u64 = 1_000;

/// A running server. Stop it with `stop`.
pub struct Server {
    address: SocketAddr,
    first_admin: Option<AdminCredentials>,
    admin_email: Option<String>,
    app: Arc<App>,
    mongo: Option<EmbeddedMongo>,
    shutdown: CancellationToken,
    _http_runtime: HttpRuntime,
    serving: JoinHandle<()>,
    background_shutdown: CancellationToken,
    feed: JoinHandle<()>,
    heartbeat: JoinHandle<()>,
    /// Cancelled when one of these two has ended.
    ended: CancellationToken,
}

/// Why the server cannot start, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {cause}\n{}", listen_advice(.cause))]
    Listen {
        /// What was tried.
        address: String,
        /// The system's word.
        cause: std::io::Error,
    },
    /// The embedded MongoDB does not start.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The secret beside the data cannot be read or written.
    #[error("cannot keep the token secret in {path}: {cause}")]
    Secret {
        /// The file.
        path: String,
        /// The system's word.
        cause: std::io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The database does not commit, or the first admin cannot be made.
    #[error("the database does not take writes: {}", .0.code().title())]
    Write(Error),
    /// The system gives no more threads.
    #[error("the system gives no more threads: is there a limit on this user's processes?")]
    Threads,
}

impl Server {
    /// Starts everything; when it returns, purchases work.
    ///
    /// # Errors
    /// What is in the way. Nothing keeps running.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        raise_file_limit(&config.limits);
        // First what fails fastest: a taken port should not wait for a database.
        let listener = listen(&config).await?;
        let address = listener.local_addr().map_err(|cause| listen_error(&config, cause))?;
        tracing::info!("the database is {}", config.database.place());
        let (uri, secret, mongo) = database(&config.database).await?;
        let patience = Duration::from_millis(config.limits.http.shutdown_ms_max);
        let error = match Store::connect(uri.reveal(), &config.limits.store).await {
            Ok(store) => match Self::start_on(config, listener, address, store.clone(), &secret).await {
                Ok(server) => return Ok(Self { mongo, ..server }),
                Err(error) => {
                    store.close(patience).await;
                    error
                }
            },
            Err(error) => error.into(),
        };
        if let Some(mongo) = mongo {
            mongo.stop().await;
        }
        Err(error)
    }

    async fn start_on(
        config: Config,
        listener: TcpListener,
        address: SocketAddr,
        store: Store,
        secret: &Secret,
    ) -> Result<Self, StartError> {
        let limits = config.limits.clone();
        let (heartbeat, heartbeat_task) =
            Heartbeat::start(&store, &limits.store).await.map_err(StartError::Write)?;
        let shutdown = CancellationToken::new();
        let tokens = Tokens::new(secret, &limits.accounts);
        let (app, feed_task) =
            App::new(limits.clone(), store, heartbeat, tokens, config.cors_origins, shutdown.clone())
                .map_err(|_| StartError::Threads)?;
        let app = Arc::new(app);
        // Both go on while open requests end: they ask whether the database commits, and what others have sold.
        let background_shutdown = CancellationToken::new();
        let stop_on_failure = background_shutdown.clone().drop_guard();
        let ended = CancellationToken::new();
        let feed = spawn(feed_task.run(background_shutdown.clone()), &ended);
        let heartbeat = spawn(heartbeat_task.run(background_shutdown.clone()), &ended);
        app.feed.opened(Duration::from_millis(FEED_OPENING_MS_MAX)).await;
        let makes_one_up = config.makes_up_admin && matches!(config.database, Database::Embedded { .. });
        let (first_admin, admin_email) =
            admin(&app, config.admin, makes_one_up).await.map_err(StartError::Write)?;
        let service = routes::service(app.clone());
        let (http_runtime, serving) = HttpRuntime::serve(
            listener,
            service,
            limits.http,
            app.metrics.connections.clone(),
            shutdown.clone(),
        )
        .map_err(|cause| StartError::Listen { address: address.to_string(), cause })?;
        tracing::info!("listening on http://{address}");
        stop_on_failure.disarm();
        Ok(Self {
            address,
            first_admin,
            admin_email,
            app,
            mongo: None,
            shutdown,
            _http_runtime: http_runtime,
            serving,
            background_shutdown,
            feed,
            heartbeat,
            ended,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The admin whom this start has made up, with the password that is shown just once.
    pub fn first_admin(&self) -> Option<&AdminCredentials> {
        self.first_admin.as_ref()
    }

    /// The address of an admin; none when nobody can create products.
    pub fn admin_email(&self) -> Option<&str> {
        self.admin_email.as_deref()
    }

    /// Resolves, with the reason, when the server cannot go on: its MongoDB has ended, or a part of it.
    pub async fn failed(&self) -> String {
        let mongo = async {
            match &self.mongo {
                Some(mongo) => mongo.ended().await,
                // Others run it, and it may come back.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = mongo => reason,
            () = self.ended.cancelled() => "a part of the server has broken down; the log tells how".into(),
        }
    }

    /// Stops in order: no new requests, the open ones end, the lanes serve what they took, the writes end, and MongoDB
    /// last. All of them but MongoDB have `shutdown_ms_max` together, and the writes a little more, so that they have some
    /// of it in any case.
    pub async fn stop(self) {
        self.shutdown.cancel();
        let deadline = Instant::now() + Duration::from_millis(self.app.limits.http.shutdown_ms_max);
        join("the accept loop", self.serving).await;
        if timeout_at(deadline, self.app.rooms.close()).await.is_err() {
            tracing::warn!("watchers were still connected at shutdown");
        }
        if timeout_at(deadline, self.app.purchases.close()).await.is_err() {
            tracing::warn!("purchases were still under way at shutdown");
        }
        self.background_shutdown.cancel();
        join("the feed", self.feed).await;
        join("the heartbeat", self.heartbeat).await;
        let rest = deadline.saturating_duration_since(Instant::now());
        self.app.store.close(rest.max(Duration::from_millis(LAST_WRITES_MS))).await;
        if let Some(mongo) = self.mongo {
            mongo.stop().await;
        }
    }
}

/// Runs a task of the server's own, and tells when it has ended.
fn spawn(task: impl Future<Output = ()> + Send + 'static, ended: &CancellationToken) -> JoinHandle<()> {
    let ended = ended.clone().drop_guard();
    tokio::spawn(async move {
        task.await;
        drop(ended);
    })
}

async fn join(name: &str, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!("{name} failed: {error}");
    }
}

async fn listen(config: &Config) -> Result<TcpListener, StartError> {
    accept::listen(&config.host, config.port).await.map_err(|cause| listen_error(config, cause))
}

fn listen_advice(cause: &std::io::Error) -> &'static str {
    match cause.kind() {
        std::io::ErrorKind::AddrInUse => "Another program has the port: set PORT to a free one",
        std::io::ErrorKind::PermissionDenied => "Ports below 1024 are the system's: set PORT to a higher one",
        _ => "HOST has to be an address of this machine, or a name that leads to one",
    }
}

fn listen_error(config: &Config, cause: std::io::Error) -> StartError {
    StartError::Listen { address: format!("{}:{}", config.host, config.port), cause }
}

/// The database's connection string and the secret of the tokens; starts a MongoDB when none is given.
async fn database(database: &Database) -> Result<(Secret, Secret, Option<EmbeddedMongo>), StartError> {
    match database {
        Database::External { uri, jwt_secret } => Ok((uri.clone(), jwt_secret.clone(), None)),
        Database::Embedded { data_directory, jwt_secret } => {
            let mongo = EmbeddedMongo::start(data_directory).await?;
            let secret = match jwt_secret {
                Some(secret) => Ok(secret.clone()),
                None => first_run::jwt_secret(data_directory),
            };
            match secret {
                Ok(secret) => {
                    let uri = mongo.uri().replacen("/?", &format!("/{DATABASE_NAME_DEFAULT}?"), 1);
                    Ok((Secret::new(uri), secret, Some(mongo)))
                }
                Err((path, cause)) => {
                    mongo.stop().await;
                    Err(StartError::Secret { path: path.display().to_string(), cause })
                }
            }
        }
    }
}

/// Makes the first admin: the one of the settings, or, if `makes_one_up` and there is none, one that is made up.
/// Tells that one, and the address of an admin if there is any.
async fn admin(
    app: &App,
    settings: Option<AdminCredentials>,
    makes_one_up: bool,
) -> Result<(Option<AdminCredentials>, Option<String>), Error> {
    if let Some(credentials) = settings {
        app.accounts.ensure_admin(&credentials).await?;
    }
    let email = app.accounts.admin_email().await?;
    if email.is_some() || !makes_one_up {
        return Ok((None, email));
    }
    let credentials = first_run::made_up_admin();
    app.accounts.ensure_admin(&credentials).await?;
    let email = credentials.email.clone();
    Ok((Some(credentials), Some(email)))
}

/// Lets the process open as many files as it can, and tells if those are too few for as many connections as it takes.
fn raise_file_limit(limits: &Limits) {
    let files_max = limits.http.connections_max
        + limits.store.database_connections_max as usize
        + FILES_BESIDES_CONNECTIONS;
    match open_files::raise_limit() {
        Ok(Some(files)) if files < files_max as u64 => tracing::warn!(
            "only {files} files can be open at once instead of {files_max}: raise ulimit -n -H"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!("the number of files that can be open at once stays as it is: {error}"),
    }
}
