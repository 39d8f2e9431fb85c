//! Purchases expire by themselves: on any server, once, and everything that is due after a pause.

use std::time::{Duration, Instant};

use flash_sale::model::id::Id;
use futures_util::future::join_all;
use mongodb::bson::{Document, doc};
use serde_json::json;

use crate::harness::{Shop, patient, soon};
use crate::payments::{held, id_of};

/// Waits until this many units are held, and returns how long that took.
pub async fn until_held(shop: &Shop, id: &str, units: i64) -> Duration {
    let began = Instant::now();
    let expiring = async {
        while shop.product(id).await["held"] != units {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon("expiry", expiring).await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_paid_for_is_for_sale_again() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&held(json!({"stock": 1}))).await;
    let (ada, eve) = (shop.buyer(), shop.buyer());
    let purchase = ada.purchase(&id).await.expect(201).json;
    eve.purchase_with_key(&id, 1, "press-1").await.problem(409, "sold_out");
    shop.let_expire(&[id_of(&purchase)]).await;
    let took = until_held(&shop, &id, 0).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let path = format!("/purchases/{}", id_of(&purchase));
    let expired = ada.get(&path).await.expect(200).json;
    assert_eq!((&expired["status"], &expired["sequence"]), (&json!("expired"), &json!(1)));
    let yours = ada.get(&format!("/products/{id}")).await.expect(200).json;
    assert_eq!(yours["yours"], json!({"purchased": 0, "remaining": 2, "lapses": 1}));
    let late = ada.cancel(&id_of(&purchase)).await.problem(409, "purchase_not_pending");
    assert_eq!(late.json["purchaseStatus"], "expired");
    for server in [0, 1] {
        assert_eq!(shop.at(&shop.visitor(), server).get(&format!("/products/{id}")).await.json["stock"], 1);
    }
    shop.at(&eve, 1).purchase_with_key(&id, 1, "press-1").await.expect(201);
    shop.check_invariants(&id, 2).await;
    shop.close().await;
}

/// What a script has broken stays, and nothing waits behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_cannot_expire_stops_no_other() {
    let shop = Shop::open_with(patient().with(|limits| limits.purchases.expiries_max = 2)).await;
    let id = shop.sell(&held(json!({"stock": 4}))).await;
    let gone = shop.sell(&held(json!({"stock": 4}))).await;
    let (mut stuck, mut due) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        stuck.push(id_of(&shop.buyer().purchase(&gone).await.expect(201).json));
        due.push(id_of(&shop.buyer().purchase(&id).await.expect(201).json));
    }
    let products = shop.database().await.collection::<Document>("products");
    products.delete_one(doc! { "_id": gone.parse::<Id>().unwrap() }).await.unwrap();
    // The oldest come first.
    shop.let_expire(&stuck).await;
    shop.let_expire(&due).await;
    until_held(&shop, &id, 0).await;
    shop.check_invariants(&id, 2).await;
    shop.close().await;
}

/// The clock that counts is the database's, and the window is not over before it says so.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_expires_before_its_time() {
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&held(json!({}))).await;
    let [early, due] = [shop.buyer(), shop.buyer()];
    early.purchase(&id).await.expect(201);
    let due = due.purchase(&id).await.expect(201).json;
    shop.let_expire(&[id_of(&due)]).await;
    until_held(&shop, &id, 1).await;
    assert_eq!(shop.check_invariants(&id, 2).await, 1);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_server_lets_expire_and_none_is_needed_for_it() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&held(json!({"stock": 1_000}))).await;
    let buy = async |count: usize| {
        let buyers: Vec<_> =
            (0..count).map(|number| shop.at(&shop.buyer(), number % shop.servers.len())).collect();
        let bought = join_all(buyers.iter().map(|buyer| buyer.purchase(&id))).await;
        bought.into_iter().map(|answer| id_of(&answer.expect(201).json)).collect::<Vec<_>>()
    };
    // Both look for them at once.
    let first = buy(40).await;
    shop.let_expire(&first).await;
    until_held(&shop, &id, 0).await;
    shop.check_invariants(&id, 2).await;
    // One is gone, perhaps the one that held the lease.
    let second = buy(20).await;
    shop.let_expire(&second).await;
    shop.stop_newest_server().await;
    let took = until_held(&shop, &id, 0).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    shop.check_invariants(&id, 2).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_pause_all_is_caught_up_in_steps() {
    let mut shop = Shop::open_with(patient()).await;
    let ids = [shop.sell(&held(json!({}))).await, shop.sell(&held(json!({}))).await];
    let mut purchases = Vec::new();
    for number in 0..30 {
        let bought = shop.buyer().purchase(&ids[number % 2]).await.expect(201).json;
        purchases.push(id_of(&bought));
    }
    let port = shop.stop_newest_server().await;
    shop.let_expire(&purchases).await;
    // In steps of few; a server that starts knows nothing of them.
    let _ = port;
    shop.add_server_with(patient().with(|limits| limits.purchases.expiries_max = 7)).await;
    for id in &ids {
        until_held(&shop, id, 0).await;
        shop.check_invariants(id, 2).await;
    }
    shop.close().await;
}

/// Thousands may expire while the sale goes on: nobody is sold what is not there, and everything is sold in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_sale_goes_on_while_purchases_expire() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&held(json!({"stock": 100}))).await;
    let sellers: Vec<_> = (0..100).map(|number| shop.at(&shop.buyer(), number % 2)).collect();
    let bought = join_all(sellers.iter().map(|buyer| buyer.purchase(&id))).await;
    let purchases: Vec<_> = bought.into_iter().map(|answer| id_of(&answer.expect(201).json)).collect();
    shop.let_expire(&purchases).await;
    let buying = (0..100).map(|number| {
        let (buyer, id) = (shop.at(&shop.buyer(), number % 2), &id);
        async move {
            let press = async {
                while buyer.purchase(id).await.status != 201 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            soon("a unit that was given back", press).await;
        }
    });
    join_all(buying).await;
    assert_eq!(shop.check_invariants(&id, 2).await, 100);
    assert_eq!(shop.product(&id).await["stock"], 0);
    shop.close().await;
}
