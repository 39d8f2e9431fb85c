//! A transaction stays open because its server hangs between its statements and its commit. The test plays that
//! server; the other servers must wait for it and meanwhile answer truthfully.

use flash_sale::config::Limits;
use flash_sale::model::id::Id;
use flash_sale::model::timestamp::Timestamp;
use futures_util::future::join_all;
use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::json;

use crate::harness::{Actor, FailingMongo, Shop, metric, patient, sneaker_with, soon};

/// The length of the sale.
const SALE_MS: i64 = 500;

/// Opens a transaction that takes one unit of `product` for `buyer`, as a lane does.
async fn open_transaction(shop: &Shop, product: &str, buyer: Id, key: &str) -> ClientSession {
    open_transaction_of(shop, product, &[(buyer, key)]).await
}

/// Opens a transaction that takes the first units of `product`, one for each buyer.
async fn open_transaction_of(shop: &Shop, product: &str, buyers: &[(Id, &str)]) -> ClientSession {
    let database = shop.database().await;
    let product: Id = product.parse().unwrap();
    let mut session = database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let count = i64::try_from(buyers.len()).unwrap();
    let change =
        doc! { "$inc": { "stock": -count, "sold": count, "purchaseCount": count, "version": 1_i64 } };
    let products = database.collection::<Document>("products");
    products.update_one(doc! { "_id": product }, change).session(&mut session).await.unwrap();
    let purchase = |(sequence, (buyer, key)): (i64, &(Id, &str))| {
        doc! {
            "_id": Id::new(), "productId": product, "userId": buyer, "buyer": "Ada L.", "quantity": 1_i64,
            "unitPrice": { "amount": 9900_i64, "currency": "USD" }, "sequence": sequence, "firstUnit": 1_i64,
            "purchasedAt": DateTime::now(), "idempotencyKey": *key,
        }
    };
    let purchases: Vec<_> = (1..).zip(buyers).map(purchase).collect();
    database.collection::<Document>("purchases").insert_many(purchases).session(&mut session).await.unwrap();
    session
}

/// The database's clock.
async fn now(shop: &Shop) -> Timestamp {
    let time = shop.visitor().get("/time").await.expect(200).json;
    Timestamp::parse(time["now"].as_str().unwrap()).unwrap()
}

/// Whether a write to a product waits in the database for another transaction.
async fn a_write_waits(shop: &Shop) -> bool {
    writes_that_wait(shop).await > 0
}

async fn writes_that_wait(shop: &Shop) -> usize {
    let database = shop.database().await;
    let namespace = format!("{}.products", database.name());
    let operations =
        doc! { "currentOp": true, "$ownOps": true, "ns": namespace, "writeConflicts": { "$gt": 0 } };
    let found = database.client().database("admin").run_command(operations).await.unwrap();
    found.get_array("inprog").unwrap().len()
}

