//! A purchase that is held until it is paid for: confirmed, canceled, refunded.

use flash_sale::model::timestamp::Timestamp;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{NO_ID, Shop, patient, sneaker_with};

/// A product whose purchases have to be paid for within an hour.
pub fn held(more: Value) -> Value {
    let mut product = sneaker_with(json!({"paymentWindowSeconds": 3_600, "purchaseLimit": 2}));
    for (name, value) in more.as_object().unwrap() {
        product[name] = value.clone();
    }
    product
}

pub fn id_of(purchase: &Value) -> String {
    purchase["id"].as_str().unwrap().to_owned()
}

async fn figures(shop: &Shop, id: &str) -> [i64; 3] {
    let product = shop.product(id).await;
    let [stock, held, sold] = ["stock", "held", "sold"].map(|name| product[name].as_i64().unwrap());
    assert_eq!(stock + held + sold, product["totalStock"].as_i64().unwrap());
    [stock, held, sold]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_is_held_until_it_is_paid_for() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let id = shop.sell(&held(json!({}))).await;
    let (ada, payments) = (shop.buyer(), shop.payment_service());
    let pending = ada.purchase_many(&id, 2).await.expect(201).json;
    let moment = |name: &str| Timestamp::parse(pending[name].as_str().unwrap()).unwrap().milliseconds();
    assert_eq!((&pending["status"], &pending["paymentReference"]), (&json!("pending"), &Value::Null));
    assert_eq!(moment("expiresAt"), moment("purchasedAt") + 3_600_000);
    assert_eq!(pending["statusChangedAt"], pending["purchasedAt"]);
    assert_eq!(figures(&shop, &id).await, [98, 2, 0]);
    // What is held counts towards the limit.
    ada.purchase(&id).await.problem(409, "purchase_limit_reached");
    let purchase = id_of(&pending);
    for stranger in [&ada, &shop.buyer()] {
        stranger.confirm(&purchase, "pi_1").await.problem(403, "forbidden");
    }
    shop.visitor().confirm(&purchase, "pi_1").await.problem(401, "unauthenticated");
    for (amount, total) in [(json!(19_799), 19_800), (json!({"amount": 19_800, "currency": "EUR"}), 19_800)] {
        let body = json!({"paymentReference": "pi_1", "amount": amount});
        let wrong = payments.post(&format!("/purchases/{purchase}/confirm"), &body).await;
        let wrong = wrong.problem(422, "amount_mismatch");
        assert_eq!(wrong.json["total"], json!({"amount": total, "currency": "USD"}));
    }
    assert_eq!(ada.get(&format!("/purchases/{purchase}")).await.expect(200).json, pending);
    let body = json!({"paymentReference": "pi_1", "amount": 19_800});
    let confirmed = payments.post(&format!("/purchases/{purchase}/confirm"), &body).await.expect(200).json;
    assert_eq!((&confirmed["status"], &confirmed["paymentReference"]), (&json!("confirmed"), &json!("pi_1")));
    assert_eq!((&confirmed["sequence"], &confirmed["refundDue"]), (&json!(1), &json!(false)));
    assert_eq!(figures(&shop, &id).await, [98, 0, 2]);
    for server in [0, 1] {
        let payments = shop.at(&payments, server);
        assert_eq!(payments.confirm(&purchase, "pi_1").await.expect(200).json, confirmed);
        let other = payments.confirm(&purchase, "pi_2").await.problem(409, "purchase_not_pending");
        assert_eq!(other.json["purchaseStatus"], "confirmed");
        assert_eq!(shop.at(&ada, server).get(&format!("/purchases/{purchase}")).await.json, confirmed);
    }
    payments.confirm(NO_ID, "pi_1").await.problem(404, "purchase_not_found");
    let empty = payments.post(&format!("/purchases/{purchase}/confirm"), &json!({"amount": "much"})).await;
    empty.invalid(&["paymentReference", "amount"]);
    assert_eq!(shop.check_invariants(&id, 2).await, 2);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_purchase_is_for_sale_again() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let id = shop.sell(&held(json!({"stock": 2}))).await;
    let (ada, eve) = (shop.buyer(), shop.buyer());
    let purchase = id_of(&ada.purchase_many(&id, 2).await.expect(201).json);
    eve.purchase(&id).await.problem(409, "sold_out");
    assert_eq!(shop.leaderboard(&id).await.len(), 1);
    eve.cancel(&purchase).await.problem(404, "purchase_not_found");
    shop.payment_service().cancel(&purchase).await.problem(403, "forbidden");
    let canceled = ada.cancel(&purchase).await.expect(200).json;
    assert_eq!(canceled["status"], "canceled");
    assert_eq!(shop.at(&ada, 1).cancel(&purchase).await.expect(200).json, canceled);
    assert_eq!(figures(&shop, &id).await, [2, 0, 0]);
    assert_eq!(shop.leaderboard(&id).await, Vec::<Value>::new());
    // Neither stock nor limit remembers it; the sequence does.
    let again = shop.at(&ada, 1).purchase_many(&id, 2).await.expect(201).json;
    assert_eq!(again["sequence"], 2);
    let board = shop.leaderboard(&id).await;
    assert_eq!((&board[0]["rank"], &board[0]["sequence"]), (&json!(1), &json!(2)));
    shop.payment_service().confirm(&id_of(&again), "pi_1").await.expect(200);
    let late = ada.cancel(&id_of(&again)).await.problem(409, "purchase_not_pending");
    assert_eq!(late.json["purchaseStatus"], "confirmed");
    shop.check_invariants(&id, 2).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_lapses_are_enough() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let id = shop.sell(&held(json!({}))).await;
    let (ada, admin) = (shop.buyer(), shop.admin());
    // What an admin cancels is no lapse of its buyer.
    let by_admin = id_of(&ada.purchase(&id).await.expect(201).json);
    admin.cancel(&by_admin).await.expect(200);
    for server in [0, 1, 0] {
        let ada = shop.at(&ada, server);
        let purchase = id_of(&ada.purchase(&id).await.expect(201).json);
        ada.cancel(&purchase).await.expect(200);
    }
    for server in [0, 1] {
        let refused = shop.at(&ada, server).purchase(&id).await.problem(409, "too_many_lapses");
        assert_eq!(refused.json["lapses"], 3);
        let yours = shop.at(&ada, server).get(&format!("/products/{id}")).await.expect(200).json;
        assert_eq!(yours["yours"], json!({"purchased": 0, "remaining": 0, "lapses": 3}));
        shop.at(&shop.buyer(), server).purchase(&id).await.expect(201);
    }
    // Another product is another matter.
    let other = shop.sell(&held(json!({}))).await;
    ada.purchase(&other).await.expect(201);
    shop.check_invariants(&id, 2).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_goes_back() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    // Of a product without a payment window, too.
    for window in [json!(null), json!(3_600)] {
        let id = shop.sell(&held(json!({"stock": 4, "paymentWindowSeconds": window}))).await;
        let (ada, admin, payments) = (shop.buyer(), shop.admin(), shop.payment_service());
        let mut purchases = Vec::new();
        for server in [0, 1] {
            let purchase = shop.at(&ada, server).purchase(&id).await.expect(201).json;
            if purchase["status"] == "pending" {
                admin.refund(&id_of(&purchase), &json!({})).await.problem(409, "purchase_not_pending");
                payments.confirm(&id_of(&purchase), "pi_1").await.expect(200);
            }
            purchases.push(id_of(&purchase));
        }
        ada.refund(&purchases[0], &json!({})).await.problem(403, "forbidden");
        payments.refund(&purchases[0], &json!({})).await.problem(403, "forbidden");
        let refunded = admin.refund(&purchases[0], &json!({"reason": "Broken"})).await.expect(200).json;
        assert_eq!(refunded["status"], "refunded");
        assert_eq!(figures(&shop, &id).await, [3, 0, 1]);
        assert_eq!(shop.at(&admin, 1).refund(&purchases[0], &json!({})).await.expect(200).json, refunded);
        shop.at(&admin, 1).refund(&purchases[1], &json!({"restock": false})).await.expect(200);
        assert_eq!(figures(&shop, &id).await, [3, 0, 1]);
        assert_eq!(shop.leaderboard(&id).await.len(), 0);
        // The limit is free again.
        shop.at(&ada, 1).purchase_many(&id, 2).await.expect(201);
        admin
            .refund(&purchases[0], &json!({"restock": "no", "reason": ""}))
            .await
            .invalid(&["restock", "reason"]);
        shop.check_invariants(&id, 2).await;
        let deletion = admin.delete(&format!("/products/{id}")).await;
        deletion.problem(409, "product_has_sales");
    }
    shop.close().await;
}

