//! The program itself: its start, its end, and its messages when it cannot start.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{process_directory, sneaker};

/// The program with these settings and otherwise only what it needs to find a mongod in its environment.
pub fn program(directory: &Path, settings: &[(&str, &str)]) -> Command {
    std::fs::create_dir_all(directory).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flash-sale"));
    command
        .env_clear()
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in ["PATH", "HOME", "XDG_CACHE_HOME", "MONGOD"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("PORT", "0").env("DATA_DIR", directory.join("data")).envs(settings.iter().copied());
    command
}

pub struct Running {
    child: Child,
    greeting: String,
    /// Its address, as `http://host:port`.
    pub base: String,
}

impl Running {
    /// Starts it without a setting, so with its own MongoDB.
    pub fn start(directory: &Path) -> Self {
        Self::start_with(directory, &[])
    }

    pub fn start_with(directory: &Path, settings: &[(&str, &str)]) -> Self {
        let mut child = program(directory, settings).spawn().unwrap();
        let mut greeting = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        // The last command of the greeting is the purchase.
        while !greeting.contains("first-of-") {
            assert_ne!(lines.read_line(&mut greeting).unwrap(), 0, "it ended early: {greeting}");
        }
        let base = greeting.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
        Self { child, greeting, base }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops it in order and returns its log.
    pub fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{log}");
        log
    }

    async fn json(&self, path: &str, token: Option<&str>, body: Option<Value>) -> Value {
        let client = reqwest::Client::new();
        let url = format!("{}{path}", self.base);
        let mut request = match body {
            Some(body) => client.post(url).header("Content-Type", "application/json").body(body.to_string()),
            None => client.get(url),
        };
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap()
    }
}

/// The process id of the mongod that runs on a program's data.
pub fn mongod_of(directory: &Path) -> Pid {
    let lock = std::fs::read_to_string(directory.join("data/mongodb/mongod.lock")).unwrap();
    Pid::from_raw(lock.trim().parse().unwrap()).unwrap()
}

pub fn runs(process: Pid) -> bool {
    // A zombie does not run: it has no memory, so this file is empty.
    std::fs::read(format!("/proc/{}/cmdline", process.as_raw_nonzero())).is_ok_and(|text| !text.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_starts_it_sells_kills_it_and_finds_everything_again() {
    let directory = process_directory("stranger");
    let first = Running::start(&directory);
    let word = |label: &str| {
        let line = first.greeting.lines().find_map(|line| line.trim().strip_prefix(label)).unwrap();
        line.trim().to_owned()
    };
    let credentials = json!({"email": word("e-mail"), "password": word("password")});
    let session = first.json("/auth/login", None, Some(credentials)).await;
    let token = session["token"].as_str().unwrap();
    let product = first.json("/products", Some(token), Some(sneaker())).await;
    let body = json!({"productId": product["id"]});
    let purchase = first.json("/products/purchase", Some(token), Some(body)).await;
    assert_eq!(purchase["sequence"], 1);

    // A crash: nothing may be lost, and no mongod left behind.
    let mongod = mongod_of(&directory);
    assert!(runs(mongod));
    first.signal(Signal::KILL);
    let Running { mut child, .. } = first;
    child.wait().unwrap();
    let second = Running::start(&directory);
    assert!(!runs(mongod), "the crash has left its mongod behind");
    assert!(!second.greeting.contains("first admin"), "{}", second.greeting);
    // The token is still valid, because the secret was kept.
    let found = second.json("/purchases", Some(token), None).await;
    assert_eq!(found["items"], json!([purchase]));

    // A shutdown in order: exit code 0, and mongod ends too.
    let mongod = mongod_of(&directory);
    second.signal(Signal::TERM);
    let Running { mut child, .. } = second;
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!runs(mongod), "mongod has outlived its server");
}

/// Runs the program until it exits by itself; returns its exit code and its standard error.
fn failure(name: &str, settings: &[(&str, &str)]) -> (i32, String) {
    let directory = process_directory(name);
    let output = program(&directory, settings).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

const SECRET: (&str, &str) = ("JWT_SECRET", "kZ3v9Qm1xY7pL0tR5wB8nC2dF6gH4jS1");

#[test]
fn bad_settings_are_all_told_at_once() {
    let settings = [
        ("MONGO_URI", "localhost:27017"),
        ("JWT_SECRET", "change-me"),
        ("PORT", "no"),
        ("LOG_FORMAT", "xml"),
    ];
    let (code, said) = failure("settings", &settings);
    assert_eq!(code, 2);
    for (name, _) in settings {
        assert!(said.contains(name), "{name}: {said}");
    }
}

#[test]
fn a_broken_env_file_is_told_without_its_secrets() {
    let directory = process_directory("env-file");
    let mut program = program(&directory, &[]);
    std::fs::write(directory.join(".env"), "ADMIN_PASSWORD=correct horse battery staple\n").unwrap();
    let output = program.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    let path = directory.join(".env");
    assert!(said.contains(path.to_str().unwrap()) && !said.contains("horse"), "{said}");
}

#[test]
fn what_the_env_file_hides_and_what_it_does_not() {
    let directory = process_directory("env-and-environment");
    let mut program = program(&directory, &[("RUST_LOG", "flash_sale=noisy"), ("ADMIN_EMAIL", "ada")]);
    // A port that is not UTF-8 is refused, and the environment wins over the file.
    let port = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff");
    program.env::<_, &std::ffi::OsStr>("PORT", port);
    let lines = "LOG_FORMAT=xml\nADMIN_EMAIL=ada@shop.example\nADMIN_PASSWORD=correct horse battery\n";
    std::fs::write(directory.join(".env"), lines).unwrap();
    let output = program.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("5 problem"), "{said}");
    for words in ["NAME=VALUE", "PORT is no UTF-8", "LOG_FORMAT", "RUST_LOG", "ADMIN_EMAIL is `ada`"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn only_the_env_file_of_the_working_directory_is_read() {
    let below = process_directory("env-above").join("below");
    let mut program = program(&below, &[("PORT", "no")]);
    std::fs::write(below.join("../.env"), "LOG_FORMAT=xml\n").unwrap();
    let output = program.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("PORT") && !said.contains("LOG_FORMAT"), "{said}");
}

#[test]
fn a_password_that_the_env_file_would_change_is_told() {
    let directory = process_directory("env-dollar");
    let mut program = program(&directory, &[]);
    std::fs::write(directory.join(".env"), "ADMIN_PASSWORD=correct-horse$battery\n").unwrap();
    let output = program.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("ADMIN_PASSWORD") && said.contains("'single quotes'"), "{said}");
    assert!(!said.contains("horse"), "{said}");
}

#[test]
fn a_taken_port_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let (code, said) = failure("port", &[("PORT", &port)]);
    assert_eq!(code, 1);
    assert!(said.contains(&port) && said.contains("set PORT"), "{said}");
}

#[test]
fn a_database_that_does_not_answer_is_told() {
    // Bound and closed again, so nothing listens on this port.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let uri = format!("mongodb://app:hunter2-hunter2@127.0.0.1:{port}/shop");
    let (code, said) = failure("unreachable", &[("MONGO_URI", &uri), ("MONGO_WAIT_SECONDS", "1"), SECRET]);
    assert_eq!(code, 1);
    assert!(said.contains("Is it running") && said.contains(&port.to_string()), "{said}");
    assert!(!said.contains("hunter2"), "the password is shown: {said}");
}

/// `mongod`'s exit code when it cannot listen on its port.
const EXIT_NET_ERROR: i32 = 48;

/// A mongod with these arguments, for tests of databases that the server refuses.
pub struct ForeignMongod {
    child: Child,
    port: u16,
}

impl ForeignMongod {
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it and returns when it accepts connections.
    pub async fn start(name: &str, arguments: &[&str]) -> Self {
        let directory = process_directory(name);
        std::fs::create_dir_all(&directory).unwrap();
        let binary = flash_sale::embedded::mongod_path().await.unwrap();
        loop {
            if let Some(mongod) = Self::start_on_a_free_port(&binary, &directory, arguments) {
                return mongod;
            }
        }
    }

    /// `None` if another program takes the port after we found it free and before `mongod` binds it.
    fn start_on_a_free_port(binary: &Path, directory: &Path, arguments: &[&str]) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new(binary)
            .args(["--bind_ip", "127.0.0.1", "--nounixsocket", "--port", &port.to_string(), "--dbpath"])
            .arg(directory)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let (mut line, mut said) = (String::new(), String::new());
        while !line.contains("Waiting for connections") {
            said.push_str(&line);
            line.clear();
            if lines.read_line(&mut line).unwrap() == 0 {
                assert_eq!(child.wait().unwrap().code(), Some(EXIT_NET_ERROR), "mongod has ended: {said}");
                return None;
            }
        }
        // The rest of its output must be read, or mongod blocks.
        std::thread::spawn(move || drop(lines.read_to_end(&mut Vec::new())));
        Some(Self { child, port })
    }
}

