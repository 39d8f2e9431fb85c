//! How the storefront looks: to axe-core, on a narrow phone, and in pictures for people (`target/screenshots/`).

use flash_sale::model::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Browser, NO_ID, Shop, no_browser, patient, sneaker_with};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// The variable with the path of axe.min.js, from the npm package axe-core.
const AXE_CORE: &str = "AXE_CORE";

/// Name, price and original price in cents, stock, units bought, start and end from now.
type Sale = (&'static str, i64, Option<i64>, i64, usize, i64, i64);

const SALES: [Sale; 10] = [
    ("Aurora mechanical keyboard, walnut", 12_900, Some(18_900), 60, 41, -9 * MINUTE, 51 * MINUTE),
    ("Trail shoe “Gneiss”, first run", 9_900, Some(13_900), 25, 23, -3 * MINUTE, 2 * HOUR),
    ("Signed print: Harbour at five", 4_500, None, 18, 18, -14 * MINUTE, 5 * HOUR),
    ("Brass telescope, 1 of 50", 24_950, Some(31_000), 50, 0, 6 * MINUTE, 66 * MINUTE),
    ("Night market ramen set for four", 3_450, None, 40, 0, 52 * MINUTE, 3 * HOUR),
    ("Pocket synthesizer", 15_900, None, 300, 0, 4 * HOUR, 6 * HOUR),
    ("Festival ticket, Friday to Sunday", 11_900, None, 500, 0, 40 * HOUR, 44 * HOUR),
    ("Winter coat, last season’s red", 19_900, Some(39_900), 30, 9, -50 * HOUR, -20 * MINUTE),
    ("Darjeeling, first flush", 2_800, None, 12, 12, -30 * HOUR, -3 * HOUR),
    (LONG_NAME, 2_500, None, 12, 0, 50 * HOUR, 51 * HOUR),
];

/// No blank at which a line could break.
const LONG_NAME: &str =
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaftsmütze";

const PEOPLE: [&str; 12] = [
    "Ada Lovelace",
    "Alan Turing",
    "Barbara Liskov",
    "Edsger Dijkstra",
    "Frances Allen",
    "Ken Thompson",
    "Margaret Hamilton",
    "Niklaus Wirth",
    "Radia Perlman",
    "Shafi Goldwasser",
    "Tony Hoare",
    "Hedwig Eva Maria Kiesler",
];

/// A shop with running, upcoming and ended sales. Returns the id of the first.
async fn busy_shop() -> (Shop, String) {
    let shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let now = Timestamp::parse(shop.visitor().get("/time").await.expect(200).json["now"].as_str().unwrap());
    let now = now.unwrap().milliseconds();
    let mut first = String::new();
    for (name, price, before, stock, sold, start, end) in SALES {
        let id = shop
            .sell(&sneaker_with(json!({
                "name": name,
                "description": "Made in one run and sold in one. What is gone is gone: there is no waiting list, and no \
                                second batch.\nShipped within two days.",
                "price": { "amount": price, "currency": "USD" },
                "originalPrice": before.map(|amount| json!({ "amount": amount, "currency": "USD" })),
                "stock": stock,
                "saleStartTime": Timestamp::from_milliseconds(now + start),
                "saleEndTime": Timestamp::from_milliseconds(now + end.max(HOUR)),
            })))
            .await;
        for person in PEOPLE.iter().cycle().take(sold) {
            shop.buyer_named(person).purchase(&id).await.expect(201);
        }
        // An ended sale sells nothing, so it is ended after the purchases.
        let changes = json!({ "saleEndTime": Timestamp::from_milliseconds(now + end) });
        shop.admin().patch(&format!("/products/{id}"), "*", &changes).await.expect(200);
        if first.is_empty() {
            first = id;
        }
    }
    (shop, first)
}

/// The views, each with an element that shows that it is complete.
fn views(id: &str, purchase: &str) -> Vec<(&'static str, String, &'static str, &'static str)> {
    vec![
        ("catalogue", "/".into(), ".group-ended .card", "Winter coat"),
        ("product", format!("/sales/{id}"), ".board tbody tr", "41"),
        ("purchases", "/my/purchases".into(), ".purchase", "Aurora"),
        ("admin", "/admin".into(), ".keep", "Aurora"),
        ("admin-new", "/admin/new".into(), "main button", "Create the sale"),
        ("admin-edit", format!("/admin/sales/{id}"), "main h1", "Aurora"),
        ("control", format!("/admin/sales/{id}/control"), "table", "Networks with the most buyers"),
        ("receipt", format!("/my/purchases/{purchase}"), ".receipt", "42"),
        ("users", "/admin/users".into(), ".row", ADMIN.0),
        ("audit", "/admin/audit".into(), ".entry", "logged in"),
        ("nothing", format!("/sales/{NO_ID}"), "main h1", "does not exist"),
    ]
}

/// The window of an admin who has bought something, and the id of the purchase.
async fn window(shop: &Shop, id: &str) -> (Browser, String) {
    let window = Browser::open(&shop.visitor()).await;
    window.log_in(ADMIN.0, ADMIN.1).await;
    window.follow(&format!("/sales/{id}")).await;
    window.press(".button-buy", "Buy now").await;
    window.sees(".outcome", "Bought: you are number 42").await;
    let receipt =
        window.run("return document.querySelector('.outcome a').pathname.split('/').pop()", json!([])).await;
    (window, receipt.as_str().unwrap().to_owned())
}

/// A browser's message about a sale that does not exist.
const MISSING: &str = "status of 404";

/// The distances of WCAG 1.4.12.
const SPACING: &str = "
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`
      * { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important; }
      p { margin-bottom: 2em !important; }`);
    document.adoptedStyleSheets = [sheet];";