/// Many ask for different ends of the same purchases at once, at both servers: each purchase gets one.
#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_has_one_end_whoever_asks() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&held(json!({"stock": 60}))).await;
    let (admin, payments) = (shop.admin(), shop.payment_service());
    let buyers: Vec<_> = (0..30).map(|_| shop.buyer()).collect();
    let made = join_all(buyers.iter().map(|buyer| buyer.purchase_many(&id, 2))).await;
    let purchases: Vec<_> = made.into_iter().map(|answer| id_of(&answer.expect(201).json)).collect();
    let expiring = shop.let_expire(&purchases[..15]);
    let deeds = purchases.iter().zip(&buyers).enumerate().flat_map(|(number, (purchase, buyer))| {
        let (here, there) = (number % 2, (number + 1) % 2);
        let (buyer, other) = (shop.at(buyer, here), shop.at(buyer, there));
        let (first, second) = (shop.at(&payments, there), shop.at(&payments, here));
        let admin = shop.at(&admin, here);
        [
            Box::pin(async move { first.confirm(purchase, "pi_1").await })
                as std::pin::Pin<Box<dyn Future<Output = crate::harness::Answer> + Send>>,
            Box::pin(async move { second.confirm(purchase, "pi_1").await }),
            Box::pin(async move { buyer.cancel(purchase).await }),
            Box::pin(async move { other.cancel(purchase).await }),
            Box::pin(async move { admin.refund(purchase, &json!({})).await }),
        ]
    });
    let (answers, ()) = tokio::join!(join_all(deeds), expiring);
    for answer in answers {
        let is_fine = answer.status == 200
            || ["purchase_not_pending", "payment_unfillable", "overloaded"].contains(&answer.code());
        assert!(is_fine, "{answer:#?}");
    }
    shop.check_invariants(&id, 2).await;
    // While it went on, everything stayed for sale or sold.
    let [stock, held, sold] = figures(&shop, &id).await;
    assert_eq!(stock + held + sold, 60);
    shop.close().await;
}

