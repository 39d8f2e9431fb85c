//! What people do at the storefront, in a real browser: several windows, several servers, and failures in between.

use flash_sale::model::timestamp::Timestamp;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{
    ADMIN, Browser, ENTER, Shop, TAB, no_browser, own_mongo, signal, sneaker, sneaker_with,
};

/// How long the windows watch the sale before it opens.
const OPENS_IN_MS: i64 = 12_000;

/// A browser's messages about requests while there is no server.
const NO_SERVER: [&str; 3] = ["WebSocket connection to", "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET"];

/// A shop with two servers, and a window at each.
async fn two_windows() -> (Shop, Browser, Browser) {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let (visitor, other) = (shop.visitor(), shop.at(&shop.visitor(), 1));
    let (first, second) = tokio::join!(Browser::open(&visitor), Browser::open(&other));
    (shop, first, second)
}

/// Marks the page, to check later that it was not reloaded.
async fn mark(browser: &Browser) {
    browser.run("window.marked = true", json!([])).await;
}

async fn is_still_the_same(browser: &Browser) {
    browser.waits("window.marked === true").await;
}

async fn now(shop: &Shop) -> i64 {
    let answer = shop.visitor().get("/time").await.expect(200);
    Timestamp::parse(answer.json["now"].as_str().unwrap()).unwrap().milliseconds()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_visitors_at_two_servers_buy_at_the_opening() {
    if no_browser() {
        return;
    }
    let (shop, ada, alan) = two_windows().await;
    ada.press("#account button", "Log in").await;
    ada.register("Ada Lovelace", "ada@example.com").await;
    ada.sees("#account", "Ada Lovelace").await;
    let opening = Timestamp::from_milliseconds(now(&shop).await + OPENS_IN_MS);
    let id = shop.sell(&sneaker_with(json!({ "saleStartTime": opening }))).await;
    for window in [&ada, &alan] {
        window.follow(&format!("/sales/{id}")).await;
        window.sees(".pill", "Upcoming").await;
        window.sees(".countdown", "Opens in 00:00:").await;
        window.sees(".board-text", "Nobody has bought yet").await;
        mark(window).await;
    }
    ada.sees(".button-buy[aria-disabled=true]", "Opens in 00:").await;
    alan.sees(".button-buy:not([aria-disabled])", "Get ready").await;
    ada.screenshot("product-upcoming").await;

    ada.press(".button-buy:not([aria-disabled])", "Buy now").await;
    ada.sees(".outcome", "Bought: you are number 1").await;
    ada.sees(".board-buyer", "Ada L. (you)").await;
    for window in [&ada, &alan] {
        window.sees(".pill", "Live").await;
        window.sees(".stock", "99 left 1 of 100 sold").await;
        window.waits("document.querySelector('[role=meter]').getAttribute('aria-valuenow') === '99'").await;
        window.sees(".board tbody tr", "1 Ada L.").await;
    }
    ada.screenshot("product-bought").await;

    // The second visitor logs in on the way, and then the purchase goes on.
    alan.press(".button-buy", "Buy now").await;
    alan.sees("dialog", "the purchase goes on").await;
    alan.screenshot("login").await;
    alan.register("Alan Turing", "alan@example.com").await;
    alan.sees(".outcome", "Bought: you are number 2").await;
    ada.sees(".stock-left", "98 left").await;
    ada.sees(".board tbody tr", "2 Alan T.").await;

    for window in [&ada, &alan] {
        is_still_the_same(window).await;
        window.press(".outcome a", "Your receipt").await;
        window.sees(".receipt h1", "Limited sneaker").await;
        window.press(".back a", "My purchases").await;
        window.sees(".purchase", "Limited sneaker").await;
    }
    ada.close(&[]).await;
    alan.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_registration_is_not_offered() {
    if no_browser() {
        return;
    }
    let mut shop = Shop::open().await;
    shop.add_server_where(&[("REGISTRATION", "closed")]).await;
    let (open, closed) = (shop.visitor(), shop.at(&shop.visitor(), 1));
    let (open, closed) = tokio::join!(Browser::open(&open), Browser::open(&closed));
    for (window, offers) in [(&open, true), (&closed, false)] {
        window.press("#account button", "Log in").await;
        window.sees("dialog .form button", "Log in").await;
        for element in ["#account button", "dialog button"] {
            match offers {
                true => window.sees(element, "Register").await,
                false => window.misses(element, "Register").await,
            }
        }
    }
    open.close(&[]).await;
    closed.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_and_the_end_of_the_stock_are_shown() {
    if no_browser() {
        return;
    }
    let (shop, ada, alan) = two_windows().await;
    let id = shop.sell(&sneaker_with(json!({ "stock": 3, "purchaseLimit": 2 }))).await;
    for window in [&ada, &alan] {
        window.follow(&format!("/sales/{id}")).await;
        window.sees(".button-buy", "Buy now").await;
        mark(window).await;
    }
    ada.press(".button-buy", "Buy now").await;
    ada.register("Ada Lovelace", "ada@example.com").await;
    ada.sees(".outcome", "Bought: you are number 1").await;
    ada.sees(".bar-note", "You have 1 of the 2").await;
    ada.screenshot("product-bought-one").await;

    // The list of sales shows the same.
    alan.follow("/").await;
    alan.sees(".card", "2 left").await;
    shop.at(&shop.buyer(), 1).purchase_many(&id, 2).await.expect(201);
    for window in [&ada, &alan] {
        window.sees(".pill", "Sold out").await;
        window.sees(".stock-left", "None left").await;
    }
    ada.sees(".button-buy[aria-disabled=true]", "You have it: number 1").await;
    ada.misses(".button-again", "Buy one more").await;
    alan.misses(".card .button-buy", "Buy now").await;
    ada.screenshot("product-sold-out").await;

    let more = json!({ "quantity": 5 });
    shop.admin().post(&format!("/products/{id}/restock"), &more).await.expect(200);
    ada.sees(".button-again", "Buy one more").await;
    alan.sees(".card .button-buy", "Buy now").await;
    for window in [&ada, &alan] {
        window.sees(".stock-left", "5 left").await;
        is_still_the_same(window).await;
    }
    ada.close(&[]).await;
    alan.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_page_survives_a_restart_of_its_server() {
    if no_browser() {
        return;
    }
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let window = Browser::open(&shop.at(&shop.visitor(), 1)).await;
    let id = shop.sell(&sneaker()).await;
    shop.buyer_named("Ada Lovelace").purchase(&id).await.expect(201);
    window.follow(&format!("/sales/{id}")).await;
    window.sees("#connection", "Live").await;
    window.sees(".board tbody tr", "1 Ada L.").await;
    // Through the event and not the list: then the page knows where to resume.
    shop.buyer_named("Alan Turing").purchase(&id).await.expect(201);
    window.sees(".board tbody tr", "2 Alan T.").await;
    mark(&window).await;

    let port = shop.stop_newest_server().await;
    window.sees("#connection", "Reconnecting").await;
    // The notice is in the visible part of the page, not at its end.
    window.waits("document.querySelector('#connection').getBoundingClientRect().bottom < innerHeight").await;
    window.screenshot("product-reconnecting").await;
    for name in ["Barbara Liskov", "Edsger Dijkstra", "Frances Allen"] {
        shop.buyer_named(name).purchase(&id).await.expect(201);
    }
    shop.add_server_at(port).await;
    window.sees("#connection", "Live").await;
    window.sees(".stock-left", "95 left").await;
    window.sees(".board tbody tr", "5 Frances A.").await;
    shop.buyer_named("Ken Thompson").purchase(&id).await.expect(201);
    window.sees(".board tbody tr", "6 Ken T.").await;
    let ranks = "[...document.querySelectorAll('.board-rank')].map((rank) => rank.textContent).join() === '6,5,4,3,2,1'";
    window.waits(ranks).await;
    is_still_the_same(&window).await;
    window.close(&NO_SERVER).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_that_may_be_old_are_marked() {
    if no_browser() {
        return;
    }
    let mongo = own_mongo("storefront").await;
    let shop = Shop::open_at(mongo.uri().reveal()).await;
    let window = Browser::open(&shop.visitor()).await;
    let id = shop.sell(&sneaker()).await;
    window.follow(&format!("/sales/{id}")).await;
    window.sees(".stock-left", "100 left").await;
    window.sees("#connection", "Live").await;
    mark(&window).await;

    // The socket stays open, but it carries only what the server knew before.
    signal(&mongo, Signal::STOP);
    window.sees("#connection", "The figures may be old").await;
    window.screenshot("product-old").await;
    signal(&mongo, Signal::CONT);
    window.sees("#connection", "Live").await;
    shop.buyer().purchase(&id).await.expect(201);
    window.sees(".stock-left", "99 left").await;
    is_still_the_same(&window).await;
    window.close(&["status of 503"]).await;
    shop.close().await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_keeps_a_sale_and_visitors_see_it() {
    if no_browser() {
        return;
    }
    let (shop, admin, visitor) = two_windows().await;
    shop.make_admin().await;
    visitor.sees("main", "No sales yet").await;
    visitor.screenshot("catalogue-empty").await;
    admin.log_in(ADMIN.0, ADMIN.1).await;
    admin.press("main a", "Create a sale").await;
    admin.fill("Name", "Brass telescope").await;
    admin.fill("Description", "Finds moons.").await;
    admin.fill("Price", "249.50").await;
    admin.fill("Stock", "5").await;
    admin.set("Opens", "2025-01-01T00:00").await;
    admin.set("Ends", "2025-01-01T00:00").await;
    admin.press("main button", "Create the sale").await;
    admin.sees(".field-error", "Must be later than the opening").await;
    admin.set("Ends", "2099-01-01T00:00").await;
    admin.screenshot("admin-new").await;
    admin.press("main button", "Create the sale").await;
    admin.sees("main h1", "Brass telescope").await;
    let id =
        shop.visitor().get("/products").await.expect(200).json["items"][0]["id"].as_str().unwrap().to_owned();

    visitor.follow(&format!("/sales/{id}")).await;
    visitor.sees(".stock-left", "5 left").await;
    visitor.sees(".price", "249.50").await;
    mark(&visitor).await;
    shop.buyer().purchase(&id).await.expect(201);
    visitor.sees(".stock-left", "4 left").await;

    admin.press("nav a", "Admin").await;
    admin.sees(".keep .stock-left", "4 left").await;
    admin.press(".keep button", "Restock").await;
    admin.fill("Units to add", "10").await;
    admin.press("dialog button", "Add").await;
    visitor.sees(".stock", "14 left 1 of 15 sold").await;
    admin.sees(".keep .stock", "14 left 1 of 15 sold").await;
    admin.screenshot("admin").await;

    admin.press(".keep a", "Edit").await;
    admin.fill("Price", "199").await;
    // A purchase while the form is open raises the version.
    shop.buyer().purchase(&id).await.expect(201);
    admin.press("main button", "Save").await;
    visitor.sees(".price", "199.00").await;

    admin.press("nav a", "Admin").await;
    admin.press(".keep button", "End now").await;
    admin.press("dialog button", "End now").await;
    visitor.sees(".pill", "Ended").await;
    visitor.sees(".button-buy[aria-disabled=true]", "Sale ended").await;
    admin.sees(".keep .pill", "Ended").await;
    is_still_the_same(&visitor).await;
    // The purchase in between caused a 412: the form reads the product again and saves once more.
    admin.close(&["status of 412"]).await;
    visitor.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_product_goes_from_open_pages() {
    if no_browser() {
        return;
    }
    let (shop, detail, list) = two_windows().await;
    let id = shop.sell(&sneaker_with(json!({ "name": "Wrong sneaker" }))).await;
    shop.sell(&sneaker_with(json!({ "name": "Right sneaker" }))).await;
    detail.follow(&format!("/sales/{id}")).await;
    detail.sees(".stock-left", "100 left").await;
    detail.sees("#connection", "Live").await;
    // Loaded before the product existed.
    list.run("location.reload()", json!([])).await;
    list.sees(".card", "Wrong sneaker").await;
    list.sees("#connection", "Live").await;
    for window in [&detail, &list] {
        mark(window).await;
    }

    shop.admin().delete(&format!("/products/{id}")).await.expect(204);
    detail.sees("main h1", "This sale was removed").await;
    list.misses(".card", "Wrong sneaker").await;
    list.sees(".card", "Right sneaker").await;
    // It stays like this when the clock ticks, and the title matches.
    let second = "Math.floor(performance.now() / 1000)";
    let seen = detail.run(&format!("return {second}"), json!([])).await;
    detail.waits(&format!("{second} > {seen} + 1")).await;
    let title = detail.run("return document.title", json!([])).await;
    assert_eq!(title, "Not found – flash sale");
    detail.screenshot("product-deleted").await;
    for window in [&detail, &list] {
        is_still_the_same(window).await;
    }
    detail.close(&[]).await;
    list.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_is_enough_to_buy() {
    if no_browser() {
        return;
    }
    let shop = Shop::open().await;
    shop.sell(&sneaker()).await;
    let window = Browser::open(&shop.visitor()).await;
    window.sees(".card", "Limited sneaker").await;
    window.tab_to(".card-link", "Limited sneaker").await;
    window.keys(ENTER).await;
    window.sees("main h1", "Limited sneaker").await;
    window.tab_to(".bar .button-buy", "Buy now").await;
    window.keys(ENTER).await;
    window.sees("dialog", "Log in").await;
    window.tab_to("dialog button", "Register").await;
    window.keys(ENTER).await;
    window.sees("dialog button", "Create account").await;
    window.keys("Ada Lovelace\u{E004}ada@example.com\u{E004}correct horse battery\u{E007}").await;
    window.sees(".outcome", "Bought: you are number 1").await;
    // The focus is back on the button, to go on from there.
    window.waits("document.activeElement.matches('.button-buy')").await;
    window.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_focus_stays_where_one_logs_in_and_out() {
    if no_browser() {
        return;
    }
    let shop = Shop::open().await;
    shop.make_admin().await;
    shop.sell(&sneaker()).await;
    let window = Browser::open(&shop.visitor()).await;
    window.sees(".card", "Limited sneaker").await;
    let credentials = format!("{}{TAB}{}{ENTER}", ADMIN.0, ADMIN.1);
    // The start page stays and the focus with it. Any other view leads to the start page, whose heading gets the
    // focus.
    for (view, after) in [("/", "#account > button"), ("/admin", "main h1")] {
        window.follow(view).await;
        window.tab_to("#account button", "Log in").await;
        window.keys(ENTER).await;
        window.sees("dialog", "No account yet?").await;
        window.keys(&credentials).await;
        window.sees("#account", "Account:").await;
        window.waits("document.activeElement.matches('.button-account')").await;
        window.keys(ENTER).await;
        window.tab_to("#account button", "Log out").await;
        window.keys(ENTER).await;
        window.sees("#account", "Log in").await;
        window.waits(&format!("document.activeElement.matches('{after}')")).await;
    }

    // The button that was pressed disappears together with its view.
    window.follow("/admin").await;
    window.tab_to("main button", "Log in").await;
    window.keys(ENTER).await;
    window.sees("dialog", "No account yet?").await;
    window.keys(&credentials).await;
    window.sees("main", "Limited sneaker").await;
    window.waits("document.activeElement.matches('.button-account')").await;
    window.close(&[]).await;
    shop.close().await;
}
