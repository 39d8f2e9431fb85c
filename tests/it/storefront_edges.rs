//! What the storefront makes of what it does not expect: odd addresses, stored logins and languages, a server that is gone.

use flash_sale::model::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Actor, Browser, NO_ID, Shop, no_browser, patient, sneaker_with, soon};
use crate::payments::held;
use crate::storefront::fetch;
use crate::storefront_buyer::{enter, now, window_with};
use crate::storefront_control::{control_room, shows};
use crate::storefront_payments::{ada_at, buy};

/// Notes whether the page is told of a purchase.
const HAS_HEARD: &str = "
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (message) {
      this.addEventListener('message', ({ data }) => { window.hasHeard ||= JSON.parse(data).event === 'purchase'; });
      return send.call(this, message);
    };";

/// A page of a visitor with these languages.
async fn window_in(visitor: &Actor, languages: &[&str]) -> Browser {
    let script =
        format!("Object.defineProperty(navigator, 'languages', {{ get: () => {} }});", json!(languages));
    window_with(visitor, &script).await
}

/// Puts something in the place of the stored login, and opens the start page.
async fn enter_with(window: &Browser, stored: &str) {
    window.run("localStorage.setItem('flash-sale.session', arguments[0])", json!([stored])).await;
    window.visit("/").await;
}

