//! Logins at the storefront, from the first to their end, and the admin's pages for accounts and the audit log.

use serde_json::json;

use crate::harness::{ADMIN, Browser, Shop, no_browser, patient, sneaker, soon};

const PASSWORD: &str = "correct horse battery";
const NEW_PASSWORD: &str = "tromboned staple battery";
/// A browser's messages about requests whose login has ended, and about a wrong password.
const NO_LOGIN: &str = "status of 401";

async fn two_windows(shop: &Shop) -> (Browser, Browser) {
    let visitor = shop.visitor();
    tokio::join!(Browser::open(&visitor), Browser::open(&visitor))
}

/// Opens the account menu and presses an entry.
async fn choose(window: &Browser, entry: &str) {
    window.press("#account > button", "Account:").await;
    window.press("#account-menu button, #account-menu a", entry).await;
}

/// Waits for a second of the page's own clock and checks that it has sent nothing but what any idle page sends.
async fn asks_nothing_more(window: &Browser) {
    let asked =
        "performance.getEntriesByType('resource').filter(({ name }) => !name.endsWith('/time')).length";
    let before = window.run(&format!("window.askedAt = performance.now(); return {asked}"), json!([])).await;
    window.waits("performance.now() > window.askedAt + 1500").await;
    assert_eq!(window.run(&format!("return {asked}"), json!([])).await, before, "a loop of requests");
}

