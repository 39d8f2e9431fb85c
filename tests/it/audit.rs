//! The audit log: every change of a product is in it, exactly once, with what it changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flash_sale::model::id::Id;
use futures_util::future::join_all;
use mongodb::bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Actor, Answer, FailingMongo, Shop, patient, sneaker, sneaker_with, soon};

/// What the log says, newest first.
async fn log(admin: &Actor, query: &str) -> Vec<Value> {
    let page = admin.get(&format!("/audit?{query}")).await.expect(200).json;
    page["items"].as_array().unwrap().clone()
}

fn actions(log: &[Value]) -> Vec<&str> {
    log.iter().map(|entry| entry["action"].as_str().unwrap()).collect()
}

async fn keyed(admin: &Actor, path: &str, body: &Value, key: &str) -> Answer {
    admin.send(Method::POST, path, Some(body.to_string()), &[("Idempotency-Key", key)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_product_is_in_the_log_with_what_it_changed() {
    let shop = Shop::open_with(patient()).await;
    let admin = shop.admin();
    let product = sneaker_with(json!({"stock": 5, "description": "old"})).to_string();
    let headers = [("X-Request-Id", "order-17")];
    let created = admin.send(Method::POST, "/products", Some(product), &headers).await.expect(201).json;
    let id = created["id"].as_str().unwrap();
    let path = format!("/products/{id}");
    let change = json!({"name": "New", "description": null, "purchaseLimit": 1});
    admin.patch(&path, "*", &change).await.expect(200);
    admin.post(&format!("{path}/restock"), &json!({"quantity": 3})).await.expect(200);
    admin.delete(&path).await.expect(204);
    let entries = log(&admin, &format!("target={id}")).await;
    assert_eq!(
        actions(&entries),
        ["product_deleted", "product_restocked", "product_changed", "product_created"]
    );
    for entry in &entries {
        assert_eq!((&entry["actor"], &entry["target"]), (&json!(admin.id.to_hex()), &json!(id)), "{entry}");
        assert_eq!(entry["address"], "127.0.0.1", "{entry}");
    }
    let [deleted, restocked, changed, made] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(made["requestId"], "order-17");
    assert_eq!((&made["before"], &made["after"]["stock"]), (&Value::Null, &json!(5)));
    assert_eq!(made["after"]["saleStartTime"], created["saleStartTime"]);
    assert_eq!(made["after"]["price"], created["price"]);
    assert!(made["after"].get("nameFolded").is_none() && made["after"].get("version").is_none(), "{made}");
    // Only what is different: the limit was 1 before.
    assert_eq!(changed["before"], json!({"name": "Limited sneaker", "description": "old"}));
    assert_eq!(changed["after"], json!({"name": "New", "description": null}));
    assert_eq!(restocked["before"], json!({"stock": 5, "totalStock": 5}));
    assert_eq!(restocked["after"], json!({"stock": 8, "totalStock": 8}));
    assert_eq!((&deleted["before"]["name"], &deleted["after"]), (&json!("New"), &Value::Null));
    // What is refused, or changes nothing, is not in the log.
    let id = shop.sell(&sneaker()).await;
    let path = format!("/products/{id}");
    admin.patch(&path, "\"9\"", &json!({"name": "New"})).await.problem(412, "version_conflict");
    admin.patch(&path, "*", &json!({})).await.expect(200);
    admin.patch(&path, "*", &json!({"saleEndTime": "2024-01-01T00:00:00Z"})).await.invalid(&["saleEndTime"]);
    shop.buyer().purchase(&id).await.expect(201);
    admin.delete(&path).await.problem(409, "product_has_sales");
    assert_eq!(actions(&log(&admin, &format!("target={id}")).await), ["product_created"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_filtered_paged_and_for_admins_only() {
    let shop = Shop::open_with(patient()).await;
    let (grace, ada) = (shop.admin(), shop.admin());
    let id = shop.sell(&sneaker()).await;
    let path = format!("/products/{id}");
    for round in 0..4 {
        let admin = if round % 2 == 0 { &grace } else { &ada };
        admin.patch(&path, "*", &json!({"name": format!("Run {round}")})).await.expect(200);
    }
    ada.post(&format!("{path}/restock"), &json!({"quantity": 1})).await.expect(200);
    let all = log(&grace, "").await;
    assert_eq!(all.len(), 6);
    assert!(all.is_sorted_by(|a, b| a["at"].as_str() >= b["at"].as_str()), "{all:?}");
    let actor = ada.id.to_hex();
    assert_eq!(log(&grace, &format!("actor={actor}")).await, [&all[0], &all[1], &all[3]].map(Value::clone));
    assert_eq!(log(&grace, "action=product_restocked").await, &all[..1]);
    assert_eq!(actions(&log(&grace, &format!("actor={actor}&action=product_changed")).await).len(), 2);
    assert_eq!(log(&grace, &format!("target={}", Id::new())).await, [] as [Value; 0]);
    let moment = all[2]["at"].as_str().unwrap();
    let later: Vec<_> = all.iter().filter(|entry| entry["at"].as_str().unwrap() > moment).cloned().collect();
    let earlier: Vec<_> =
        all.iter().filter(|entry| entry["at"].as_str().unwrap() < moment).cloned().collect();
    assert_eq!(log(&grace, &format!("after={moment}")).await, later);
    assert_eq!(log(&grace, &format!("before={moment}&after=&target={id}")).await, earlier);

    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = grace.get(&format!("/audit?limit=2&target={id}{cursor}")).await.expect(200).json;
        assert!(page["items"].as_array().unwrap().len() <= 2);
        paged.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, all);
    shop.buyer().get("/audit").await.problem(403, "forbidden");
    shop.visitor().get("/audit").await.problem(401, "unauthenticated");
    grace
        .get("/audit?actor=x&target=1&action=sold&after=now&before=then&who=me")
        .await
        .invalid(&["actor", "target", "action", "after", "before", "who"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_the_same_moment_are_paged_without_loss() {
    let shop = Shop::open_with(patient()).await;
    let store = shop.store().await;
    let at = mongodb::bson::DateTime::now();
    let entry =
        |_| doc! { "_id": Id::new(), "at": at, "actor": null, "action": "product_changed", "target": null };
    let entries: Vec<Document> = (0..7).map(entry).collect();
    store.audit.clone_with_type::<Document>().insert_many(entries).await.unwrap();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = shop.admin().get(&format!("/audit?limit=3{cursor}")).await.expect(200).json;
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let mut sorted = seen.clone();
    sorted.sort();
    sorted.dedup();
    sorted.reverse();
    assert_eq!((seen.len(), seen), (7, sorted));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_get_through_a_rush_and_sales_go_on() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = Arc::new(shop.sell(&sneaker_with(json!({"stock": 1_000_000}))).await);
    let is_over = Arc::new(AtomicBool::new(false));
    let buyers = (0..12).map(|number| {
        let (id, is_over, buyer) = (id.clone(), is_over.clone(), shop.buyer());
        let servers = [shop.at(&buyer, 0), shop.at(&buyer, 1)];
        let tokens: Vec<_> = (0..4_000).map(|_| shop.buyer()).collect();
        tokio::spawn(async move {
            let mut sold = 0;
            for next in tokens {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                servers[number % 2].with_token(next.token()).purchase(&id).await.expect(201);
                sold += 1;
            }
            sold
        })
    });
    let buyers: Vec<_> = buyers.collect();
    let admin = shop.admin();
    let sold = async || shop.product(&id).await["sold"].as_i64().unwrap();
    let sells_on = async |before: i64| while sold().await <= before {};
    soon("a sale", sells_on(0)).await;
    for round in 0..3 {
        let before = sold().await;
        let restock = format!("/products/{id}/restock");
        admin.post(&restock, &json!({"quantity": 1})).await.expect(200);
        admin.patch(&format!("/products/{id}"), "*", &json!({"name": format!("{round}")})).await.expect(200);
        soon("a sale after the change", sells_on(before)).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let bought: i64 = join_all(buyers).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(shop.check_invariants(&id, 1).await, bought);
    assert_eq!(shop.product(&id).await["totalStock"], 1_000_003);
    assert_eq!(log(&admin, &format!("target={id}")).await.len(), 7);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restock_with_a_key_is_made_once() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 1}))).await;
    let path = format!("/products/{id}/restock");
    let admin = shop.admin();
    let admins = [shop.at(&admin, 0), shop.at(&admin, 1)];
    let two = json!({"quantity": 2});
    let answers = join_all((0..10).map(|number| keyed(&admins[number % 2], &path, &two, "press-1"))).await;
    let fresh: Vec<_> =
        answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).collect();
    assert_eq!(fresh.len(), 1);
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.json == fresh[0].json), "{answers:?}");
    assert_eq!(shop.product(&id).await["totalStock"], 3);
    // What was answered then, whatever has happened since.
    shop.buyer().purchase(&id).await.expect(201);
    let again = keyed(&admin, &path, &json!({"quantity": 2.0}), "press-1").await.expect(200);
    assert_eq!((&again.json, again.etag()), (&fresh[0].json, fresh[0].etag()));
    assert_eq!(shop.product(&id).await["stock"], 2);
    // Another body, another product, another route: another request.
    keyed(&admin, &path, &json!({"quantity": 3}), "press-1").await.problem(422, "idempotency_key_reused");
    let other = format!("/products/{}/restock", shop.sell(&sneaker()).await);
    keyed(&admin, &other, &two, "press-1").await.problem(422, "idempotency_key_reused");
    keyed(&admin, "/products", &sneaker(), "press-1").await.problem(422, "idempotency_key_reused");
    // Another admin's key, and the same key for a purchase, are other keys.
    keyed(&shop.admin(), &path, &two, "press-1").await.expect(200);
    shop.at(&admin, 0).purchase_with_key(&id, 1, "press-1").await.expect(201);
    // A refusal is not stored.
    let missing = format!("/products/{}/restock", Id::new());
    keyed(&admin, &missing, &two, "press-2").await.problem(404, "product_not_found");
    keyed(&admin, &path, &two, "press-2").await.expect(200);
    keyed(&admin, &path, &json!({"quantity": 0}), "no key").await.invalid(&["Idempotency-Key", "quantity"]);
    assert_eq!(log(&admin, &format!("target={id}&action=product_restocked")).await.len(), 3);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_with_a_key_is_created_once() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let product = sneaker();
    let admin = shop.admin();
    let admins = [shop.at(&admin, 0), shop.at(&admin, 1)];
    let answers =
        join_all((0..10).map(|number| keyed(&admins[number % 2], "/products", &product, "new-1"))).await;
    assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
    assert!(answers.iter().all(|answer| answer.json == answers[0].json), "{answers:?}");
    assert!(answers.iter().all(|answer| answer.header("location") == answers[0].header("location")));
    let products = shop.visitor().get("/products").await.expect(200).json;
    assert_eq!(products["items"].as_array().unwrap().len(), 1);
    let dearer = sneaker_with(json!({"purchaseLimit": 2}));
    keyed(&admin, "/products", &dearer, "new-1").await.problem(422, "idempotency_key_reused");
    // It was created, whatever has become of it.
    admin.delete(answers[0].header("location").unwrap()).await.expect(204);
    assert_eq!(keyed(&admin, "/products", &sneaker(), "new-1").await.expect(201).json, answers[0].json);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_commit_gets_no_answer_is_in_doubt_and_its_key_settles_it() {
    let mongo = FailingMongo::start("audit-doubt").await;
    mongo.ready().await;
    let shop = Shop::open_at(&mongo.uri).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 1}))).await;
    let (admin, path, two) = (shop.admin(), format!("/products/{id}/restock"), json!({"quantity": 2}));
    // HostUnreachable: nobody knows what became of it.
    mongo.fail(&["commitTransaction"], 6).await;
    keyed(&admin, &path, &two, "press-1").await.problem(503, "outcome_unknown");
    mongo.fail_no_more().await;
    let settled = async {
        loop {
            let answer = keyed(&admin, &path, &two, "press-1").await;
            if answer.status != 503 {
                return answer;
            }
        }
    };
    soon("the outcome", settled).await.expect(200);
    assert_eq!(shop.product(&id).await["totalStock"], 3);
    assert_eq!(log(&admin, &format!("target={id}&action=product_restocked")).await.len(), 1);
    // And nothing holds the product.
    shop.buyer().purchase(&id).await.expect(201);
    shop.close().await;
}
