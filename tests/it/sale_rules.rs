//! The rules of one sale that an admin sets: a pause, the age of accounts, the price that a buyer expects.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Actor, Shop, foreign_token, patient, sneaker_with};

async fn change(shop: &Shop, id: &str, changes: serde_json::Value) {
    shop.admin().patch(&format!("/products/{id}"), "*", &changes).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_sale_refuses_everybody_until_it_goes_on() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server().await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 2}))).await;
    let ada = shop.buyer();
    let first = ada.purchase_with_key(&id, 1, "press-1").await.expect(201).json;
    change(&shop, &id, json!({"paused": true})).await;
    let product = shop.product(&id).await;
    assert_eq!((&product["paused"], &product["status"]), (&json!(true), &json!("live")));
    for server in [0, 1] {
        shop.at(&shop.buyer(), server).purchase(&id).await.problem(409, "sale_paused");
        shop.at(&ada, server).purchase_with_key(&id, 1, "press-2").await.problem(409, "sale_paused");
        // What was bought stays bought.
        let replay = shop.at(&ada, server).purchase_with_key(&id, 1, "press-1").await.expect(201);
        assert_eq!(replay.json, first);
    }
    // A crowd hears it from memory.
    let crowd =
        join_all((0..300).map(|_| async { shop.buyer().purchase(&id).await.code().to_owned() })).await;
    assert!(crowd.iter().all(|code| code == "sale_paused"), "{crowd:?}");
    change(&shop, &id, json!({"paused": false})).await;
    ada.purchase_with_key(&id, 1, "press-2").await.expect(201);
    shop.at(&shop.buyer(), 1).purchase(&id).await.expect(201);
    assert_eq!(shop.check_invariants(&id, 2).await, 3);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_hides_nothing_of_the_window() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker_with(json!({"saleStartTime": "2098-01-01T00:00:00Z"}))).await;
    change(&shop, &id, json!({"paused": true})).await;
    assert_eq!(shop.product(&id).await["status"], "upcoming");
    shop.buyer().purchase(&id).await.problem(409, "sale_paused");
    change(&shop, &id, json!({"paused": false})).await;
    shop.buyer().purchase(&id).await.problem(409, "sale_not_started");
    let admin = shop.admin();
    admin.patch(&format!("/products/{id}"), "*", &json!({"paused": "yes"})).await.invalid(&["paused"]);
    admin.post("/products", &sneaker_with(json!({"paused": true}))).await.invalid(&["paused"]);
    shop.close().await;
}