/// Lists the visible elements whose text does not fit into them. A name is cut after two lines on purpose, and an input
/// scrolls.
const CLIPPED: &str = "
    const small = (element) => element.scrollWidth > element.clientWidth + 1 || element.scrollHeight > element.clientHeight + 1;
    return [...document.querySelectorAll('main *, header *')]
      .filter((element) => element.checkVisibility() && !element.closest('input, .unseen, svg, .picture, .card-name, .account-name'))
      .filter((element) => ['hidden', 'clip'].includes(getComputedStyle(element).overflowX) && small(element))
      .map((element) => element.outerHTML.slice(0, 120));";

/// Lists the visible elements that lie beside the page, on either side.
const OUTSIDE: &str = "
    const width = document.documentElement.clientWidth;
    return [...document.querySelectorAll('main *, header *, footer *')]
      .filter((element) => element.checkVisibility() && !element.closest('.unseen, .skip, svg, .account-name, .stock-bar'))
      .filter((element) => { const { left, right } = element.getBoundingClientRect(); return left < -1 || right > width + 1; })
      .map((element) => element.outerHTML.slice(0, 120));";

#[tokio::test(flavor = "multi_thread")]
async fn no_view_is_wider_than_its_window() {
    if no_browser() {
        return;
    }
    let (shop, id) = busy_shop().await;
    let (window, purchase) = window(&shop, &id).await;
    // The last two are what a window of 1280 by 1024 has at a zoom of 200 % and of 400 %.
    for (width, height) in
        [(320, 640), (390, 844), (768, 1024), (1280, 900), (1440, 900), (844, 390), (640, 512), (320, 256)]
    {
        window.resize(width, height).await;
        for (name, view, selector, text) in views(&id, &purchase) {
            window.follow(&view).await;
            window.sees(selector, text).await;
            window.screenshot(&format!("{name}-{width}-{height}")).await;
            window.fits(&format!("{name} at {width} x {height}")).await;
        }
    }
    // A browser that translates the page into a language that is written from right to left turns it round.
    for width in [320, 1280] {
        window.resize(width, 800).await;
        window.run("document.documentElement.dir = 'rtl'", json!([])).await;
        for (name, view, selector, text) in views(&id, &purchase) {
            window.follow(&view).await;
            window.sees(selector, text).await;
            window.screenshot(&format!("{name}-{width}-rtl")).await;
            assert_eq!(window.run(OUTSIDE, json!([])).await, json!([]), "outside: {name} from right to left");
        }
        window.run("document.documentElement.removeAttribute('dir')", json!([])).await;
    }
    // With the spacing that WCAG 1.4.12 lets readers choose nothing sticks out or is cut off.
    window.resize(320, 640).await;
    window.run(SPACING, json!([])).await;
    for (name, view, selector, text) in views(&id, &purchase) {
        window.follow(&view).await;
        window.sees(selector, text).await;
        window.fits(&format!("{name} with wide spacing")).await;
        assert_eq!(window.run(CLIPPED, json!([])).await, json!([]), "cut off: {name} with wide spacing");
    }
    window.run("document.adoptedStyleSheets = []", json!([])).await;
    // The picture in the README, with the pointer moved away.
    let found = shop.visitor().get("/products?search=Donau").await.expect(200).json;
    shop.admin()
        .delete(&format!("/products/{}", found["items"][0]["id"].as_str().unwrap()))
        .await
        .expect(204);
    window.devtools("Input.dispatchMouseEvent", json!({ "type": "mouseMoved", "x": 0, "y": 0 })).await;
    window.resize(1200, 1660).await;
    window.follow("/").await;
    window.sees(".card", "Darjeeling").await;
    window.misses(".card", LONG_NAME).await;
    window.screenshot("storefront").await;
    window.close(&[MISSING]).await;
    shop.close().await;
}

