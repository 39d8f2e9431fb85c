//! Access ends for whoever is connected or waits, and also where a server has lost touch with the database.

use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::access::is_refused_in_time;
use crate::doubt::has_collided;
use crate::harness::{EventStream, FailingMongo, PASSWORD, Shop, Socket, Watcher, patient, sneaker, soon};

/// What is promised.
const AT_MOST: Duration = Duration::from_secs(2);
/// MongoDB's error code for a change stream whose position has left the oplog.
const HISTORY_LOST: i32 = 286;
/// MongoDB's error code for a command with a bad value.
const BAD_VALUE: i32 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_end_with_the_token_they_were_opened_with() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let id = shop.sell(&sneaker()).await;
    let ada = shop.account("ada@shop.example").await;
    let bob = shop.account("bob@shop.example").await;
    let elsewhere = shop.at(&ada, 1);
    let mut events = EventStream::open_with_token(&elsewhere, &id).await;
    events.expect("product").await;
    let mut socket = Socket::open_with_token(&elsewhere).await;
    socket.ask(&json!({ "subscribe": [id] })).await;
    socket.expect("product").await;
    let mut others = EventStream::open_with_token(&shop.at(&bob, 1), &id).await;
    others.expect("product").await;
    ada.post("/auth/logout", &Value::Null).await.expect(204);
    let ended = Instant::now();
    assert_eq!(events.next().await, None);
    assert!(ended.elapsed() < AT_MOST, "{:?}", ended.elapsed());
    assert_eq!(socket.closed().await.reason, "the token has ended");
    assert!(ended.elapsed() < AT_MOST, "{:?}", ended.elapsed());
    shop.buyer().purchase(&id).await.expect(201);
    others.expect("stock").await;
    // Nobody watches with a token that has ended; without one everybody may.
    let refused = elsewhere.get(&format!("/products/{id}/events")).await;
    refused.problem(401, "unauthenticated");
    EventStream::open(&elsewhere, &id).await.expect("product").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_change_stream_is_lost_knows_in_time() {
    let mongo = FailingMongo::start("access-history").await;
    mongo.ready().await;
    let mut shop = Shop::open_at(&mongo.uri).await;
    shop.add_server().await;
    let id = shop.sell(&sneaker()).await;
    let ada = shop.account("ada@shop.example").await;
    let mut events = EventStream::open_with_token(&shop.at(&ada, 1), &id).await;
    events.expect("product").await;
    mongo.fail(&["getMore", "aggregate"], HISTORY_LOST).await;
    ada.post("/auth/logout?everywhere=true", &Value::Null).await.expect(204);
    is_refused_in_time(&shop.at(&ada, 1), "unauthenticated").await;
    // `stale` may come first.
    while events.next().await.is_some() {}
    mongo.fail_no_more().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_know_serves_nobody_with_a_token() {
    let mongo = FailingMongo::start("access-lost").await;
    mongo.ready().await;
    let mut shop = Shop::open_at(&mongo.uri).await;
    let cut_off = format!("{}&appName=cut-off", shop.uri());
    shop.add_server_where(&[("MONGO_URI", &cut_off)]).await;
    let id = shop.sell(&sneaker()).await;
    let (ada, bob) = (shop.account("ada@shop.example").await, shop.account("bob@shop.example").await);
    let mut events = EventStream::open_with_token(&shop.at(&ada, 1), &id).await;
    events.expect("product").await;
    let fails = doc! { "failCommands": ["find"], "errorCode": BAD_VALUE, "appName": "cut-off" };
    let command = doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": fails };
    mongo.client.database("admin").run_command(command).await.unwrap();
    ada.post("/auth/logout", &Value::Null).await.expect(204);
    let ended = Instant::now();
    let lost = shop.at(&ada, 1);
    // What was known is good for less than two seconds; then the server waits to know, and says that it does not.
    loop {
        let begun = ended.elapsed();
        let answer = lost.purchase(&id).await;
        if answer.status == 503 {
            answer.problem(503, "database_unavailable");
            break;
        }
        assert!(begun < AT_MOST, "{begun:?} later: {answer:?}");
    }
    shop.at(&bob, 1).purchase(&id).await.problem(503, "database_unavailable");
    assert_eq!(events.next().await, None);
    // Visitors need no token.
    shop.at(&shop.visitor(), 1).get("/time").await.expect(200);
    mongo.fail_no_more().await;
    soon("knowing again", async { while lost.get("/purchases").await.status != 401 {} }).await;
    shop.at(&bob, 1).get("/purchases").await.expect(200);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_waited_is_refused_if_access_has_ended_meanwhile() {
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker()).await;
    let (ada, bob) = (shop.account("ada@shop.example").await, shop.buyer());
    bob.purchase(&id).await.expect(201);
    // A transaction holds the product: the purchase is tried again and again.
    let database = shop.database().await;
    let products = database.collection::<Document>("products");
    let mut holder = database.client().start_session().await.unwrap();
    holder.start_transaction().await.unwrap();
    let product = doc! { "_id": id.parse::<flash_sale::model::id::Id>().unwrap() };
    let held = doc! { "$set": { "barrier": "of this test" } };
    products.update_one(product, held).session(&mut holder).await.unwrap();
    let waiting = tokio::spawn({
        let (ada, id) = (ada.clone(), id.clone());
        async move { ada.purchase(&id).await }
    });
    soon("a conflict", async { while !has_collided(&shop).await {} }).await;
    shop.login(("ada@shop.example", PASSWORD))
        .await
        .post("/auth/logout?everywhere=true", &Value::Null)
        .await
        .expect(204);
    // The product is still held: nothing but its next try refuses it.
    soon("the refusal", waiting).await.unwrap().problem(401, "unauthenticated");
    holder.abort_transaction().await.unwrap();
    assert_eq!(shop.check_invariants(&id, 1).await, 1);
    shop.close().await;
}
