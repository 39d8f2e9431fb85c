//! One server from start to stop: what it starts, in which order, and how it stops again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::accounts::access::Access;
use crate::accounts::tokens::Tokens;
use crate::config::{AdminCredentials, Config, Database, Limits, Secret};
use crate::embedded::{EmbeddedError, EmbeddedMongo};
use crate::error::Error;
use crate::first_run;
use crate::http::accept;
use crate::http::client::Clients;
use crate::http::http_runtime::HttpRuntime;
use crate::open_files;
use crate::purchases::network_removal::NetworkRemoval;
use crate::routes;
use crate::routes::state::App;
use crate::store::Store;
use crate::store::connect::ConnectError;
use crate::store::heartbeat::Heartbeat;
use crate::store::patch_level;

/// About how many files a server has open besides its connections.
const FILES_BESIDES_CONNECTIONS: usize = 100;
/// The time that the last writes get at shutdown in any case, in milliseconds.
const LAST_WRITES_MS: u64 = 1_000;
/// How long the start waits for the change stream, in milliseconds; then it goes on without it.
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
    expiry_shutdown: CancellationToken,
    feed: JoinHandle<()>,
    heartbeat: JoinHandle<()>,
    expiry: JoinHandle<()>,
    access: JoinHandle<()>,
    network_removal: JoinHandle<()>,
    /// Cancelled when one of the tasks above has ended.
    ended: CancellationToken,
}

/// Why the server cannot start, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use, or it is not one of this machine.
    #[error("cannot listen on {address}: {cause}\n{}", listen_advice(.cause))]
    Listen {
        /// `HOST` and `PORT`.
        address: String,
        /// The operating system's reason.
        cause: std::io::Error,
    },
    /// The embedded MongoDB did not start.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The secret beside the data cannot be read or written.
    #[error("cannot keep the token secret in {path}: {cause}")]
    Secret {
        /// The file.
        path: String,
        /// The operating system's reason.
        cause: std::io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The database does not commit, or the first admin cannot be created.
    #[error("the database does not take writes: {}", .0.code().title())]
    Write(Error),
    /// The operating system refuses more threads.
    #[error("the operating system refuses more threads: is there a limit on this user's processes?")]
    Threads,
}

impl Server {
    /// Starts everything; when it returns, purchases work.
    ///
    /// # Errors
    /// Why the server cannot start. Then nothing keeps running.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        raise_file_limit(&config.limits);
        // First, because it fails fastest: the message that the port is taken should not wait for the database.
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
        report_holes(&config.database, store.mongodb_version());
        let limits = config.limits.clone();
        let (heartbeat, heartbeat_task) =
            Heartbeat::start(&store, &limits.store).await.map_err(StartError::Write)?;
        let shutdown = CancellationToken::new();
        let tokens = Tokens::new(secret, &limits.accounts).with_previous(config.jwt_secret_previous.as_ref());
        // Before anybody can ask: a token that was ended must not count because this server has just started.
        let (access, access_task) =
            Access::start(&store, &limits.accounts).await.map_err(StartError::Write)?;
        let (app, feed_task) = App::new(&config, store, heartbeat, tokens, access, shutdown.clone())
            .map_err(|_| StartError::Threads)?;
        let app = Arc::new(app);
        // These tasks run until all open requests have ended, which need them: they ask whether the database commits, what
        // other servers have sold, and whose access has ended.
        let background_shutdown = CancellationToken::new();
        let stop_on_failure = background_shutdown.clone().drop_guard();
        let ended = CancellationToken::new();
        // It ends with the first of both: it needs lanes that still take what it finds.
        let expiry_shutdown = background_shutdown.child_token();
        let feed = spawn(feed_task.run(background_shutdown.clone()), &ended);
        let network_removal = NetworkRemoval::new(app.store.clone(), app.heartbeat.clone(), &limits.records);
        let network_removal = spawn(network_removal.run(background_shutdown.clone()), &ended);
        let heartbeat = spawn(heartbeat_task.run(background_shutdown.clone()), &ended);
        let access = spawn(access_task.run(background_shutdown.clone()), &ended);
        let expiry = spawn(
            app.purchases.expiry(&limits.purchases, app.metrics.clone()).run(expiry_shutdown.clone()),
            &ended,
        );
        app.feed.opened(Duration::from_millis(FEED_OPENING_MS_MAX)).await;
        let makes_one_up = config.makes_up_admin && matches!(config.database, Database::Embedded { .. });
        let (first_admin, admin_email) =
            admin(&app, config.admin, makes_one_up).await.map_err(StartError::Write)?;
        let service = routes::service(app.clone(), &config.shop);
        let (http_runtime, serving) = HttpRuntime::serve(
            listener,
            service,
            limits.http,
            Clients::new(config.trusted_proxies, limits.clients.leaves_private_alone),
            app.metrics.clone(),
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
            expiry,
            expiry_shutdown,
            access,
            network_removal,
            ended,
        })
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The admin that this start has created with a random password, which is shown only once.
    pub fn first_admin(&self) -> Option<&AdminCredentials> {
        self.first_admin.as_ref()
    }

    /// The e-mail address of an admin; `None` if there is no admin, so that nobody can create products.
    pub fn admin_email(&self) -> Option<&str> {
        self.admin_email.as_deref()
    }

    /// Resolves when the server cannot go on, with the reason: its embedded MongoDB or a task of its own has ended.
    pub async fn failed(&self) -> String {
        let mongo = async {
            match &self.mongo {
                Some(mongo) => mongo.ended().await,
                // An external database may come back.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = mongo => reason,
            () = self.ended.cancelled() => "a task of the server has ended unexpectedly; see the log".into(),
        }
    }

    /// Stops in order: refuses new requests, lets open ones end, lets the lanes serve the purchases that they took,
    /// lets writes end, and stops MongoDB last. All but MongoDB have `shutdown_ms_max` together; the writes get at
    /// least a second of their own.
    pub async fn stop(self) {
        self.shutdown.cancel();
        let deadline = Instant::now() + Duration::from_millis(self.app.limits.http.shutdown_ms_max);
        self.expiry_shutdown.cancel();
        join("the accept loop", self.serving).await;
        join("the expiry", self.expiry).await;
        if timeout_at(deadline, self.app.rooms.close()).await.is_err() {
            tracing::warn!("watchers were still connected at shutdown");
        }
        if timeout_at(deadline, self.app.purchases.close()).await.is_err() {
            tracing::warn!("purchases were still under way at shutdown");
        }
        self.background_shutdown.cancel();
        join("the feed", self.feed).await;
        join("the removal of networks", self.network_removal).await;
        join("the heartbeat", self.heartbeat).await;
        join("the task that follows ended access", self.access).await;
        let rest = deadline.saturating_duration_since(Instant::now());
        self.app.store.close(rest.max(Duration::from_millis(LAST_WRITES_MS))).await;
        if let Some(mongo) = self.mongo {
            mongo.stop().await;
        }
    }
}