impl Drop for ForeignMongod {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_comes_later_is_waited_for() {
    let mongod = ForeignMongod::start("later", &["--replSet", "rs0"]).await;
    let uri = format!("mongodb://{}/shop", mongod.host());
    let (code, said) =
        failure("later-impatient", &[("MONGO_URI", &uri), ("MONGO_WAIT_SECONDS", "1"), SECRET]);
    assert_eq!(code, 1);
    assert!(said.contains("waiting for the database") && said.contains("rs.initiate()"), "{said}");
    let settings = [
        ("MONGO_URI", uri.as_str()),
        SECRET,
        ("ADMIN_EMAIL", "grace@shop.example"),
        ("ADMIN_PASSWORD", "a rear admiral's password"),
    ];
    let directory = process_directory("later-server");
    let server = tokio::task::spawn_blocking({
        let settings = settings.map(|(name, value)| (name, value.to_owned()));
        move || {
            let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
            Running::start_with(&directory, &settings)
        }
    });
    let direct = format!("mongodb://{}/?directConnection=true", mongod.host());
    let admin = mongodb::Client::with_uri_str(direct).await.unwrap().database("admin");
    let members = [mongodb::bson::doc! { "_id": 0, "host": mongod.host() }];
    let set = mongodb::bson::doc! { "_id": "rs0", "members": members.to_vec() };
    admin.run_command(mongodb::bson::doc! { "replSetInitiate": set }).await.unwrap();
    server.await.unwrap().stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standalone_database_is_refused_with_the_remedy() {
    let mongod = ForeignMongod::start("standalone", &[]).await;
    let uri = format!("mongodb://127.0.0.1:{}/shop", mongod.port);
    let (code, said) = failure("standalone-server", &[("MONGO_URI", &uri), SECRET]);
    assert_eq!(code, 1);
    assert!(said.contains("standalone") && said.contains("--replSet"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_database_password_is_reported() {
    let mongod = ForeignMongod::start("password", &["--auth"]).await;
    let uri = format!("mongodb://app:hunter2-hunter2@127.0.0.1:{}/shop", mongod.port);
    let (code, said) = failure("password-server", &[("MONGO_URI", &uri), SECRET]);
    assert_eq!(code, 1);
    assert!(said.contains("password") && !said.contains("hunter2"), "{said}");
}

#[test]
fn help_tells_all_and_a_wrong_flag_is_refused() {
    let directory = process_directory("help");
    let help = program(&directory, &[]).arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(text.contains("serve") && text.contains("MONGO_URI"), "{text}");
    assert_eq!(program(&directory, &[]).arg("--nope").output().unwrap().status.code(), Some(2));
}
