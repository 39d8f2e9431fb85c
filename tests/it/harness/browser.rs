//! A person who uses the storefront in a browser.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::actor::Actor;
use super::webdriver::{WebDriver, missing_programs};

/// Generous, because the machine may be busy; a test that passes does not wait this long.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(40);

/// The codes that WebDriver gives to keys without a character.
pub const TAB: &str = "\u{E004}";
pub const ENTER: &str = "\u{E007}";

/// Finds the first visible element that matches the selector and contains the text; an `aria-label` counts as text.
const FIND: &str = "
    const [selector, text] = arguments;
    const words = (element) => `${element.innerText} ${element.getAttribute('aria-label') ?? ''}`.replace(/\\s+/g, ' ');
    return [...document.querySelectorAll(selector)]
      .find((element) => element.checkVisibility() && words(element).includes(text)) ?? null;";

/// Finds the field with this label.
const FIND_FIELD: &str = "
    return [...document.querySelectorAll('label')]
      .find((label) => label.checkVisibility() && label.innerText.startsWith(arguments[0]))?.control ?? null;";

/// Lists the elements that stick out of the page.
const WIDE: &str = "
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.body.querySelectorAll('*')].filter((element) => element.getBoundingClientRect().right > width)
      .map((element) => element.outerHTML.slice(0, 120));";

/// Whether the programs for the test are missing. Then it is skipped with a message; in CI that is a failure.
pub fn no_browser() -> bool {
    let missing = missing_programs();
    if !missing.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "missing: {}", missing.join(", "));
        eprintln!("left out: a test in a browser, without {}", missing.join(" and "));
    }
    !missing.is_empty()
}

/// A browser window with its own browser process.
pub struct Browser {
    driver: WebDriver,
    base: String,
    console: Mutex<Vec<Value>>,
}

impl Browser {
    pub async fn open(actor: &Actor) -> Self {
        let driver = WebDriver::start().await;
        // A visitor does not type 127.0.0.1.
        let base = format!("http://{}", actor.host().replace("127.0.0.1", "localhost"));
        let browser = Self { driver, base, console: Mutex::default() };
        browser.visit("/").await;
        browser
    }

    /// Opens a page of the server as a link from another site would.
    pub async fn visit(&self, path: &str) {
        let url = format!("{}{path}", self.base);
        self.driver.go(&url).await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
    }

    /// Goes to a view without leaving the page.
    pub async fn follow(&self, view: &str) {
        let script = "
            const link = document.createElement('a');
            link.href = arguments[0];
            document.body.append(link);
            link.click();
            link.remove();";
        self.run(script, json!([view])).await;
    }

    /// Runs `script` in the page as the body of a function.
    pub async fn run(&self, script: &str, arguments: Value) -> Value {
        self.driver.run(script, arguments).await.unwrap_or_else(|error| panic!("{script}: {error:?}"))
    }