/// Restarts the shop's only server at its port.
async fn restart(shop: &mut Shop, port: u16) {
    shop.add_patient_server_where(&[("PORT", &port.to_string())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_language_that_does_not_exist_is_left_out() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.sell(&sneaker_with(json!({}))).await;
    // What a browser under `LANG=C` says.
    let window = window_in(&shop.visitor(), &["en-US@posix", "de"]).await;
    window.sees("main", "99,00 $").await;
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_countdown_has_the_digits_of_all_other_numbers() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&held(json!({ "stock": 2 }))).await;
    let window = window_in(&shop.visitor(), &["ar-EG"]).await;
    window.follow(&format!("/sales/{id}")).await;
    window.waits("/[٠-٩]/.test(document.querySelector('.stock-left')?.textContent)").await;
    // `23,000 days` are no clock: the sale is moved to end soon.
    let end = Timestamp::from_milliseconds(now(&shop).await + 90_000_000);
    shop.admin().patch(&format!("/products/{id}"), "*", &json!({ "saleEndTime": end })).await.expect(200);
    window.waits("document.querySelector('.countdown-digits')?.textContent.includes(':')").await;
    let digits =
        window.run("return document.querySelector('.countdown-digits').textContent", json!([])).await;
    let digits = digits.as_str().unwrap();
    assert!(digits.contains('٠') && !digits.contains(|digit: char| digit.is_ascii_digit()), "{digits}");
    enter(&window).await;
    window.press(".button-buy:not([aria-disabled])", "Buy now").await;
    window.press(".bar .outcome a", "how to pay").await;
    // Less than an hour has no hours.
    window.waits("/^[٠-٩]{2}:[٠-٩]{2}$/.test(document.querySelector('.receipt .time-left [aria-hidden]')?.textContent)").await;
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_address_leads_nowhere_else() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.sell(&sneaker_with(json!({}))).await;
    let window = Browser::open(&shop.visitor()).await;
    for (visit, address) in
        ["//evil.example/", "/\\evil", "/\\/evil.example/", "/nothing", "//"].into_iter().enumerate()
    {
        // With a query it is another page, which is loaded.
        window.visit(&format!("/?{visit}#{address}")).await;
        window.sees("main", "Limited sneaker").await;
        let at = window.run("return [location.hostname, location.pathname]", json!([])).await;
        assert_eq!(at, json!(["localhost", "/"]), "{address}");
    }
    window.visit("/?old#/purchases").await;
    window.waits("location.pathname === '/my/purchases'").await;
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_login_without_sense_is_dropped() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.sell(&sneaker_with(json!({}))).await;
    let window = Browser::open(&shop.visitor()).await;
    let user = json!({ "id": NO_ID, "name": "Ada", "email": "ada@example.com", "role": "customer" });
    let with = |name: &str, value: Value| {
        let mut user = user.clone();
        user[name] = value;
        json!({ "token": "x", "user": user })
    };
    let stored = [
        json!({ "token": "x", "user": { "name": "" } }),
        json!({ "token": "x", "user": {} }),
        json!({ "token": "x" }),
        json!([]),
        with("name", json!("")),
        with("name", json!(" ")),
        with("name", json!(7)),
        with("id", json!(null)),
        // No header can have it, so every request would fail.
        json!({ "token": "a\nb", "user": user }),
        json!({ "token": "", "user": user }),
        json!({ "token": "ключ", "user": user }),
    ];
    for stored in stored.iter().map(Value::to_string).chain(["{".to_owned()]) {
        enter_with(&window, &stored).await;
        window.sees("#account button", "Log in").await;
        window.sees("main", "Limited sneaker").await;
        let left = window.run("return localStorage.getItem('flash-sale.session')", json!([])).await;
        assert_eq!(left, Value::Null, "{stored}");
    }
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_service_sees_its_own_purchases_as_its_own() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    shop.buyer().purchase(&id).await.expect(201);
    let service = shop.payment_service();
    let window = Browser::open(&shop.visitor()).await;
    let user = json!({ "id": service.id.to_hex(), "name": "Payments", "email": "pay@example.com", "role": "payments" });
    enter_with(&window, &json!({ "token": service.token(), "user": user }).to_string()).await;
    window.press("#nav a", "My purchases").await;
    window.sees("main h1", "My purchases").await;
    window.sees("main", "Nothing bought yet").await;
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_says_nothing_of_what_it_does_not_have() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    shop.buyer().purchase(&id).await.expect(201);
    let window = control_room(&shop, &id).await;
    window.sees("[aria-labelledby=report-title] table", "Bought 1 1").await;
    let text = "return document.querySelector('[aria-labelledby=report-title]').innerText";
    let text = window.run(text, json!([])).await;
    assert!(!text.as_str().unwrap().contains("null"), "{text}");
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_focus_outlives_the_button_that_ends_a_sale() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    let window = control_room(&shop, &id).await;
    window.press(".room-actions button", "End now").await;
    window.press("dialog button", "End now").await;
    window.misses(".room-actions button", "End now").await;
    window.waits("document.activeElement.textContent === 'Control room'").await;
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_follows_its_purchase_to_the_end() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&held(json!({ "stock": 100_000 }))).await;
    let (window, _) = ada_at(&shop, "ada@example.com").await;
    let purchase = buy(&window, &id).await;
    window.run(HAS_HEARD, json!([])).await;
    // Paid for while its buyer thinks about giving it up.
    window.press(".receipt button", "Cancel the purchase").await;
    window.sees("dialog", "counts as a lapse").await;
    shop.payment_service().confirm(&purchase, "pi_1").await.expect(200);
    window.sees(".receipt-next", "It is yours").await;
    window.press("dialog button", "Cancel the purchase").await;
    window.sees(".receipt .form-problem", "this purchase is confirmed").await;
    window.waits("document.activeElement.matches('.receipt .form-problem')").await;
    // Once it hears of the purchases of others, it hears of its own being given back.
    let follows = async {
        while window.run("return window.hasHeard === true", json!([])).await != true {
            shop.buyer().purchase(&id).await.expect(201);
        }
    };
    soon("news of purchases", follows).await;
    shop.admin().refund(&purchase, &json!({})).await.expect(200);
    window.sees(".receipt-next", "The shop has taken it back").await;
    window.misses(".receipt", "It is yours").await;
    window.close(&["status of 409"]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_not_counted() {
    if no_browser() {
        return;
    }
    let mut shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    let window = control_room(&shop, &id).await;
    window.sees(".health-state[data-state=good]", "All is well").await;
    shows(&window, "Watching live", "1").await;
    let name = "return document.querySelector('.health-state ~ ul li').textContent.slice(0, 14)";
    let gone = window.run(name, json!([])).await;
    let gone = gone.as_str().unwrap();
    let port = shop.stop_newest_server().await;
    window.sees(".health-state[data-state=bad]", "No figures since").await;
    // How old they are, is said.
    window.sees(".health-state ~ ul li", &format!("{gone} last answered")).await;
    restart(&mut shop, port).await;
    window.sees(".health-state[data-state=bad]", &format!("{gone} has not answered for")).await;
    window.sees(".health-state ~ ul li:first-child", "the database committed").await;
    shows(&window, "Watching live", "1").await;
    window.sees(".health-state ~ ul + *", "Nothing was refused").await;
    // After a while it is forgotten.
    window
        .run(
            "const now = performance.now.bind(performance); performance.now = () => now() + 60_000",
            json!([]),
        )
        .await;
    window.sees(".health-state[data-state=good]", "All is well").await;
    window.misses(".health-state ~ ul li", gone).await;
    window.close(&["ERR_CONNECTION_REFUSED", "Connection", "status of 503"]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_forgotten_when_the_shop_is_back() {
    if no_browser() {
        return;
    }
    let mut shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    let window = control_room(&shop, &id).await;
    shows(&window, "In stock", "100").await;
    let port = shop.stop_newest_server().await;
    window.sees(".room-old", "No live figures since").await;
    window.press(".room-actions button", "Pause").await;
    window.sees(".room .form-problem", "Look at the sale before you try again").await;
    restart(&mut shop, port).await;
    window.misses(".room-old", "").await;
    window.misses(".room .form-problem", "Look at the sale").await;
    window.press(".room-actions button", "Pause").await;
    window.sees(".pill", "Paused").await;
    window.close(&["ERR_CONNECTION_REFUSED", "Connection", "status of 503"]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialog_that_is_closed_can_be_opened_again_at_once() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&held(json!({ "stock": 1 }))).await;
    let visitor = Browser::open(&shop.visitor()).await;
    visitor.sees("#account button", "Log in").await;
    let (ada, _) = ada_at(&shop, "ada@example.com").await;
    buy(&ada, &id).await;
    // The next press comes before the browser has told of the end.
    let press = "return (async (opens, closes) => {
        const press = (selector) => [...document.querySelectorAll(selector)].at(-1).click();
        press(opens);
        press(closes);
        for (let turns = 0; turns < 50; turns += 1) await null;
        press(opens);
        return document.querySelectorAll('dialog[open]').length;
    })(...arguments)";
    let windows = [
        (&visitor, "#account button", "dialog .dialog-close"),
        (&ada, ".receipt .row-actions button", "dialog .dialog-actions button:first-child"),
    ];
    for (window, opens, closes) in windows {
        assert_eq!(window.run(press, json!([opens, closes])).await, 1, "{opens}");
        window.run("document.querySelector(arguments[0]).click()", json!([closes])).await;
        window.waits("document.querySelector('dialog') === null").await;
    }
    visitor.close(&[]).await;
    ada.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_left_does_not_watch() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    let window = Browser::open(&shop.visitor()).await;
    window.follow(&format!("/sales/{id}")).await;
    let admin = shop.admin();
    let watched_by = async |count: u64| {
        let counted = async { while admin.get("/server").await.expect(200).json["watchers"] != count {} };
        soon(&format!("{count} watching"), counted).await;
    };
    watched_by(1).await;
    // What a browser does that keeps a page for the way back. It may be switched off in a browser under test.
    let turn = "dispatchEvent(new PageTransitionEvent(arguments[0], { persisted: true }))";
    window.run(turn, json!(["pagehide"])).await;
    watched_by(0).await;
    shop.buyer().purchase(&id).await.expect(201);
    window.run(turn, json!(["pageshow"])).await;
    watched_by(1).await;
    window.sees(".stock-left", "99 left").await;
    window.sees("#connection[data-state=live]", "").await;
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_sale_that_does_not_exist_is_a_404() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    let path = format!("/sales/{id}");
    let visitor = shop.visitor();
    assert_eq!(fetch(&visitor, &path).await.status(), 200);
    shop.admin().delete(&format!("/products/{id}")).await.expect(204);
    let plain = fetch(&visitor, "/").await;
    let tag = plain.headers()["etag"].clone();
    let plain = plain.text().await.unwrap();
    for missing in [path, format!("/sales/{NO_ID}"), "/sales/nothing".to_owned()] {
        let url = format!("http://{}{missing}", visitor.host());
        let page = reqwest::Client::new().get(url).header("If-None-Match", &tag).send().await.unwrap();
        assert_eq!(page.status(), 404, "{missing}");
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8", "{missing}");
        assert!(page.headers().contains_key("content-security-policy"), "{missing}");
        assert_eq!(page.text().await.unwrap(), plain, "{missing}");
    }
    shop.close().await;
}
