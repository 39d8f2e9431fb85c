//! The stage: the server, its database, and the products that exist only for the rehearsal.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::Client;
use mongodb::bson::{DateTime, Document, doc};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::RehearsalError;
use super::arguments::Arguments;
use super::origin::Origin;
use super::usage::{Pair, Processes, Usage};
use crate::accounts::tokens::Tokens;
use crate::config::{Config, DATABASE_NAME_DEFAULT, Database, Secret};
use crate::embedded;
use crate::first_run;
use crate::model::id::Id;
use crate::model::money::Money;
use crate::model::product::Product;
use crate::store::hang_up;
use crate::store::schema::{AUDIT, PRODUCTS, PURCHASES};

/// How long a connection to the server may take to open.
const REACH_SECONDS_MAX: u64 = 5;
/// How long the database may take to be found.
const DATABASE_SECONDS_MAX: u64 = 5;
/// Purchases whose entries in the audit log are removed by one command.
const REMOVED_AT_ONCE: usize = 1_000;
/// The name of all products of rehearsals, by which those of a killed one can be recognised.
pub const NAME: &str = "Rehearsal (is removed afterwards)";

pub struct Stage {
    address: SocketAddr,
    origin: Origin,
    tokens: Tokens,
    database: mongodb::Database,
    products: Vec<Id>,
    /// Purchases may change, which the audit log tells.
    has_changes: bool,
    processes: Processes,
}

