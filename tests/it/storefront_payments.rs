//! Paying for it at the storefront: what a buyer holds and until when, and what admins do about payments.

use serde_json::{Value, json};

use crate::harness::{ADMIN, Actor, Browser, Shop, no_browser, patient};
use crate::payments::{held, id_of};
use crate::storefront_buyer::window_with;
use crate::storefront_late::DEAF;

const REFUSED: &str = "status of 409";

/// A page that does not read its view again every minute: what it shows it has heard of, or asked for on purpose.
const NO_REFRESH: &str = "
    const later = window.setTimeout;
    window.setTimeout = (fn, after, ...rest) => later(fn, after > 20_000 ? 1e9 : after, ...rest);";

/// A server clock that is two hours ahead, as far as the page can see.
const TWO_HOURS_LATER: &str = "
    const real = window.fetch;
    window.fetch = async (path, ...rest) => {
      const answer = await real(path, ...rest);
      if (!String(path).endsWith('/time')) return answer;
      const { now } = await answer.json();
      return new Response(JSON.stringify({ now: new Date(Date.parse(now) + 7_200_000).toISOString() }), answer);
    };";

/// A shop with an admin. The second server is for trying out payments.
pub async fn shop_with_demo() -> Shop {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_patient_server_where(&[("DEMO_PAYMENTS", "on")]).await;
    shop.make_admin().await;
    shop
}

pub async fn admin_at(shop: &Shop, server: usize) -> Browser {
    let window = Browser::open(&shop.at(&shop.visitor(), server)).await;
    window.log_in(ADMIN.0, ADMIN.1).await;
    window
}

/// A window that shows only what it has heard of.
async fn window_at(shop: &Shop) -> Browser {
    window_with(&shop.visitor(), &format!("{NO_REFRESH}{DEAF}")).await
}

/// Such a window, in which Ada has registered, and Ada outside of it.
pub async fn ada_at(shop: &Shop, email: &str) -> (Browser, Actor) {
    let window = window_at(shop).await;
    window.press("#account button", "Log in").await;
    window.register("Ada Lovelace", email).await;
    window.sees("#account", "Account:").await;
    let token = "return JSON.parse(localStorage.getItem('flash-sale.session')).token";
    let token = window.run(token, json!([])).await;
    (window, shop.visitor().with_token(token.as_str().unwrap()))
}

/// Buys one unit on the page of a sale and opens the receipt. Returns the purchase's id.
pub async fn buy(window: &Browser, product: &str) -> String {
    window.follow(&format!("/sales/{product}")).await;
    window.press(".button-buy:not([aria-disabled])", "Buy now").await;
    window.sees(".bar .outcome", "Held for you: you are number").await;
    window.press(".bar .outcome a", "how to pay, or give it up").await;
    window.sees(".receipt .time-left", "59:").await;
    // A reload would lose the mark.
    window.run("window.marked = true", json!([])).await;
    let id = "return document.querySelector('.receipt').dataset.purchaseId";
    window.run(id, json!([])).await.as_str().unwrap().to_owned()
}