/// The bar with the button, and the outcome when there is one, are on the screen wherever the page is scrolled.
const BAR_IS_ON_SCREEN: &str = "
    return ['.bar .price', '.bar .countdown', '.bar .stock-left', '.bar .button-buy', '.bar .outcome'].every((selector) => {
      const element = document.querySelector(selector);
      const { top, bottom, left, right } = element.getBoundingClientRect();
      const shown = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
      return top >= 0 && bottom <= innerHeight && element.contains(shown);
    });";

#[tokio::test(flavor = "multi_thread")]
async fn the_bar_that_buys_never_leaves_the_screen() {
    if no_browser() {
        return;
    }
    let (shop, id) = busy_shop().await;
    let (window, _) = window(&shop, &id).await;
    // The outcome is there, because something was bought.
    window.sees(".board tbody tr", "41").await;
    for (width, height) in [(320, 640), (390, 844), (844, 390), (1280, 600), (1280, 900), (1440, 2000)] {
        window.resize(width, height).await;
        for place in ["0", "document.documentElement.scrollHeight"] {
            window.run(&format!("scrollTo(0, {place})"), json!([])).await;
            window.waits(&format!("(() => {{ {BAR_IS_ON_SCREEN} }})()")).await;
        }
        window.screenshot(&format!("bar-{width}-{height}")).await;
        // What gets the focus lies neither behind the bar nor behind the header.
        window.run("document.querySelector('.foot a').focus()", json!([])).await;
        let free = "(() => { const { top, bottom, left } = document.activeElement.getBoundingClientRect();
            return document.activeElement.contains(document.elementFromPoint(left + 2, (top + bottom) / 2)); })()";
        window.waits(free).await;
    }
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_in_light_in_dark_or_in_forced_colours() {
    if no_browser() {
        return;
    }
    let Some(axe) = axe_core() else { return };
    let (shop, id) = busy_shop().await;
    let (window, purchase) = window(&shop, &id).await;
    window.run(&axe, json!([])).await;
    for scheme in ["light", "dark", "forced"] {
        window.prefer(scheme).await;
        for (name, view, selector, text) in views(&id, &purchase) {
            window.follow(&view).await;
            window.sees(selector, text).await;
            is_accessible(&window, &format!("{name}-{scheme}")).await;
        }
        if scheme == "forced" {
            break;
        }
        window.press("#account button", "Account:").await;
        window.sees("#account button", "Log out").await;
        is_accessible(&window, &format!("menu-{scheme}")).await;
        window.press("#account button", "Change password").await;
        window.sees("dialog", "Current password").await;
        is_accessible(&window, &format!("password-{scheme}")).await;
        window.press("dialog button", "Cancel").await;
        window.press("#account button", "Account:").await;
        window.press("#account button", "Log out").await;
        window.press("#account button", "Log in").await;
        window.sees("dialog", "No account yet?").await;
        is_accessible(&window, &format!("login-{scheme}")).await;
        window.fill("E-mail", ADMIN.0).await;
        window.fill("Password", ADMIN.1).await;
        window.press("dialog .form button", "Log in").await;
        window.sees("#account", "Account:").await;
    }
    window.close(&[MISSING]).await;
    shop.close().await;
}

/// The script of axe-core; `None`, with a message, if there is none. In CI that is a failure.
pub fn axe_core() -> Option<String> {
    let Some(path) = std::env::var_os(AXE_CORE) else {
        assert!(std::env::var_os("CI").is_none(), "{AXE_CORE} is not set");
        eprintln!("left out: the accessibility of the storefront, without {AXE_CORE}");
        return None;
    };
    Some(std::fs::read_to_string(path).unwrap())
}

/// axe-core, which runs in this window, finds nothing.
pub async fn is_accessible(window: &Browser, name: &str) {
    window.screenshot(name).await;
    let script = "
        // Where the reader has chosen the colours, the contrast is the reader's; axe-core compares with ours.
        const isForced = matchMedia('(forced-colors: active)').matches;
        const { violations, passes } = await axe.run({ rules: { 'color-contrast': { enabled: !isForced } } });
        return { passes: passes.length, violations: violations.map(({ id, help, nodes }) => ({
          id, help, nodes: nodes.map(({ html, failureSummary }) => [html, failureSummary]) })) };";
    let found: Value = window.run(&format!("return (async () => {{ {script} }})()"), json!([])).await;
    assert!(found["passes"].as_u64().unwrap() > 10, "{name}: axe-core has looked at something: {found}");
    assert_eq!(found["violations"], json!([]), "{name}: {:#}", found["violations"]);
}
