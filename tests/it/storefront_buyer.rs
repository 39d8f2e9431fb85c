//! What people met at the storefront who were in a hurry, offline, with a wrong clock, or on a small screen.

use flash_sale::model::timestamp::Timestamp;
use serde_json::json;

use crate::harness::{ADMIN, Actor, Browser, Shop, no_browser, patient, sneaker_with};

/// A browser's message about a purchase that was refused.
pub const REFUSED: &str = "status of 409";

/// A network that lets no WebSocket through.
pub const NO_SOCKET: &str = "
    window.WebSocket = class {
      constructor() { setTimeout(() => this.onclose?.({ reason: '' })); }
      send() {}
      close() {}
    };";

/// A clock that is 30 hours fast, and a server whose clock cannot be asked.
const WRONG_CLOCK: &str = "
    const now = Date.now;
    Date.now = () => now() + 30 * 3600_000;
    const real = window.fetch;
    window.fetch = (path, ...rest) => (String(path).endsWith('/time') ? new Promise(() => {}) : real(path, ...rest));";

/// A window at a shop, with `script` run before the page's own.
pub async fn window_with(visitor: &Actor, script: &str) -> Browser {
    let window = Browser::open(visitor).await;
    window.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    window.visit("/").await;
    window
}

/// The time by the shop's clock, in milliseconds since 1970.
pub async fn now(shop: &Shop) -> i64 {
    let answer = shop.visitor().get("/time").await.expect(200);
    Timestamp::parse(answer.json["now"].as_str().unwrap()).unwrap().milliseconds()
}

/// Registers an account.
pub async fn enter(window: &Browser) {
    window.press("#account button", "Register").await;
    window.fill("Name", "Ada Lovelace").await;
    window.fill("E-mail", "ada@example.com").await;
    window.fill("Password", "correct horse battery").await;
    window.press("dialog button", "Create account").await;
    window.sees("#account", "Account:").await;
}

/// Buys with the window's login, of which the page itself hears nothing.
pub async fn buy_unseen(window: &Browser, id: &str, quantity: i64) {
    let buy = "return (async (productId, quantity) => {
        const { token } = JSON.parse(localStorage.getItem('flash-sale.session'));
        const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
        const body = JSON.stringify({ productId, quantity });
        return (await fetch('/products/purchase', { method: 'POST', headers, body })).status;
    })(...arguments)";
    assert_eq!(window.run(buy, json!([id, quantity])).await, 201);
}

