//! Somebody who looks at the storefront in a browser.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::shop::Actor;
use super::webdriver::{WebDriver, missing_programs};

/// A machine that does other things besides may take long; what works does not wait for it.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(40);

/// Keys that are no characters.
pub const TAB: &str = "\u{E004}";
pub const ENTER: &str = "\u{E007}";

/// The first visible element that the selector and the text fit. In the page's words: with the text that is read out.
const FIND: &str = "
    const [selector, text] = arguments;
    const words = (element) => `${element.innerText} ${element.getAttribute('aria-label') ?? ''}`.replace(/\\s+/g, ' ');
    return [...document.querySelectorAll(selector)]
      .find((element) => element.checkVisibility() && words(element).includes(text)) ?? null;";

/// The field with this label.
const FIND_FIELD: &str = "
    return [...document.querySelectorAll('label')]
      .find((label) => label.checkVisibility() && label.innerText.startsWith(arguments[0]))?.control ?? null;";

/// The elements that stick out of the page.
const WIDE: &str = "
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.body.querySelectorAll('*')].filter((element) => element.getBoundingClientRect().right > width)
      .map((element) => element.outerHTML.slice(0, 120));";

/// Whether the test has to be left out, which is told; in CI that is a failure.
pub fn no_browser() -> bool {
    let missing = missing_programs();
    if !missing.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "missing: {}", missing.join(", "));
        eprintln!("left out: a test in a browser, without {}", missing.join(" and "));
    }
    !missing.is_empty()
}

/// A window of a browser of its own.
pub struct Browser {
    driver: WebDriver,
    base: String,
    console: Mutex<Vec<Value>>,
}

impl Browser {
    /// Opens the storefront of the server that `actor` talks to.
    pub async fn open(actor: &Actor) -> Self {
        let driver = WebDriver::start().await;
        // Not 127.0.0.1, which no visitor types.
        let base = format!("http://{}", actor.host().replace("127.0.0.1", "localhost"));
        let browser = Self { driver, base, console: Mutex::default() };
        browser.go("/").await;
        browser
    }

    /// Goes to a view of the storefront, as with a link from elsewhere.
    pub async fn go(&self, view: &str) {
        self.visit(&format!("/#{view}")).await;
    }

    /// Goes to a page of the server.
    pub async fn visit(&self, path: &str) {
        let url = format!("{}{path}", self.base);
        self.driver.go(&url).await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
    }

    /// Goes to a view within the open page.
    pub async fn follow(&self, view: &str) {
        self.run("location.hash = arguments[0]", json!([format!("#{view}")])).await;
    }

    /// Runs the body of a function in the page.
    pub async fn run(&self, script: &str, arguments: Value) -> Value {
        self.driver.run(script, arguments).await.unwrap_or_else(|error| panic!("{script}: {error:?}"))
    }

    /// Sends a command of the browser's own protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) {
        self.driver
            .devtools(command, parameters)
            .await
            .unwrap_or_else(|error| panic!("{command}: {error:?}"));
    }

    /// Waits until there is a visible element that `selector` matches and that has the text.
    pub async fn sees(&self, selector: &str, text: &str) {
        self.find(FIND, json!([selector, text]), &format!("{selector} with “{text}”")).await;
    }

    /// Waits until there is none.
    pub async fn misses(&self, selector: &str, text: &str) {
        let script = FIND.replace("?? null", "=== undefined || null");
        self.find(&script, json!([selector, text]), &format!("the end of {selector} with “{text}”")).await;
    }

    /// Waits until the expression is true.
    pub async fn waits(&self, expression: &str) {
        self.find(&format!("return {expression} || null"), json!([]), expression).await;
    }

    /// Presses a button or a link, once it is there.
    pub async fn press(&self, selector: &str, text: &str) {
        let what = format!("{selector} with “{text}” to press");
        self.attempt(&what, async || {
            let Some(element) = self.look(FIND, json!([selector, text])).await else { return false };
            self.driver.click(&element).await.is_ok()
        })
        .await;
    }

    /// Fills in a field.
    pub async fn fill(&self, label: &str, text: &str) {
        let what = format!("the field “{label}”");
        self.attempt(&what, async || {
            let Some(element) = self.look(FIND_FIELD, json!([label])).await else { return false };
            self.driver.fill(&element, text).await.is_ok()
        })
        .await;
    }

    /// Sets the value of a field that is typed differently in each country.
    pub async fn set(&self, label: &str, value: &str) {
        let element = self.find(FIND_FIELD, json!([label]), &format!("the field “{label}”")).await;
        let script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', { bubbles: true }))";
        self.run(script, json!([element, value])).await;
    }

    /// Presses it as often as it takes: a button rests for a moment after a purchase.
    pub async fn press_until(&self, selector: &str, text: &str, outcome: &str) {
        let what = format!("“{outcome}” after pressing {selector} with “{text}”");
        self.attempt(&what, async || {
            if let Some(element) = self.look(FIND, json!([selector, text])).await {
                self.driver.click(&element).await.ok();
            }
            self.look(FIND, json!([".outcome", outcome])).await.is_some()
        })
        .await;
    }

    /// Types on whatever has the focus.
    pub async fn keys(&self, keys: &str) {
        self.driver.keys(keys).await.unwrap_or_else(|error| panic!("{keys:?}: {error:?}"));
    }

    /// Presses Tab until the focus is on such an element.
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

    /// Makes an account; the dialog is open.
    pub async fn register(&self, name: &str, email: &str) {
        self.press("dialog button", "Register").await;
        self.fill("Name", name).await;
        self.fill("E-mail", email).await;
        self.fill("Password", "correct horse battery").await;
        self.press("dialog button", "Create account").await;
    }

    /// Logs in, from the header.
    pub async fn log_in(&self, email: &str, password: &str) {
        self.press("#account button", "Log in").await;
        self.fill("E-mail", email).await;
        self.fill("Password", password).await;
        self.press("dialog .form button", "Log in").await;
        self.sees("#account", "Account:").await;
    }

    /// Asks for light or dark, as the system's setting does.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            // What fades or slides looks like anything in between.
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Has a screen of this size.
    pub async fn resize(&self, width: u32, height: u32) {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Checks that the page is no wider than the screen.
    pub async fn fits(&self, name: &str) {
        assert_eq!(self.run(WIDE, json!([])).await, json!([]), "wider than the screen: {name}");
    }

    /// Keeps what is on the screen as `target/screenshots/NAME.png`.
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

    /// Closes the window, if nothing is on the console as an error but what contains one of `expected`: requests that
    /// are refused, or that find no server.
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

    /// A look may come while the page changes, and is simply taken again.
    async fn look(&self, script: &str, arguments: Value) -> Option<Value> {
        self.driver.run(script, arguments).await.ok().filter(|value| !value.is_null())
    }

    /// Tries until it works.
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
