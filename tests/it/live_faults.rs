//! A server that loses the database tells its watchers, and tells them again when it is back.

use flash_sale::config::Limits;
use flash_sale::embedded::EmbeddedMongo;
use mongodb::bson::{Document, doc};
use rustix::process::Signal;

use crate::harness::{
    Actor, EventStream, FailingMongo, OWN_DATABASE, Shop, Socket, Watcher, own_mongo, process_directory,
    signal, sneaker, soon,
};

/// MongoDB's error code for a change stream whose position has left the oplog.
const HISTORY_LOST: i32 = 286;

async fn metrics(actor: &Actor) -> String {
    reqwest::get(format!("http://{}/metrics", actor.host())).await.unwrap().text().await.unwrap()
}

async fn until_it_answers(actor: &Actor, path: &str) {
    soon("an answer", async { while actor.get(path).await.status != 200 {} }).await;
}

/// Reads are answered from memory whenever possible.
fn from_memory() -> Limits {
    Limits::default().with(|limits| {
        limits.store.database_reads_burst = 0;
        limits.store.database_reads_per_second = 0;
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_are_told_that_the_database_is_frozen_and_that_it_is_back() {
    let mongo = own_mongo("stale").await;
    let shop = Shop::open_at_with(mongo.uri().reveal(), from_memory()).await;
    let id = shop.sell(&sneaker()).await;
    let visitor = shop.visitor();
    let mut stream = EventStream::purchases(&visitor, &id, None).await;
    stream.expect("product").await;
    let (mut socket, _) = Socket::watching(&visitor, &id).await;
    assert!(metrics(&visitor).await.contains("flash_sale_feed_synced 1\n"));
    signal(&mongo, Signal::STOP);
    let stale = stream.expect("stale").await;
    assert_eq!((&stale.data, stale.id), (&socket.expect("stale").await.data, None));
    assert!(metrics(&visitor).await.contains("flash_sale_feed_synced 0\n"));
    // Memory is not trusted now: each read goes to the database, which does not answer.
    for path in ["/products".to_owned(), format!("/products/{id}"), format!("/leaderboard?productId={id}")] {
        visitor.get(&path).await.problem(503, "database_unavailable");
    }
    // A new watcher gets the product as last known, marked as stale.
    let (mut late, _) = Socket::watching(&visitor, &id).await;
    late.expect("stale").await;
    signal(&mongo, Signal::CONT);
    assert_eq!(stream.expect("product").await.data["sold"], 0);
    assert_eq!(socket.expect("product").await.data["sold"], 0);
    assert_eq!(late.expect("product").await.data["sold"], 0);
    assert!(metrics(&visitor).await.contains("flash_sale_feed_synced 1\n"));
    until_it_answers(&visitor, "/health/ready").await;
    shop.buyer().purchase(&id).await.expect(201);
    stream.until("the purchase", |event| event.name == "purchase").await;
    assert_eq!(stream.until_stock(99).await.id, Some(1));
    assert_eq!(visitor.get(&format!("/products/{id}")).await.expect(200).json["sold"], 1);
    shop.close().await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_outlive_a_database_that_was_killed() {
    let mongo = own_mongo("watched").await;
    let mut shop = Shop::open_at(mongo.uri().reveal()).await;
    shop.add_server().await;
    let id = shop.sell(&sneaker()).await;
    let visitor = shop.visitor();
    let mut stream = EventStream::purchases(&visitor, &id, None).await;
    stream.expect("product").await;
    shop.at(&shop.buyer(), 1).purchase(&id).await.expect(201);
    stream.expect("purchase").await;
    stream.expect("stock").await;
    signal(&mongo, Signal::KILL);
    mongo.ended().await;
    stream.expect("stale").await;
    drop(mongo);
    // Restarted with the same data on the same port: the change stream resumes where it broke off.
    let mongo = EmbeddedMongo::start(&process_directory("watched")).await.unwrap();
    assert_eq!(stream.until("recovery", |event| event.name == "product").await.data["sold"], 1);
    let elsewhere = shop.at(&visitor, 1);
    until_it_answers(&elsewhere, "/health/ready").await;
    shop.at(&shop.buyer(), 1).purchase(&id).await.expect(201);
    let purchase = stream.until("the purchase", |event| event.name == "purchase").await;
    assert_eq!(purchase.id, Some(2), "nothing twice, nothing lost");
    stream.until_stock(98).await;
    shop.close().await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_in_lost_history_are_read_anew() {
    let mongo = FailingMongo::start("history").await;
    mongo.ready().await;
    let shop = Shop::open_at_with(&mongo.uri, from_memory()).await;
    let id = shop.sell(&sneaker()).await;
    let (visitor, path) = (shop.visitor(), format!("/products/{id}"));
    let mut stream = EventStream::open(&visitor, &id).await;
    stream.expect("product").await;
    for path in [&path, "/products"] {
        visitor.get(path).await.expect(200);
        visitor.get(path).await.expect(200);
    }
    mongo.fail(&["getMore", "aggregate"], HISTORY_LOST).await;
    stream.expect("stale").await;
    // The change stream never delivers this change to the server.
    let products = shop.database().await.collection::<Document>("products");
    let change = doc! { "$set": { "name": "Renamed in the dark" }, "$inc": { "version": 1_i64 } };
    products.update_one(doc! {}, change).await.unwrap();
    mongo.fail_no_more().await;
    assert_eq!(stream.expect("product").await.data["name"], "Renamed in the dark");
    assert_eq!(visitor.get(&path).await.expect(200).json["name"], "Renamed in the dark");
    assert_eq!(visitor.get("/products").await.expect(200).json["items"][0]["name"], "Renamed in the dark");
    shop.buyer().purchase(&id).await.expect(201);
    assert_eq!(stream.expect("stock").await.data["sold"], 1);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_read_is_soon_tried_again() {
    let mongo = FailingMongo::start("reads").await;
    mongo.ready().await;
    // A retry that waits for a keepalive would exceed the test's patience.
    let limits = Limits::default().with(|limits| {
        limits.live.keepalive_ms = 600_000;
        // The read that fails must not be the one that asks whose access has ended.
        limits.accounts.access_interval_ms = 600_000;
        limits.accounts.access_age_ms_max = 600_000;
    });
    let shop = Shop::open_at_with(&mongo.uri, limits).await;
    let id = shop.sell(&sneaker()).await;
    let mut stream = EventStream::purchases(&shop.visitor(), &id, None).await;
    stream.expect("product").await;
    shop.buyer().purchase(&id).await.expect(201);
    stream.expect("purchase").await;
    stream.expect("stock").await;
    // The lane needs no read here: the read that fails is the watchers'.
    mongo.fail_once("find").await;
    shop.buyer().purchase(&id).await.expect(201);
    assert_eq!(stream.until("the purchase", |event| event.name == "purchase").await.id, Some(2));
    mongo.fail_once("find").await;
    let products = mongo.client.database(OWN_DATABASE).collection::<Document>("products");
    let change = doc! { "$set": { "name": "Renamed by a script" }, "$inc": { "version": 1_i64 } };
    products.update_one(doc! {}, change).await.unwrap();
    let renamed = stream.until("the new name", |event| event.name == "product").await;
    assert_eq!(renamed.data["name"], "Renamed by a script");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_document_does_not_stop_the_feed() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let id = shop.sell(&sneaker()).await;
    let mut stream = EventStream::open(&shop.visitor(), &id).await;
    stream.expect("product").await;
    let servers = shop.database().await.collection::<Document>("servers");
    servers.insert_one(doc! { "_id": "no id of ours" }).await.unwrap();
    shop.at(&shop.buyer(), 1).purchase(&id).await.expect(201);
    assert_eq!(stream.expect("stock").await.data["sold"], 1);
    shop.close().await;
}