/// The same person with a token of an identity provider.
fn foreign(actor: &Actor, more: serde_json::Value) -> Actor {
    actor.with_token(&foreign_token(actor.id, more))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_may_be_for_older_accounts() {
    let shop = Shop::open().await;
    let before = "2026-01-01T00:00:00.000Z";
    let id = shop.sell(&sneaker_with(json!({"registeredBefore": before, "purchaseLimit": 9}))).await;
    assert_eq!(shop.product(&id).await["registeredBefore"], before);
    let refuse = async |buyer: Actor| {
        let refused = buyer.purchase(&id).await.problem(403, "account_too_new");
        assert_eq!(refused.json["registeredBefore"], before);
        buyer.purchase_with_key(&id, 1, "press-1").await.problem(403, "account_too_new");
    };
    // The token says it.
    let old = foreign(&shop.buyer(), json!({"registeredAt": before}));
    old.purchase(&id).await.expect(201);
    refuse(foreign(&shop.buyer(), json!({"registeredAt": "2026-01-01T00:00:00.001Z"}))).await;
    // Nobody says it.
    refuse(foreign(&shop.buyer(), json!({}))).await;
    // Our own tokens say when the account was made, which is now.
    let eve = shop.account("eve@shop.example").await;
    refuse(eve.clone()).await;
    // The account says it, for a token that does not.
    refuse(foreign(&eve, json!({}))).await;
    change(&shop, &id, json!({"registeredBefore": "2099-01-01T00:00:00Z"})).await;
    foreign(&eve, json!({})).purchase_with_key(&id, 1, "press-1").await.expect(201);
    foreign(&shop.buyer(), json!({})).purchase(&id).await.problem(403, "account_too_new");
    change(&shop, &id, json!({"registeredBefore": null})).await;
    foreign(&shop.buyer(), json!({})).purchase(&id).await.expect(201);
    assert_eq!(shop.check_invariants(&id, 9).await, 3);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_new_accounts_is_refused_and_old_ones_in_it_are_not() {
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({"registeredBefore": "2026-01-01T00:00:00Z"}))).await;
    let accounts = (0..300).map(|number| {
        let more = match number % 10 {
            0 => json!({"registeredAt": "2025-01-01T00:00:00Z"}),
            1 => json!({}),
            _ => json!({"registeredAt": "2026-02-01T00:00:00Z"}),
        };
        foreign(&shop.buyer(), more)
    });
    let accounts: Vec<_> = accounts.collect();
    let answers = join_all(accounts.iter().map(|account| account.purchase(&id))).await;
    for (number, answer) in answers.into_iter().enumerate() {
        match number % 10 {
            0 => answer.expect(201),
            _ => answer.problem(403, "account_too_new"),
        };
    }
    assert_eq!(shop.check_invariants(&id, 1).await, 30);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_pays_more_than_they_have_seen() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 5}))).await;
    let ada = shop.buyer();
    let key = [("Idempotency-Key", "press-1")];
    ada.purchase_at(&id, 9_900, &[]).await.expect(201);
    let first = ada.purchase_at(&id, 9_900, &key).await.expect(201).json;
    change(&shop, &id, json!({"price": {"amount": 12_000, "currency": "USD"}})).await;
    for server in [0, 1] {
        let ada = shop.at(&ada, server);
        let refused = ada.purchase_at(&id, 9_900, &[]).await.problem(409, "price_changed");
        assert_eq!(refused.json["price"], json!({"amount": 12_000, "currency": "USD"}));
        ada.purchase_at(&id, 9_900, &[("Idempotency-Key", "press-2")]).await.problem(409, "price_changed");
        // A repeated key gets what was bought then, at the price of then, and not at another.
        assert_eq!(ada.purchase_at(&id, 9_900, &key).await.expect(201).json, first);
        assert_eq!(ada.purchase_with_key(&id, 1, "press-1").await.expect(201).json, first);
        ada.purchase_at(&id, 12_000, &key).await.problem(422, "idempotency_key_reused");
    }
    let euros = json!({"productId": id, "expectedPrice": {"amount": 12_000, "currency": "EUR"}});
    ada.post("/products/purchase", &euros).await.problem(409, "price_changed");
    let wrong = json!({"productId": id, "expectedPrice": {"amount": -1, "currency": "usd", "x": 1}});
    let fields = ["expectedPrice.amount", "expectedPrice.currency", "expectedPrice.x"];
    ada.post("/products/purchase", &wrong).await.invalid(&fields);
    ada.purchase_at(&id, 12_000, &[]).await.expect(201);
    assert_eq!(shop.check_invariants(&id, 5).await, 3);
    shop.close().await;
}

/// The price is compared at the commit: while an admin changes it, everybody pays what they expect, or nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_changes_under_a_crowd_charges_nobody_wrongly() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let id = shop.sell(&sneaker_with(json!({"stock": 1_000}))).await;
    let buying = join_all((0..100).map(|number| {
        let (buyer, id) = (shop.at(&shop.buyer(), number % 2), id.clone());
        async move {
            let expected = [9_900, 9_901][number / 2 % 2];
            let answer = buyer.purchase_at(&id, expected, &[]).await;
            match answer.code() {
                "" => assert_eq!(answer.expect(201).json["unitPrice"]["amount"], expected),
                "price_changed" => assert_ne!(answer.json["price"]["amount"], expected),
                _ => drop(answer.problem(503, "overloaded")),
            }
        }
    }));
    let changing = async {
        for amount in [9_901, 9_900, 9_901, 9_900] {
            change(&shop, &id, json!({"price": {"amount": amount, "currency": "USD"}})).await;
        }
    };
    tokio::join!(buying, changing);
    shop.check_invariants(&id, 1).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_prices_have_one_currency() {
    let shop = Shop::open().await;
    let admin = shop.admin();
    let yen = json!({"amount": 1, "currency": "JPY"});
    let dollars = json!({"amount": 20_000, "currency": "USD"});
    admin
        .post("/products", &sneaker_with(json!({"originalPrice": yen})))
        .await
        .invalid(&["originalPrice.currency"]);
    let id = shop.sell(&sneaker_with(json!({"originalPrice": dollars}))).await;
    let path = format!("/products/{id}");
    for (changes, field) in [
        (json!({"originalPrice": yen}), "originalPrice.currency"),
        (json!({"price": yen}), "price.currency"),
        (json!({"price": dollars, "originalPrice": yen}), "originalPrice.currency"),
    ] {
        admin.patch(&path, "*", &changes).await.invalid(&[field]);
    }
    admin.patch(&path, "*", &json!({"price": yen, "originalPrice": yen})).await.expect(200);
    admin.patch(&path, "*", &json!({"price": dollars, "originalPrice": null})).await.expect(200);
    admin.patch(&path, "*", &json!({"price": yen})).await.expect(200);
    shop.close().await;
}