/// The units that the shop has sold of a product.
async fn sold(shop: &Shop, id: &str) -> i64 {
    shop.product(id).await["sold"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_is_ready_before_the_opening_and_a_hurry_buys_once() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let window = Browser::open(&shop.visitor()).await;
    let opening = Timestamp::from_milliseconds(now(&shop).await + 20_000);
    let id = shop.sell(&sneaker_with(json!({ "saleStartTime": opening, "purchaseLimit": 5 }))).await;
    window.follow(&format!("/sales/{id}")).await;
    window.sees(".bar-note", "Log in before the opening").await;
    window.press(".button-buy", "Get ready").await;
    window.sees("dialog", "at the opening one press buys").await;
    window.press("dialog button", "Close").await;
    enter(&window).await;
    window.sees(".bar-note", "You are ready: 1 for $99.00, logged in as Ada Lovelace").await;
    window.fill("Units", "2").await;
    window.sees(".bar-note", "You are ready: 2 for $198.00").await;
    window.fill("Units", "1").await;
    window.screenshot("ready").await;
    // Too early: what the page says then goes at the opening, which is announced.
    window.press(".button-buy", "Opens in").await;
    window.sees(".outcome", "about to start").await;
    let press = "window.pressing = setInterval(() => document.querySelector('.button-buy').click(), 100)";
    window.run(press, json!([])).await;
    window.sees("#announcer", "Limited sneaker is open now").await;
    window.sees(".outcome", "Bought: you are number 1, 1 unit for $99.00").await;
    window.sees(".button-buy[aria-disabled]", "You have it: number 1").await;
    window.sees(".bar-note", "You have 1 of the 5").await;
    // It goes on pressing for two seconds of the page's clock.
    window.run("window.from = performance.now()", json!([])).await;
    window.waits("performance.now() > window.from + 2000").await;
    window.run("clearInterval(window.pressing)", json!([])).await;
    assert_eq!(sold(&shop, &id).await, 1);

    // One more is a step of its own.
    window.press(".button-again", "Buy one more").await;
    window.press(".button-buy:not([aria-disabled])", "Buy 1 more").await;
    window.sees(".outcome", "Bought: you are number 2").await;
    window.sees(".button-buy[aria-disabled]", "You have 2: numbers 1, 2").await;
    // After a reload the page knows as much.
    window.run("location.reload()", json!([])).await;
    window.sees(".button-buy[aria-disabled]", "You have 2: numbers 1, 2").await;
    window.sees(".board tr[data-own]", "Ada L. (you)").await;
    window.sees(".bar-note", "You have 2 of the 5").await;
    // What the page does not know, the server's refusal tells it.
    window.press(".button-again", "Buy one more").await;
    window.fill("Units", "3").await;
    buy_unseen(&window, &id, 3).await;
    window.press(".button-buy:not([aria-disabled])", "Buy 3 more").await;
    window.sees(".outcome", "one person may have 5, and you have 5").await;
    window.sees(".button-buy[aria-disabled]", "You have 5").await;
    window.misses(".button-again", "Buy one more").await;
    window.close(&[REFUSED]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_pays_a_price_that_the_page_did_not_show() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({ "purchaseLimit": 2 }))).await;
    let window = window_with(&shop.visitor(), NO_SOCKET).await;
    enter(&window).await;
    window.follow(&format!("/sales/{id}")).await;
    window.sees(".bar .price", "$99.00").await;
    window.sees(".button-buy:not([aria-disabled])", "Buy now").await;
    window.fill("Units", "2").await;
    // The price changes, and the visitor presses in the same moment.
    let change = "return (async (id, token) => {
        const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', 'If-Match': '*' };
        const body = JSON.stringify({ price: { amount: 99000, currency: 'USD' } });
        const { status } = await fetch(`/products/${id}`, { method: 'PATCH', headers, body });
        document.querySelector('.button-buy').click();
        return status;
    })(...arguments)";
    assert_eq!(window.run(change, json!([id, shop.admin().token()])).await, 200);
    window.sees(".outcome", "Nothing was bought: the price is $990.00 now").await;
    window.sees(".bar .price", "$990.00").await;
    assert_eq!(sold(&shop, &id).await, 0);
    window.press(".button-buy:not([aria-disabled])", "Buy now").await;
    // As many as before: a refusal changes nothing of what was chosen.
    window.sees(".outcome", "Bought: you are number 1, 2 units for $1,980.00").await;
    // Without a socket the board has the purchase as well.
    window.sees(".board tbody tr", "1 Ada L. (you)").await;
    window.press(".outcome a", "Your receipt").await;
    window.sees(".receipt", "Number 1").await;
    window.sees(".receipt-lines", "Total $1,980.00").await;
    window.close(&[REFUSED]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_asks_before_it_buys() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({ "name": "حذاء محدود" }))).await;
    let window = Browser::open(&shop.visitor()).await;
    // Registering is within reach on a phone, too.
    window.resize(320, 640).await;
    enter(&window).await;
    window.press(".card .button-buy", "Buy now").await;
    window.sees("dialog", "You are logged in as Ada Lovelace").await;
    window.screenshot("card-asks").await;
    window.press("dialog button", "Cancel").await;
    assert_eq!(sold(&shop, &id).await, 0);
    window.press(".card .button-buy", "Buy now").await;
    window.press("dialog button", "Buy 1 for $99.00").await;
    window.sees(".card .outcome", "Bought: you are number 1").await;
    // Who has all that one may have is offered no more.
    window.misses(".card .button-buy", "Buy").await;
    assert_eq!(sold(&shop, &id).await, 1);
    // A name has its own direction.
    window.waits("getComputedStyle(document.querySelector('.card-link')).direction === 'rtl'").await;
    window.press(".card .card-link", "حذاء").await;
    window.sees(".button-buy[aria-disabled]", "You have it: number 1").await;
    window.waits("getComputedStyle(document.querySelector('h1')).direction === 'rtl'").await;
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_neither_ends_a_sale_nor_a_login() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let soon = Timestamp::from_milliseconds(now(&shop).await + 3_600_000);
    let end = Timestamp::from_milliseconds(now(&shop).await + 7_200_000);
    let upcoming = shop.sell(&sneaker_with(json!({ "saleStartTime": soon, "saleEndTime": end }))).await;
    let live = shop.sell(&sneaker_with(json!({ "saleEndTime": end }))).await;
    let window = window_with(&shop.visitor(), WRONG_CLOCK).await;
    enter(&window).await;
    window.follow(&format!("/sales/{upcoming}")).await;
    window.sees(".pill", "Upcoming").await;
    window.sees(".bar .button-buy", "Not open yet").await;
    window.sees(".bar-note", "You are ready").await;
    window.follow(&format!("/sales/{live}")).await;
    window.sees(".pill", "Live").await;
    window.press(".bar .button-buy", "Buy now").await;
    window.sees(".outcome", "Bought: you are number 1").await;
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_says_goes_when_it_is_no_longer_true() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({ "stock": 3, "purchaseLimit": 3 }))).await;
    let window = Browser::open(&shop.visitor()).await;
    enter(&window).await;
    window.follow(&format!("/sales/{id}")).await;
    window.sees(".bar label", "Units").await;
    shop.buyer().purchase_many(&id, 3).await.expect(201);
    window.sees(".pill", "Sold out").await;
    window.sees("#announcer", "Limited sneaker is sold out").await;
    // Nothing can be chosen where nothing can be bought.
    window.misses(".bar label", "Units").await;
    window.press(".button-buy", "Sold out").await;
    window.sees(".outcome", "Sold out. If more comes in").await;
    shop.admin().post(&format!("/products/{id}/restock"), &json!({ "quantity": 1 })).await.expect(200);
    window.sees("#announcer", "is available again: 1 left").await;
    window.misses(".outcome", "Sold out").await;
    window.press(".button-buy:not([aria-disabled])", "Buy now").await;
    window.sees(".outcome", "Bought: you are number 2").await;

    // A sale that the shop has paused waits with the visitor.
    let id = shop.sell(&sneaker_with(json!({ "name": "Second sneaker" }))).await;
    window.follow(&format!("/sales/{id}")).await;
    window.sees(".button-buy:not([aria-disabled])", "Buy now").await;
    shop.admin().patch(&format!("/products/{id}"), "*", &json!({ "paused": true })).await.expect(200);
    window.press(".button-buy[aria-disabled]", "Paused by the shop").await;
    window.sees(".outcome", "The shop has paused the sale").await;
    shop.admin().patch(&format!("/products/{id}"), "*", &json!({ "paused": false })).await.expect(200);
    window.misses(".outcome", "paused").await;
    window.sees(".button-buy:not([aria-disabled])", "Buy now").await;

    // Without a network it is the device that is offline, not the shop.
    let offline = json!({ "offline": true, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
    window.devtools("Network.enable", json!({})).await;
    window.devtools("Network.emulateNetworkConditions", offline).await;
    window.sees("#connection", "Your device is offline").await;
    let online = json!({ "offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
    window.devtools("Network.emulateNetworkConditions", online).await;
    window.sees("#connection", "Live").await;
    window.close(&["ERR_INTERNET_DISCONNECTED", "WebSocket connection to"]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_too_new_hears_it_before_the_opening() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let soon = Timestamp::from_milliseconds(now(&shop).await + 3_600_000);
    let product = json!({ "saleStartTime": soon, "registeredBefore": "2025-01-01T00:00:00Z" });
    let id = shop.sell(&sneaker_with(product)).await;
    let window = Browser::open(&shop.visitor()).await;
    enter(&window).await;
    window.follow(&format!("/sales/{id}")).await;
    window.sees(".bar-note", "You cannot buy this: it is for accounts made before").await;
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_leads_to_its_view_and_back() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    let window = Browser::open(&shop.visitor()).await;
    window.press(".card-link", "Limited sneaker").await;
    window.waits(&format!("location.pathname === '/sales/{id}'")).await;
    window.sees(".bar", "Buy now").await;
    window.run("history.back()", json!([])).await;
    window.sees(".card", "Limited sneaker").await;
    window.run("history.forward()", json!([])).await;
    window.sees(".bar", "Buy now").await;
    // Addresses from before keep working, and a wrong one says so.
    window.visit(&format!("/?old#/products/{id}")).await;
    window.waits(&format!("location.href.endsWith('/sales/{id}')")).await;
    window.sees(".bar", "Buy now").await;
    window.visit("/sales/nothing").await;
    window.sees("main h1", "There is nothing here").await;
    window.visit("/my/purchases").await;
    window.sees("main", "Log in to see what you have bought").await;

    // A usual price that nobody would see is refused by the form.
    window.log_in(ADMIN.0, ADMIN.1).await;
    window.follow(&format!("/admin/sales/{id}")).await;
    window.fill("Usual price", "98").await;
    window.press("main button", "Save").await;
    window.sees(".field-error", "Must be higher than the price").await;
    window.close(&["status of 404"]).await;
    shop.close().await;
}

/// A phone's dialog for sharing, and what the page has the browser save.
const SHARED_AND_SAVED: &str = "
    navigator.share = async (data) => { window.shared = data; };
    const make = URL.createObjectURL;
    URL.createObjectURL = (blob) => { window.saved = blob; return make.call(URL, blob); };";

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_is_shared_and_put_into_the_calendar() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let product = json!({
        "name": "Sneaker; limited, “first run” – in a box that is made of the wood of one single tree",
        "saleStartTime": "2098-05-04T03:02:01Z", "saleEndTime": "2098-05-04T04:00:00Z",
    });
    let id = shop.sell(&sneaker_with(product)).await;
    let window = window_with(&shop.visitor(), SHARED_AND_SAVED).await;
    window.follow(&format!("/sales/{id}")).await;
    window.press(".product-tools button", "Share").await;
    window.waits(&format!("window.shared?.url === `${{location.origin}}/sales/{id}`")).await;
    window.press(".product-tools button", "Add to calendar").await;
    window.waits("window.saved").await;
    let entry = window.run("return window.saved.text()", json!([])).await;
    let entry = entry.as_str().unwrap();
    let lines: Vec<_> = entry.split("\r\n").collect();
    assert!(lines.iter().all(|line| line.len() <= 75), "{lines:#?}");
    let whole = entry.replace("\r\n ", "");
    for expected in [
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\n",
        "DTSTART:20980504T030201Z\r\nDTEND:20980504T040000Z\r\n",
        "SUMMARY:Sneaker\\; limited\\, “first run” – in a box that is made of the wood of one single tree\\, $99.00\r\n",
        "END:VALARM\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
    ] {
        assert!(whole.contains(expected), "{expected}: {whole}");
    }
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_money_are_written_in_the_language_of_the_browser() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let price = json!({ "amount": 123_450, "currency": "EUR" });
    let usual = json!({ "amount": 246_900, "currency": "EUR" });
    let id =
        shop.sell(&sneaker_with(json!({ "price": price, "originalPrice": usual, "stock": 12_345 }))).await;
    let window = Browser::open(&shop.visitor()).await;
    let agent = window.run("return navigator.userAgent", json!([])).await;
    let german = json!({ "userAgent": agent, "acceptLanguage": "de-DE,de" });
    window.devtools("Emulation.setUserAgentOverride", german).await;
    window.visit(&format!("/sales/{id}")).await;
    // A no-break space before the sign.
    window.waits("document.querySelector('.price-now')?.textContent === '1.234,50\\u00a0€'").await;
    window.waits("document.querySelector('.price-off').textContent === '−50\\u00a0%'").await;
    window.sees(".stock-left", "12.345 left").await;
    window.close(&[]).await;
    shop.close().await;
}