/// Whether a lane failed to sell because another transaction holds the product.
pub async fn has_collided(shop: &Shop) -> bool {
    metric(&shop.visitor(), "flash_sale_batch_retries_total{reason=\"conflict\"}").await > 0.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_with_a_key_waits_for_what_may_still_be_committed() {
    let shop = Shop::open().await;
    let end = Timestamp::from_milliseconds(now(&shop).await.milliseconds() + SALE_MS);
    let id = shop.sell(&sneaker_with(json!({"saleEndTime": end}))).await;
    let ada = shop.buyer();
    let mut session = open_transaction(&shop, &id, ada.id, "press-1").await;
    // Meanwhile the sale ends: everything that can be read calls for a refusal.
    while now(&shop).await < end {}
    shop.buyer().purchase(&id).await.problem(409, "sale_ended");
    check_answer_waits(&shop, &id, &ada, &mut session).await;
    assert_eq!(shop.check_invariants(&id, 1).await, 1);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_looked_for_again_among_what_was_committed_late() {
    // With 0 the server does not read the purchases that another server made.
    let shop =
        Shop::open_with(Limits::default().with(|limits| limits.purchases.catch_up_purchases_max = 0)).await;
    let end = Timestamp::from_milliseconds(now(&shop).await.milliseconds() + SALE_MS);
    let id = shop.sell(&sneaker_with(json!({"saleEndTime": end}))).await;
    let (ada, bob) = (shop.buyer(), shop.buyer());
    let mut session = open_transaction_of(&shop, &id, &[(ada.id, "press-1"), (bob.id, "press-2")]).await;
    while now(&shop).await < end {}
    check_answer_waits(&shop, &id, &ada, &mut session).await;
    assert_eq!(shop.check_invariants(&id, 1).await, 2);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_still_be_committed_is_waited_for_once_after_each_change() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker_with(json!({"saleEndTime": "2025-01-02T00:00:00Z"}))).await;
    let end_in = async |milliseconds| {
        let end = Timestamp::from_milliseconds(now(&shop).await.milliseconds() + milliseconds);
        let change = json!({ "saleEndTime": end });
        shop.admin().patch(&format!("/products/{id}"), "*", &change).await.expect(200);
        end
    };
    end_in(-1_000).await;
    let barrier_of = async |key: &str| {
        shop.buyer().purchase_with_key(&id, 1, key).await.problem(409, "sale_ended");
        let products = shop.database().await.collection::<Document>("products");
        products.find_one(doc! {}).await.unwrap().unwrap().get_object_id("barrier").unwrap()
    };
    let first = barrier_of("press-1").await;
    assert_eq!(barrier_of("press-2").await, first, "nothing can have been begun since");
    // The sale goes on, then ends again.
    let end = end_in(SALE_MS).await;
    let ada = shop.buyer();
    let mut session = open_transaction(&shop, &id, ada.id, "press-1").await;
    while now(&shop).await < end {}
    check_answer_waits(&shop, &id, &ada, &mut session).await;
    assert_eq!(shop.check_invariants(&id, 1).await, 1);
    assert_ne!(barrier_of("press-3").await, first);
    shop.close().await;
}

/// With its key a purchase cannot be decided until the transaction that makes it has ended.
async fn check_answer_waits(shop: &Shop, product: &str, buyer: &Actor, session: &mut ClientSession) {
    let again = tokio::spawn({
        let (buyer, product) = (buyer.clone(), product.to_owned());
        async move { buyer.purchase_with_key(&product, 1, "press-1").await }
    });
    while !again.is_finished() && !a_write_waits(shop).await {}
    session.commit_transaction().await.unwrap();
    let answer = again.await.unwrap().expect(201);
    assert_eq!(answer.header("idempotent-replayed"), Some("true"));
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_of_a_dead_server_are_ended() {
    // A name of its own, so that this server does not end the transactions of other tests.
    let mut shop =
        Shop::open_as("gone", Limits::default().with(|limits| limits.purchases.batch_ms_max = 300)).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    let ada = shop.buyer();
    let mut session = open_transaction(&shop, &id, Id::new(), "another").await;
    // The dead server has noted it as one of its own.
    let servers = shop.database().await.collection::<Document>("servers");
    let sessions = vec![session.id().get("id").unwrap().clone()];
    let dead = doc! { "_id": Id::new(), "seenAt": DateTime::now(), "sessions": sessions };
    servers.insert_one(dead).await.unwrap();
    // MongoDB keeps the transaction open for a minute; the first batch that fails on it has it ended.
    assert_eq!(ada.purchase(&id).await.status, 503);
    let lsid = session.id().get("id").unwrap().clone();
    let database = shop.database().await;
    let admin = database.client().database("admin");
    let open = doc! {
        "currentOp": true,
        "$ownOps": true,
        "idleSessions": true,
        "lsid.id": lsid,
        "transaction": { "$exists": true },
    };
    let is_open = async || {
        let found = admin.run_command(open.clone()).await.unwrap();
        !found.get_array("inprog").unwrap().is_empty()
    };
    soon("its end", async { while is_open().await {} }).await;
    // At the server with time to spare: all that matters is that nothing holds the product any more.
    shop.at(&ada, 1).purchase(&id).await.expect(201);
    session.commit_transaction().await.unwrap_err();
    assert_eq!(shop.check_invariants(&id, 1).await, 1);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn held_products_leave_the_database_to_the_others() {
    const CONNECTIONS: u32 = 12;
    // Limits so long that no transaction is ended as abandoned.
    let limits = patient().with(|limits| limits.store.database_connections_max = CONNECTIONS);
    let waiting = limits.store.sale_writes_in_flight_max;
    let shop = Shop::open_with(limits).await;
    let other = shop.sell(&sneaker_with(json!({}))).await;
    let end = Timestamp::from_milliseconds(now(&shop).await.milliseconds() + SALE_MS);
    let mut ids = Vec::new();
    for _ in 0..CONNECTIONS + 4 {
        ids.push(shop.sell(&sneaker_with(json!({"saleEndTime": end}))).await);
    }
    let database = shop.database().await;
    let mut session = database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let held: Vec<Id> = ids.iter().map(|id| id.parse().unwrap()).collect();
    let change = doc! { "$inc": { "version": 1_i64 } };
    let products = database.collection::<Document>("products");
    products.update_many(doc! { "_id": { "$in": held } }, change).session(&mut session).await.unwrap();
    while now(&shop).await < end {}
    let mut refusals = tokio::task::JoinSet::new();
    for id in ids {
        let buyer = shop.buyer();
        refusals.spawn(async move { buyer.purchase_with_key(&id, 1, "press-1").await });
    }
    while writes_that_wait(&shop).await < waiting {}
    shop.buyer().purchase(&other).await.expect(201);
    session.abort_transaction().await.unwrap();
    for answer in refusals.join_all().await {
        answer.problem(409, "sale_ended");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_product_delays_the_others_only_once() {
    const OTHERS: usize = 8;
    let shop = Shop::open_with(patient().with(|limits| limits.purchases.commits_in_flight_max = 1)).await;
    let held = shop.sell(&sneaker_with(json!({}))).await;
    let mut others = Vec::new();
    for _ in 0..OTHERS {
        others.push(shop.sell(&sneaker_with(json!({"stock": 1_000}))).await);
    }
    let mut session = open_transaction(&shop, &held, Id::new(), "another").await;
    let waits = tokio::spawn({
        let (buyer, held) = (shop.buyer(), held.clone());
        async move { buyer.purchase(&held).await }
    });
    join_all(others.iter().map(|id| async {
        for _ in 0..30 {
            shop.buyer().purchase(id).await.expect(201);
        }
    }))
    .await;
    // The committer finds the product once, by halving a transaction of nine.
    let split = metric(&shop.visitor(), "flash_sale_transactions_split_total").await;
    assert!(split <= 4.0, "transactions were run again {split} times");
    session.abort_transaction().await.unwrap();
    waits.await.unwrap().expect(201);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_hears_that_a_product_is_held() {
    let shop = Shop::open_with(Limits::default().with(|limits| limits.store.write_ms_max = 1_000)).await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    let path = format!("/products/{id}");
    let mut session = open_transaction(&shop, &id, Id::new(), "another").await;
    let (admin, restock) = (shop.admin(), format!("{path}/restock"));
    let (one, another) = (json!({"quantity": 1}), json!({"name": "Another"}));
    let (restocked, changed, deleted) =
        tokio::join!(admin.post(&restock, &one), admin.patch(&path, "*", &another), admin.delete(&path),);
    for answer in [restocked, changed, deleted] {
        answer.problem(503, "overloaded");
    }
    session.abort_transaction().await.unwrap();
    // None of the three changes takes effect later.
    admin.post(&restock, &one).await.expect(200);
    let product = shop.product(&id).await;
    assert_eq!((&product["totalStock"], &product["name"]), (&json!(101), &json!("Limited sneaker")));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_is_outcome_unknown_and_its_key_settles_it() {
    let mongo = FailingMongo::start("silent").await;
    mongo.ready().await;
    let from_memory = Limits::default().with(|limits| {
        limits.store.database_reads_burst = 0;
        limits.store.database_reads_per_second = 0;
    });
    let shop =
        Shop::open_at_with(&mongo.uri, from_memory.with(|limits| limits.purchases.batch_ms_max = 300)).await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    assert_eq!(shop.product(&id).await["sold"], 0);
    let ada = shop.buyer();
    let is_under_way = mongo.hold_up("commitTransaction", 2_000).await;
    let (doubtful, ()) = tokio::join!(ada.purchase_with_key(&id, 1, "press-1"), is_under_way);
    let doubtful = doubtful.problem(503, "outcome_unknown");
    assert_eq!(doubtful.header("retry-after"), Some("2"));
    let purchase = format!("/purchases/{}", doubtful.json["purchaseId"].as_str().unwrap());
    ada.get(&purchase).await.problem(503, "outcome_unknown");
    assert_eq!(metric(&ada, "flash_sale_purchases_in_doubt").await, 1.0);
    shop.buyer().get(&purchase).await.problem(404, "purchase_not_found");
    let settled = async {
        loop {
            let again = ada.purchase_with_key(&id, 1, "press-1").await;
            if again.status != 503 {
                return again.expect(201);
            }
        }
    };
    let settled = soon("an answer", settled).await;
    assert_eq!(settled.json["id"], doubtful.json["purchaseId"]);
    assert_eq!(settled.header("idempotent-replayed"), Some("true"));
    assert_eq!(metric(&ada, "flash_sale_purchases_in_doubt").await, 0.0);
    // Memory knows it too, although the change stream does not report a server's own sales.
    assert_eq!(shop.product(&id).await["sold"], 1);
    assert_eq!(shop.check_invariants(&id, 1).await, 1);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_bought_for_a_buyer_who_waited_too_long() {
    let limits = Limits::default().with(|limits| {
        limits.purchases.queue_wait_ms_max = 200;
        limits.purchases.batch_ms_max = 60_000;
    });
    let shop = Shop::open_with(limits).await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 5}))).await;
    // An open transaction on the product holds up the lane.
    let mut session = open_transaction(&shop, &id, Id::new(), "another").await;
    let (first, late) = (shop.buyer(), shop.buyer());
    let taken = tokio::spawn({
        let (first, id) = (first.clone(), id.clone());
        async move { first.purchase(&id).await }
    });
    while !taken.is_finished() && !has_collided(&shop).await {}
    late.purchase(&id).await.problem(503, "overloaded");
    session.abort_transaction().await.unwrap();
    taken.await.unwrap().expect(201);
    // By now the lane has processed everything that was queued before this purchase.
    shop.buyer().purchase(&id).await.expect(201);
    assert_eq!(late.get("/purchases").await.expect(200).json["items"], json!([]));
    assert_eq!(shop.check_invariants(&id, 5).await, 2);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_product_refuses_its_own_buyers_early_and_no_others() {
    // No wait estimate is allowed, but two purchases of each product are always admitted.
    let limits = Limits::default().with(|limits| {
        limits.purchases.lane_estimated_wait_ms_max = 0;
        limits.purchases.lane_purchases_in_flight_min = 2;
        limits.purchases.queue_wait_ms_max = 60_000;
        limits.purchases.batch_ms_max = 60_000;
    });
    let shop = Shop::open_with(limits).await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 5}))).await;
    let other = shop.sell(&sneaker_with(json!({}))).await;
    let mut session = open_transaction(&shop, &id, Id::new(), "another").await;
    let mut buyers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (buyer, id) = (shop.buyer(), id.clone());
        buyers.spawn(async move { buyer.purchase(&id).await });
    }
    // The lane processes one and one waits; the third is refused at once because its wait would be too long.
    let refused = buyers.join_next().await.unwrap().unwrap().problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    shop.buyer().purchase(&other).await.expect(201);
    shop.buyer().purchase(&id).await.problem(503, "overloaded");
    session.abort_transaction().await.unwrap();
    for answer in buyers.join_all().await {
        answer.expect(201);
    }
    shop.buyer().purchase(&id).await.expect(201);
    assert_eq!(shop.check_invariants(&id, 5).await, 3);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_refuses_before_it_looks_at_anything() {
    let limits = Limits::default().with(|limits| {
        limits.purchases.estimated_wait_ms_max = 0;
        limits.purchases.purchases_in_flight_min = 1;
        limits.purchases.purchases_in_flight_max = 1;
        limits.purchases.queue_wait_ms_max = 60_000;
        limits.purchases.batch_ms_max = 60_000;
    });
    let shop = Shop::open_with(limits).await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    let mut session = open_transaction(&shop, &id, Id::new(), "another").await;
    let buyer = tokio::spawn({
        let (buyer, id) = (shop.buyer(), id.clone());
        async move { buyer.purchase(&id).await }
    });
    while !buyer.is_finished() && !has_collided(&shop).await {}
    // Without a token or a body: otherwise these errors would come first.
    shop.visitor().post("/products/purchase", &json!({})).await.problem(503, "overloaded");
    session.abort_transaction().await.unwrap();
    buyer.await.unwrap().expect(201);
    shop.visitor().post("/products/purchase", &json!({})).await.problem(401, "unauthenticated");
    shop.close().await;
}