/// A repeated request is answered by its key, whatever has become of the purchase since.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_repeated_by_its_key() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&held(json!({}))).await;
    let (ada, payments, admin) = (shop.buyer(), shop.payment_service(), shop.admin());
    let purchase = id_of(&ada.purchase(&id).await.expect(201).json);
    let other = id_of(&ada.purchase(&id).await.expect(201).json);
    let cancel = |server, purchase: &str| {
        let (ada, path) = (shop.at(&ada, server), format!("/purchases/{purchase}/cancel"));
        async move { ada.send(Method::POST, &path, None, &[("Idempotency-Key", "press-1")]).await }
    };
    let canceled = cancel(0, &purchase).await.expect(200);
    assert_eq!(
        (canceled.header("idempotent-replayed"), &canceled.json["status"]),
        (None, &json!("canceled"))
    );
    // Paid for all the same, late.
    payments.confirm(&purchase, "pi_1").await.expect(200);
    for server in [0, 1] {
        let again = cancel(server, &purchase).await.expect(200);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.json["status"], "confirmed");
        cancel(server, &other).await.problem(422, "idempotency_key_reused");
    }
    ada.cancel(&purchase).await.problem(409, "purchase_not_pending");
    // Another's key is another key, and a refusal is not stored.
    let refund = |body: &str| {
        let (admin, path, body) = (admin.clone(), format!("/purchases/{purchase}/refund"), body.to_owned());
        async move { admin.send(Method::POST, &path, Some(body), &[("Idempotency-Key", "press-1")]).await }
    };
    refund("{\"restock\": 1}").await.invalid(&["restock"]);
    refund("{\"restock\": false}").await.expect(200);
    assert_eq!(
        refund("{ \"restock\": false }").await.expect(200).header("idempotent-replayed"),
        Some("true")
    );
    refund("{}").await.problem(422, "idempotency_key_reused");
    // Nobody is shown a key.
    let log = admin.get(&format!("/audit?target={purchase}")).await.expect(200);
    assert!(!log.text.contains("press-1") && !log.text.contains("changeKey"), "{}", log.text);
    // All members of a refund may be missing, and so may the body.
    payments.confirm(&other, "pi_2").await.expect(200);
    let path = format!("/purchases/{other}/refund");
    let empty = Some(String::new());
    assert_eq!(admin.send(Method::POST, &path, empty, &[]).await.expect(200).json["status"], "refunded");
    admin.send(Method::POST, &path, None, &[]).await.expect(200);
    // A cancel has no members at all.
    let path = format!("/purchases/{other}/cancel");
    ada.send(Method::POST, &path, Some("{\"restock\": true}".into()), &[]).await.invalid(&["restock"]);
    ada.send(Method::POST, &path, Some("{}".into()), &[]).await.problem(409, "purchase_not_pending");
    shop.check_invariants(&id, 2).await;
    shop.close().await;
}

/// The same request many times at once, with one key, on two servers: every answer has the change.
#[tokio::test(flavor = "multi_thread")]
async fn no_repetition_tells_of_the_time_before_the_change() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&held(json!({"stock": 8}))).await;
    let payments = shop.payment_service();
    for number in 0..4 {
        let purchase = id_of(&shop.buyer().purchase(&id).await.expect(201).json);
        let (path, key) = (format!("/purchases/{purchase}/confirm"), format!("event-{number}"));
        let confirm = |server: usize| {
            let (payments, path, key) = (shop.at(&payments, server % 2), path.clone(), key.clone());
            async move {
                let body = Some(json!({"paymentReference": "pi_1"}).to_string());
                payments.send(Method::POST, &path, body, &[("Idempotency-Key", &key)]).await.expect(200)
            }
        };
        for answer in join_all((0..6).map(confirm)).await {
            assert_eq!(answer.json["status"], "confirmed");
        }
    }
    shop.check_invariants(&id, 2).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_stays_once_it_was_held() {
    let shop = Shop::open().await;
    let id = shop.sell(&held(json!({"stock": 2}))).await;
    let (ada, admin, path) = (shop.buyer(), shop.admin(), format!("/products/{id}"));
    let purchase = id_of(&ada.purchase(&id).await.expect(201).json);
    admin.delete(&path).await.problem(409, "product_has_sales");
    // Nor once it was given back: money may come late.
    ada.cancel(&purchase).await.expect(200);
    admin.delete(&path).await.problem(409, "product_has_sales");
    shop.payment_service().confirm(&purchase, "pi_1").await.expect(200);
    shop.check_invariants(&id, 2).await;
    shop.close().await;
}