impl Stage {
    /// Finds the server, its database and its secret. `server` is its process, if known.
    ///
    /// # Errors
    /// What cannot be reached or read.
    pub async fn set(origin: &Origin, server: Option<u32>, config: &Config) -> Result<Self, RehearsalError> {
        let address = reach(origin).await?;
        let (uri, secret) = access(&config.database)?;
        Ok(Self {
            address,
            origin: origin.clone(),
            tokens: Tokens::new(&secret, &config.limits.accounts),
            database: database(&uri).await?,
            products: Vec::new(),
            has_changes: false,
            processes: processes(address, &config.database, server),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Signs tokens with the server's secret.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    pub fn products(&self) -> &[Id] {
        &self.products
    }

    pub fn database(&self) -> &mongodb::Database {
        &self.database
    }

    /// What the server and its `mongod` have used so far, if they run on this machine.
    pub fn usage(&self) -> Pair<Usage> {
        self.processes.usage()
    }

    /// Puts the products on sale. Must not be cancelled: a product inserted after `strike` would stay.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn put_on_sale(&mut self, arguments: &Arguments) -> Result<(), RehearsalError> {
        let now = DateTime::now();
        let stock = i64::from(arguments.stock);
        self.has_changes = arguments.window.is_some();
        let day = 24 * 60 * 60 * 1000;
        let moment = |days: i64| DateTime::from_millis(now.timestamp_millis() + days * day);
        let price = Money { amount: 100, currency: "USD".into() };
        let product = || Product {
            payment_window_seconds: arguments.window,
            ..Product::new(NAME.into(), price.clone(), stock, (moment(-1), moment(1)), now)
        };
        let documents: Vec<_> = (0..arguments.products).map(|_| product()).collect();
        self.products = documents.iter().map(|product| product.id).collect();
        let inserted = self.database.collection::<Product>(PRODUCTS).insert_many(documents).await;
        inserted
            .map(drop)
            .map_err(|error| RehearsalError::not_held("the products cannot be put on sale", error))
    }

    /// Removes everything that belongs to the rehearsal.
    ///
    /// # Errors
    /// What could not be removed.
    pub async fn strike(self) -> Result<(), RehearsalError> {
        let removed = self.remove().await;
        hang_up(self.database.client()).await;
        removed.map_err(|error| {
            RehearsalError::not_held(
                &format!("products named `{NAME}`, their purchases or entries about them in the audit log are still there"),
                error,
            )
        })
    }

    async fn remove(&self) -> Result<(), mongodb::error::Error> {
        // The products first, so that no late purchase can follow.
        let products = self.database.collection::<Document>(PRODUCTS);
        products.delete_many(doc! { "_id": { "$in": &self.products } }).await?;
        let purchases = self.database.collection::<Document>(PURCHASES);
        let all = doc! { "productId": { "$in": &self.products } };
        if self.has_changes {
            // What became of them is in the audit log.
            let changed =
                doc! { "productId": { "$in": &self.products }, "changedInVersion": { "$exists": true } };
            let mut ids =
                purchases.find(changed).projection(doc! { "_id": 1 }).await?.try_chunks(REMOVED_AT_ONCE);
            let audit = self.database.collection::<Document>(AUDIT);
            while let Some(some) = ids.try_next().await.map_err(|error| error.1)? {
                let ids: Vec<_> = some.iter().filter_map(|purchase| purchase.get("_id")).collect();
                audit.delete_many(doc! { "target": { "$in": ids } }).await?;
            }
        }
        purchases.delete_many(all).await?;
        Ok(())
    }
}

/// The server's address; if the name has several, the first one that accepts a connection.
async fn reach(origin: &Origin) -> Result<SocketAddr, RehearsalError> {
    let what = format!("nobody answers at {origin}; is the server running, and is this its address?");
    let connecting = TcpStream::connect((origin.host.as_str(), origin.port));
    match timeout(Duration::from_secs(REACH_SECONDS_MAX), connecting).await {
        Ok(connected) => connected
            .and_then(|stream| stream.peer_addr())
            .map_err(|error| RehearsalError::not_held(&what, error)),
        Err(_) => Err(RehearsalError::not_held(&what, format!("no connection within {REACH_SECONDS_MAX} s"))),
    }
}

/// The connection string and the secret, from the settings or the data directory.
fn access(database: &Database) -> Result<(Secret, Secret), RehearsalError> {
    match database {
        Database::External { uri, jwt_secret } => Ok((uri.clone(), jwt_secret.clone())),
        Database::Embedded { data_directory, jwt_secret } => {
            let uri = embedded::kept_uri(data_directory).map_err(unreadable)?;
            let secret = match jwt_secret {
                Some(secret) => secret.clone(),
                // Never make one here: it would not be the server's.
                None => first_run::kept_jwt_secret(data_directory).map_err(unreadable)?,
            };
            Ok((uri, secret))
        }
    }
}

fn unreadable((path, error): (PathBuf, std::io::Error)) -> RehearsalError {
    let path = path.display();
    let what =
        format!("{path} cannot be read; are these the server's settings (DATA_DIR, MONGO_URI, JWT_SECRET)?");
    RehearsalError::not_held(&what, error)
}

async fn database(uri: &Secret) -> Result<mongodb::Database, RehearsalError> {
    let error = |error| RehearsalError::not_held("the database cannot be reached", error);
    let mut options = mongodb::options::ClientOptions::parse(uri.reveal()).await.map_err(error)?;
    options.server_selection_timeout = Some(Duration::from_secs(DATABASE_SECONDS_MAX));
    options.read_concern = Some(mongodb::options::ReadConcern::majority());
    options.write_concern = Some(crate::store::connect::durable());
    let name = options.default_database.clone().unwrap_or_else(|| DATABASE_NAME_DEFAULT.into());
    let database = Client::with_options(options).map_err(error)?.database(&name);
    database.run_command(doc! { "ping": 1 }).await.map_err(error)?;
    Ok(database)
}

/// The processes to measure, as far as they run on this machine.
fn processes(address: SocketAddr, database: &Database, server: Option<u32>) -> Processes {
    let here = address.ip().is_loopback();
    let server = server.or_else(|| Processes::listener(address.port()).filter(|_| here));
    let mongod = match database {
        Database::Embedded { data_directory, .. } => {
            let lock = std::fs::read_to_string(data_directory.join("mongodb/mongod.lock")).ok();
            lock.and_then(|process| process.trim().parse().ok())
        }
        Database::External { uri, .. } => loopback_port(uri.reveal()).and_then(Processes::listener),
    };
    Processes { server, mongod }
}

/// The port in a connection string to a single `mongod` on this machine.
fn loopback_port(uri: &str) -> Option<u16> {
    let rest = uri.strip_prefix("mongodb://")?;
    let host = rest.split(['/', '?']).next()?.rsplit('@').next()?;
    let port = host.strip_prefix("127.0.0.1").or_else(|| host.strip_prefix("localhost"))?;
    port.strip_prefix(':').map_or(Some(27_017), |port| port.parse().ok())
}
