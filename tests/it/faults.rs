//! When the database is lost, requests get 503 until it is back; a full queue refuses at once.

use std::time::Duration;

use flash_sale::config::Limits;
use futures_util::future::{join_all, select_all};
use rustix::process::Signal;
use serde_json::json;

use crate::harness::{
    FailingMongo, Shop, Wire, bounded, metric, own_mongo, process_directory, signal, sneaker, sneaker_with,
    soon, until_ready, with_host,
};

/// Generous, for any machine; a test that passes does not wait this long.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_database_is_reported_and_outlived() {
    let mongo = own_mongo("standstill").await;
    let shop = Shop::open_at(mongo.uri().reveal()).await;
    let id = shop.sell(&sneaker()).await;
    let (ada, eve) = (shop.buyer(), shop.buyer());
    ada.purchase(&id).await.expect(201);
    signal(&mongo, Signal::STOP);
    // Both requests meet a database that does not answer. Either is told that nothing happened, or that it may have.
    let (admin, restock) = (shop.admin(), format!("/products/{id}/restock"));
    let one = json!({"quantity": 1});
    let both = async { tokio::join!(eve.purchase_with_key(&id, 1, "once"), admin.post(&restock, &one)) };
    let (doubtful, restocked) = tokio::time::timeout(PATIENCE, both).await.expect("answers");
    assert_eq!((doubtful.status, restocked.status), (503, 503), "{doubtful:?} {restocked:?}");
    until_ready(&ada, 503).await;
    let outages = "flash_sale_purchases_total{outcome=\"database_unavailable\"}";
    let outages_before = metric(&ada, outages).await;
    shop.buyer().purchase(&id).await.problem(503, "database_unavailable");
    assert_eq!(metric(&ada, outages).await, outages_before + 1.0);
    shop.visitor().get("/products").await.problem(503, "database_unavailable");
    shop.visitor().get("/health/live").await.expect(200);
    signal(&mongo, Signal::CONT);
    until_ready(&ada, 200).await;
    // The key settles it as soon as the lane knows the outcome of the first attempt.
    let settled = async {
        loop {
            let answer = eve.purchase_with_key(&id, 1, "once").await;
            if answer.status != 503 {
                return answer;
            }
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("an answer").expect(201);
    assert_eq!(shop.check_invariants(&id, 1).await, 2);
    if restocked.code() == "database_unavailable" {
        assert_eq!(shop.product(&id).await["totalStock"], 100, "it was told that nothing was changed");
    }
    shop.close().await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_lost_its_server_holds_nobody_up() {
    let mongo = FailingMongo::start("abandoned").await;
    mongo.ready().await;
    let wire = Wire::to(mongo.host()).await;
    // So long that no batch fails: a failed batch would have the transaction ended as abandoned.
    let limits = Limits::default().with(|limits| {
        limits.purchases.batch_ms_max = 100_000;
        limits.store.server_selection_ms_max = 500;
    });
    let uri = with_host(&mongo.uri, &wire.address.to_string());
    let shop = Shop::open_at_with(&uri, limits).await;
    let id = shop.sell(&sneaker()).await;
    // The units are taken and the insert of the purchases is under way.
    let is_under_way = mongo.hold_up("insert", 200).await;
    let ada = shop.buyer();
    let first = tokio::spawn({
        let (ada, id) = (ada.clone(), id.clone());
        async move { ada.purchase(&id).await }
    });
    is_under_way.await;
    wire.cut();
    // By now the driver has given up aborting the transaction.
    until_ready(&ada, 503).await;
    wire.mend();
    // MongoDB itself keeps the transaction open for a minute.
    first.await.unwrap().expect(201);
    assert_eq!(shop.check_invariants(&id, 1).await, 1);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_killed_loses_nothing_and_is_found_again() {
    let mongo = own_mongo("killed").await;
    let shop = Shop::open_at(mongo.uri().reveal()).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 10_000}))).await;
    // The database is killed while a crowd buys.
    let crowd = join_all((0..300).map(|_| {
        let (buyer, id) = (shop.buyer(), id.clone());
        async move {
            let answer = buyer.purchase_with_key(&id, 1, "once").await;
            (buyer, answer)
        }
    }));
    let kill = async {
        while shop.visitor().get("/leaderboard").await.json["items"] == json!([]) {}
        signal(&mongo, Signal::KILL);
        mongo.ended().await
    };
    let (answers, _) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(crowd, kill) }).await.expect("answers");
    for (_, answer) in &answers {
        assert!(matches!(answer.status, 201 | 503), "{answer:?}");
    }
    until_ready(&shop.visitor(), 503).await;
    drop(mongo);
    // Restarted with the same data on the same port.
    let mongo = flash_sale::embedded::EmbeddedMongo::start(&process_directory("killed")).await.unwrap();
    until_ready(&shop.visitor(), 200).await;
    for (buyer, answer) in &answers {
        let settled = async {
            loop {
                let again = buyer.purchase_with_key(&id, 1, "once").await;
                if again.status != 503 {
                    return again;
                }
            }
        };
        let again = tokio::time::timeout(PATIENCE, settled).await.expect("an answer").expect(201);
        if answer.status == 201 {
            assert_eq!(again.json, answer.json, "a purchase that was answered is gone");
        } else if let Some(id) =
            answer.json["purchaseId"].as_str().filter(|_| again.header("idempotent-replayed").is_some())
        {
            assert_eq!(again.json["id"], id);
        }
    }
    assert_eq!(shop.check_invariants(&id, 1).await, 300);
    shop.close().await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once_and_loses_nobody() {
    let limits = Limits::default().with(|limits| {
        limits.purchases.lane_queue_purchases_max = 4;
        limits.purchases.batch_purchases_max = 2;
    });
    let shop = Shop::open_with(limits).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 1000}))).await;
    let answers = join_all((0..200).map(|_| {
        let (buyer, id) = (shop.buyer(), id.clone());
        tokio::spawn(async move { buyer.purchase(&id).await })
    }))
    .await;
    let codes: Vec<_> = answers.iter().map(|answer| answer.as_ref().unwrap().code()).collect();
    let bought = codes.iter().filter(|code| code.is_empty()).count();
    let overloaded = codes.iter().filter(|code| **code == "overloaded").count();
    assert_eq!(bought + overloaded, 200, "{codes:?}");
    assert!(bought > 0 && overloaded > 0, "{bought} bought, {overloaded} overloaded");
    assert_eq!(shop.check_invariants(&id, 1).await, i64::try_from(bought).unwrap());
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_products_do_not_hold_lanes() {
    let limits = Limits::default().with(|limits| limits.purchases.lanes_max = 2);
    let shop = Shop::open_with(limits).await;
    let ada = shop.buyer();
    for _ in 0..10 {
        ada.purchase(&flash_sale::model::id::Id::new().to_hex()).await.problem(404, "product_not_found");
    }
    // A lane ends only after it has answered.
    soon("the end of the lanes", async { while metric(&ada, "flash_sale_lanes").await != 0.0 {} }).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_lane_makes_room() {
    let limits = Limits::default().with(|limits| limits.purchases.lanes_max = 2);
    let shop = Shop::open_with(limits).await;
    let ada = shop.buyer();
    let products = join_all((0..6).map(|_| async { shop.sell(&sneaker()).await })).await;
    for id in &products {
        ada.purchase(id).await.expect(201);
    }
    for id in &products {
        ada.purchase(id).await.problem(409, "purchase_limit_reached");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_lanes_make_no_room() {
    let mongo = own_mongo("busy").await;
    let shop = Shop::open_at_with(
        mongo.uri().reveal(),
        Limits::default().with(|limits| limits.purchases.lanes_max = 2),
    )
    .await;
    let products = join_all((0..3).map(|_| async { shop.sell(&sneaker()).await })).await;
    let ada = shop.buyer();
    signal(&mongo, Signal::STOP);
    let purchases = products.iter().map(|id| Box::pin(ada.purchase(id))).collect::<Vec<_>>();
    // Two purchases occupy the two lanes and wait for the database.
    let (refused, _, others) = select_all(purchases).await;
    assert_eq!(
        refused.problem(503, "overloaded").json["detail"],
        "Too many products are being sold at once."
    );
    signal(&mongo, Signal::CONT);
    for bought in join_all(others).await {
        bought.expect(201);
    }
    shop.close().await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_forgets_its_buyers_reads_them_again() {
    buyers_are_known_under(Limits::default().with(|limits| limits.purchases.lane_buyers_max = 3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_that_remember_too_much_together_forget_and_read_again() {
    buyers_are_known_under(Limits::default().with(|limits| limits.purchases.buyers_max = 3)).await;
}

async fn buyers_are_known_under(limits: Limits) {
    let limits = limits.with(|limits| limits.purchases.catch_up_purchases_max = 2);
    let mut shop = Shop::open_with(limits).await;
    shop.add_server().await;
    let id = shop.sell(&sneaker_with(json!({"stock": 1000}))).await;
    let buyers: Vec<_> = (0..30).map(|_| shop.buyer()).collect();
    for (number, buyer) in buyers.iter().enumerate() {
        // The other server sells several in a row, more than this server catches up with.
        shop.at(buyer, usize::from(number % 5 != 0)).purchase(&id).await.expect(201);
    }
    for buyer in &buyers {
        buyer.purchase(&id).await.problem(409, "purchase_limit_reached");
    }
    assert_eq!(shop.check_invariants(&id, 1).await, 30);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_lane_retires_and_the_next_purchase_finds_a_new_one() {
    let limits = Limits::default().with(|limits| limits.purchases.lane_idle_ms_max = 1);
    let shop = Shop::open_with(limits).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 1000}))).await;
    for _ in 0..50 {
        shop.buyer().purchase(&id).await.expect(201);
    }
    assert_eq!(shop.check_invariants(&id, 1).await, 50);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unexpected_error_is_answered_without_its_cause() {
    const BAD_VALUE: i32 = 2;
    let mongo = FailingMongo::start("internal").await;
    mongo.ready().await;
    let shop = Shop::open_at(&mongo.uri).await;
    let ada = shop.buyer();
    mongo.fail(&["find"], BAD_VALUE).await;
    let answer = ada.get("/purchases").await.problem(500, "internal");
    let text = answer.json.to_string();
    assert!(!text.contains("failpoint") && !text.contains("BadValue") && !text.contains("mongo"), "{text}");
    mongo.fail_no_more().await;
    ada.get("/purchases").await.expect(200);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_the_database_cannot_judge_does_not_count() {
    const NOT_WRITABLE_PRIMARY: i32 = 10_107;
    let mongo = FailingMongo::start("login").await;
    mongo.ready().await;
    let limits = bounded().with(|limits| limits.accounts.login_failures_max = 1);
    let shop = Shop::open_at_with(&mongo.uri, limits).await;
    let visitor = shop.visitor();
    let body = json!({"email": "ada@shop.example", "password": "not the password"});
    mongo.fail(&["find"], NOT_WRITABLE_PRIMARY).await;
    for _ in 0..2 {
        visitor.post("/auth/login", &body).await.problem(503, "database_unavailable");
    }
    mongo.fail_no_more().await;
    visitor.post("/auth/login", &body).await.problem(401, "invalid_credentials");
    visitor.post("/auth/login", &body).await.problem(429, "rate_limited");
    shop.close().await;
}
