//! The MongoDB of the run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use flash_sale::embedded::EmbeddedMongo;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::ClientOptions;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use super::watch::soon;

/// The database on a MongoDB of a test's own: the one that the user of an embedded MongoDB may use.
pub const OWN_DATABASE: &str = "flashsale";

/// Started by the first test that needs it; ends with this process (on Linux by its parent-death signal).
static MONGO: OnceCell<EmbeddedMongo> = OnceCell::const_new();

/// The connection string of a fresh database.
pub async fn database_uri() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let uri = match std::env::var("TEST_MONGO_URI") {
        Ok(uri) => uri,
        Err(_) => MONGO.get_or_init(shared_mongo).await.uri().reveal().to_owned(),
    };
    with_database(&uri, &name)
}

/// A MongoDB whose user may read and write every database: for each test, what a server needs and no more.
async fn shared_mongo() -> EmbeddedMongo {
    let mongo = own_mongo("shared").await;
    let system = Client::with_uri_str(mongo.system_uri().reveal()).await.unwrap();
    let grant = doc! { "grantRolesToUser": "flash-sale", "roles": ["readWriteAnyDatabase"] };
    system.database("admin").run_command(grant).await.unwrap();
    mongo
}

/// Drops a test's database on an external replica set. Our own mongod is removed as a whole.
pub async fn drop_database(uri: &str) {
    if std::env::var_os("TEST_MONGO_URI").is_some() {
        let client = Client::with_uri_str(uri).await.unwrap();
        client.default_database().unwrap().drop().await.unwrap();
    }
}

/// A mongod for one test alone, which may stop or kill it.
pub async fn own_mongo(name: &str) -> EmbeddedMongo {
    EmbeddedMongo::start(&process_directory(name)).await.expect("an embedded MongoDB")
}

/// A directory for this process and test. Removes those of processes that no longer run.
pub fn process_directory(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let owner =
            entry.file_name().to_string_lossy().split('-').next().and_then(|owner| owner.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            // Another test process may have removed it already.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    root.join(format!("{}-{name}", std::process::id()))
}

/// Replaces the path of the URI by `name`.
pub fn with_database(uri: &str, name: &str) -> String {
    let (base, options) =
        uri.split_once('?').map_or((uri, String::new()), |(base, options)| (base, format!("?{options}")));
    let host = match base
        .find("://")
        .and_then(|scheme| base[scheme + 3..].find('/').map(|slash| scheme + 3 + slash))
    {
        Some(slash) => &base[..slash],
        None => base,
    };
    format!("{host}/{name}{options}")
}

/// The hosts in the URI, without user and password.
pub fn hosts_of(uri: &str) -> &str {
    let (_, rest) = uri.split_once("://").unwrap();
    rest.split(['/', '?']).next().unwrap().rsplit('@').next().unwrap()
}

/// Replaces the hosts of the URI.
pub fn with_host(uri: &str, host: &str) -> String {
    uri.replacen(hosts_of(uri), host, 1)
}

/// Sends the mongod a signal: `STOP` freezes it, `CONT` lets it run on.
pub fn signal(mongo: &EmbeddedMongo, signal: Signal) {
    let id = mongo.process_id();
    kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
    // All threads stop when one of them next runs: on a busy machine some answer a while longer.
    while signal == Signal::STOP && !stands_still(id) {
        std::thread::yield_now();
    }
}

/// Whether all threads of the process are stopped. Assumed where there is no `/proc`.
fn stands_still(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok()).all(|stat| {
        // The line is `id (name) state ...`, and the name may contain anything, so search from its end.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

/// A mongod with fail points; it is killed when this is dropped.
pub struct FailingMongo {
    pub uri: String,
    /// It may do everything. Without retryable writes: these need a read, which a fail point on reads would hit.
    pub client: Client,
    _process: Child,
}

impl FailingMongo {
    /// Starts an embedded mongod, then restarts it with the same arguments and the test commands enabled.
    pub async fn start(name: &str) -> Self {
        Self::restart(own_mongo(name).await, &[]).await
    }

    /// Restarts an embedded mongod with the same arguments, these, and the test commands enabled.
    pub async fn restart(embedded: EmbeddedMongo, more: &[&str]) -> Self {
        let command_line = fs::read(format!("/proc/{}/cmdline", embedded.process_id())).unwrap();
        let (uri, system_uri) = (embedded.uri().reveal().to_owned(), embedded.system_uri());
        embedded.stop().await;
        let command_line = String::from_utf8(command_line).unwrap();
        let mut arguments = command_line.trim_end_matches('\0').split('\0');
        let process = Command::new(arguments.next().unwrap())
            .args(arguments)
            .args(["--setParameter", "enableTestCommands=1"])
            .args(more)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut options = ClientOptions::parse(system_uri.reveal()).await.unwrap();
        options.retry_writes = Some(false);
        let client = Client::with_options(options).unwrap();
        Self { uri, client, _process: process }
    }

    /// Makes these commands fail with this error until the next call.
    pub async fn fail(&self, commands: &[&str], error_code: i32) {
        let data = doc! { "failCommands": commands, "errorCode": error_code };
        self.configure(doc! { "mode": "alwaysOn", "data": data }).await;
    }

    /// Makes the next such command fail.
    pub async fn fail_once(&self, command: &str) {
        const UNKNOWN_ERROR: i32 = 8;
        let data = doc! { "failCommands": [command], "errorCode": UNKNOWN_ERROR };
        self.configure(doc! { "mode": { "times": 1 }, "data": data }).await;
    }

    /// Makes the next such commands of this application fail with this error.
    pub async fn fail_times(&self, application: &str, command: &str, error_code: i32, times: i32) {
        let data = doc! { "failCommands": [command], "errorCode": error_code, "appName": application };
        self.configure(doc! { "mode": { "times": times }, "data": data }).await;
    }

    /// Delays the next such command by this time. The returned future ends when the command has arrived.
    pub async fn hold_up(&self, command: &str, milliseconds: i32) -> impl Future<Output = ()> {
        let data = doc! { "failCommands": [command], "blockConnection": true, "blockTimeMS": milliseconds };
        let configured = self.configure(doc! { "mode": { "times": 1 }, "data": data }).await;
        let entered = configured.get_i32("count").unwrap_or_default() + 1;
        let wait = doc! { "waitForFailPoint": "failCommand", "timesEntered": entered, "maxTimeMS": 60_000 };
        let admin = self.client.database("admin");
        async move { drop(admin.run_command(wait).await.unwrap()) }
    }

    pub async fn fail_no_more(&self) {
        self.configure(doc! { "mode": "off" }).await;
    }

    async fn configure(&self, how: Document) -> Document {
        let mut command = doc! { "configureFailPoint": "failCommand" };
        command.extend(how);
        self.client.database("admin").run_command(command).await.unwrap()
    }

    pub fn host(&self) -> String {
        hosts_of(&self.uri).to_owned()
    }

    /// Waits until it is a primary that takes writes.
    pub async fn ready(&self) {
        let admin = self.client.database("admin");
        let hello = || admin.run_command(doc! { "hello": 1 });
        let is_primary = async {
            while !hello().await.is_ok_and(|answer| answer.get_bool("isWritablePrimary").unwrap_or_default())
            {
            }
        };
        soon("a primary", is_primary).await;
    }
}
