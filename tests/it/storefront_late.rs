//! What the storefront says to who comes too late, and whose page has not heard of it yet.

use flash_sale::model::timestamp::Timestamp;
use serde_json::json;

use crate::harness::{Shop, no_browser, patient, sneaker_with};
use crate::payments::id_of;
use crate::storefront_buyer::{NO_SOCKET, REFUSED, enter, now, window_with};
use crate::storefront_payments::ada_at;

/// A page that can read nothing while `isDeaf`; `reading` is how many answers it waits for.
pub const DEAF: &str = "
    const whole = window.fetch;
    window.reading = 0;
    window.fetch = async (path, options) => {
      if (options?.method !== 'GET') return whole(path, options);
      if (window.isDeaf) throw new TypeError('deaf');
      window.reading += 1;
      try {
        return await whole(path, options);
      } finally {
        window.reading -= 1;
      }
    };";

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_too_late_hears_by_how_much() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let opening = Timestamp::from_milliseconds(now(&shop).await - 5_000);
    let id = shop.sell(&sneaker_with(json!({ "stock": 1, "saleStartTime": opening }))).await;
    // The page hears of the last purchase too late, as in a crowd.
    let window = window_with(&shop.visitor(), &format!("{NO_SOCKET}{DEAF}")).await;
    enter(&window).await;
    window.follow(&format!("/sales/{id}")).await;
    window.sees(".button-buy:not([aria-disabled])", "Buy now").await;
    let lose = "return (async (productId, token) => {
        const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });
        window.isDeaf = true;
        while (window.reading > 0) await pause(20);
        const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
        const body = JSON.stringify({ productId });
        const { status } = await fetch('/products/purchase', { method: 'POST', headers, body });
        await pause(400);
        document.querySelector('.button-buy').click();
        window.isDeaf = false;
        return status;
    })(...arguments)";
    assert_eq!(window.run(lose, json!([id, shop.buyer().token()])).await, 201);
    window.sees(".outcome", "Sold out: nothing was bought").await;
    window.sees(".bar-note", "Gone").await;
    let note = window.run("return document.querySelector('.bar-note').textContent", json!([])).await;
    let seconds: Vec<f64> = note.as_str().unwrap().split(' ').filter_map(|word| word.parse().ok()).collect();
    let purchase = &shop.leaderboard(&id).await[0]["purchasedAt"];
    let gone = Timestamp::parse(purchase.as_str().unwrap()).unwrap().milliseconds() - opening.milliseconds();
    assert_eq!((seconds[0] * 10.0).round() as i64, (gone as f64 / 100.0).round() as i64, "{note}");
    assert!(seconds[1] >= 0.2, "{note}");
    assert!(note.as_str().unwrap().ends_with(" s too late."), "{note}");
    window.sees(".outcome", "Sold out: nothing was bought").await;

    // Of a pause, too, the refusal is the first that the page hears.
    let id = shop.sell(&sneaker_with(json!({ "name": "Second sneaker" }))).await;
    window.follow(&format!("/sales/{id}")).await;
    window.sees(".button-buy:not([aria-disabled])", "Buy now").await;
    let press = "return (async (id, token) => {
        const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', 'If-Match': '*' };
        await fetch(`/products/${id}`, { method: 'PATCH', headers, body: '{\"paused\":true}' });
        document.querySelector('.button-buy').click();
    })(...arguments)";
    window.run(press, json!([id, shop.admin().token()])).await;
    window.sees(".button-buy[aria-disabled]", "Paused by the shop").await;
    window.sees(".outcome", "Nothing was bought: the shop has paused the sale").await;
    window.close(&[REFUSED]).await;
    shop.close().await;
}

/// A page whose next question for own purchases, or the answer to it (`holds`), is on its way until `arrive()`.
const SLOW_LIST: &str = "
    const list = window.fetch;
    window.fetch = async (path, ...rest) => {
      if (!String(path).startsWith('/purchases?') || !window.holds) return list(path, ...rest);
      const holds = window.holds;
      const arrival = new Promise((resolve) => { window.arrive = resolve; });
      window.holds = null;
      if (holds === 'question') await arrival;
      const answer = await list(path, ...rest);
      if (holds === 'answer') { window.isRead = true; await arrival; }
      return answer;
    };";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_while_the_page_asks_is_noticed() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    for holds in ["question", "answer"] {
        let id = shop.sell(&sneaker_with(json!({ "name": holds, "stock": 2, "purchaseLimit": 1 }))).await;
        let (window, ada) = ada_at(&shop, &format!("{holds}@example.com")).await;
        let purchase = id_of(&ada.purchase(&id).await.expect(201).json);
        window.run(SLOW_LIST, json!([])).await;
        window.run("window.holds = arguments[0]", json!([holds])).await;
        window.follow(&format!("/sales/{id}")).await;
        window.sees(".board tbody tr", "1 Ada L.").await;
        window.waits("window.arrive !== undefined").await;
        if holds == "answer" {
            window.waits("window.isRead").await;
        }
        shop.admin().refund(&purchase, &json!({})).await.expect(200);
        window.misses(".board tbody tr", "1 Ada L.").await;
        window.run("window.arrive()", json!([])).await;
        window.waits("window.reading === 0").await;
        window.sees(".button-buy:not([aria-disabled])", "Buy now").await;
        window.misses(".button-buy", "You have it").await;
        window.close(&[]).await;
    }
    shop.close().await;
}
