//! The page to try the API, in a real browser: whether its policy lets it work, and what it keeps.

use serde_json::json;

use crate::harness::{Browser, Shop, no_browser};

/// Opens the operation and sends its request.
async fn try_it_out(window: &Browser, path: &str) {
    window.press(".opblock-summary-control", path).await;
    window.press(".opblock.is-open button", "Try it out").await;
    window.press(".opblock.is-open button", "Execute").await;
}

/// A violation of the policy is an error on the console, and `close` fails on it.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_can_be_tried_with_a_token_that_is_not_kept() {
    if no_browser() {
        return;
    }
    let shop = Shop::open().await;
    let account =
        json!({ "name": "Ada Lovelace", "email": "ada@shop.example", "password": "correct horse battery" });
    let token = shop.visitor().post("/auth/register", &account).await.expect(201).json["token"].clone();
    let window = Browser::open(&shop.visitor()).await;
    window.visit("/docs/").await;
    window.sees(".information-container", "Sells limited stock to a crowd").await;
    window.press("button.authorize", "Authorize").await;
    window.fill("Value", token.as_str().unwrap()).await;
    window.press(".modal-ux button", "Authorize").await;
    window.press(".modal-ux button", "Close").await;
    try_it_out(&window, "/auth/me").await;
    window.sees(".live-responses-table", "ada@shop.example").await;
    window.screenshot("docs").await;
    let kept = "return [localStorage, sessionStorage].flatMap((storage) => Object.values(storage)).join()";
    assert_eq!(window.run(kept, json!([])).await, "");

    window.visit("/docs/?again").await;
    try_it_out(&window, "/auth/me").await;
    window.sees(".live-responses-table", "unauthenticated").await;
    window.close(&["status of 401"]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_fits_the_screen_and_the_system() {
    if no_browser() {
        return;
    }
    let shop = Shop::open().await;
    let window = Browser::open(&shop.visitor()).await;
    for scheme in ["light", "dark"] {
        window.prefer(scheme).await;
        for width in [320, 1280] {
            window.resize(width, 900).await;
            window.visit(&format!("/docs/?{scheme}-{width}")).await;
            window.sees(".opblock", "/products/purchase").await;
            assert_eq!(window.run("return document.title", json!([])).await, "flash-sale API");
            // Without the viewport meta tag a phone shows the page at a desktop's width, scaled down.
            assert_eq!(window.run("return innerWidth", json!([])).await, width);
            // The page offers no field to load a document from another address.
            window.misses("body", "Explore").await;
            let color = "return getComputedStyle(document.querySelector('.swagger-ui')).color";
            let expected = if scheme == "dark" { "rgb(228, 230, 230)" } else { "rgb(59, 65, 81)" };
            assert_eq!(window.run(color, json!([])).await, expected);
            window.screenshot(&format!("docs-{scheme}-{width}")).await;
            window.press(".opblock-summary-control", "/products/purchase").await;
            window.sees(".opblock.is-open", "Idempotency-Key").await;
            window.fits("an operation").await;
            window
                .run("document.querySelector('.is-open .responses-wrapper').scrollIntoView()", json!([]))
                .await;
            window.screenshot(&format!("docs-open-{scheme}-{width}")).await;
        }
    }
    window.close(&[]).await;
    shop.close().await;
}
