//! What an admin who watches a sale is told of the server that answers.

use serde_json::{Value, json};

use crate::harness::{EventStream, Shop, sneaker_with, soon};

/// How often purchases had this outcome.
fn count(figures: &Value, outcome: &str) -> u64 {
    let outcomes = figures["purchases"].as_array().unwrap();
    let found = outcomes.iter().find(|found| found["outcome"] == outcome);
    found.unwrap_or_else(|| panic!("no {outcome}: {figures}"))["count"].as_u64().unwrap()
}

/// The answers with a purchase.
fn timed(figures: &Value) -> u64 {
    figures["purchaseTimes"].as_array().unwrap().iter().map(|time| time["count"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_server_tells_an_admin_what_it_has_counted() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let id = shop.sell(&sneaker_with(json!({"stock": 2}))).await;
    for _ in 0..2 {
        shop.buyer().purchase(&id).await.expect(201);
    }
    for _ in 0..3 {
        shop.buyer().purchase(&id).await.problem(409, "sold_out");
    }
    let admin = shop.admin();
    let figures = admin.get("/server").await.expect(200);
    assert_eq!(figures.header("cache-control"), Some("no-store"));
    let figures = figures.json;
    assert_eq!((count(&figures, "bought"), count(&figures, "sold_out")), (2, 3));
    assert_eq!(count(&figures, "sale_paused"), 0, "what usually happens is there from the start");
    assert_eq!(timed(&figures), 2, "refusals are not among them: {figures}");
    let last = figures["purchaseTimes"].as_array().unwrap().last().unwrap();
    assert_eq!(last["withinMs"], Value::Null);
    assert_eq!((&figures["watchers"], &figures["purchasesUnderWay"]), (&json!(0), &json!(0)));

    // Another server counts for itself, and says that it is another.
    let other = shop.at(&admin, 1).get("/server").await.expect(200).json;
    assert_eq!((count(&other, "bought"), count(&other, "sold_out"), timed(&other)), (0, 0, 0));
    assert_ne!(figures["server"], other["server"]);

    let watching = EventStream::open(&shop.visitor(), &id).await;
    let one = async { while admin.get("/server").await.expect(200).json["watchers"] != 1 {} };
    soon("a watcher", one).await;
    drop(watching);

    shop.buyer().get("/server").await.problem(403, "forbidden");
    shop.payment_service().get("/server").await.problem(403, "forbidden");
    shop.visitor().get("/server").await.problem(401, "unauthenticated");
    admin.get("/server?product=1").await.invalid(&["product"]);
    shop.close().await;
}
