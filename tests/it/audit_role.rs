//! The MongoDB role of docs/SECURITY.md: with it the server works, and nobody can change or remove an entry of the audit log.

use mongodb::Client;
use mongodb::bson::{Document, doc, serialize_to_document};
use mongodb::error::ErrorKind;
use serde_json::{Value, json};

use crate::expiry::until_held;
use crate::harness::{OWN_DATABASE as DATABASE, Shop, hosts_of, own_mongo, sneaker_with};
use crate::payments::{held, id_of};

/// MongoDB's error code for a command that the user may not run.
const UNAUTHORIZED: i32 = 13;

/// The command in the document, for this database.
fn create_role() -> Document {
    let text = include_str!("../../docs/SECURITY.md");
    let block =
        text.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of JSON");
    let command: Value = serde_json::from_str(&block.replace("flashsale", DATABASE)).unwrap();
    serialize_to_document(&command).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_documented_role_the_server_works_and_the_log_stays() {
    let mongo = own_mongo("audit-role").await;
    // The first start creates the collections, with a user who may.
    Shop::open_at(mongo.uri().reveal()).await.close().await;
    let system = Client::with_uri_str(mongo.system_uri().reveal()).await.unwrap();
    let database = system.database(DATABASE);
    database.run_command(create_role()).await.unwrap();
    let user = doc! { "createUser": "shop", "pwd": "secret-of-the-shop", "roles": ["flashSaleServer"] };
    database.run_command(user).await.unwrap();
    let hosts = hosts_of(mongo.uri().reveal()).to_owned();
    let uri = format!(
        "mongodb://shop:secret-of-the-shop@{hosts}/{DATABASE}?authSource={DATABASE}&directConnection=true"
    );

    let shop = Shop::open_at(&uri).await;
    let admin = shop.admin();
    let id = shop.sell(&sneaker_with(json!({"stock": 1}))).await;
    let ada = shop.buyer();
    ada.purchase_with_key(&id, 1, "a").await.expect(201);
    let path = format!("/products/{id}");
    let body = Some(json!({"quantity": 2}).to_string());
    let key = [("Idempotency-Key", "press-1")];
    admin.send(reqwest::Method::POST, &format!("{path}/restock"), body, &key).await.expect(200);
    admin.patch(&path, "*", &json!({"name": "New"})).await.expect(200);
    shop.buyer().purchase(&id).await.expect(201);
    let unsold = shop.sell(&sneaker_with(json!({}))).await;
    admin.delete(&format!("/products/{unsold}")).await.expect(204);
    shop.account("ada@shop.example").await;
    admin.get(&format!("{path}/report")).await.expect(200);
    assert_eq!(shop.leaderboard(&id).await.len(), 2);
    let paid = shop.sell(&held(json!({"stock": 2}))).await;
    let [late, given_back] = [shop.buyer(), shop.buyer()];
    let late = id_of(&late.purchase(&paid).await.expect(201).json);
    let given_back = id_of(&given_back.purchase(&paid).await.expect(201).json);
    admin.confirm(&given_back, "pi_1").await.expect(200);
    admin.refund(&given_back, &json!({})).await.expect(200);
    shop.let_expire(&[late]).await;
    until_held(&shop, &paid, 0).await;
    let log = admin.get(&format!("/audit?target={id}")).await.expect(200).json;
    assert_eq!(log["items"].as_array().unwrap().len(), 3);

    let client = Client::with_uri_str(&uri).await.unwrap();
    let database = client.default_database().unwrap();
    let audit = database.collection::<Document>("audit");
    let refused = |error: mongodb::error::Error| matches!(error.kind.as_ref(), ErrorKind::Command(error) if error.code == UNAUTHORIZED);
    let change = doc! { "$set": { "action": "nothing" } };
    assert!(refused(audit.update_one(doc! {}, change.clone()).await.unwrap_err()));
    assert!(refused(audit.find_one_and_update(doc! {}, change).await.unwrap_err()));
    assert!(refused(audit.delete_many(doc! {}).await.unwrap_err()));
    assert!(refused(audit.drop().await.unwrap_err()));
    assert!(refused(database.drop().await.unwrap_err()));
    // An index that lets entries expire would remove them, too.
    let expires = doc! {
        "createIndexes": "audit", "indexes": [{ "key": { "at": 1 }, "name": "gone", "expireAfterSeconds": 1 }],
    };
    assert!(refused(database.run_command(expires).await.unwrap_err()));
    assert!(refused(
        database.run_command(doc! { "collMod": "audit", "validationLevel": "off" }).await.unwrap_err()
    ));
    let rename = doc! { "renameCollection": format!("{DATABASE}.audit"), "to": format!("{DATABASE}.old") };
    assert!(refused(client.database("admin").run_command(rename).await.unwrap_err()));
    let replace = vec![doc! { "$limit": 1 }, doc! { "$out": "audit" }];
    assert!(refused(database.collection::<Document>("products").aggregate(replace).await.unwrap_err()));
    shop.close().await;
    mongo.stop().await;
}
