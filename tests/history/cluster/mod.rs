//! The machines of the run: three members of a replica set and our servers, and a way of its own between each two that talk.

mod clock;
mod disk;
mod member;
mod origin;
mod process;
mod server;
mod way;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::{Client, Database};
use tokio::net::TcpListener;

use crate::settings::Settings;

use member::Own;

pub use member::Member;
pub use server::{SECRET, Server};
pub use way::{Flow, Way};

/// Members of the replica set.
pub const MEMBERS: usize = 3;
/// What has to happen happens within this, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file beside logs that somebody will want to read.
const KEPT: &str = "kept";
/// For how long.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Waits for what has to happen; panics, saying so, when it does not.
pub async fn soon<T>(what: &str, happening: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, happening).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// All of them.
pub struct Cluster {
    pub members: Vec<Member>,
    pub servers: Vec<Server>,
    /// By server and member.
    pub ways: Vec<Vec<Way>>,
    /// By member and member.
    pub peer_ways: Vec<Vec<Way>>,
    /// By name in the set.
    names: Vec<String>,
    database: String,
    root: PathBuf,
}

impl Cluster {
    /// Starts the members; returns when one of them takes writes.
    pub async fn start(name: &str) -> Self {
        let binary = flash_sale::embedded::mongod_path().await.expect("a mongod");
        Self::of_members(&binary, directory(name)).await
    }

    /// Starts so many servers over a database of this name, instead of those that were there; returns when all are ready.
    pub async fn start_servers(&mut self, settings: &Settings, database: &str, servers: usize) {
        self.servers.clear();
        self.ways.clear();
        self.database = database.into();
        for number in 0..servers {
            self.add_server(settings, number).await;
        }
    }

    async fn of_members(binary: &Path, root: PathBuf) -> Self {
        let mut members = Vec::new();
        let mut lacking = BTreeMap::new();
        for number in 0..MEMBERS {
            let directory = root.join(format!("member-{number}"));
            let own = Own::get(&directory, |what, why| _ = lacking.insert(what, why.to_string()));
            members.push(Member::start(binary, directory, free_port(), own).await);
        }
        for (what, why) in lacking {
            println!("{what} is left out: {why}");
        }
        let peer_ways: Vec<Vec<Way>> =
            (0..MEMBERS).map(|_| (0..MEMBERS).map(|_| Way::default()).collect()).collect();
        let mut names = Vec::new();
        for (number, member) in members.iter().enumerate() {
            let (listener, address) = listener().await;
            names.push(address.to_string());
            let towards: Vec<Way> = peer_ways.iter().map(|ways| ways[number].clone()).collect();
            let ids: Vec<_> = members.iter().map(|member| Arc::clone(&member.process_id)).collect();
            let choose = move |peer: SocketAddr| {
                let ids: Vec<_> = ids.iter().map(|id| id.load(Ordering::Relaxed)).collect();
                // Nobody breaks the way of this process.
                origin::which(peer, &ids).map_or_else(Way::default, |number| towards[number].clone())
            };
            let far = SocketAddr::from(([127, 0, 0, 1], member.port));
            tokio::spawn(way::listen(listener, far, Arc::default(), Box::new(choose)));
        }
        let database = String::new();
        let cluster = Self { members, servers: vec![], ways: vec![], peer_ways, names, database, root };
        cluster.initiate().await;
        cluster
    }

    async fn initiate(&self) {
        let members: Vec<Document> =
            self.names.iter().zip(0_i32..).map(|(host, id)| doc! { "_id": id, "host": host }).collect();
        let settings = doc! {
            "heartbeatIntervalMillis": 200, "heartbeatTimeoutSecs": 2, "electionTimeoutMillis": 1_000,
            "catchUpTimeoutMillis": 1_000,
        };
        let set = doc! { "_id": "history", "members": members, "settings": settings };
        let initiate = doc! { "replSetInitiate": set };
        // On a busy machine it takes longer than a command may: then it is asked for again, and is there already.
        let initiated = async {
            while self.members[0].run(doc! { "replSetGetStatus": 1 }).await.is_err() {
                drop(self.members[0].run(initiate.clone()).await);
            }
        };
        soon("a replica set", initiated).await;
        self.primary().await;
    }

