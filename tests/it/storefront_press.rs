//! A press of the button means what the visitor saw, once, and for nobody else.

use flash_sale::model::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Browser, Shop, no_browser, patient, sneaker_with};
use crate::storefront_buyer::{buy_unseen, enter, now, window_with};

/// A network that loses every press while `isBlocked`.
const BLOCKED: &str = "
    const whole = window.fetch;
    window.fetch = (path, options) => (window.isBlocked && String(path).endsWith('/products/purchase')
        ? Promise.reject(new TypeError('blocked')) : whole(path, options));";

/// Where the middle of the button that buys is.
async fn middle(window: &Browser, (width, height): (u32, u32)) -> Value {
    window.resize(width, height).await;
    let script = "
        const { left, right, top, bottom } = document.querySelector('.button-buy').getBoundingClientRect();
        return [(left + right) / 2, (top + bottom) / 2];";
    window.run(script, json!([])).await
}

/// Opens the page of a sale and presses, while the network loses it.
async fn press_in_vain(window: &Browser, id: &str) {
    window.follow(&format!("/sales/{id}")).await;
    window.run("window.isBlocked = true", json!([])).await;
    window.press(".button-buy", "Buy now").await;
    window.sees(".outcome", "Not sure yet").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_button_stays_under_the_thumb() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let window = Browser::open(&shop.visitor()).await;
    enter(&window).await;
    let opening = Timestamp::from_milliseconds(now(&shop).await + 20_000);
    let id = shop.sell(&sneaker_with(json!({ "saleStartTime": opening, "purchaseLimit": 5 }))).await;
    window.follow(&format!("/sales/{id}")).await;
    window.sees(".bar-note", "You are ready").await;
    let sizes = [(390, 844), (320, 640), (844, 390), (1440, 900)];
    let mut armed = Vec::new();
    for size in sizes {
        armed.push(middle(&window, size).await);
    }
    window.sees(".button-buy:not([aria-disabled])", "Buy now").await;
    window.misses(".bar-note", "You are ready").await;
    let hits =
        "return document.querySelector('.button-buy').contains(document.elementFromPoint(...arguments))";
    for (size, armed) in sizes.into_iter().zip(armed) {
        window.resize(size.0, size.1).await;
        assert_eq!(window.run(hits, armed.clone()).await, true, "{size:?}: {armed}");
    }
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_press_at_the_moment_of_a_new_price_buys_nothing() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    let window = Browser::open(&shop.visitor()).await;
    enter(&window).await;
    window.follow(&format!("/sales/{id}")).await;
    window.sees(".button-buy:not([aria-disabled])", "Buy now").await;
    let press = "new MutationObserver(() => document.querySelector('.button-buy').click())
        .observe(document.querySelector('.bar .price'), { childList: true, characterData: true, subtree: true });";
    window.run(press, json!([])).await;
    let price = json!({ "price": { "amount": 99_000, "currency": "USD" } });
    shop.admin().patch(&format!("/products/{id}"), "*", &price).await.expect(200);
    window.sees(".outcome", "The price is $990.00 now; it was $99.00").await;
    window.press(".button-buy:not([aria-disabled])", "Buy now").await;
    window.sees(".outcome", "Bought: you are number 1, 1 unit for $990.00").await;
    assert_eq!(shop.product(&id).await["sold"], 1);
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_without_an_answer_is_known_wherever_the_visitor_goes() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({ "purchaseLimit": 5 }))).await;
    let window = window_with(&shop.visitor(), BLOCKED).await;
    enter(&window).await;
    press_in_vain(&window, &id).await;
    window.press(".back a", "All sales").await;
    window.sees(".card .outcome", "Not sure yet").await;
    window.run("window.isBlocked = false", json!([])).await;
    window.sees(".card .outcome", "Bought: you are number 1").await;
    assert_eq!(shop.product(&id).await["sold"], 1);

    // What was pressed long ago is not bought unasked.
    let id = shop.sell(&sneaker_with(json!({ "name": "Second sneaker" }))).await;
    press_in_vain(&window, &id).await;
    let age = "
        const orders = JSON.parse(sessionStorage.getItem('flash-sale.pending'));
        for (const order of Object.values(orders)) order.pressedAt -= 3_600_000;
        sessionStorage.setItem('flash-sale.pending', JSON.stringify(orders));
        location.reload();";
    window.run(age, json!([])).await;
    window.sees(".outcome", "got no answer. Check again: if it was not bought, it is bought now").await;
    window.sees(".button-buy:not([aria-disabled])", "Check again").await;
    window.press(".outcome button", "forget it").await;
    window.sees(".outcome", "Forgotten").await;
    window.sees(".button-buy:not([aria-disabled])", "Buy now").await;
    window.run("location.reload()", json!([])).await;
    window.sees(".button-buy:not([aria-disabled])", "Buy now").await;
    assert_eq!(shop.product(&id).await["sold"], 0);
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_pays_for_what_somebody_else_has_pressed() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({ "purchaseLimit": 5 }))).await;
    let window = window_with(&shop.visitor(), BLOCKED).await;
    enter(&window).await;
    press_in_vain(&window, &id).await;
    // Another tab registers somebody else.
    let switch = "return (async () => {
        const body = JSON.stringify({ name: 'Cara Doe', email: 'cara@example.com', password: 'correct horse battery' });
        const headers = { 'Content-Type': 'application/json' };
        const session = await (await fetch('/auth/register', { method: 'POST', headers, body })).text();
        const key = 'flash-sale.session';
        localStorage.setItem(key, session);
        dispatchEvent(new StorageEvent('storage', { key, newValue: session, storageArea: localStorage }));
        window.isBlocked = false;
    })()";
    window.run(switch, json!([])).await;
    window.sees(".outcome", "Nothing was bought for Cara Doe").await;
    assert_eq!(shop.product(&id).await["sold"], 0);
    window.press(".button-buy:not([aria-disabled])", "Buy now").await;
    window.sees(".outcome", "Bought: you are number 1").await;

    // What the same account buys in another tab, this one hears of.
    buy_unseen(&window, &id, 1).await;
    window.run("new BroadcastChannel('flash-sale.bought').postMessage(arguments[0])", json!([id])).await;
    window.sees(".button-buy[aria-disabled]", "You have 2: numbers 1, 2").await;
    // One more is offered, and taken back.
    window.press(".button-again", "Buy one more").await;
    window.sees(".button-buy", "Buy 1 more").await;
    window.press(".button-again", "No more").await;
    window.sees(".button-buy[aria-disabled]", "You have 2").await;
    // What another device bought, the page hears of before it offers one more.
    buy_unseen(&window, &id, 1).await;
    window.press(".button-again", "Buy one more").await;
    window.sees(".button-buy[aria-disabled]", "You have 3: numbers 1, 2, 3").await;
    window.close(&[]).await;
    shop.close().await;
}
