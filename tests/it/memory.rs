//! A crowd is answered from memory, and the answers are true: at once on the server that made a change, on the others
//! as soon as the change stream has reported it.

use flash_sale::config::Limits;
use mongodb::bson::{DateTime, Document, doc};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Actor, EventStream, NO_ID, Shop, Watcher, own_mongo, signal, sneaker, sneaker_with};

/// Answers from memory whenever possible, and trusts it however long the database is frozen.
fn all_from_memory() -> Limits {
    Limits::default().with(|limits| {
        limits.store.database_reads_burst = 0;
        limits.store.database_reads_per_second = 0;
        limits.products.refusals_checked_burst = 0;
        limits.products.refusals_checked_per_second = 0;
        limits.products.feed_silence_ms_max = 600_000;
        limits.products.feed_lag_ms_max = 600_000;
        limits.store.heartbeat_age_ms_max = 600_000;
        // Memory serves for two intervals without a confirmation: for longer than the test takes.
        limits.store.heartbeat_interval_ms = 300_000;
    })
}

/// Waits until the first server knows everything so far: the second one makes a last change, and the first reports
/// it.
async fn catch_up(shop: &Shop, id: &str) {
    let mut stream = EventStream::open(&shop.visitor(), id).await;
    let before = stream.expect("product").await.data["totalStock"].as_i64().unwrap();
    let elsewhere = shop.at(&shop.admin(), 1);
    elsewhere.post(&format!("/products/{id}/restock"), &json!({ "quantity": 1 })).await.expect(200);
    stream.until("the restock", |event| event.data["totalStock"] == before + 1).await;
}