    /// The member that takes writes, waiting for one.
    pub async fn primary(&self) -> usize {
        let look = async {
            loop {
                if let Some(number) = self.primary_now().await {
                    return number;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("a primary", look).await
    }

    /// The member that takes writes, if there is one at the moment.
    pub async fn primary_now(&self) -> Option<usize> {
        let answers = self.members.iter().map(Member::is_primary);
        futures_util::future::join_all(answers).await.into_iter().position(|is_primary| is_primary)
    }

    async fn add_server(&mut self, settings: &Settings, number: usize) {
        let (mut ways, mut listeners, mut names) = (Vec::new(), Vec::new(), HashMap::new());
        for name in &self.names {
            let (listener, address) = listener().await;
            names.insert(name.clone(), address.to_string());
            ways.push(Way::default());
            listeners.push((listener, address));
        }
        let names = Arc::new(names);
        let hosts: Vec<_> = listeners.iter().map(|(_, address)| address.to_string()).collect();
        for ((listener, _), (member, way)) in listeners.into_iter().zip(self.members.iter().zip(&ways)) {
            let far = SocketAddr::from(([127, 0, 0, 1], member.port));
            let way = way.clone();
            let choose = Box::new(move |_| way.clone());
            tokio::spawn(way::listen(listener, far, Arc::clone(&names), choose));
        }
        self.ways.push(ways);
        let uri = format!("mongodb://{}/{}?replicaSet=history", hosts.join(","), self.database);
        let directory = self.root.join(format!("{}-server-{number}", self.database));
        self.servers.push(Server::start(settings.clone(), directory, free_port(), uri).await);
    }

    /// Cuts a member off from the others, both ways, or mends that.
    pub fn cut_off_from_peers(&self, number: usize, is_cut: bool) {
        let to = self.peer_ways[number].iter().enumerate();
        let from = self.peer_ways.iter().map(|ways| &ways[number]).enumerate();
        for (_, way) in to.chain(from).filter(|(other, _)| *other != number) {
            match is_cut {
                true => way.refuse(),
                false => way.heal(),
            }
        }
    }

    /// Has another member become the primary, without waiting for the old one to be missed.
    pub async fn replace(&self, old: usize) {
        let others = (0..MEMBERS).filter(|member| *member != old).cycle();
        let step_up = async {
            for other in others {
                if self.members[other].run(doc! { "replSetStepUp": 1 }).await.is_ok() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("another primary", step_up).await;
    }

    /// How long a primary that hears of no majority believes in itself.
    pub async fn set_election_timeout(&self, milliseconds: i32) {
        let set = async {
            while !self.try_set_election_timeout(milliseconds).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        soon("another configuration", set).await;
    }

    async fn try_set_election_timeout(&self, milliseconds: i32) -> bool {
        let primary = &self.members[self.primary().await];
        let answer = primary.run(doc! { "replSetGetConfig": 1 }).await;
        let Some(mut config) = answer.ok().and_then(|answer| answer.get_document("config").ok().cloned())
        else {
            return false;
        };
        let version = config.get_i32("version").unwrap_or_default();
        config.insert("version", version + 1);
        if let Ok(settings) = config.get_document_mut("settings") {
            settings.insert("electionTimeoutMillis", milliseconds);
        }
        primary.run(doc! { "replSetReconfig": config }).await.is_ok()
    }

    /// Whether every member has a disk of its own, which can be full.
    pub fn has_disks(&self) -> bool {
        self.members.iter().all(Member::has_disk)
    }

    /// Whether every member has a clock of its own, which can be set.
    pub fn has_clocks(&self) -> bool {
        self.members.iter().all(Member::has_clock)
    }

    /// Sets the clocks of all members this much ahead; returns when all are seen there.
    pub async fn set_clocks(&self, ahead_seconds: i64) {
        let all = self.members.iter().map(|member| member.set_clock(ahead_seconds));
        futures_util::future::join_all(all).await;
    }

    /// Everything runs, every way is open, nothing fails; returns when all servers are ready.
    pub async fn heal(&self) {
        self.peer_ways.iter().chain(&self.ways).flatten().for_each(Way::heal);
        for member in &self.members {
            member.signal(rustix::process::Signal::CONT);
            member.free_disk();
            member.restart().await;
            member.fail_no_more().await;
        }
        self.set_clocks(0).await;
        self.primary().await;
        for server in &self.servers {
            server.signal(rustix::process::Signal::CONT);
            if !server.runs() {
                server.restart().await;
            }
            let ready = async {
                while !server.is_ready().await {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            soon("a server that is ready again", ready).await;
        }
    }

    /// The database of the servers, past all ways of theirs.
    pub async fn database(&self) -> Database {
        let uri = format!("mongodb://{}/?replicaSet=history&readConcernLevel=majority", self.names.join(","));
        Client::with_uri_str(uri).await.expect("a client").database(&self.database)
    }

    /// Where the logs are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Has the logs stay, for a day.
    pub fn keep(&self) {
        drop(std::fs::write(self.root.join(KEPT), ""));
    }

    /// Ends everything and removes data and logs. After a failure they stay.
    pub fn remove(self) {
        let root = self.root.clone();
        drop(self);
        drop(std::fs::remove_dir_all(root));
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// A port that nobody listens on. Another program may take it before we do: then the start fails and says so.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// An empty directory of this process and run; those of processes that are gone are removed.
fn directory(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let owner =
            file.strip_prefix("history-").and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        let is_gone = owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists());
        if is_gone {
            disk::unmount_all_in(&entry.path());
        }
        if is_gone && !is_kept(&entry.path()) {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
    root.join(format!("history-{}-{name}", std::process::id()))
}

fn is_kept(directory: &Path) -> bool {
    let kept = directory.join(KEPT).metadata().and_then(|file| file.modified());
    kept.is_ok_and(|since| since.elapsed().is_ok_and(|age| age < KEPT_FOR))
}
