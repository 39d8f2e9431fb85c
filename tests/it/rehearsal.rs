//! `flash-sale rehearse`, as a person runs it.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};

use flash_sale::config::Limits;
use mongodb::bson::{Document, doc};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};

use crate::harness::{Shop, own_mongo, process_directory, signal, soon};
use crate::process::{mongod_of, program, runs};

/// A running rehearsal. It is killed when this is dropped.
pub struct Rehearsal {
    child: Child,
    lines: BufReader<ChildStderr>,
    said: String,
}

pub struct Ended {
    pub code: Option<i32>,
    /// The result; null if there is none.
    pub report: Value,
    pub said: String,
}

impl Rehearsal {
    pub fn start(mut program: Command) -> Self {
        let mut child = program.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Self { child, lines, said: String::new() }
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Reads standard error until it contains these words.
    pub fn wait_for(&mut self, words: &str) {
        while !self.said.contains(words) {
            assert_ne!(
                self.lines.read_line(&mut self.said).unwrap(),
                0,
                "it never said `{words}`: {}",
                self.said
            );
        }
    }

    fn terminate(&self) {
        kill_process(self.id(), Signal::TERM).unwrap();
    }

    pub fn end(mut self) -> Ended {
        self.lines.read_to_string(&mut self.said).unwrap();
        let mut report = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut report).unwrap();
        let code = self.child.wait().unwrap().code();
        let said = std::mem::take(&mut self.said);
        Ended { code, report: serde_json::from_str(&report).unwrap_or_default(), said }
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A rehearsal that starts its own server.
fn alone(name: &str, settings: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut program = program(&process_directory(name), settings);
    program.args(["rehearse", "--json"]).args(arguments);
    program
}

/// A rehearsal against the shop's server, with these settings.
pub fn at(shop: &Shop, settings: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut program = program(&process_directory("rehearsal-at-a-shop"), settings);
    program.args(["rehearse", "--json", "--url", &address(shop)]).args(arguments);
    program
}

pub fn address(shop: &Shop) -> String {
    format!("http://{}", shop.servers[0].address())
}

pub async fn nothing_is_left(shop: &Shop) {
    let database = shop.database().await;
    for name in ["products", "purchases"] {
        let left = database.collection::<Document>(name).count_documents(doc! {}).await.unwrap();
        assert_eq!(left, 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_sells_out_keeps_its_promises_and_leaves_nothing() {
    let directory = process_directory("rehearsal");
    let plot = directory.join("plot.svg");
    let output = program(&directory, &[])
        .args(["rehearse", "--buyers", "300", "--stock", "100", "--connections", "20", "--products", "2"])
        .args(["--repeat-share", "0.1", "--json", "--plot"])
        .arg(&plot)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["verdict"]["broken"], serde_json::json!([]), "{report:#}");
    assert_eq!(report["verdict"]["purchases"], 200);
    let count = |kind: &str| -> u64 {
        let answers = report["answers"].as_array().unwrap().iter();
        answers.filter(|answer| answer["kind"] == kind).map(|answer| answer["count"].as_u64().unwrap()).sum()
    };
    assert_eq!((count("bought"), count("sold out") + count("limit reached") + count("replayed")), (200, 130));
    assert!(std::fs::read_to_string(plot).unwrap().starts_with("<svg"));
    // It leaves nothing in the database.
    let mongo = flash_sale::embedded::EmbeddedMongo::start(&directory.join("data")).await.unwrap();
    let shop = Shop::open_in(mongo.uri().reveal(), "flashsale").await;
    assert_eq!(shop.visitor().get("/products").await.expect(200).json["items"], serde_json::json!([]));
    assert_eq!(shop.visitor().get("/leaderboard").await.expect(200).json["items"], serde_json::json!([]));
    // Nor has it made an admin with a password that nobody has seen.
    let users = shop.database().await.collection::<Document>("users");
    assert_eq!(users.count_documents(doc! {}).await.unwrap(), 0);
    shop.close().await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_a_terminal_ends_the_crowd_and_not_its_server() {
    // So many products that reading them back takes longer than a server's shutdown.
    let arguments = ["--products", "5000", "--buyers", "2000", "--rate", "20", "--connections", "10"];
    let mut program = alone("rehearsal-terminal", &[], &arguments);
    // A process group, as a shell makes for a job: Ctrl-C signals all of it.
    program.process_group(0);
    let mut rehearsal = Rehearsal::start(program);
    rehearsal.wait_for("the crowd buys");
    let directory = process_directory("rehearsal-terminal");
    let mongod = mongod_of(&directory);
    kill_process_group(rehearsal.id(), Signal::INT).unwrap();
    let Ended { code, report, said } = rehearsal.end();
    assert_eq!(code, Some(130), "{said}");
    assert_eq!(report["interrupted"], true, "{report:#}");
    assert_eq!(report["verdict"]["broken"], json!([]), "{report:#}");
    assert!(report["buyersCame"].as_u64().unwrap() < 2000, "{report:#}");
    assert!(!runs(mongod), "mongod has outlived the rehearsal");
    let mongo = flash_sale::embedded::EmbeddedMongo::start(&directory.join("data")).await.unwrap();
    let shop = Shop::open_in(mongo.uri().reveal(), "flashsale").await;
    nothing_is_left(&shop).await;
    shop.close().await;
    mongo.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_whose_terminal_closes_leaves_nothing() {
    let shop = Shop::open().await;
    let mut child = at(&shop, &shop.settings(), &["--buyers", "2000", "--rate", "20"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "the crowd buys"));
    // From here on nobody reads its messages or its result.
    drop((lines, child.stdout.take()));
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3), "its result could not be written");
    nothing_is_left(&shop).await;
    shop.close().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_under_nohup_outlives_its_terminal() {
    let shop = Shop::open().await;
    let rehearsal = at(&shop, &shop.settings(), &["--buyers", "60", "--rate", "20"]);
    // SIGHUP is ignored, as under `nohup`.
    let mut deaf = Command::new("sh");
    deaf.args(["-c", r#"trap "" HUP; exec "$0" "$@""#])
        .arg(rehearsal.get_program())
        .args(rehearsal.get_args());
    deaf.env_clear().envs(rehearsal.get_envs().filter_map(|(name, value)| Some((name, value?))));
    deaf.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut rehearsal = Rehearsal::start(deaf);
    rehearsal.wait_for("the crowd buys");
    kill_process(rehearsal.id(), Signal::HUP).unwrap();
    let Ended { code, report, said } = rehearsal.end();
    assert_eq!((code, &report["buyersCame"]), (Some(0), &json!(60)), "{said}");
    shop.close().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_rehearsal_takes_its_server_along() {
    let mut rehearsal =
        Rehearsal::start(alone("rehearsal-killed", &[], &["--buyers", "2000", "--rate", "20"]));
    rehearsal.wait_for("the crowd buys");
    let mongod = mongod_of(&process_directory("rehearsal-killed"));
    assert!(runs(mongod));
    drop(rehearsal);
    let end = async {
        while runs(mongod) {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of the server and its mongod", end).await;
}

#[test]
fn a_signal_while_the_server_starts_ends_both() {
    // A database that accepts connections and never answers: no server can start with it.
    let database = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("mongodb://{}/shop", database.local_addr().unwrap());
    let settings = [("MONGO_URI", uri.as_str()), ("JWT_SECRET", "kZ3v9Qm1xY7pL0tR5wB8nC2dF6gH4jS1")];
    let mut rehearsal = Rehearsal::start(alone("rehearsal-starting", &settings, &[]));
    rehearsal.wait_for("a server starts");
    rehearsal.terminate();
    let Ended { code, report, said } = rehearsal.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(!said.contains("did not start"), "{said}");
    assert_eq!((&report["interrupted"], &report["buyersCame"]), (&json!(true), &json!(0)), "{report:#}");
}

/// Sends a signal when the rehearsal says `phase`; it must not reach the `next` phase.
async fn interrupt(shop: &Shop, phase: &str, next: &str, arguments: &[&str]) -> Value {
    let mut rehearsal = Rehearsal::start(at(shop, &shop.settings(), arguments));
    rehearsal.wait_for(phase);
    rehearsal.terminate();
    let Ended { code, report, said } = rehearsal.end();
    assert_eq!(code, Some(130), "{phase}: {said}");
    assert!(!said.contains(next), "{said}");
    assert_eq!((&report["interrupted"], &report["verdict"]), (&json!(true), &Value::Null), "{report:#}");
    nothing_is_left(shop).await;
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_at_any_time_is_heard_and_nothing_is_left() {
    // Uninterrupted, each of these phases takes minutes: signing, waiting for connections, reading back.
    let shop = Shop::open_with(Limits::default().with(|limits| limits.http.connections_max = 4)).await;
    let signing = ["--buyers", "5000000"];
    let report = interrupt(&shop, "tokens are signed", "connections", &signing).await;
    assert_eq!(report["buyersCame"], 0);
    let opening = ["--buyers", "10", "--connections", "2000"];
    let report = interrupt(&shop, "connections are opened", "the crowd", &opening).await;
    assert_eq!((&report["buyersCame"], &report["connectionsOpen"]), (&json!(0), &json!(0)));
    let reading = ["--buyers", "10", "--repeat-share", "0.2", "--connections", "2", "--products", "10000"];
    let report = interrupt(&shop, "outcome is read back", "broken", &reading).await;
    assert_eq!(report["buyersCame"], 10);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_place_are_reported() {
    // The rehearsal's own look at the server takes one of the four.
    let shop = Shop::open_with(Limits::default().with(|limits| limits.http.connections_max = 4)).await;
    let rehearsal = at(&shop, &shop.settings(), &["--buyers", "20", "--connections", "6"]);
    let Ended { code, report, said } = Rehearsal::start(rehearsal).end();
    assert_eq!(code, Some(0), "{said}");
    let open = report["connectionsOpen"].as_u64().unwrap();
    assert_eq!(report["connections"], 6, "{report:#}");
    assert!((1..=4).contains(&open) && said.contains(&format!("only {open} of 6 connections")), "{said}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_and_it_says_what_stays() {
    let mongo = own_mongo("rehearsal-twice").await;
    let shop = Shop::open_at(mongo.uri().reveal()).await;
    let mut rehearsal = Rehearsal::start(at(&shop, &shop.settings(), &["--buyers", "2000", "--rate", "20"]));
    rehearsal.wait_for("the crowd buys");
    // From now on nothing can be removed.
    signal(&mongo, Signal::STOP);
    rehearsal.terminate();
    rehearsal.wait_for("a second signal ends at once");
    rehearsal.terminate();
    let Ended { code, said, .. } = rehearsal.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("ended at once") && said.contains("Rehearsal (is removed afterwards)"), "{said}");
    signal(&mongo, Signal::CONT);
    shop.close().await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_promise_has_a_code_of_its_own() {
    let shop = Shop::open().await;
    let mut rehearsal = Rehearsal::start(at(&shop, &shop.settings(), &["--buyers", "60", "--rate", "20"]));
    rehearsal.wait_for("the crowd buys");
    // A purchase disappears from the database.
    let purchases = shop.database().await.collection::<Document>("purchases");
    let theft = async { while purchases.delete_one(doc! {}).await.unwrap().deleted_count == 0 {} };
    soon("a purchase", theft).await;
    let Ended { code, report, said } = rehearsal.end();
    assert_eq!(code, Some(1), "{said}");
    assert_eq!((&report["interrupted"], &report["buyersCame"]), (&json!(false), &json!(60)), "{report:#}");
    assert_ne!(report["verdict"]["broken"], json!([]), "{report:#}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_that_cannot_be_held_says_what_to_do() {
    let (shop, other) = (Shop::open().await, Shop::open().await);
    let [uri, secret] = shop.settings();
    let [other_uri, _] = other.settings();
    let foreign_secret = ("JWT_SECRET", "another one, of another server's tokens");
    for (settings, words) in [([uri, foreign_secret], "JWT_SECRET"), ([other_uri, secret], "MONGO_URI")] {
        let Ended { code, report, said } = Rehearsal::start(at(&shop, &settings, &[])).end();
        assert_eq!((code, report), (Some(3), Value::Null), "{said}");
        assert!(said.contains(words) && said.contains("Give the rehearsal the server's own"), "{said}");
        assert!(!said.contains("the crowd"), "{said}");
    }
    nothing_is_left(&shop).await;
    nothing_is_left(&other).await;
    // Bound and closed again, so nothing listens on this port.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let mut nobody = program(&process_directory("rehearsal-at-nobody"), &shop.settings());
    nobody.args(["rehearse", "--url", &url]);
    let Ended { code, said, .. } = Rehearsal::start(nobody).end();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("nobody answers") && said.contains(&url), "{said}");
    shop.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plot_that_cannot_be_written_costs_no_result() {
    let shop = Shop::open().await;
    let settings = shop.settings();
    let Ended { code, said, .. } =
        Rehearsal::start(at(&shop, &settings, &["--plot", "no/such/plot.svg"])).end();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("no/such/plot.svg") && !said.contains("the crowd"), "{said}");
    // This device can be opened, but each write fails.
    let arguments = ["--buyers", "20", "--connections", "4", "--plot", "/dev/full"];
    let Ended { code, report, said } = Rehearsal::start(at(&shop, &settings, &arguments)).end();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("/dev/full"), "{said}");
    assert_eq!(report["verdict"]["purchases"], 20, "{report:#}");
    shop.close().await;
}

#[test]
fn a_rehearsal_that_makes_no_sense_is_refused() {
    let directory = process_directory("rehearsal-refused");
    for (option, value, words) in [
        ("--buyers", "0", "1 to 5000000"),
        ("--buyers", "-5", "1 to 5000000"),
        ("--buyers", "many", "1 to 5000000"),
        ("--stock", "-1", "0 to"),
        ("--connections", "0", "1 to"),
        ("--products", "10001", "1 to 10000"),
        ("--rate", "0", "0.1 to"),
        ("--rate", "nan", "0.1 to"),
        ("--rate", "-5", "0.1 to"),
        ("--repeat-share", "2", "0 to 1"),
        ("--duration", "0", "1 to"),
        ("--window", "0", "1 to 86400"),
        ("--window", "86401", "1 to 86400"),
        ("--pay-share", "1.1", "0 to 1"),
        ("--pay-share", "0.5", "--window"),
        ("--url", "https://shop.example", "plain HTTP: give the address behind the proxy"),
        ("--url", "http://shop.example/api", "without a path"),
        ("--url", "http://ada:secret@shop.example", "user or a password"),
        ("--url", "shop.example", "like http://127.0.0.1:3000"),
    ] {
        let output = program(&directory, &[]).args(["rehearse", option, value]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{option} {value}: {said}");
        assert!(said.contains(option) && said.contains(words), "{option} {value}: {said}");
    }
    let help = program(&directory, &[]).args(["rehearse", "--help"]).output().unwrap();
    let said = String::from_utf8_lossy(&help.stdout);
    assert!(["  1  ", "  2  ", "  3  ", "  130 "].iter().all(|code| said.contains(code)), "{said}");
}
