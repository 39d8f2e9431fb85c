//! The stage: the server, its database, and the products that exist just for the rehearsal.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{DateTime, Document, doc};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::RehearsalError;
use super::arguments::Arguments;
use super::usage::{Pair, Processes, Usage};
use crate::auth::tokens::Tokens;
use crate::config::{Config, Database, Secret};
use crate::id::Id;
use crate::keepsakes;
use crate::products::model::{Money, Product};
use crate::store::connect::DATABASE_NAME_DEFAULT;
use crate::store::hang_up;
use crate::store::schema::{PRODUCTS, PURCHASES};

/// How long a server may take to start; the first one may have to fetch a mongod.
const START_SECONDS_MAX: u64 = 660;
/// How long the database may take to answer.
const DATABASE_SECONDS_MAX: u64 = 5;
/// How long the server may take to end.
const STOP_SECONDS_MAX: u64 = 30;
/// Marks the products, so that those of a rehearsal that was killed can be recognised.
const NAME: &str = "Rehearsal (is removed afterwards)";

/// Where the rehearsal takes place.
pub struct Stage {
    address: SocketAddr,
    host: String,
    tokens: Tokens,
    database: mongodb::Database,
    products: Vec<Id>,
    processes: Processes,
    server: Option<Child>,
}

impl Stage {
    /// Starts a server unless there is one, finds its database and its secret, and puts the products on sale.
    ///
    /// # Errors
    /// What is in the way. A server that was started ends again.
    pub async fn set(arguments: &Arguments, config: &Config) -> Result<Self, RehearsalError> {
        let (url, server) = match &arguments.url {
            Some(url) => (url.clone(), None),
            None => start().await.map(|(url, child)| (url, Some(child)))?,
        };
        let host = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/').to_owned())
            .ok_or_else(|| RehearsalError(format!("--url is `{url}`, but it has to begin with http://")))?;
        let address = resolve(&host)?;
        let processes = processes(address, &config.database, server.as_ref());
        let (uri, secret) = access(&config.database)?;
        let database = database(&uri).await?;
        let mut stage = Self {
            address,
            host,
            tokens: Tokens::new(&secret, &config.limits),
            database,
            products: Vec::new(),
            processes,
            server,
        };
        match stage.put_on_sale(arguments).await {
            Ok(()) => Ok(stage),
            Err(error) => {
                stage.strike().await?;
                Err(error)
            }
        }
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's name and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Signs as the server does.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The products.
    pub fn products(&self) -> &[Id] {
        &self.products
    }

    /// The server's database.
    pub fn database(&self) -> &mongodb::Database {
        &self.database
    }

    /// What the server and its mongod took so far, when they are on this machine.
    pub fn usage(&self) -> Pair<Usage> {
        self.processes.usage()
    }

    async fn put_on_sale(&mut self, arguments: &Arguments) -> Result<(), RehearsalError> {
        let now = DateTime::now();
        let stock = i64::from(arguments.stock);
        let day = 24 * 60 * 60 * 1000;
        let product = |id| Product {
            id,
            name: NAME.into(),
            name_folded: NAME.to_lowercase(),
            description: None,
            image_url: None,
            price: Money { amount: 100, currency: "USD".into() },
            original_price: None,
            stock,
            sold: 0,
            total_stock: stock,
            purchase_count: 0,
            purchase_limit: 1,
            sale_start_time: DateTime::from_millis(now.timestamp_millis() - day),
            sale_end_time: DateTime::from_millis(now.timestamp_millis() + day),
            version: 1,
            created_at: now,
            updated_at: now,
        };
        self.products = (0..arguments.products).map(|_| Id::new()).collect();
        let documents: Vec<_> = self.products.iter().map(|id| product(*id)).collect();
        let inserted = self.database.collection::<Product>(PRODUCTS).insert_many(documents).await;
        inserted.map(drop).map_err(|error| RehearsalError::new("the products cannot be put on sale", error))
    }

    /// Removes everything that belongs to the rehearsal, and ends the server that was started for it.
    ///
    /// # Errors
    /// What could not be removed.
    pub async fn strike(mut self) -> Result<(), RehearsalError> {
        let removed = self.remove().await;
        hang_up(self.database.client()).await;
        if let Some(mut server) = self.server.take() {
            stop(&mut server).await?;
        }
        removed.map_err(|error| {
            RehearsalError::new(
                &format!("the products named `{NAME}` and their purchases are still there"),
                error,
            )
        })
    }

    async fn remove(&self) -> Result<(), mongodb::error::Error> {
        // The products first: then no late purchase can be made any more.
        let products = self.database.collection::<Document>(PRODUCTS);
        products.delete_many(doc! { "_id": { "$in": &self.products } }).await?;
        let purchases = self.database.collection::<Document>(PURCHASES);
        purchases.delete_many(doc! { "productId": { "$in": &self.products } }).await?;
        Ok(())
    }
}

fn resolve(host: &str) -> Result<SocketAddr, RehearsalError> {
    let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut addresses = with_port.to_socket_addrs().map_err(|error| RehearsalError::new(host, error))?;
    addresses.next().ok_or_else(|| RehearsalError(format!("{host} has no address")))
}

/// Starts this very program as a server on a free port; reads where it is from its greeting.
async fn start() -> Result<(String, Child), RehearsalError> {
    let error = |cause| RehearsalError::new("cannot start a server", cause);
    let program = std::env::current_exe().map_err(error)?;
    let mut child = Command::new(program)
        .arg("serve")
        .env("PORT", "0")
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(error)?;
    let output = child.stdout.take().ok_or_else(|| RehearsalError("the server has no output".into()))?;
    let mut lines = BufReader::new(output).lines();
    let greeting = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(url) = line.split_whitespace().find(|word| word.starts_with("http://")) {
                return Some(url.to_owned());
            }
        }
        None
    };
    let url = tokio::time::timeout(Duration::from_secs(START_SECONDS_MAX), greeting).await.ok().flatten();
    // What else it says goes nowhere, but has to go.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    match url {
        Some(url) => Ok((url, child)),
        None => Err(RehearsalError(
            "the server did not start; its own words are above. If one runs on this database already, name it with --url"
                .into(),
        )),
    }
}