async fn figures(shop: &Shop, id: &str) -> [i64; 3] {
    let product = shop.product(id).await;
    ["stock", "held", "sold"].map(|name| product[name].as_i64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_says_by_itself_that_it_is_paid_for() {
    if no_browser() {
        return;
    }
    let shop = shop_with_demo().await;
    let id = shop.sell(&held(json!({ "stock": 2, "purchaseLimit": 1 }))).await;
    let ((ada, _), admin) = tokio::join!(ada_at(&shop, "ada@example.com"), admin_at(&shop, 1));
    ada.follow(&format!("/sales/{id}")).await;
    ada.sees(".facts", "Time to pay 1 hour").await;
    ada.sees(".bar-note", "After the press you have 1 hour to pay").await;
    let purchase = buy(&ada, &id).await;
    ada.sees(".receipt-place", "Number 1").await;
    ada.sees(".pay-time", "Pay $99.00 within").await;
    ada.sees(".receipt-next", "No money is taken on this page").await;
    ada.misses(".receipt button", "Mark as paid").await;
    ada.press(".receipt-actions a", "Back to the sale").await;
    // What is held stays in sight, with the way to pay for it.
    ada.sees(".button-buy[aria-disabled]", "Held for you: number 1").await;
    ada.sees(".stock", "1 left 0 of 2 sold, 1 is being paid for").await;
    ada.sees(".bar .outcome", "1 unit for $99.00. Pay within 59:").await;
    ada.press(".bar .outcome a", "how to pay").await;
    ada.sees(".pay-time", "within").await;

    admin.follow(&format!("/admin/sales/{id}")).await;
    admin.sees(".sale-purchases .row", "Number 1 Waiting for payment").await;
    admin.press(".sale-purchases button", "Mark as paid").await;
    admin.sees(".sale-purchases .row", "Number 1 Confirmed").await;
    admin.sees(".sale-purchases .row", &format!("Payment demo-{purchase}")).await;
    ada.sees(".receipt-next", "It is yours").await;
    ada.sees(".receipt-lines", "Status Confirmed").await;
    ada.misses(".time-left", "").await;
    assert_eq!(figures(&shop, &id).await, [1, 0, 1]);
    ada.waits("window.marked === true").await;

    // Refunded without its unit being for sale again: gone from the board, and the limit is free again.
    ada.follow(&format!("/sales/{id}")).await;
    ada.sees(".button-buy[aria-disabled]", "You have it: number 1").await;
    ada.sees(".board tbody tr", "1 Ada L. (you)").await;
    admin.press(".sale-purchases button", "Refund").await;
    admin.sees("dialog", "This moves no money").await;
    admin.press("dialog label", "Do not sell again").await;
    admin.fill("Reason", "Arrived broken").await;
    admin.press("dialog button", "Refund").await;
    admin.sees(".sale-purchases .row", "Number 1 Refunded").await;
    assert_eq!(figures(&shop, &id).await, [1, 0, 1]);
    ada.sees(".board-text", "Nobody has bought yet").await;
    ada.sees(".button-buy:not([aria-disabled])", "Buy now").await;
    let again = buy(&ada, &id).await;
    admin.sees(".sale-purchases .row", "Number 2 Waiting for payment").await;
    shop.payment_service().confirm(&again, "pi_2").await.expect(200);
    admin.sees(".sale-purchases .row", "Number 2 Confirmed").await;
    admin.press(".sale-purchases button", "Refund: number 2").await;
    admin.press("dialog button", "Refund").await;
    admin.sees(".sale-purchases .row", "Number 2 Refunded").await;
    assert_eq!(figures(&shop, &id).await, [1, 0, 1]);
    let log = shop.admin().get(&format!("/audit?target={purchase}")).await.expect(200);
    assert!(log.json.to_string().contains("Arrived broken"), "{log:#?}");
    ada.close(&[]).await;
    admin.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_buyer_cancels_another_can_buy_at_once() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&held(json!({ "stock": 1, "purchaseLimit": 1 }))).await;
    let ((window, ada), eve) = tokio::join!(ada_at(&shop, "ada@example.com"), window_at(&shop));
    buy(&window, &id).await;
    eve.follow(&format!("/sales/{id}")).await;
    eve.sees(".stock-left", "0 left, 1 is being paid for: some may come back").await;
    eve.sees(".button-buy[aria-disabled]", "Sold out").await;
    eve.press(".button-buy", "Sold out").await;
    eve.sees(".outcome", "What is not paid for in time comes back").await;
    eve.sees(".board tbody tr", "1 Ada L.").await;

    window.press(".back a", "My purchases").await;
    window.sees(".purchase-status", "Waiting for payment: pay $99.00 within 59:").await;
    window.press(".purchase button", "Cancel the purchase").await;
    window.sees("dialog", "counts as a lapse: who has 3 lapses cannot hold this product any more").await;
    window.press("dialog button", "Keep it").await;
    window.press(".purchase button", "Cancel the purchase").await;
    window.press("dialog button", "Cancel the purchase").await;
    window.sees(".purchase-status", "Canceled").await;
    window.misses(".purchase button", "Cancel the purchase").await;
    // The focus has not got lost with the button.
    window.waits("document.activeElement.closest('.purchase') !== null").await;
    assert_eq!(figures(&shop, &id).await, [1, 0, 0]);
    // Nobody there has reloaded anything.
    eve.sees(".stock-left", "1 left").await;
    eve.sees(".button-buy:not([aria-disabled])", "Buy now").await;
    eve.misses(".outcome", "comes back").await;
    eve.sees(".board-text", "Nobody has bought yet").await;

    // The button knows how often one has let go, and says so before it is too late.
    window.follow(&format!("/sales/{id}")).await;
    window
        .sees(
            ".bar-note",
            "1 purchase of yours ended without a payment. After 3 you cannot buy this any more",
        )
        .await;
    window.waits("window.reading === 0").await;
    for _ in 0..2 {
        let purchase = id_of(&ada.purchase(&id).await.expect(201).json);
        ada.cancel(&purchase).await.expect(200);
    }
    // This page knows nothing of it; the refusal tells it.
    window.sees(".button-buy:not([aria-disabled])", "Buy now").await;
    window.press(".button-buy", "Buy now").await;
    window
        .sees(".outcome", "3 purchases of yours ended without a payment, so you cannot buy this any more")
        .await;
    window.sees(".button-buy[aria-disabled]", "Not for you any more").await;
    window.run("location.reload()", json!([])).await;
    window.sees(".button-buy[aria-disabled]", "Not for you any more").await;
    window.sees(".bar-note", "3 purchases of yours ended without a payment, so you cannot buy more").await;
    window.close(&[REFUSED]).await;
    eve.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_paid_for_in_time_says_so() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&held(json!({ "stock": 1, "purchaseLimit": 1 }))).await;
    let ((window, ada), other) = tokio::join!(ada_at(&shop, "ada@example.com"), window_at(&shop));
    let purchase = buy(&window, &id).await;
    // Another device of the same buyer, on the page of the sale.
    other.log_in("ada@example.com", crate::harness::PASSWORD).await;
    other.follow(&format!("/sales/{id}")).await;
    other.sees(".button-buy[aria-disabled]", "Held for you: number 1").await;
    shop.let_expire(std::slice::from_ref(&purchase)).await;
    window.sees(".receipt-next", "It was not paid for in time").await;
    window.sees(".receipt-lines", "Status Expired: not paid in time").await;
    window.misses(".receipt button", "Cancel the purchase").await;
    window.waits("window.marked === true").await;
    other.sees(".bar .outcome", "Number 1 has expired").await;
    other.sees(".button-buy:not([aria-disabled])", "Buy now").await;
    other.sees(".bar-note", "1 purchase of yours ended without a payment").await;

    // Money that comes late and is taken makes it the buyer's again.
    shop.payment_service().confirm(&purchase, "pi_1").await.expect(200);
    window.follow("/my/purchases").await;
    window.sees(".purchase", "Number 1").await;
    window.misses(".purchase-status", "Expired").await;

    // A page whose clock says that the time is over does not wait for the server to say so.
    let second = shop.sell(&held(json!({ "name": "Second", "stock": 1, "purchaseLimit": 1 }))).await;
    let purchase = id_of(&ada.purchase(&second).await.expect(201).json);
    other.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": TWO_HOURS_LATER })).await;
    other.visit(&format!("/my/purchases/{purchase}")).await;
    other.sees(".receipt-next[data-over]", "The time to pay is over").await;
    other.misses(".time-left", "").await;
    other.misses(".receipt button", "Cancel the purchase").await;
    other.follow("/my/purchases").await;
    other.sees(".purchase-status", "The time to pay is over").await;
    shop.payment_service().confirm(&purchase, "pi_2").await.expect(200);
    other.misses(".purchase-status", "The time to pay is over").await;
    window.close(&[]).await;
    other.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_came_too_late_is_ticked_off_when_it_has_gone_back() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let id = shop.sell(&held(json!({ "stock": 1, "purchaseLimit": 1 }))).await;
    let ((window, ada), admin) = tokio::join!(ada_at(&shop, "ada@example.com"), admin_at(&shop, 0));
    let purchase = buy(&window, &id).await;

    // The admin asks too late: what has become of it stands there instead.
    admin.follow(&format!("/admin/sales/{id}")).await;
    // This server is not for trying out.
    admin.sees(".sale-purchases button", "Cancel the purchase: number 1").await;
    admin.misses(".sale-purchases button", "Mark as paid").await;
    admin.press(".sale-purchases button", "Cancel the purchase: number 1").await;
    admin.sees("dialog", "For its buyer it is no lapse").await;
    ada.cancel(&purchase).await.expect(200);
    let second = id_of(&shop.buyer().purchase(&id).await.expect(201).json);
    shop.payment_service().confirm(&second, "pi_2").await.expect(200);
    admin.press("dialog button", "Cancel the purchase").await;
    admin.sees(".sale-purchases .row", "Number 1 Canceled").await;
    admin.sees(".sale-purchases .row", "Number 2 Confirmed").await;
    shop.payment_service().confirm(&purchase, "pi_1").await.problem(409, "payment_unfillable");

    window.sees(".receipt-next", "Your payment came too late and is paid back").await;
    admin.press(".sale-purchases label", "Refunds due").await;
    admin.waits("document.querySelectorAll('.sale-purchases .row').length === 1").await;
    admin.sees(".sale-purchases .row", "Number 1 Canceled Refund due").await;
    admin.sees(".sale-purchases .row", "Payment pi_1").await;
    admin.press(".sale-purchases button", "Money has gone back").await;
    admin.sees("dialog", "$99.00 of the payment pi_1").await;
    admin.press("dialog button", "It has gone back").await;
    admin.misses(".sale-purchases .mark", "Refund due").await;
    let due = shop.admin().get(&format!("/purchases?productId={id}&refundDue=true")).await.expect(200);
    assert_eq!(due.json["items"], json!([]));
    window.sees(".receipt-next", "Your payment came too late and has been paid back").await;

    // Somebody else was faster: the page says what it is now.
    let third = shop.sell(&held(json!({ "name": "Third", "stock": 1, "purchaseLimit": 1 }))).await;
    let purchase = buy(&window, &third).await;
    window.press(".receipt button", "Cancel the purchase").await;
    window.sees("dialog", "counts as a lapse").await;
    shop.payment_service().confirm(&purchase, "pi_3").await.expect(200);
    window.press("dialog button", "Cancel the purchase").await;
    window.sees(".receipt .form-problem", "That is not possible any more: this purchase is confirmed").await;
    window.sees(".receipt-lines", "Status Confirmed").await;
    window.close(&[REFUSED]).await;
    admin.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_says_how_long_buyers_have_to_pay() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let admin = admin_at(&shop, 0).await;
    admin.follow("/admin/new").await;
    admin.fill("Name", "Brass telescope").await;
    admin.fill("Price", "249.50").await;
    admin.fill("Minutes to pay", "0.5").await;
    admin.press("main button", "Create the sale").await;
    // The browser itself refuses what is too short.
    admin.waits("document.activeElement.name === 'paymentWindowSeconds'").await;
    admin.fill("Minutes to pay", "15").await;
    admin.press("main button", "Create the sale").await;
    admin.sees(".facts", "Time to pay 15 minutes").await;
    let list = shop.visitor().get("/products?search=telescope").await.expect(200).json;
    let product = &list["items"][0];
    assert_eq!(product["paymentWindowSeconds"], 900);
    let id = product["id"].as_str().unwrap().to_owned();
    admin.follow(&format!("/admin/sales/{id}")).await;
    admin.sees(".sale-purchases", "Nobody has bought yet").await;
    admin.waits("document.querySelector('[name=paymentWindowSeconds]').value === '15'").await;
    admin.fill("Minutes to pay", "").await;
    admin.press("main button", "Save").await;
    admin.sees(".facts", "Limit per person").await;
    admin.misses(".facts", "Time to pay").await;
    assert_eq!(shop.product(&id).await["paymentWindowSeconds"], Value::Null);
    admin.close(&[]).await;
    shop.close().await;
}
