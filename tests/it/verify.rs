//! `flash-sale verify`: fine books pass, and whatever does not add up is named.

use flash_sale::model::id::Id;
use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::json;

use crate::harness::{
    Actor, FailingMongo, SECRET, Shop, own_mongo, patient, process_directory, sneaker, sneaker_with, soon,
};
use crate::payments::{held, id_of};
use crate::process::{Running, program};

/// Runs it on this shop's database; returns its exit code and what it prints.
async fn verify(shop: &Shop, arguments: &[&str]) -> (i32, String) {
    let mut command = program(&process_directory("verify"), &shop.settings());
    command.arg("verify").args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(printed).unwrap())
}

async fn is_fine(shop: &Shop) -> String {
    let (code, printed) = verify(shop, &[]).await;
    assert_eq!(code, 0, "{printed}");
    printed
}

/// Writes without the validator, as somebody with a shell could. The user of the shared MongoDB may not.
async fn edit(shop: &Shop, collection: &str, query: Document, update: Document) {
    let documents = shop.database().await.collection::<Document>(collection);
    let edited = documents.update_one(query, update).bypass_document_validation(true).await.unwrap();
    assert_eq!(edited.matched_count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_after_a_rush_add_up() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    assert!(is_fine(&shop).await.contains("0 products, 0 purchases"));
    let (one, two) = (
        shop.sell(&sneaker_with(json!({"purchaseLimit": 3}))).await,
        shop.sell(&sneaker_with(json!({"stock": 5}))).await,
    );
    let buyers: Vec<_> = (0..30).map(|number| shop.at(&shop.buyer(), number % 2)).collect();
    let rush = buyers.iter().flat_map(|buyer| {
        [
            buyer.purchase_with_key(&one, 1, "a"),
            buyer.purchase_with_key(&one, 2, "b"),
            buyer.purchase_with_key(&two, 1, "c"),
        ]
    });
    join_all(rush).await;
    let (admin, path) = (shop.admin(), format!("/products/{one}"));
    admin.post(&format!("{path}/restock"), &json!({"quantity": 50})).await.expect(200);
    // A limit that was lowered, and a sale that was ended early, are no mistakes of what was sold before.
    admin
        .patch(&path, "*", &json!({"purchaseLimit": 1, "saleEndTime": "2025-01-02T00:00:00Z"}))
        .await
        .expect(200);
    let (sold, printed) = (shop.product(&one).await["sold"].as_i64().unwrap(), is_fine(&shop).await);
    assert_eq!(sold, 90);
    assert!(printed.contains("2 products, ") && printed.ends_with(": everything adds up\n"), "{printed}");
    let (code, printed) = verify(&shop, &["--product", &two]).await;
    assert_eq!((code, printed.contains("1 products, 5 purchases, 5 times")), (0, true), "{printed}");
    shop.close().await;
}

/// Among millions of purchases of other products, all others would take longer than a snapshot is kept.
#[tokio::test(flavor = "multi_thread")]
async fn one_product_costs_its_own_purchases_only() {
    let mongo = own_mongo("verify-one").await;
    let shop = Shop::open_at_with(mongo.uri().reveal(), patient()).await;
    let (small, large) = (shop.sell(&sneaker()).await, shop.sell(&sneaker()).await);
    shop.buyer().purchase(&small).await.expect(201);
    join_all((0..30).map(async |_| shop.buyer().purchase(&large).await.expect(201))).await;
    let database = shop.database().await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let (code, printed) = verify(&shop, &["--product", &small]).await;
    assert_eq!((code, printed.contains("1 products, 1 purchases, 1 times")), (0, true), "{printed}");
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let purchases = doc! { "appName": "flash-sale verify", "ns": format!("{}.purchases", database.name()) };
    let profile = database.collection::<Document>("system.profile");
    let reads: Vec<_> = profile.find(purchases).await.unwrap().try_collect().await.unwrap();
    assert!(!reads.is_empty());
    for read in reads {
        for examined in ["keysExamined", "docsExamined"] {
            assert!(read.get_i32(examined).unwrap_or_default() <= 2, "{examined}: {read:#?}");
        }
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_does_not_add_up_is_named() {
    let mongo = own_mongo("verify-wrong").await;
    let shop = Shop::open_at_with(mongo.uri().reveal(), patient()).await;
    // What is edited, and what has to be printed about it; each on a product of its own with three purchases.
    let moment = |milliseconds| DateTime::from_millis(milliseconds);
    let product = |field: &str, by: i64| ("products", doc! {}, doc! { "$inc": { field: by } });
    let purchase = |sequence: i64, update: Document| ("purchases", doc! { "sequence": sequence }, update);
    type Edit = (&'static str, Document, Document);
    let cases: Vec<(Edit, &[&str])> = vec![
        (product("stock", 1), &["stock 98 + held 0 + sold 3 is not totalStock 100"]),
        (
            product("sold", -1),
            &["+ sold 2 is not totalStock 100", "sold is 2, but its purchases have 3 units"],
        ),
        (product("purchaseCount", 1), &["it counts 4 purchases, but there are 3"]),
        (product("held", 2), &["held is 2, but its pending purchases have 0 units"]),
        (product("stock", -200), &["stock is -103"]),
        (product("totalStock", 5), &["totalStock is 105, but by the audit log it was given 100"]),
        (
            purchase(2, doc! { "$set": { "sequence": 7_i64 } }),
            &["after sequence 1 comes 3", "after sequence 3 comes 7"],
        ),
        (purchase(2, doc! { "$set": { "sequence": 3_i64 } }), &["two purchases have sequence 3"]),
        (purchase(2, doc! { "$set": { "sequence": "two" } }), &["has no sequence, quantity or time"]),
        (
            purchase(2, doc! { "$inc": { "quantity": 1_i64 } }),
            &["sold is 3, but its purchases have 4 units", "never above 1"],
        ),
        (
            purchase(3, doc! { "$set": { "purchasedAt": moment(1_740_000_000_000) } }),
            &["sequence 3 is dated before the one before it", "sequence 3 was made outside the sale"],
        ),
        (purchase(1, doc! { "$set": { "firstUnit": 2_i64 } }), &["has unit 2, but not unit 1"]),
        (purchase(1, doc! { "$set": { "firstUnit": 0_i64 } }), &["has unit 0 twice"]),
        (purchase(3, doc! { "$set": { "userId": "nobody" } }), &["a purchase has no buyer or no product"]),
        (
            purchase(3, doc! { "$set": { "productId": Id::from_bytes([7; 12]) } }),
            &[
                "it counts 3 purchases, but there are 2",
                "there are purchases of product 070707070707070707070707",
            ],
        ),
    ];
    let mut expected = Vec::new();
    for ((collection, query, update), lines) in cases {
        let id = shop.sell(&sneaker()).await;
        for _ in 0..3 {
            shop.buyer().purchase(&id).await.expect(201);
        }
        assert!(expected.is_empty() || !lines.is_empty());
        let of = if collection == "products" { "_id" } else { "productId" };
        expected.push((id, of, collection, query, update, lines));
    }
    is_fine(&shop).await;
    for (id, of, collection, mut query, update, _) in expected.clone() {
        query.insert(of, id.parse::<Id>().unwrap());
        edit(&shop, collection, query, update).await;
    }
    let (code, printed) = verify(&shop, &[]).await;
    assert_eq!(code, 1, "{printed}");
    for (id, .., lines) in &expected {
        for line in *lines {
            let names =
                |found: &&str| found.contains(line) && (found.contains(id) || !found.starts_with("product"));
            assert!(printed.lines().any(|found| names(&found)), "{id}: no `{line}` in\n{printed}");
        }
    }
    let (code, one) = verify(&shop, &["--product", &expected[0].0]).await;
    assert_eq!((code, one.lines().count()), (1, 2), "{one}");
    shop.close().await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_compared_where_no_index_guards_them() {
    let mongo = own_mongo("verify-keys").await;
    let shop = Shop::open_at_with(mongo.uri().reveal(), patient()).await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 5}))).await;
    let ada = shop.buyer();
    ada.purchase_with_key(&id, 1, "a").await.expect(201);
    ada.purchase_with_key(&id, 1, "b").await.expect(201);
    let purchases = shop.database().await.collection::<Document>("purchases");
    purchases.drop_index("userId_1_idempotencyKey_1").await.unwrap();
    edit(&shop, "purchases", doc! { "sequence": 2 }, doc! { "$set": { "idempotencyKey": "a" } }).await;
    let (code, printed) = verify(&shop, &[]).await;
    assert_eq!(code, 1);
    assert!(printed.contains("no unique index on userId, idempotencyKey"), "{printed}");
    assert!(printed.contains("its buyer has another one with the same key"), "{printed}");
    shop.close().await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_the_audit_log_is_noted() {
    let mongo = own_mongo("verify-older").await;
    let shop = Shop::open_at_with(mongo.uri().reveal(), patient()).await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 2}))).await;
    shop.buyer().purchase_many(&id, 2).await.expect(201);
    shop.database().await.collection::<Document>("audit").drop().await.unwrap();
    edit(&shop, "products", doc! {}, doc! { "$set": { "purchaseLimit": 1_i64 } }).await;
    let printed = is_fine(&shop).await;
    assert!(
        printed.contains(&format!("note: product {id}: the audit log does not have its creation")),
        "{printed}"
    );
    assert!(
        printed.contains("note: 1 times a buyer has more of a product than its limit is now"),
        "{printed}"
    );
    shop.close().await;
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_read_is_exit_code_2() {
    let shop = Shop::open_with(patient()).await;
    let (code, printed) = verify(&shop, &["--product", "17"]).await;
    assert_eq!((code, printed.contains("24 hexadecimal digits")), (2, true), "{printed}");
    let (code, printed) = verify(&shop, &["--product", &Id::new().to_hex()]).await;
    assert_eq!((code, printed.contains("there is no product")), (2, true), "{printed}");
    shop.close().await;
    let nowhere = [("MONGO_URI", "mongodb://127.0.0.1:9/?directConnection=true"), ("JWT_SECRET", SECRET)];
    for settings in [&nowhere[..], &[]] {
        let mut command = program(&process_directory("verify-nowhere"), settings);
        let output = command.arg("verify").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_database_is_read_while_its_server_runs_and_after() {
    let directory = process_directory("verify-embedded");
    let server = Running::start_with(&directory, &[]);
    let check = || {
        let output = program(&directory, &[]).arg("verify").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("everything adds up"), "{output:?}");
    };
    check();
    server.stop();
    check();
}

#[tokio::test(flavor = "multi_thread")]
async fn books_that_outlast_a_snapshot_are_read_at_several() {
    const NO_SUCH_TRANSACTION: i32 = 251;
    let mongo = FailingMongo::start("verify").await;
    mongo.ready().await;
    let shop = Shop::open_at_with(&mongo.uri, patient()).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 30_000}))).await;
    let product: Id = id.parse().unwrap();
    let purchases = shop.database().await.collection::<Document>("purchases");
    let now = DateTime::now().timestamp_millis();
    let documents = (1..=20_000_i64).map(|sequence| {
        doc! {
            "productId": product, "userId": Id::new(), "buyer": "Ada L.", "quantity": 1_i64, "firstUnit": 1_i64,
            "unitPrice": { "amount": 9900_i64, "currency": "USD" }, "sequence": sequence,
            "purchasedAt": DateTime::from_millis(now + sequence),
        }
    });
    purchases.insert_many(documents.collect::<Vec<_>>()).await.unwrap();
    let sold = doc! { "stock": 10_000_i64, "sold": 20_000_i64, "purchaseCount": 20_000_i64 };
    edit(&shop, "products", doc! {}, doc! { "$set": sold }).await;
    is_fine(&shop).await;
    // The purchases by sequence are lost once, then in parts; then those by buyer.
    for lost in 1..=8 {
        mongo.fail_times("flash-sale verify", "getMore", NO_SUCH_TRANSACTION, lost).await;
        let (code, printed) = verify(&shop, &[]).await;
        assert_eq!((code, printed.contains("20000 purchases, 20000 times")), (0, true), "{lost}: {printed}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_purchases_is_compared_with_the_audit_log() {
    let mongo = own_mongo("verify-payments").await;
    let shop = Shop::open_at_with(mongo.uri().reveal(), patient()).await;
    let (admin, payments) = (shop.admin(), shop.payment_service());
    // On each product: number 1 is refunded and its unit kept; 2 is canceled, and its money came too late; 3 has expired;
    // 4 is paid for; the buyer of 3 has 5, too, which is pending. Two units are left.
    let sell = async || {
        let id = shop.sell(&held(json!({"stock": 4, "purchaseLimit": 1}))).await;
        let mut purchases = Vec::new();
        let mut buy = async |buyer: &Actor| {
            let bought = buyer.purchase(&id).await.expect(201).json;
            purchases.push(id_of(&bought));
            id_of(&bought)
        };
        let [ada, bob, eve] = [shop.buyer(), shop.buyer(), shop.buyer()];
        let kept = buy(&ada).await;
        payments.confirm(&kept, "pi_1").await.expect(200);
        admin.refund(&kept, &json!({"restock": false})).await.expect(200);
        let late = buy(&bob).await;
        bob.cancel(&late).await.expect(200);
        let expired = buy(&eve).await;
        shop.let_expire(std::slice::from_ref(&expired)).await;
        let gone = async {
            while eve.get(&format!("/purchases/{expired}")).await.expect(200).json["status"] != "expired" {}
        };
        soon("an expiry", gone).await;
        payments.confirm(&buy(&shop.buyer()).await, "pi_4").await.expect(200);
        buy(&eve).await;
        // Nothing is left for the late money.
        let last = shop.buyer().purchase(&id).await.expect(201).json;
        payments.confirm(&late, "pi_2").await.problem(409, "payment_unfillable");
        admin.cancel(&id_of(&last)).await.expect(200);
        (id, purchases)
    };
    let purchase = |sequence: i64, update: Document| ("purchases", doc! { "sequence": sequence }, update);
    let product = |update: Document| ("products", doc! {}, doc! { "$inc": update });
    let entry = |action: &str, update: Document| ("audit", doc! { "action": action }, update);
    type Edit = (&'static str, Document, Document);
    let cases: Vec<(Edit, &[&str])> = vec![
        (
            entry("purchase_expired", doc! { "$set": { "target": Id::new() } }),
            &["sequence 3 has changed, but the audit log does not tell how"],
        ),
        (
            purchase(3, doc! { "$set": { "status": "canceled" } }),
            &["sequence 3 is canceled, but by the audit log it is expired"],
        ),
        (
            entry("purchase_refunded", doc! { "$set": { "before.status": "expired" } }),
            &["sequence 1: the audit log does not tell one way to what it is, refunded"],
        ),
        // As if the unit that was kept had come back.
        (product(doc! { "sold": -1_i64, "stock": 1_i64 }), &["sold is 1, but its purchases have 2 units"]),
        (
            entry("purchase_refunded", doc! { "$set": { "after.restock": true } }),
            &["sold is 2, but its purchases have 1 units"],
        ),
        (
            purchase(2, doc! { "$unset": { "refundDue": "" } }),
            &["sequence 2 has no refund due, but by the audit log it has a refund due"],
        ),
        (
            purchase(4, doc! { "$set": { "refundDue": true } }),
            &["sequence 4 has a refund due, but by the audit log it has no refund due"],
        ),
        (
            product(doc! { "releasedCount": -1_i64 }),
            &["it counts 3 purchases that were given back, but there are 4"],
        ),
        // The buyer would have two of one. Its time to pay is not over, or the server would end it again.
        (
            purchase(
                3,
                doc! { "$set": { "status": "pending", "expiresAt": DateTime::from_millis(4_000_000_000_000) } },
            ),
            &[
                "has 2 units, and the limit was never above 1",
                "held is 1, but its pending purchases have 2 units",
            ],
        ),
        (purchase(5, doc! { "$set": { "firstUnit": 3_i64 } }), &["has unit 3, but not unit 2"]),
        (
            purchase(5, doc! { "$set": { "status": "confirmed" } }),
            &["sequence 5 has changed, but the audit log"],
        ),
    ];
    let mut sold = Vec::new();
    for _ in &cases {
        sold.push(sell().await);
    }
    is_fine(&shop).await;
    for (((collection, mut query, update), _), (id, purchases)) in cases.clone().into_iter().zip(&sold) {
        match collection {
            "products" => _ = query.insert("_id", id.parse::<Id>().unwrap()),
            "purchases" => _ = query.insert("productId", id.parse::<Id>().unwrap()),
            _ => {
                let ids: Vec<Id> = purchases.iter().map(|id| id.parse().unwrap()).collect();
                query.insert("target", doc! { "$in": ids });
            }
        }
        edit(&shop, collection, query, update).await;
    }
    let (code, printed) = verify(&shop, &[]).await;
    assert_eq!(code, 1, "{printed}");
    for ((_, lines), (id, _)) in cases.iter().zip(&sold) {
        for line in *lines {
            let is_there = printed.lines().any(|found| found.contains(line) && found.contains(id));
            assert!(is_there, "{id}: no `{line}` in\n{printed}");
        }
    }
    shop.close().await;
    mongo.stop().await;
}