/// Waits until the server of this window refuses its login: on other servers that takes up to two seconds.
async fn is_refused(window: &Browser) {
    let refused = "(async () => {
        const { token } = JSON.parse(localStorage.getItem('flash-sale.session'));
        const { status } = await fetch('/purchases', { headers: { Authorization: `Bearer ${token}` } });
        return status === 401 || status === 403 || null;
    })()";
    window.waits(refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_the_logins_of_other_windows() {
    if no_browser() {
        return;
    }
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&sneaker()).await;
    let (visitor, other) = (shop.visitor(), shop.at(&shop.visitor(), 1));
    let (first, second) = tokio::join!(Browser::open(&visitor), Browser::open(&other));
    first.press("#account button", "Log in").await;
    first.register("Ada Lovelace", "ada@example.com").await;
    first.sees("#account", "Ada Lovelace").await;
    second.log_in("ada@example.com", PASSWORD).await;
    second.follow(&format!("/sales/{id}")).await;
    second.sees(".button-buy", "Buy now").await;

    choose(&first, "Change password").await;
    first.sees("dialog", "has to log in again").await;
    first.fill("Current password", "not my password at all").await;
    first.fill("New password", NEW_PASSWORD).await;
    // What was typed can be looked at, and is hidden again before it is sent.
    first.press("dialog [data-field=newPassword] button", "Show").await;
    first.waits("document.querySelector('[name=newPassword]').type === 'text'").await;
    first.press("dialog button", "Change password").await;
    first.sees("[data-field=currentPassword] .field-error", "Is not your password").await;
    first.waits("document.querySelector('[name=newPassword]').type === 'password'").await;
    first.screenshot("password-wrong").await;
    first.fill("Current password", PASSWORD).await;
    first.press("dialog button", "Change password").await;
    first.misses("dialog", "Change password").await;
    first.sees("#account", "Ada Lovelace").await;
    // The window that changed it has a new login.
    first.follow("/my/purchases").await;
    first.sees("main", "Nothing bought yet").await;

    is_refused(&second).await;
    second.press(".button-buy", "Buy now").await;
    second.sees("#ended", "You have been logged out").await;
    second.sees("dialog", "Log in again").await;
    second.press("dialog button", "Close").await;
    second.sees(".outcome", "Nothing was bought").await;
    second.sees("#account", "Log in").await;
    second.screenshot("login-ended").await;
    asks_nothing_more(&second).await;
    second.press("#ended button", "Log in again").await;
    second.fill("E-mail", "ada@example.com").await;
    second.fill("Password", PASSWORD).await;
    second.press("dialog .form button[class*=primary]", "Log in").await;
    second.sees("dialog .form-problem", "password is wrong").await;
    second.fill("Password", NEW_PASSWORD).await;
    second.press("dialog .form button[class*=primary]", "Log in").await;
    second.sees("#account", "Ada Lovelace").await;
    second.misses("#ended", "logged out").await;
    first.close(&[NO_LOGIN]).await;
    second.close(&[NO_LOGIN]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_counts_in_every_tab_and_everywhere_on_every_device() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let (here, elsewhere) = two_windows(&shop).await;
    here.press("#account button", "Log in").await;
    here.register("Ada Lovelace", "ada@example.com").await;
    here.sees("#account", "Ada Lovelace").await;
    elsewhere.log_in("ada@example.com", PASSWORD).await;

    // Another tab of this browser logs out here, and only here.
    here.run("window.tab = window.open('/')", json!([])).await;
    here.waits("Boolean(window.tab.document.querySelector('.button-account'))").await;
    let token = "JSON.parse(localStorage.getItem('flash-sale.session'))?.token";
    let old = here.run(&format!("return {token}"), json!([])).await;
    let press = "[...window.tab.document.querySelectorAll('#account-menu button')].find(({ textContent }) => textContent === 'Log out').click()";
    here.run(press, json!([])).await;
    here.sees("#ended", "logged out in another tab").await;
    here.sees("#account", "Log in").await;
    // The token itself is worth nothing any more.
    let old = shop.visitor().with_token(old.as_str().unwrap());
    soon("the end of the token", async { while old.get("/auth/me").await.status == 200 {} }).await;
    old.get("/auth/me").await.problem(401, "unauthenticated");
    elsewhere.follow("/my/purchases").await;
    elsewhere.sees("main", "Nothing bought yet").await;

    here.log_in("ada@example.com", PASSWORD).await;
    choose(&here, "Log out everywhere").await;
    here.press("dialog button", "Cancel").await;
    here.sees("#account", "Ada Lovelace").await;
    choose(&here, "Log out everywhere").await;
    here.press("dialog button", "Log out everywhere").await;
    here.sees("#account", "Log in").await;
    // Who asked for it is told nothing that needs no telling.
    here.misses("#ended", "logged out").await;

    is_refused(&elsewhere).await;
    elsewhere.follow("/").await;
    elsewhere.follow("/my/purchases").await;
    elsewhere.sees("#ended", "You have been logged out").await;
    elsewhere.sees("#account", "Log in").await;
    asks_nothing_more(&elsewhere).await;
    elsewhere.press("dialog button", "Close").await;
    elsewhere.sees("main", "Log in to see what you have bought").await;
    here.close(&[]).await;
    elsewhere.close(&[NO_LOGIN]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_finds_an_account_changes_its_role_and_ends_its_access() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let (admin, buyer) = two_windows(&shop).await;
    buyer.press("#account button", "Log in").await;
    buyer.register("Ada Lovelace", "ada@example.com").await;
    buyer.sees("#account", "Ada Lovelace").await;
    for number in 0..60 {
        let body = json!({ "name": format!("Buyer {number}"), "email": format!("buyer{number}@example.com"), "password": PASSWORD });
        shop.visitor().post("/auth/register", &body).await.expect(201);
    }

    admin.log_in(ADMIN.0, ADMIN.1).await;
    choose(&admin, "Users").await;
    admin.sees("main h1", "Users").await;
    // Page after page, nobody twice.
    admin.press("main button", "Show more").await;
    admin.waits("document.querySelectorAll('.row').length === 62").await;
    admin.waits("new Set([...document.querySelectorAll('.row')].map(({ dataset }) => dataset.userId)).size === 62").await;
    // The focus went on to what is new.
    admin
        .waits("document.activeElement === document.querySelectorAll('.row')[50].querySelector('button')")
        .await;
    admin.fill("Name or e-mail", "ADA@example").await;
    admin.waits("document.querySelectorAll('.row').length === 1").await;
    admin.sees(".row", "Ada Lovelace").await;
    admin.sees(".row .mark", "Customer").await;

    admin.press(".row button", "Change role").await;
    admin.press("dialog label", "Payment service").await;
    admin.press("dialog button", "Change role").await;
    admin.sees(".row .mark", "Payment service").await;
    admin.press(".row button", "Disable").await;
    admin.sees("dialog", "every login of this account ends").await;
    admin.press("dialog button[value=yes]", "Disable").await;
    admin.sees(".row .mark", "Disabled").await;
    // The buyer hears of it, and cannot come back.
    is_refused(&buyer).await;
    buyer.follow("/my/purchases").await;
    buyer.sees("#ended", "this account is disabled").await;
    buyer.sees("main", "Log in to see what you have bought").await;
    asks_nothing_more(&buyer).await;
    buyer.press("#account button", "Log in").await;
    buyer.fill("E-mail", "ada@example.com").await;
    buyer.fill("Password", PASSWORD).await;
    buyer.press("dialog .form button[class*=primary]", "Log in").await;
    buyer.sees("dialog .form-problem", "This account is disabled").await;
    admin.press(".row button", "Enable").await;
    admin.press("dialog button[value=yes]", "Enable").await;
    admin.misses(".row .mark", "Disabled").await;
    buyer.press("dialog .form button[class*=primary]", "Log in").await;
    buyer.sees("#account", "Ada Lovelace").await;

    // The filters are in the address, so that a reload shows the same.
    admin.fill("Name or e-mail", "").await;
    admin.run("const role = [...document.querySelectorAll('select')][0]; role.value = 'admin'; role.dispatchEvent(new Event('change'))", json!([])).await;
    admin.waits("document.querySelectorAll('.row').length === 1").await;
    admin.run("location.reload()", json!([])).await;
    admin.sees(".row", ADMIN.0).await;
    admin.waits("document.querySelectorAll('.row').length === 1").await;
    // The last admin stays one.
    admin.press(".row button", "Disable").await;
    admin.sees("dialog", "This is your own account").await;
    admin.press("dialog button[value=yes]", "Disable").await;
    admin.sees(".row .form-problem", "the last admin who can log in").await;
    admin.screenshot("users-last-admin").await;
    admin.press(".row button", "Change role").await;
    admin.press("dialog label", "Customer").await;
    admin.press("dialog button", "Change role").await;
    admin.sees(".row .form-problem", "the last admin who can log in").await;
    admin.sees(".row .mark", "Admin").await;
    admin.close(&["status of 409"]).await;
    buyer.close(&[NO_LOGIN, "status of 403"]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_who_is_one_no_more_loses_the_pages() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let (admin, second) = two_windows(&shop).await;
    second.press("#account button", "Log in").await;
    second.register("Ada Lovelace", "ada@example.com").await;
    second.sees("#account", "Ada Lovelace").await;
    admin.log_in(ADMIN.0, ADMIN.1).await;
    let change = async |role: &str| {
        admin.follow("/").await;
        admin.follow("/admin/users?search=ada").await;
        admin.press(".row button", "Change role").await;
        admin.press("dialog label", role).await;
        admin.press("dialog button", "Change role").await;
        admin.sees(".row .mark", role).await;
    };
    change("Admin").await;
    // The page hears of a new role when it logs in, or when its tab comes to the front.
    second.press("#account > button", "Account:").await;
    second.press("#account-menu button", "Log out").await;
    second.log_in("ada@example.com", PASSWORD).await;
    second.follow("/admin/users").await;
    second.sees(".row", "ada@example.com").await;
    change("Customer").await;
    second.fill("Name or e-mail", "grace").await;
    second.sees("main h1", "For admins only").await;
    second.misses("nav a", "Admin").await;
    second.sees("#account", "Ada Lovelace").await;
    asks_nothing_more(&second).await;
    admin.close(&[]).await;
    second.close(&["status of 403"]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_reads_in_the_audit_log_who_changed_what() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let admin = Browser::open(&shop.visitor()).await;
    admin.log_in(ADMIN.0, ADMIN.1).await;
    let login = json!({ "email": ADMIN.0, "password": ADMIN.1 });
    let token = shop.visitor().post("/auth/login", &login).await.expect(200).json["token"].clone();
    let grace = shop.visitor().with_token(token.as_str().unwrap());
    let product = grace.post("/products", &sneaker()).await.expect(201).json;
    let id = product["id"].as_str().unwrap();
    let change =
        json!({ "price": { "amount": 8_900, "currency": "USD" }, "name": "Limited sneaker <b>red</b>" });
    grace.patch(&format!("/products/{id}"), "*", &change).await.expect(200);
    grace.post(&format!("/products/{id}/restock"), &json!({ "quantity": 5 })).await.expect(200);
    for number in 0..60 {
        grace
            .patch(&format!("/products/{id}"), "*", &json!({ "purchaseLimit": 2 + number % 2 }))
            .await
            .expect(200);
    }

    choose(&admin, "Audit log").await;
    admin.sees("main h1", "Audit log").await;
    admin.press("main button", "Show more").await;
    admin.sees(".entry", "created a sale").await;
    admin.sees(".entry .change-before", "$99.00").await;
    admin.sees(".entry .change-after", "$89.00").await;
    // Text of users stays text.
    admin.sees(".entry .change-after", "Limited sneaker <b>red</b>").await;
    admin.sees(".entry", "logged in").await;
    admin.sees(".entry", "127.0.0.1").await;
    admin.screenshot("audit").await;

    let choose_action = "const select = document.querySelector('[data-field=action] select'); select.value = arguments[0]; select.dispatchEvent(new Event('input'))";
    admin.run(choose_action, json!(["product_restocked"])).await;
    admin.waits("document.querySelectorAll('.entry').length === 1").await;
    admin.sees(".entry", "restocked a sale: Limited sneaker").await;
    // From the sale to everything that was done to it, and from there to everything that this person did.
    admin.press(".entry .link-button", "Limited sneaker").await;
    admin.waits(&format!("document.querySelector('[data-field=target] input').value === '{id}'")).await;
    admin.press("main button", "Clear the filters").await;
    admin.sees(".entry", "changed a sale").await;
    admin.follow("/admin").await;
    admin.press(".keep a", "Audit log").await;
    admin.sees(".entry", "changed a sale").await;
    admin.misses(".entry", "logged in").await;
    admin.set("Until", "2025-01-01T00:00:00").await;
    admin.sees("main", "Nothing in the audit log matches").await;
    admin.close(&[]).await;
    shop.close().await;
}

/// Keeps what the page has the browser save.
const SAVED: &str = "
    const make = URL.createObjectURL;
    URL.createObjectURL = (blob) => { window.saved = blob; return make.call(URL, blob); };";

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_saves_the_purchases_of_a_sale_for_a_spreadsheet() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    shop.make_admin().await;
    let id = shop.sell(&sneaker()).await;
    let ada = shop.buyer_named("Ada Lovelace");
    let alan = shop.buyer_named("Alan Turing");
    for buyer in [&ada, &alan] {
        buyer.purchase(&id).await.expect(201);
    }
    let admin = Browser::open(&shop.visitor()).await;
    admin.log_in(ADMIN.0, ADMIN.1).await;
    admin.follow("/admin").await;
    admin.run(SAVED, json!([])).await;
    admin.press(".keep button", "Purchases as CSV").await;
    admin.waits("window.saved").await;
    let text = admin.run("return window.saved.text()", json!([])).await;
    let lines: Vec<_> = text.as_str().unwrap().lines().collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    // The oldest first, as the leaderboard has them.
    assert!(lines[1].contains(&ada.id.to_hex()) && lines[2].contains(&alan.id.to_hex()), "{lines:#?}");
    admin.close(&[]).await;
    shop.close().await;
}

/// The page has words for each action that the server writes into the audit log.
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_page_names_every_action() {
    let shop = Shop::open_with(patient()).await;
    let document = shop.visitor().get("/openapi.json").await.expect(200).json;
    let actions =
        document["components"]["schemas"]["Action"]["enum"].as_array().expect("the actions").clone();
    assert!(actions.len() >= 10, "{actions:?}");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/web/views/audit.js")).unwrap();
    for action in actions {
        let action = action.as_str().unwrap();
        assert!(page.contains(&format!("  {action}: '")), "web/views/audit.js has no words for {action}");
    }
    shop.close().await;
}