    /// Sends a command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) {
        self.driver
            .devtools(command, parameters)
            .await
            .unwrap_or_else(|error| panic!("{command}: {error:?}"));
    }

    /// Waits until a visible element matches `selector` and contains `text`.
    pub async fn sees(&self, selector: &str, text: &str) {
        self.find(FIND, json!([selector, text]), &format!("{selector} with “{text}”")).await;
    }

    /// Waits until no such element is left.
    pub async fn misses(&self, selector: &str, text: &str) {
        let script = FIND.replace("?? null", "=== undefined || null");
        self.find(&script, json!([selector, text]), &format!("the end of {selector} with “{text}”")).await;
    }

    /// Waits until the JavaScript expression is true.
    pub async fn waits(&self, expression: &str) {
        self.find(&format!("return {expression} || null"), json!([]), expression).await;
    }

    /// Presses a button or a link as soon as it is there.
    pub async fn press(&self, selector: &str, text: &str) {
        let what = format!("{selector} with “{text}” to press");
        self.attempt(&what, async || {
            let Some(element) = self.look(FIND, json!([selector, text])).await else { return false };
            self.driver.click(&element).await.is_ok()
        })
        .await;
    }

    /// Fills in the field with this label.
    pub async fn fill(&self, label: &str, text: &str) {
        let what = format!("the field “{label}”");
        self.attempt(&what, async || {
            let Some(element) = self.look(FIND_FIELD, json!([label])).await else { return false };
            self.driver.fill(&element, text).await.is_ok()
        })
        .await;
    }

    /// Sets a field's value directly: how a date is typed depends on the country.
    pub async fn set(&self, label: &str, value: &str) {
        let element = self.find(FIND_FIELD, json!([label]), &format!("the field “{label}”")).await;
        let script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', { bubbles: true }))";
        self.run(script, json!([element, value])).await;
    }

    /// Types into the element that has the focus.
    pub async fn keys(&self, keys: &str) {
        self.driver.keys(keys).await.unwrap_or_else(|error| panic!("{keys:?}: {error:?}"));
    }

    /// Presses Tab until the focus is on an element that matches.
    pub async fn tab_to(&self, selector: &str, text: &str) {
        let script = format!(
            "const found = (() => {{ {FIND} }})(); return found === document.activeElement && found !== null || null"
        );
        let what = format!("the focus on {selector} with “{text}”");
        self.attempt(&what, async || {
            self.keys(TAB).await;
            self.look(&script, json!([selector, text])).await.is_some()
        })
        .await;
    }

    /// Registers an account in the dialog, which is open.
    pub async fn register(&self, name: &str, email: &str) {
        self.press("dialog button", "Register").await;
        self.fill("Name", name).await;
        self.fill("E-mail", email).await;
        self.fill("Password", "correct horse battery").await;
        self.press("dialog button", "Create account").await;
    }

    /// Logs in through the header.
    pub async fn log_in(&self, email: &str, password: &str) {
        self.press("#account button", "Log in").await;
        self.fill("E-mail", email).await;
        self.fill("Password", password).await;
        self.press("dialog .form button", "Log in").await;
        self.sees("#account", "Account:").await;
    }

    /// Emulates the system's setting for `light` or `dark`, or that its user has chosen all colours (`forced`).
    pub async fn prefer(&self, scheme: &str) {
        let is_forced = scheme == "forced";
        let features = json!([
            { "name": "prefers-color-scheme", "value": if is_forced { "dark" } else { scheme } },
            { "name": "forced-colors", "value": if is_forced { "active" } else { "none" } },
            // Without animations: an element that fades or slides has no fixed look.
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Emulates a screen of this size.
    pub async fn resize(&self, width: u32, height: u32) {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    pub async fn fits(&self, name: &str) {
        assert_eq!(self.run(WIDE, json!([])).await, json!([]), "wider than the screen: {name}");
    }

    /// Saves the screen as `target/screenshots/NAME.png`.
    pub async fn screenshot(&self, name: &str) {
        use base64::Engine as _;
        let taken = self.driver.devtools("Page.captureScreenshot", json!({})).await.unwrap();
        let image =
            base64::engine::general_purpose::STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let directory = target.join("screenshots");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("{name}.png")), image).unwrap();
    }

    /// Closes the window. Fails if the console has an error, other than of a failed request whose message contains
    /// one of `expected`.
    pub async fn close(self, expected: &[&str]) {
        self.read_console().await;
        let console = self.console.lock().unwrap();
        let is_expected = |text: &str| expected.iter().any(|expected| text.contains(expected));
        let wrong: Vec<_> = console
            .iter()
            .filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")))
            .filter(|entry| {
                entry["source"] != "network" || !is_expected(entry["message"].as_str().unwrap_or_default())
            })
            .collect();
        assert!(wrong.is_empty(), "on the console: {wrong:#?}");
    }

    async fn find(&self, script: &str, arguments: Value, what: &str) -> Value {
        let mut found = Value::Null;
        self.attempt(what, async || {
            found = self.look(script, arguments.clone()).await.unwrap_or_default();
            !found.is_null()
        })
        .await;
        found
    }

    /// Looks once. The page may be changing right now; then the look fails, and the caller looks again.
    async fn look(&self, script: &str, arguments: Value) -> Option<Value> {
        self.driver.run(script, arguments).await.ok().filter(|value| !value.is_null())
    }

    /// Repeats `works` until it is true; after `PATIENCE` the test fails.
    async fn attempt(&self, what: &str, mut works: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !works().await {
            if Instant::now() > deadline {
                self.read_console().await;
                let text =
                    self.driver.run("return `${location}\\n${document.body.innerText}`", json!([])).await;
                let text = text.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default();
                self.screenshot("failed").await;
                let console = self.console.lock().unwrap();
                panic!(
                    "after {PATIENCE:?} still awaited: {what}\nthe console: {console:#?}\nthe page: {text}"
                );
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn read_console(&self) {
        let entries = self.driver.console().await.unwrap_or_default();
        self.console.lock().unwrap().extend(entries);
    }
}