/// Spawns a task and cancels `ended` when it has ended, also by a panic.
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
        std::io::ErrorKind::AddrInUse => "Another program uses the port: set PORT to a free one",
        std::io::ErrorKind::PermissionDenied => "Ports below 1024 are reserved: set PORT to a higher one",
        _ => "HOST has to be an address of this machine, or a name of one",
    }
}

fn listen_error(config: &Config, cause: std::io::Error) -> StartError {
    StartError::Listen { address: format!("{}:{}", config.host, config.port), cause }
}

/// The connection string and the secret that signs the tokens; starts the embedded MongoDB if there is no other.
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
                Ok(secret) => Ok((mongo.uri(), secret, Some(mongo))),
                Err((path, cause)) => {
                    mongo.stop().await;
                    Err(StartError::Secret { path: path.display().to_string(), cause })
                }
            }
        }
    }
}

/// Warns of a MongoDB that somebody without its password can attack. About the embedded one this is no warning, and says
/// less: it is for trying out, only this machine reaches it, and it runs without the compression that gives memory away.
/// What remains is that a user of this machine could crash it, which a warning at every first start would overstate.
fn report_holes(database: &Database, version: &str) {
    let Some(hole) = patch_level::hole(version) else { return };
    match database {
        Database::External { .. } => tracing::warn!("{hole}"),
        Database::Embedded { .. } => tracing::info!(
            "the embedded MongoDB is version {version}: for trying out, on a machine whose users you trust. To sell, set \
             MONGO_URI to a MongoDB with all patches"
        ),
    }
}

/// Creates the first admin: the one from the settings; or, with `makes_one_up` and no admin in the database, one with a
/// random password. Returns the credentials of the latter, and the address of any admin.
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

/// Lets the process open as many files as the system allows, and warns if that is too few for all its connections.
fn raise_file_limit(limits: &Limits) {
    let files_max = limits.http.connections_max
        + limits.store.database_connections_max as usize
        + FILES_BESIDES_CONNECTIONS;
    match open_files::raise_limit() {
        Ok(Some(files)) if files < files_max as u64 => tracing::warn!(
            "only {files} files can be open at once, but {files_max} are needed: raise the limit (ulimit -n -H)"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!("cannot raise the number of files that can be open at once: {error}"),
    }
}
