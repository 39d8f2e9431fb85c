//! How payments look at the storefront: on any screen, to axe-core, and in words.

use serde_json::json;

use crate::harness::{Browser, Shop, no_browser, patient};
use crate::payments::{held, id_of};
use crate::storefront_looks::{axe_core, is_accessible};
use crate::storefront_payments::{ada_at, admin_at, buy, shop_with_demo};

/// The sentence for each refusal that a page cannot be brought to show at will.
const WORDS: &str = "
    const script = document.querySelector('script[type=module]').src;
    const modules = Object.values(await import(script));
    const { Problem, inWords } = modules.find((module) => module.Problem && module.inWords);
    return arguments[0].map((body) => inWords(new Problem(409, body, new Headers())));";

#[tokio::test(flavor = "multi_thread")]
async fn refusals_about_payments_are_in_plain_words() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let window = Browser::open(&shop.visitor()).await;
    let problems = json!([
        { "code": "purchase_not_pending", "purchaseStatus": "expired", "status": 409 },
        { "code": "payment_unfillable", "purchaseStatus": "canceled", "status": 409 },
        { "code": "amount_mismatch", "total": { "amount": 19_800, "currency": "USD" }, "status": 422 },
    ]);
    let script = format!("return (async () => {{ {WORDS} }})()");
    let words = window.run(&script, json!([problems])).await;
    let expected = [
        "That is not possible any more: this purchase is expired.",
        "The payment came too late: the units are gone, or the limit is used up. The money has to go back.",
        "Not paid: this purchase costs $198.00.",
    ];
    assert_eq!(words, json!(expected));
    window.close(&[]).await;
    shop.close().await;
}

/// A sale with a purchase of each kind, the last one Ada's. Returns the product's id.
async fn sale_with_all(shop: &Shop, window: &Browser) -> (String, String) {
    let id = shop.sell(&held(json!({ "stock": 5 }))).await;
    let (payments, late, other) = (shop.payment_service(), shop.buyer(), shop.buyer());
    let first = id_of(&late.purchase_many(&id, 2).await.expect(201).json);
    late.cancel(&first).await.expect(200);
    let second = id_of(&late.purchase_many(&id, 2).await.expect(201).json);
    payments.confirm(&second, "pi_2").await.expect(200);
    payments.confirm(&first, "pi_1").await.problem(409, "payment_unfillable");
    other.purchase_many(&id, 2).await.expect(201);
    let purchase = buy(window, &id).await;
    (id, purchase)
}

/// What a window shows of payments: the view, and an element that shows that it is complete.
type View = (&'static str, String, &'static str, &'static str);

fn views_of_buyer(id: &str, purchase: &str) -> [View; 3] {
    [
        ("pay-product", format!("/sales/{id}"), ".bar .outcome", "Pay within"),
        ("pay-receipt", format!("/my/purchases/{purchase}"), ".receipt .time-left", "59:"),
        ("pay-purchases", "/my/purchases".into(), ".purchase-status", "within 59:"),
    ]
}

fn views_of_admin(id: &str, purchase: &str) -> [View; 3] {
    [
        ("pay-admin", format!("/admin/sales/{id}"), ".sale-purchases .row", "Refund due"),
        ("pay-admin-receipt", format!("/my/purchases/{purchase}"), ".receipt button", "Mark as paid"),
        ("pay-admin-purchases", "/my/purchases".into(), ".purchase-status", "within 59:"),
    ]
}

async fn show(window: &Browser, (name, view, selector, text): &View) -> &'static str {
    window.follow(view).await;
    window.sees(selector, text).await;
    if name == &"pay-admin" {
        window.run("document.querySelector('.sale-purchases').scrollIntoView()", json!([])).await;
    }
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_fit_on_any_screen() {
    if no_browser() {
        return;
    }
    let shop = shop_with_demo().await;
    let ((ada, _), admin) = tokio::join!(ada_at(&shop, "ada@example.com"), admin_at(&shop, 1));
    let (id, purchase) = sale_with_all(&shop, &ada).await;
    for (window, views) in [(&ada, views_of_buyer(&id, &purchase)), (&admin, views_of_admin(&id, &purchase))]
    {
        for (width, height) in [(320, 640), (390, 844), (1440, 900)] {
            window.resize(width, height).await;
            for view in &views {
                let name = show(window, view).await;
                window.screenshot(&format!("{name}-{width}")).await;
                window.fits(name).await;
            }
        }
        let forced = json!({ "features": [{ "name": "forced-colors", "value": "active" }] });
        window.devtools("Emulation.setEmulatedMedia", forced).await;
        for view in &views {
            let name = show(window, view).await;
            window.screenshot(&format!("{name}-forced")).await;
        }
    }
    ada.close(&[]).await;
    admin.close(&[]).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_nothing_where_something_is_paid_for() {
    if no_browser() {
        return;
    }
    let Some(axe) = axe_core() else { return };
    let shop = shop_with_demo().await;
    let ((ada, _), admin) = tokio::join!(ada_at(&shop, "ada@example.com"), admin_at(&shop, 1));
    let (id, purchase) = sale_with_all(&shop, &ada).await;
    for (window, views) in [(&ada, views_of_buyer(&id, &purchase)), (&admin, views_of_admin(&id, &purchase))]
    {
        window.run(&axe, json!([])).await;
        for scheme in ["light", "dark"] {
            window.prefer(scheme).await;
            for view in &views {
                let name = show(window, view).await;
                is_accessible(window, &format!("{name}-{scheme}")).await;
            }
            window.press(".purchase button", "Cancel the purchase").await;
            window.sees("dialog", "Keep it").await;
            is_accessible(window, &format!("pay-cancel-{scheme}")).await;
            window.press("dialog button", "Keep it").await;
        }
    }
    for scheme in ["light", "dark"] {
        admin.prefer(scheme).await;
        admin.press(".purchase button", "Refund").await;
        admin.sees("dialog", "Reason").await;
        is_accessible(&admin, &format!("pay-refund-{scheme}")).await;
        admin.press("dialog button", "Cancel").await;
    }
    ada.close(&[]).await;
    admin.close(&[]).await;
    shop.close().await;
}
