//! Answers stay true when servers, requests and documents are not as usual.

use flash_sale::config::Limits;
use futures_util::future::join_all;
use mongodb::Client;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::json;

use crate::harness::{
    FailingMongo, OWN_DATABASE, Shop, Wire, hosts_of, metric, own_mongo, sneaker, sneaker_with, soon,
    with_host,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_with_a_key_is_final_for_the_tries_before_it() {
    let mongo = own_mongo("final").await;
    let mut shop = Shop::open_at(mongo.uri().reveal()).await;
    let uri = mongo.uri();
    let wire = Wire::to(hosts_of(uri.reveal()).to_owned()).await;
    let slow = with_host(uri.reveal(), &wire.address.to_string());
    shop.add_server_where(&[("MONGO_URI", &slow)]).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 2}))).await;
    let ada = shop.buyer();
    // The slow server knows the product, too.
    shop.at(&shop.buyer(), 1).purchase(&id).await.expect(201);
    wire.hold();
    let first = tokio::spawn({
        let (ada, id) = (shop.at(&ada, 1), id.clone());
        async move { ada.purchase_with_key(&id, 1, "press-1").await }
    });
    let taken = "flash_sale_batch_purchases_sum";
    let slow_server = shop.at(&shop.visitor(), 1);
    soon("the first try", async { while metric(&slow_server, taken).await < 2.0 {} }).await;
    shop.buyer().purchase(&id).await.expect(201);
    ada.purchase_with_key(&id, 1, "press-1").await.problem(409, "sold_out");
    shop.admin().post(&format!("/products/{id}/restock"), &json!({"quantity": 5})).await.expect(200);
    wire.release();
    first.await.unwrap().problem(503, "overloaded");
    // By now the slow server has decided all that waited there.
    shop.at(&shop.buyer(), 1).purchase(&id).await.expect(201);
    assert_eq!(ada.get("/purchases").await.expect(200).json["items"], json!([]));
    // A new try is judged by itself.
    shop.at(&ada, 1).purchase_with_key(&id, 1, "press-1").await.expect(201);
    shop.close().await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_product_does_not_slow_the_others_down() {
    let shop = Shop::open().await;
    let products = join_all((0..4).map(|_| async { shop.sell(&sneaker()).await })).await;
    let thief = shop.buyer();
    thief.purchase_with_key(&products[0], 1, "once").await.expect(201);
    for _ in 0..5 {
        let honest = products[1..].iter().map(|product| {
            let buyer = shop.buyer();
            async move { buyer.purchase(product).await.expect(201) }
        });
        let reused = thief.purchase_with_key(&products[1], 1, "once");
        let (reused, _) = tokio::join!(reused, join_all(honest));
        reused.problem(422, "idempotency_key_reused");
    }
    let visitor = shop.visitor();
    assert_eq!(metric(&visitor, "flash_sale_transactions_split_total").await, 0.0);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_read_costs_only_itself() {
    let mongo = own_mongo("odd-documents").await;
    let shop = Shop::open_at(mongo.uri().reveal()).await;
    let id = shop.sell(&sneaker()).await;
    shop.buyer().purchase(&id).await.expect(201);
    // The server's own user may not go around the collections' rules.
    let system = Client::with_uri_str(mongo.system_uri().reveal()).await.unwrap();
    let database = system.database(OWN_DATABASE);
    let (products, purchases) =
        (database.collection::<Document>("products"), database.collection::<Document>("purchases"));
    let product = products.find_one(doc! {}).await.unwrap().unwrap();
    let purchase = purchases.find_one(doc! {}).await.unwrap().unwrap();
    let odd = |document: &Document, number: i64, change: &dyn Fn(&mut Document)| {
        let mut document = document.clone();
        document.insert("_id", flash_sale::model::id::Id::new());
        document.insert("userId", flash_sale::model::id::Id::new());
        document.insert("sequence", 1 + number);
        change(&mut document);
        document
    };
    let price = doc! { "amount": 9900.0, "currency": "USD" };
    for (number, document) in [
        odd(&product, 1, &|product| drop(product.insert("price", price.clone()))),
        odd(&product, 2, &|product| drop(product.remove("purchaseLimit"))),
    ]
    .into_iter()
    .enumerate()
    {
        products
            .insert_one(document)
            .bypass_document_validation(true)
            .await
            .unwrap_or_else(|error| panic!("{number}: {error}"));
    }
    for document in [
        odd(&purchase, 1, &|purchase| drop(purchase.remove("buyer"))),
        odd(&purchase, 2, &|purchase| drop(purchase.insert("unitPrice", price.clone()))),
        odd(&purchase, 3, &|purchase| drop(purchase.remove("quantity"))),
    ] {
        purchases.insert_one(document).bypass_document_validation(true).await.unwrap();
    }
    let visitor = shop.visitor();
    let ids = |list: &serde_json::Value| list["items"].as_array().unwrap().len();
    let list = visitor.get("/products").await.expect(200).json;
    // A whole number is one, however the shell wrote it; a product without a limit is left out.
    assert_eq!((ids(&list), &list["items"][0]["id"]), (2, &json!(id)));
    let leaderboard = visitor.get("/leaderboard").await.expect(200).json;
    assert_eq!(ids(&leaderboard), 3, "{leaderboard}");
    assert_eq!(leaderboard["items"][1]["buyer"], "Anonymous");
    shop.admin().get("/purchases").await.expect(200);
    shop.close().await;
    mongo.stop().await;
}

/// Whoever waits with a key when a product is reopened buys nothing, so a restock reopens only what may have run short.
#[tokio::test(flavor = "multi_thread")]
async fn a_restock_reopens_only_a_product_that_was_short() {
    let shop = Shop::open().await;
    let products = shop.database().await.collection::<Document>("products");
    for (stock, is_reopened) in [(1, true), (2, true), (3, false)] {
        let id = shop.sell(&sneaker_with(json!({ "stock": stock, "purchaseLimit": 3 }))).await;
        let restocked =
            shop.admin().post(&format!("/products/{id}/restock"), &json!({ "quantity": 5 })).await;
        assert_eq!(restocked.expect(200).json["stock"], stock + 5);
        let query = doc! { "_id": id.parse::<flash_sale::model::id::Id>().unwrap() };
        let product = products.find_one(query).await.unwrap().unwrap();
        assert_eq!(product.contains_key("reopenedAt"), is_reopened, "{product}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_another_application_is_left_alone() {
    // Both call themselves the same, as with a connection string that a provider hands out.
    let shop =
        Shop::open_as("Cluster0", Limits::default().with(|limits| limits.purchases.batch_ms_max = 300)).await;
    let id = shop.sell(&sneaker()).await;
    let database = shop.database().await;
    let mut session = database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let theirs = database.collection::<Document>("theirs");
    theirs.insert_one(doc! { "at": DateTime::now() }).session(&mut session).await.unwrap();
    let products = database.collection::<Document>("products");
    let hold = doc! { "$set": { "theirs": true } };
    products.update_one(doc! {}, hold).session(&mut session).await.unwrap();
    // Each of these looks for transactions to end.
    for _ in 0..4 {
        assert_eq!(shop.buyer().purchase(&id).await.status, 503);
    }
    session.commit_transaction().await.unwrap();
    shop.buyer().purchase(&id).await.expect(201);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_only_read_and_write_can_start_a_newer_version() {
    let mongo = FailingMongo::start("rights").await;
    mongo.ready().await;
    let older = mongo.client.database(OWN_DATABASE);
    let rules = doc! { "$jsonSchema": { "bsonType": "object" } };
    older.create_collection("products").validator(rules).await.unwrap();
    const UNAUTHORIZED: i32 = 13;
    mongo.fail(&["collMod"], UNAUTHORIZED).await;
    let shop = Shop::open_at(&mongo.uri).await;
    let id = shop.sell(&sneaker()).await;
    shop.buyer().purchase(&id).await.expect(201);
    mongo.fail_no_more().await;
    shop.close().await;
}