async fn stop(server: &mut Child) -> Result<(), RehearsalError> {
    if let Some(process) = server.id().and_then(|id| rustix::process::Pid::from_raw(id.try_into().ok()?)) {
        let sent = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        sent.map_err(|error| RehearsalError::new("the server cannot be ended", error))?;
    }
    match tokio::time::timeout(Duration::from_secs(STOP_SECONDS_MAX), server.wait()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(RehearsalError::new("the server cannot be ended", error)),
        Err(_) => Err(RehearsalError(format!("the server did not end within {STOP_SECONDS_MAX} s"))),
    }
}

/// The connection string and the secret that the settings lead to.
fn access(database: &Database) -> Result<(Secret, Secret), RehearsalError> {
    match database {
        Database::External { uri, jwt_secret } => Ok((uri.clone(), jwt_secret.clone())),
        Database::Embedded { data_directory, jwt_secret } => {
            let port = read(&data_directory.join("port"))?;
            let secret = match jwt_secret {
                Some(secret) => secret.clone(),
                None => keepsakes::jwt_secret(data_directory)
                    .map_err(|(path, error)| RehearsalError::new(&path.display().to_string(), error))?,
            };
            let uri =
                format!("mongodb://127.0.0.1:{}/{DATABASE_NAME_DEFAULT}?directConnection=true", port.trim());
            Ok((Secret::new(uri), secret))
        }
    }
}

fn read(path: &Path) -> Result<String, RehearsalError> {
    std::fs::read_to_string(path).map_err(|error| {
        let what = format!(
            "{} cannot be read; are these the server's settings (DATA_DIR, MONGO_URI)?",
            path.display()
        );
        RehearsalError::new(&what, error)
    })
}

async fn database(uri: &Secret) -> Result<mongodb::Database, RehearsalError> {
    let error = |error| RehearsalError::new("the database cannot be reached", error);
    let mut options = mongodb::options::ClientOptions::parse(uri.reveal()).await.map_err(error)?;
    options.server_selection_timeout = Some(Duration::from_secs(DATABASE_SECONDS_MAX));
    options.read_concern = Some(mongodb::options::ReadConcern::majority());
    options.write_concern = Some(crate::store::connect::durable());
    let name = options.default_database.clone().unwrap_or_else(|| DATABASE_NAME_DEFAULT.into());
    let database = Client::with_options(options).map_err(error)?.database(&name);
    database.run_command(doc! { "ping": 1 }).await.map_err(error)?;
    Ok(database)
}

/// The processes to measure: those that are on this machine.
fn processes(address: SocketAddr, database: &Database, server: Option<&Child>) -> Processes {
    let here = address.ip().is_loopback();
    let server = server.and_then(Child::id).or_else(|| Processes::listener(address.port()).filter(|_| here));
    let mongod = match database {
        Database::Embedded { data_directory, .. } => {
            let lock = std::fs::read_to_string(data_directory.join("mongodb/mongod.lock")).ok();
            lock.and_then(|process| process.trim().parse().ok())
        }
        Database::External { uri, .. } => loopback_port(uri.reveal()).and_then(Processes::listener),
    };
    Processes { server, mongod }
}

/// The port of a connection string to one mongod of this machine.
fn loopback_port(uri: &str) -> Option<u16> {
    let rest = uri.strip_prefix("mongodb://")?;
    let host = rest.split(['/', '?']).next()?.rsplit('@').next()?;
    let port = host.strip_prefix("127.0.0.1").or_else(|| host.strip_prefix("localhost"))?;
    port.strip_prefix(':').map_or(Some(27_017), |port| port.parse().ok())
}
