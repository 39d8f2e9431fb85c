//! Drives a browser: starts chromedriver and the browser, and sends the few WebDriver commands that the tests need.
//! WebDriver is JSON over HTTP, so this needs no crate; the existing crates change how `serde_json` orders members,
//! also in the server under test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::mongo::process_directory;

const CHROMIUM: &str = "/usr/bin/chromium";
const CHROMEDRIVER: &str = "/usr/bin/chromedriver";
/// Kills the driver and the browser when its standard input ends, so also when this process is killed. Only the
/// driver holds the output, so the output ends with the driver.
const UNTIL_END_OF_INPUT: &str = "\"$0\" --port=0 & exec >/dev/null; read -r _; kill -KILL 0";
const ATTEMPTS_MAX: u32 = 5;
/// The key under which WebDriver puts an element's id in JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One browser with a fresh profile: no cookies, storage or history.
pub struct WebDriver {
    client: reqwest::Client,
    session: String,
    programs: Child,
    profile: PathBuf,
}

/// A command that failed: `kind` is WebDriver's error code, such as `stale element reference`.
pub struct WebDriverError {
    kind: String,
    message: String,
}

impl std::fmt::Debug for WebDriverError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.kind, self.message)
    }
}

type Result<T> = std::result::Result<T, WebDriverError>;

/// The programs that are not installed.
pub fn missing_programs() -> Vec<&'static str> {
    [CHROMIUM, CHROMEDRIVER].into_iter().filter(|program| !Path::new(program).exists()).collect()
}

impl WebDriver {
    pub async fn start() -> Self {
        let mut attempts = 1;
        let (mut driver, port) = loop {
            match Self::start_driver().await {
                (driver, Some(port)) => break (driver, port),
                // It looks for a port that is free for both IPv4 and IPv6, and gives up when another program takes it
                // first.
                (_, None) => assert!(attempts < ATTEMPTS_MAX, "chromedriver does not start"),
            }
            attempts += 1;
        };
        driver.session = format!("http://127.0.0.1:{port}/session");
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "binary": CHROMIUM, "args": driver.arguments() },
        } } });
        let session =
            driver.post("", capabilities).await.unwrap_or_else(|error| panic!("no browser: {error:?}"));
        driver.session = format!("{}/{}", driver.session, session["sessionId"].as_str().unwrap());
        driver
    }

    /// Starts chromedriver and returns the port that it listens on.
    async fn start_driver() -> (Self, Option<u16>) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let profile = process_directory(&format!("chromium-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&profile).unwrap();
        let mut programs = std::os::unix::process::CommandExt::process_group(&mut Command::new("sh"), 0)
            .args(["-c", UNTIL_END_OF_INPUT, CHROMEDRIVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = programs.stdout.take().unwrap();
        // From here on a panic ends the programs.
        let driver = Self { client: reqwest::Client::new(), session: String::new(), programs, profile };
        let port = tokio::task::spawn_blocking(|| port(BufReader::new(output))).await.unwrap();
        (driver, port)
    }

    fn arguments(&self) -> Vec<String> {
        let fixed = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            // /dev/shm is often small in containers.
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--lang=en-GB",
            "--window-size=1280,900",
        ];
        let profile = format!("--user-data-dir={}", self.profile.display());
        fixed.into_iter().map(str::to_owned).chain([profile]).collect()
    }

    /// Opens an address and returns when the page has loaded.
    pub async fn go(&self, url: &str) -> Result<()> {
        self.post("/url", json!({ "url": url })).await.map(drop)
    }

    /// Runs `script` in the page as the body of a function and returns its result; a promise is awaited.
    pub async fn run(&self, script: &str, arguments: Value) -> Result<Value> {
        self.post("/execute/sync", json!({ "script": script, "args": arguments })).await
    }

    /// Clicks an element, which must be in sight and not covered.
    pub async fn click(&self, element: &Value) -> Result<()> {
        self.post(&format!("/element/{}/click", id(element)), json!({})).await.map(drop)
    }

    /// Types into an element.
    pub async fn fill(&self, element: &Value, text: &str) -> Result<()> {
        self.post(&format!("/element/{}/clear", id(element)), json!({})).await?;
        self.post(&format!("/element/{}/value", id(element)), json!({ "text": text })).await.map(drop)
    }

    /// Presses and releases keys one after the other, on the element that has the focus.
    pub async fn keys(&self, keys: &str) -> Result<()> {
        let strokes = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })));
        let keyboard = json!({ "type": "key", "id": "keys", "actions": strokes.collect::<Vec<_>>() });
        self.post("/actions", json!({ "actions": [keyboard] })).await.map(drop)
    }

    /// Sends a command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Result<Value> {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// The console's entries since the last call.
    pub async fn console(&self) -> Result<Vec<Value>> {
        let entries = self.post("/se/log", json!({ "type": "browser" })).await?;
        Ok(entries.as_array().cloned().unwrap_or_default())
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value> {
        let failed =
            |error: reqwest::Error| WebDriverError { kind: "no answer".into(), message: error.to_string() };
        let request = self.client.request(Method::POST, format!("{}{path}", self.session));
        let request = request.header("Content-Type", "application/json").body(body.to_string());
        let answer = request.send().await.map_err(failed)?.bytes().await.map_err(failed)?;
        let mut answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let value = answer["value"].take();
        match value["error"].as_str() {
            None => Ok(value),
            Some(kind) => Err(WebDriverError {
                kind: kind.to_owned(),
                message: value["message"]
                    .as_str()
                    .unwrap_or_default()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            }),
        }
    }
}

impl Drop for WebDriver {
    fn drop(&mut self) {
        // The whole process group: a driver that is killed alone leaves its browser behind.
        kill_process_group(Pid::from_child(&self.programs), Signal::KILL).ok();
        self.programs.wait().ok();
        std::fs::remove_dir_all(&self.profile).ok();
    }
}

fn id(element: &Value) -> &str {
    element[ELEMENT].as_str().expect("an element")
}

/// The port that chromedriver says it listens on; `None` if it ends before it says so.
fn port(output: impl BufRead) -> Option<u16> {
    let mut lines = output.lines().map_while(std::io::Result::ok);
    let line = lines.find(|line| line.contains("started successfully"))?;
    line.trim_end_matches('.').rsplit(' ').next()?.parse().ok()
}
