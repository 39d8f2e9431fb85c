//! Who bought, in chronological order.

use base64::Engine as _;
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;
use serde_json::{Value, json};

use crate::harness::{NO_ID, Shop, sneaker, sneaker_with};

#[tokio::test(flavor = "multi_thread")]
async fn buyers_are_listed_in_the_order_of_their_purchases() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 5}))).await;
    shop.buyer_named("Ada Lovelace").purchase_many(&id, 2).await.expect(201);
    shop.buyer_named("grace@shop.example").purchase(&id).await.expect(201);
    shop.buyer_named("Alan Mathison Turing").purchase(&id).await.expect(201);
    shop.admin().patch(&format!("/products/{id}"), "*", &json!({"name": "Renamed"})).await.expect(200);
    let page = shop.visitor().get(&format!("/leaderboard?productId={id}")).await.expect(200).json;
    let told: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            json!([item["rank"], item["sequence"], item["buyer"], item["quantity"], item["productName"]])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!([1, 1, "Ada L.", 2, "Renamed"]),
            json!([2, 2, "Anonymous", 1, "Renamed"]),
            json!([3, 3, "Alan T.", 1, "Renamed"]),
        ]
    );
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_join_without_gap_or_overlap() {
    let shop = Shop::open().await;
    let products = [shop.sell(&sneaker()).await, shop.sell(&sneaker()).await];
    for number in 0..10 {
        shop.buyer().purchase(&products[number % 2]).await.expect(201);
    }
    // At once, so that some get the same timestamp.
    futures_util::future::join_all((0..20).map(|number| {
        let (buyer, product) = (shop.buyer(), products[number % 2].clone());
        async move { buyer.purchase(&product).await.expect(201) }
    }))
    .await;
    for (filter, count) in [(String::new(), 30), (format!("&productId={}", products[0]), 15)] {
        let mut items: Vec<Value> = Vec::new();
        let mut cursor = String::new();
        loop {
            let page =
                shop.visitor().get(&format!("/leaderboard?limit=4{filter}{cursor}")).await.expect(200).json;
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            let Some(next) = page["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
            // A cursor of this list is not valid in another.
            let others = [
                format!("/leaderboard?productId={}{cursor}", products[1]),
                format!("/purchases?limit=4{cursor}"),
            ];
            for other in others {
                shop.buyer().get(&other).await.invalid(&["cursor"]);
            }
        }
        let ranks: Vec<_> = items.iter().map(|item| item["rank"].as_i64().unwrap()).collect();
        assert_eq!(ranks, (1..=count).collect::<Vec<_>>());
        let times: Vec<_> = items.iter().map(|item| item["purchasedAt"].as_str().unwrap()).collect();
        assert!(times.is_sorted());
        for product in &products {
            let sequences: Vec<_> = items
                .iter()
                .filter(|item| item["productId"] == product.as_str())
                .map(|item| item["sequence"].as_i64().unwrap())
                .collect();
            assert!(sequences.is_sorted_by(|one, next| one < next), "{sequences:?}");
        }
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_board_is_a_board() {
    let shop = Shop::open().await;
    let empty = json!({"items": [], "nextCursor": null});
    let visitor = shop.visitor();
    assert_eq!(visitor.get("/leaderboard").await.expect(200).json, empty);
    assert_eq!(visitor.get(&format!("/leaderboard?productId={NO_ID}")).await.expect(200).json, empty);
    let forged = json!({"at": 0, "product": {"$oid": NO_ID}, "sequence": 0, "rank": i64::MAX}).to_string();
    let forged = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(forged);
    visitor.get(&format!("/leaderboard?cursor={forged}")).await.invalid(&["cursor"]);
    visitor.get("/leaderboard?productId=17&limit=-1").await.invalid(&["productId", "limit"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unique_index_of_an_earlier_version_gives_way_while_the_shop_is_open() {
    let mut shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    shop.buyer().purchase(&id).await.expect(201);
    let purchases = shop.database().await.collection::<Document>("purchases");
    let names = purchases.list_index_names().await.unwrap();
    let unique = IndexOptions::builder().unique(true).build();
    let index = IndexModel::builder().keys(doc! { "productId": 1, "sequence": 1 }).options(unique).build();
    purchases.create_index(index).await.unwrap();
    assert_eq!(purchases.list_index_names().await.unwrap().len(), names.len() + 1);
    shop.add_server().await;
    assert_eq!(purchases.list_index_names().await.unwrap(), names);
    for server in [0, 1] {
        shop.at(&shop.buyer(), server).purchase(&id).await.expect(201);
    }
    assert_eq!(shop.check_invariants(&id, 1).await, 3);
    shop.close().await;
}

/// A purchase has the same rank in both orders, on every page, for a crowd as well.
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_come_first_when_asked_for() {
    let shop = Shop::open().await;
    let products = [shop.sell(&sneaker()).await, shop.sell(&sneaker()).await];
    for number in 0..7 {
        shop.buyer().purchase(&products[number % 2]).await.expect(201);
    }
    let visitor = shop.visitor();
    for (filter, count) in [(String::new(), 7), (format!("&productId={}", products[0]), 4)] {
        let mut oldest_first = visitor.get(&format!("/leaderboard?order=asc{filter}")).await.expect(200).json;
        let mut oldest_first = oldest_first["items"].as_array_mut().unwrap().clone();
        oldest_first.reverse();
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/leaderboard?order=desc&limit=3{filter}{cursor}");
            let page = visitor.get(&path).await.expect(200).json;
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            let Some(next) = page["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
            // A cursor of this order is not valid in the other.
            visitor.get(&format!("/leaderboard?limit=3{filter}{cursor}")).await.invalid(&["cursor"]);
        }
        assert_eq!(items, oldest_first);
        assert_eq!(items[0]["rank"], count);
    }
    // A crowd's page is the newest, too.
    let path = format!("/leaderboard?order=desc&limit=3&productId={}", products[0]);
    for _ in 0..200 {
        visitor.get(&path).await.expect(200);
    }
    shop.buyer().purchase(&products[0]).await.expect(201);
    let page = visitor.get(&path).await.expect(200).json;
    assert_eq!((&page["items"][0]["rank"], &page["items"][0]["sequence"]), (&json!(5), &json!(5)));
    shop.close().await;
}
