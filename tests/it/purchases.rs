//! Buying, one purchase at a time, and reading what was bought.

use serde_json::json;

use crate::harness::{NO_ID, Shop, sneaker, sneaker_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_is_answered_and_stays() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 5}))).await;
    let ada = shop.buyer();
    let answer = ada.purchase_many(&id, 3).await.expect(201);
    let purchase = &answer.json;
    assert_eq!(purchase["productId"], id.as_str());
    assert_eq!(purchase["userId"], ada.id.to_hex());
    assert_eq!((&purchase["quantity"], &purchase["sequence"]), (&json!(3), &json!(1)));
    assert_eq!(purchase["unitPrice"], json!({"amount": 9900, "currency": "USD"}));
    assert_eq!(purchase["total"], json!({"amount": 29_700, "currency": "USD"}));
    let location = answer.header("location").unwrap();
    assert_eq!(location, format!("/purchases/{}", purchase["id"].as_str().unwrap()));
    assert_eq!(&ada.get(location).await.expect(200).json, purchase);
    let product = shop.product(&id).await;
    assert_eq!((&product["stock"], &product["sold"]), (&json!(97), &json!(3)));
    assert_eq!(shop.check_invariants(&id, 5).await, 3);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_counts_units_over_all_purchases() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 3}))).await;
    let ada = shop.buyer();
    ada.purchase_many(&id, 2).await.expect(201);
    let refused = ada.purchase_many(&id, 2).await.problem(409, "purchase_limit_reached");
    assert_eq!((&refused.json["limit"], &refused.json["purchased"]), (&json!(3), &json!(2)));
    ada.purchase(&id).await.expect(201);
    ada.purchase(&id).await.problem(409, "purchase_limit_reached");
    shop.buyer().purchase_many(&id, 4).await.problem(409, "purchase_limit_reached");
    // A raised limit applies at once.
    shop.admin().patch(&format!("/products/{id}"), "*", &json!({"purchaseLimit": 4})).await.expect(200);
    ada.purchase(&id).await.expect(201);
    assert_eq!(shop.check_invariants(&id, 4).await, 4);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_is_all_or_nothing() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker_with(json!({"stock": 5, "purchaseLimit": 10}))).await;
    shop.buyer().purchase_many(&id, 3).await.expect(201);
    let refused = shop.buyer().purchase_many(&id, 3).await.problem(409, "insufficient_stock");
    assert_eq!(refused.json["remaining"], 2);
    shop.buyer().purchase_many(&id, 2).await.expect(201);
    let refused = shop.buyer().purchase(&id).await.problem(409, "sold_out");
    assert_eq!(refused.json["remaining"], 0);
    assert_eq!(shop.product(&id).await["status"], "sold_out");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_purchases_are_explained() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    let ada = shop.buyer();
    shop.visitor().purchase(&id).await.problem(401, "unauthenticated");
    ada.purchase(NO_ID).await.problem(404, "product_not_found");
    ada.post("/products/purchase", &json!({})).await.invalid(&["productId"]);
    ada.post("/products/purchase", &json!([])).await.invalid(&[""]);
    ada.post("/products/purchase", &json!({"productId": "17"})).await.invalid(&["productId"]);
    ada.post("/products/purchase", &json!({"productId": {"$ne": null}})).await.invalid(&["productId"]);
    for quantity in
        [json!(0), json!(-1), json!(1001), json!(1.5), json!("1"), json!(1e300), json!({"$gt": 0})]
    {
        let body = json!({"productId": id, "quantity": quantity, "price": 0});
        ada.post("/products/purchase", &body).await.invalid(&["quantity", "price"]);
    }
    assert_eq!(shop.check_invariants(&id, 1).await, 0);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_product_is_not_found_by_servers_that_knew_it() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let id = shop.sell(&sneaker()).await;
    let ada = shop.buyer();
    // Both servers get to know the product without selling any of it.
    for server in 0..2 {
        shop.at(&ada, server).purchase_many(&id, 2).await.problem(409, "purchase_limit_reached");
    }
    shop.admin().delete(&format!("/products/{id}")).await.expect(204);
    for server in 0..2 {
        shop.at(&ada, server).purchase(&id).await.problem(404, "product_not_found");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_price_is_that_of_the_moment() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    shop.buyer().purchase(&id).await.expect(201);
    let price = json!({"price": {"amount": 500, "currency": "EUR"}});
    shop.admin().patch(&format!("/products/{id}"), "*", &price).await.expect(200);
    let purchase = shop.buyer().purchase(&id).await.expect(201).json;
    assert_eq!(purchase["unitPrice"], price["price"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn own_purchases_are_listed_newest_first_and_private() {
    let shop = Shop::open().await;
    let (first, second) =
        (shop.sell(&sneaker_with(json!({"purchaseLimit": 9}))).await, shop.sell(&sneaker()).await);
    let (ada, eve) = (shop.buyer(), shop.buyer());
    let mut expected = Vec::new();
    for product in [&first, &second, &first, &first] {
        expected.insert(0, ada.purchase(product).await.expect(201).json);
    }
    eve.purchase(&first).await.expect(201);
    let own = ada.get("/purchases").await.expect(200);
    assert_eq!((&own.json["items"], own.header("cache-control")), (&json!(expected), Some("no-store")));

    let page = ada.get("/purchases?limit=3").await.expect(200).json;
    assert_eq!(page["items"], json!(expected[..3]));
    let cursor = page["nextCursor"].as_str().unwrap();
    let page = ada.get(&format!("/purchases?limit=3&cursor={cursor}")).await.expect(200).json;
    assert_eq!(page, json!({"items": expected[3..], "nextCursor": null}));

    let path = format!("/purchases/{}", expected[0]["id"].as_str().unwrap());
    eve.get(&path).await.problem(404, "purchase_not_found");
    shop.visitor().get(&path).await.problem(401, "unauthenticated");
    ada.get("/purchases/17").await.problem(404, "purchase_not_found");
    ada.get(&format!("/purchases/{NO_ID}")).await.problem(404, "purchase_not_found");
    ada.get("/purchases?cursor=eyJ9").await.invalid(&["cursor"]);
    let admin = shop.admin();
    assert_eq!(admin.get("/purchases").await.expect(200).json["items"].as_array().unwrap().len(), 5);
    assert_eq!(admin.get(&path).await.expect(200).json, expected[0]);
    shop.close().await;
}