async fn get(actor: &Actor, path: &str) -> Value {
    actor.get(path).await.expect(200).json
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_answered_while_the_database_is_frozen() {
    let mongo = own_mongo("memory").await;
    let mut shop = Shop::open_at_with(mongo.uri().reveal(), all_from_memory()).await;
    shop.add_server().await;
    let sold_out = shop.sell(&sneaker_with(json!({ "stock": 1 }))).await;
    let upcoming = shop.sell(&sneaker_with(json!({ "saleStartTime": "2099-01-01T00:00:00Z" }))).await;
    let ended = shop.sell(&sneaker_with(json!({ "saleEndTime": "2025-01-02T00:00:00Z" }))).await;
    let id = shop.sell(&sneaker()).await;
    let buyer = shop.buyer();
    buyer.purchase_with_key(&sold_out, 1, "once").await.expect(201);
    buyer.purchase(&id).await.expect(201);
    catch_up(&shop, &id).await;
    let visitor = shop.visitor();
    let one = format!("/products/{id}");
    let board = format!("/leaderboard?productId={id}");
    let paths = [one.as_str(), "/products", "/products?search=limited&limit=2", board.as_str()];
    let mut before = Vec::new();
    for path in paths {
        // The first read fills memory, the second is answered from it.
        visitor.get(path).await.expect(200);
        before.push(visitor.get(path).await.expect(200));
    }
    for id in [&sold_out, &upcoming, &ended] {
        get(&visitor, &format!("/products/{id}")).await;
    }
    signal(&mongo, Signal::STOP);
    for (path, before) in paths.iter().zip(&before) {
        let answer = visitor.get(path).await.expect(200);
        assert_eq!((&answer.json, answer.etag()), (&before.json, before.etag()), "{path}");
        visitor.get_with(path, &[("If-None-Match", &before.etag())]).await.expect(304);
    }
    // The precheck: hopeless purchases cost the database nothing.
    buyer.purchase(&sold_out).await.problem(409, "sold_out");
    buyer.purchase(&ended).await.problem(409, "sale_ended");
    let early = buyer.purchase(&upcoming).await.problem(409, "sale_not_started");
    assert_eq!(early.json["saleStartTime"], "2099-01-01T00:00:00.000Z");
    let wait_seconds: u64 = early.header("retry-after").unwrap().parse().unwrap();
    // Nobody is told to wait for longer than a day.
    assert_eq!(wait_seconds, 24 * 60 * 60);
    signal(&mongo, Signal::CONT);
    // A purchase with a key stays valid for that key.
    let replay = buyer.purchase_with_key(&sold_out, 1, "once").await.expect(201);
    assert_eq!(replay.header("idempotent-replayed"), Some("true"));
    shop.close().await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_knows_what_was_done_on_its_server() {
    let shop = Shop::open_with(all_from_memory()).await;
    let id = shop.sell(&sneaker_with(json!({ "stock": 100, "purchaseLimit": 1000 }))).await;
    let (visitor, admin, buyer) = (shop.visitor(), shop.admin(), shop.buyer());
    let one = format!("/products/{id}");
    let board = format!("/leaderboard?productId={id}");
    let mut others: Vec<String> = Vec::new();
    for round in 1..=20_i64 {
        buyer.purchase(&id).await.expect(201);
        assert_eq!(get(&visitor, &one).await["sold"], round);
        assert_eq!(get(&visitor, "/products").await["items"][0]["sold"], round);
        for board in [board.as_str(), "/leaderboard"] {
            assert_eq!(
                get(&visitor, board).await["items"].as_array().unwrap().len() as i64,
                round,
                "{board}"
            );
        }
        admin.post(&format!("{one}/restock"), &json!({ "quantity": 2 })).await.expect(200);
        assert_eq!(get(&visitor, &one).await["stock"], 100 + round);
        assert_eq!(get(&visitor, "/products").await["items"][0]["stock"], 100 + round);
        let name = format!("Round {round}");
        let changed = admin.patch(&one, "*", &json!({ "name": name })).await.expect(200);
        let read = visitor.get(&one).await.expect(200);
        assert_eq!((&read.json, read.etag()), (&changed.json, changed.etag()));
        visitor.get_with(&one, &[("If-None-Match", &changed.etag())]).await.expect(304);
        assert_eq!(get(&visitor, "/products").await["items"][0]["name"], name);
        assert_eq!(get(&visitor, &board).await["items"][0]["productName"], name);
        others.push(shop.sell(&sneaker()).await);
        assert_eq!(get(&visitor, "/products").await["items"].as_array().unwrap().len(), others.len() + 1);
        if round % 2 == 0 {
            let gone = others.remove(0);
            get(&visitor, &format!("/products/{gone}")).await;
            admin.delete(&format!("/products/{gone}")).await.expect(204);
            visitor.get(&format!("/products/{gone}")).await.problem(404, "product_not_found");
            assert_eq!(get(&visitor, "/products").await["items"].as_array().unwrap().len(), others.len() + 1);
        }
    }
    visitor.get(&format!("/products/{NO_ID}")).await.problem(404, "product_not_found");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_a_status_has_exactly_the_products_with_it() {
    let mut shop = Shop::open_with(all_from_memory()).await;
    shop.add_server().await;
    let id = shop.sell(&sneaker_with(json!({ "stock": 1, "purchaseLimit": 1000 }))).await;
    let other = shop.sell(&sneaker()).await;
    catch_up(&shop, &other).await;
    let (visitor, admin, buyer) = (shop.visitor(), shop.admin(), shop.buyer());
    let ids = async |status: &str| -> Vec<String> {
        let page = get(&visitor, &format!("/products?status={status}")).await;
        let items = page["items"].as_array().unwrap().iter();
        items.map(|product| product["id"].as_str().unwrap().to_owned()).collect()
    };
    for _ in 0..3 {
        assert_eq!((ids("live").await, ids("sold_out").await), (vec![id.clone(), other.clone()], vec![]));
        buyer.purchase(&id).await.expect(201);
        assert_eq!((ids("live").await, ids("sold_out").await), (vec![other.clone()], vec![id.clone()]));
        // A second time, so that memory surely answers.
        assert_eq!((ids("live").await, ids("sold_out").await), (vec![other.clone()], vec![id.clone()]));
        admin.post(&format!("/products/{id}/restock"), &json!({ "quantity": 1 })).await.expect(200);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_servers_know_as_soon_as_their_watchers_do() {
    let mut shop = Shop::open_with(all_from_memory()).await;
    shop.add_server_with(all_from_memory()).await;
    let id = shop.sell(&sneaker_with(json!({ "stock": 10, "purchaseLimit": 1000 }))).await;
    let (admin, buyer, there) = (shop.admin(), shop.buyer(), shop.at(&shop.visitor(), 1));
    let mut stream = EventStream::open(&there, &id).await;
    stream.expect("product").await;
    let one = format!("/products/{id}");
    let board = format!("/leaderboard?productId={id}");
    for round in 1..=10_i64 {
        buyer.purchase(&id).await.expect(201);
        stream.until("the purchase", |event| event.data["sold"] == round).await;
        assert_eq!(get(&there, &one).await["sold"], round);
        assert_eq!(get(&there, "/products").await["items"][0]["sold"], round);
        assert_eq!(get(&there, &board).await["items"].as_array().unwrap().len() as i64, round);
        let name = format!("Round {round}");
        admin.patch(&one, "*", &json!({ "name": name })).await.expect(200);
        stream.until("the name", |event| event.data["name"] == name).await;
        assert_eq!(get(&there, &one).await["name"], name);
        assert_eq!(get(&there, "/products").await["items"][0]["name"], name);
        assert_eq!(get(&there, &board).await["items"][0]["productName"], name);
    }
    let buyer_there = shop.at(&shop.buyer(), 1);
    buyer_there.purchase(&id).await.problem(409, "sold_out");
    // A restock can be sold at once on its own server, elsewhere as soon as the news arrives.
    admin.post(&format!("{one}/restock"), &json!({ "quantity": 2 })).await.expect(200);
    buyer.purchase(&id).await.expect(201);
    stream.until_stock(1).await;
    buyer_there.purchase(&id).await.expect(201);
    stream.until_stock(0).await;
    buyer.purchase(&id).await.problem(409, "sold_out");
    buyer_there.purchase(&id).await.problem(409, "sold_out");
    // A product that another server creates and deletes.
    let made = shop.sell(&sneaker()).await;
    let mut stream = EventStream::open(&there, &made).await;
    stream.expect("product").await;
    admin.post(&format!("/products/{made}/restock"), &json!({ "quantity": 1 })).await.expect(200);
    stream.until_stock(101).await;
    assert_eq!(get(&there, "/products").await["items"].as_array().unwrap().len(), 2);
    admin.delete(&format!("/products/{made}")).await.expect(204);
    while stream.next().await.is_some() {}
    assert_eq!(get(&there, "/products").await["items"].as_array().unwrap().len(), 1);
    there.get(&format!("/products/{made}")).await.problem(404, "product_not_found");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_is_committed_late_takes_its_place_in_the_leaderboard() {
    let mut shop = Shop::open_with(all_from_memory()).await;
    shop.add_server().await;
    let (id, other) = (shop.sell(&sneaker()).await, shop.sell(&sneaker()).await);
    catch_up(&shop, &other).await;
    for _ in 0..2 {
        shop.buyer().purchase(&id).await.expect(201);
    }
    let visitor = shop.visitor();
    for _ in 0..2 {
        assert_eq!(get(&visitor, "/leaderboard?limit=1").await["items"][0]["productId"], id);
    }
    // As if another server had begun its transaction earlier and committed it just now.
    let purchases = shop.database().await.collection::<Document>("purchases");
    let first = purchases.find_one(doc! { "sequence": 1_i64 }).await.unwrap().unwrap();
    let mut earlier = first.clone();
    let at = first.get_datetime("purchasedAt").unwrap().timestamp_millis() - 1;
    earlier.insert("_id", flash_sale::model::id::Id::new());
    earlier.insert("productId", other.parse::<flash_sale::model::id::Id>().unwrap());
    earlier.insert("purchasedAt", DateTime::from_millis(at));
    purchases.insert_one(earlier).await.unwrap();
    assert_eq!(get(&visitor, "/leaderboard?limit=1").await["items"][0]["productId"], other);
    shop.close().await;
}
