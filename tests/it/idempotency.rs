//! A repeated key returns the first purchase again.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::harness::{NO_ID, Shop, sneaker, sneaker_with};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_make_one_purchase() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 10}))).await;
    let ada = shop.buyer();
    let actors = [shop.at(&ada, 0), shop.at(&ada, 1)];
    let answers =
        join_all((0..50).map(|number| actors[number % 2].purchase_with_key(&id, 2, "press-1"))).await;
    let first = &answers[0].json;
    let mut replayed = 0;
    for answer in &answers {
        assert_eq!((answer.status, &answer.json), (201, first));
        replayed += usize::from(answer.header("idempotent-replayed") == Some("true"));
    }
    assert_eq!(replayed, 49);
    assert_eq!(shop.check_invariants(&id, 10).await, 2);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_body_is_refused() {
    let shop = Shop::open().await;
    let (id, other) =
        (shop.sell(&sneaker_with(json!({"purchaseLimit": 10}))).await, shop.sell(&sneaker()).await);
    let sold_out = shop.sell(&sneaker_with(json!({"stock": 0}))).await;
    let ada = shop.buyer();
    ada.purchase_with_key(&id, 1, "press-1").await.expect(201);
    for (product, quantity) in [(id.as_str(), 2), (&other, 1), (&sold_out, 1), (NO_ID, 1)] {
        ada.purchase_with_key(product, quantity, "press-1").await.problem(422, "idempotency_key_reused");
    }
    // The others in the same batch are not affected.
    let (eve, bob) = (shop.buyer(), shop.buyer());
    let (refused, bought, also) = tokio::join!(
        ada.purchase_with_key(&other, 1, "press-1"),
        eve.purchase_with_key(&other, 1, "press-1"),
        bob.purchase(&other),
    );
    refused.problem(422, "idempotency_key_reused");
    bought.expect(201);
    also.expect(201);
    assert_eq!(shop.check_invariants(&other, 1).await, 2);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_on_two_products_at_once_buys_one() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let products = [shop.sell(&sneaker()).await, shop.sell(&sneaker()).await];
    let ada = shop.buyer();
    let actors = [shop.at(&ada, 0), shop.at(&ada, 1)];
    for round in 0..10 {
        let key = format!("press-{round}");
        let buyer = shop.buyer();
        let [here, there] = [buyer.with_token(buyer.token()), shop.at(&buyer, 1)];
        let (one, other) = tokio::join!(
            here.purchase_with_key(&products[0], 1, &key),
            there.purchase_with_key(&products[1], 1, &key)
        );
        let mut codes = [one.code().to_owned(), other.code().to_owned()];
        codes.sort();
        assert_eq!(codes, ["", "idempotency_key_reused"]);
        // Ada presses for the first product again, on both servers: a replay each time.
        let answers =
            join_all(actors.iter().map(|actor| actor.purchase_with_key(&products[0], 1, "mine"))).await;
        assert!(answers.iter().all(|answer| answer.status == 201));
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_outlives_the_sale_and_the_server() {
    let mut shop = Shop::open().await;
    let id = shop.sell(&sneaker_with(json!({"stock": 1}))).await;
    let ada = shop.buyer();
    let first = ada.purchase_with_key(&id, 1, "press-1").await.expect(201).json;
    // Sold out, ended, and on a server that has never seen this key.
    let end = json!({"saleEndTime": "2025-01-02T00:00:00Z"});
    shop.admin().patch(&format!("/products/{id}"), "*", &end).await.expect(200);
    shop.add_server().await;
    for server in [0, 1] {
        let replay = shop.at(&ada, server).purchase_with_key(&id, 1, "press-1").await.expect(201);
        assert_eq!(replay.header("idempotent-replayed"), Some("true"));
        assert_eq!(replay.json, first);
    }
    // Keys belong to their user: another user's equal key is a new one.
    shop.buyer().purchase_with_key(&id, 1, "press-1").await.problem(409, "sale_ended");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_decided_anew() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker_with(json!({"stock": 0}))).await;
    let ada = shop.buyer();
    ada.purchase_with_key(&id, 1, "press-1").await.problem(409, "sold_out");
    shop.admin().post(&format!("/products/{id}/restock"), &json!({"quantity": 1})).await.expect(200);
    ada.purchase_with_key(&id, 1, "press-1").await.expect(201);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_visible_ascii() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    let ada = shop.buyer();
    for key in ["", "two words", "\u{e9}", &"x".repeat(256)] {
        ada.purchase_with_key(&id, 1, key).await.invalid(&["Idempotency-Key"]);
    }
    // The answer names everything that is wrong, in the header and in the body.
    ada.purchase_with_key(&id, 0, "two words").await.invalid(&["Idempotency-Key", "quantity"]);
    ada.purchase_with_key(&id, 1, &"~".repeat(255)).await.expect(201);
    // With two keys it is unclear which one counts.
    let body = Some(json!({"productId": id}).to_string());
    let twice = [("Idempotency-Key", "one"), ("Idempotency-Key", "one")];
    let answer = ada.send(Method::POST, "/products/purchase", body, &twice).await;
    answer.invalid(&["Idempotency-Key"]);
    shop.close().await;
}
