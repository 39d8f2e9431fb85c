//! The control room of a sale, for an admin, in a real browser.

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{ADMIN, Browser, Shop, no_browser, own_mongo, patient, signal, sneaker_with};

/// Waits until the tile with this name shows this figure.
pub async fn shows(window: &Browser, tile: &str, figure: &str) {
    window
        .waits(&format!(
            "[...document.querySelectorAll('.tile')].some((tile) => tile.querySelector('dt').textContent === '{tile}' \
             && tile.querySelector('.tile-value').textContent === '{figure}')"
        ))
        .await;
}

/// The window of an admin in the control room of this sale.
pub async fn control_room(shop: &Shop, id: &str) -> Browser {
    let window = Browser::open(&shop.visitor()).await;
    window.log_in(ADMIN.0, ADMIN.1).await;
    window.follow("/admin").await;
    window.press(".keep a", "Control room").await;
    window.waits(&format!("location.pathname === '/admin/sales/{id}/control'")).await;
    window
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_watches_a_sale_and_keeps_it() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let price = json!({ "amount": 9_900, "currency": "JPY" });
    let id = shop.sell(&sneaker_with(json!({ "price": price, "stock": 5, "purchaseLimit": 2 }))).await;
    shop.buyer().purchase_many(&id, 2).await.expect(201);
    let visitor = shop.visitor();
    let (window, buyer) = tokio::join!(control_room(&shop, &id), Browser::open(&visitor));
    buyer.follow(&format!("/sales/{id}")).await;

    // What was before it came is there: from the product and from the report.
    shows(&window, "In stock", "3").await;
    shows(&window, "Sold", "2").await;
    shows(&window, "Revenue", "¥19,800").await;
    window.sees(".chart-summary", "at most 2").await;
    window.sees("table", "Bought 1 2 ¥19,800").await;
    // What happens is there at once: figures, the curve, refusals, watchers.
    shop.buyer().purchase_many(&id, 3).await.problem(409, "purchase_limit_reached");
    shop.buyer().purchase(&id).await.expect(201);
    shows(&window, "In stock", "2").await;
    shows(&window, "Sold", "3").await;
    shows(&window, "Watching live", "2").await;
    window.sees(".figures", "Limit per person reached 1 1").await;
    window.sees(".health-state[data-state=good]", "All is well").await;
    window.waits("/^≤ .* m?s$/.test([...document.querySelectorAll('.tile-value')].pop().textContent)").await;
    shows(&window, "Revenue", "¥29,700").await;

    // Paused: everybody sees it, nobody buys, and a second press does not undo it.
    window.press(".room-actions button", "Pause").await;
    window.sees(".pill", "Paused").await;
    buyer.sees(".pill", "Paused").await;
    buyer.sees(".button-buy[aria-disabled=true]", "Paused by the shop").await;
    buyer.sees(".bar-note", "The shop has paused the sale").await;
    buyer.waits("document.getElementById('announcer').textContent.includes('is paused')").await;
    buyer.screenshot("product-paused").await;
    shop.buyer().purchase(&id).await.problem(409, "sale_paused");
    window.sees(".figures", "While paused").await;
    window.press(".room-actions button", "Go on").await;
    window.sees("dialog", "go on?").await;
    window.press("dialog button", "Cancel").await;
    assert_eq!(shop.product(&id).await["paused"], true);
    window.press(".room-actions button", "Go on").await;
    window.press("dialog button", "Go on").await;
    buyer.sees(".button-buy:not([aria-disabled])", "Buy now").await;

    window.press(".room-actions button", "Restock").await;
    window.fill("Units to add", "10").await;
    window.press("dialog button", "Add").await;
    shows(&window, "In stock", "12").await;
    window.press(".room-actions button", "Move the window").await;
    window.set("Ends", "2097-01-01T00:00:00").await;
    // A purchase while the dialog is open raises the version, and is no conflict.
    shop.buyer().purchase(&id).await.expect(201);
    window.press("dialog button", "Move").await;
    window.misses("dialog", "Move the window").await;
    let end = shop.product(&id).await["saleEndTime"].as_str().unwrap().to_owned();
    assert!(end.starts_with("2097-01-01T") || end.starts_with("2096-12-31T"), "{end}");
    window.press(".room-actions button", "End now").await;
    window.press("dialog button", "End now").await;
    window.sees(".pill", "Ended").await;
    window.misses(".room-actions button", "Pause").await;
    window.press(".room-links a", "Audit log").await;
    window.waits(&format!("location.search === '?target={id}'")).await;
    window.sees(".entry", "Paused").await;
    // The move was sent with the version before the purchase. The admin who made the sale has no account here to ask for.
    window.close(&["status of 412", "status of 404"]).await;
    buyer.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restock_without_an_answer_is_made_once() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let id = shop.sell(&sneaker_with(json!({ "stock": 5 }))).await;
    let window = control_room(&shop, &id).await;
    // The server carries the first one out, and its answer is lost.
    let lost = "
        const send = window.fetch;
        let lost = false;
        window.fetch = async (path, options) => {
          const answer = await send(path, options);
          if (!String(path).endsWith('/restock') || lost) return answer;
          lost = true;
          throw new TypeError('lost');
        };";
    window.run(lost, json!([])).await;
    window.press(".room-actions button", "Restock").await;
    window.fill("Units to add", "10").await;
    window.press("dialog button", "Add").await;
    window.sees("dialog .form-problem", "they are added once only").await;
    window.waits("document.querySelector('dialog input').readOnly").await;
    window.press("dialog button", "Add").await;
    window.misses("dialog", "Restock").await;
    shows(&window, "In stock", "15").await;
    assert_eq!(shop.product(&id).await["totalStock"], 15);
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_figures_say_that_they_are_old() {
    if no_browser() {
        return;
    }
    let mongo = own_mongo("control").await;
    let shop = Shop::open_at(mongo.uri().reveal()).await;
    shop.make_admin().await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    let window = control_room(&shop, &id).await;
    shows(&window, "In stock", "100").await;
    window.sees(".health-state", "All is well").await;
    window.misses(".room-old", "").await;
    signal(&mongo, Signal::STOP);
    window.sees(".room-old", "These figures are old, of ").await;
    window.sees(".health-state[data-state=bad]", "No figures since").await;
    window.screenshot("control-old").await;
    signal(&mongo, Signal::CONT);
    window.misses(".room-old", "").await;
    window.sees(".health-state[data-state=good]", "All is well").await;
    shop.buyer().purchase(&id).await.expect(201);
    shows(&window, "In stock", "99").await;
    window.close(&["status of 503"]).await;
    shop.close().await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_room_is_for_admins_of_a_sale_that_exists() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    let window = Browser::open(&shop.visitor()).await;
    window.visit(&format!("/admin/sales/{id}/control")).await;
    window.sees("main h1", "For admins only").await;
    window.log_in(ADMIN.0, ADMIN.1).await;
    shows(&window, "In stock", "100").await;
    window.sees(".chart-summary, .panel p", "The curve begins with the first purchase").await;
    shop.admin().delete(&format!("/products/{id}")).await.expect(204);
    window.sees("main", "This sale does not exist").await;
    window.close(&[]).await;
    shop.close().await;
}
