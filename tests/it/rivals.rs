//! What happens beside the purchases: other servers, restocks, an admin's changes, clients that hang up.

use flash_sale::model::timestamp::Timestamp;
use futures_util::future::join_all;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::json;

use crate::harness::{RawConnection, Shop, patient, sneaker, sneaker_with, soon};

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_sold_every_server_knows() {
    let mut shop = Shop::open_with(patient()).await;
    for _ in 0..3 {
        shop.add_server_with(patient()).await;
    }
    let id = shop.sell(&sneaker_with(json!({"stock": 8, "purchaseLimit": 2}))).await;
    let ada = shop.buyer();
    shop.at(&ada, 0).purchase(&id).await.expect(201);
    shop.at(&ada, 1).purchase(&id).await.expect(201);
    for server in 0..4 {
        shop.at(&ada, server).purchase(&id).await.problem(409, "purchase_limit_reached");
    }
    // The servers sell in rotation, so each one's sale view is stale each time.
    for sequence in 3..=8 {
        let buyer = shop.at(&shop.buyer(), sequence % 4);
        assert_eq!(buyer.purchase(&id).await.expect(201).json["sequence"], sequence);
    }
    for server in 0..4 {
        let buyer = shop.at(&shop.buyer(), server);
        buyer.purchase(&id).await.problem(409, "sold_out");
        assert_eq!(buyer.get(&format!("/products/{id}")).await.expect(200).json["stock"], 0);
    }
    shop.admin().post(&format!("/products/{id}/restock"), &json!({"quantity": 1})).await.expect(200);
    shop.at(&shop.buyer(), 3).purchase(&id).await.expect(201);
    assert_eq!(shop.check_invariants(&id, 2).await, 9);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_put_back_dates_no_purchase_and_no_change_before_an_earlier_one() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&sneaker()).await;
    let products = shop.database().await.collection::<Document>("products");
    // The last change lies an hour ahead, as if the clock had been put back since.
    let ahead = Timestamp::from_milliseconds(Timestamp::now_here().milliseconds() + 3_600_000);
    products.update_one(doc! {}, doc! { "$set": { "updatedAt": DateTime::from(ahead) } }).await.unwrap();
    let ahead = json!(ahead);
    let buy = async |server| {
        let purchase = shop.at(&shop.buyer(), server).purchase(&id).await.expect(201).json;
        assert_eq!(purchase["purchasedAt"], ahead);
    };
    for server in 0..20 {
        buy(server % 2).await;
    }
    for server in [0, 1] {
        buy(server).await;
        let path = format!("/products/{id}");
        let restocked = shop.admin().post(&format!("{path}/restock"), &json!({"quantity": 1})).await;
        assert_eq!(restocked.expect(200).json["updatedAt"], ahead);
        let changed = shop.admin().patch(&path, "*", &json!({"name": format!("Name {server}")})).await;
        assert_eq!(changed.expect(200).json["updatedAt"], ahead);
    }
    shop.close().await;
}

/// A lane does not follow what its rivals sell; it catches up when their buyers come to it. Then it reads up to
/// `catch_up_purchases_max` purchases; beyond that it forgets all buyers instead.
async fn buyers_of_a_rival_are_known_when_they_come(catch_up_purchases_max: usize) {
    let limits = || patient().with(|limits| limits.purchases.catch_up_purchases_max = catch_up_purchases_max);
    let mut shop = Shop::open_with(limits()).await;
    shop.add_server_with(limits()).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 10_000, "purchaseLimit": 3}))).await;
    let crowd = || async {
        join_all((0..150).map(|_| async { shop.buyer().purchase(&id).await.expect(201) })).await;
    };
    let (ada, bob, eve) = (shop.buyer(), shop.buyer(), shop.buyer());
    let [ada_there, bob_there, eve_there] = [&ada, &bob, &eve].map(|buyer| shop.at(buyer, 1));
    ada_there.purchase(&id).await.expect(201);
    for round in 0..2 {
        let key = format!("press-{round}");
        ada.purchase(&id).await.expect(201);
        let first = bob.purchase_with_key(&id, 1, &key).await.expect(201);
        crowd().await;
        // The refusal states how many units the buyer has; this server sold only one of them.
        let refused = ada_there.purchase_many(&id, 3).await.problem(409, "purchase_limit_reached");
        assert_eq!(refused.json["purchased"], 2 + round);
        // A repetition, a refusal and new buyers, in one batch or several.
        let (again, refused, _, bought) = tokio::join!(
            bob_there.purchase_with_key(&id, 1, &key),
            ada_there.purchase_many(&id, 3),
            join_all((0..20).map(|_| async { shop.at(&shop.buyer(), 1).purchase(&id).await.expect(201) })),
            eve_there.purchase(&id),
        );
        assert_eq!(again.expect(201).json, first.json);
        refused.problem(409, "purchase_limit_reached");
        bought.expect(201);
        crowd().await;
        // The other server made each buyer's second purchase, so the number that this server would give is taken.
        assert_eq!(eve.purchase_many(&id, 3).await.code(), "purchase_limit_reached");
    }
    crowd().await;
    eve_there.purchase(&id).await.expect(201);
    crowd().await;
    for server in 0..2 {
        for buyer in [&ada, &eve] {
            shop.at(buyer, server).purchase(&id).await.problem(409, "purchase_limit_reached");
        }
    }
    shop.at(&bob, 1).purchase(&id).await.expect(201);
    assert_eq!(shop.check_invariants(&id, 3).await, 6 * 150 + 2 * 20 + 9);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rivals_buyers_are_caught_up_with_when_they_come() {
    buyers_of_a_rival_are_known_when_they_come(10_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rivals_buyers_are_looked_up_where_catching_up_takes_too_long() {
    buyers_of_a_rival_are_known_when_they_come(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_crowd_does_not_keep_another_from_selling() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 1_000_000_000}))).await;
    let enough = tokio_util::sync::CancellationToken::new();
    // An endless stream of buyers: the first server's queue is never empty.
    let crowd = join_all((0..100).map(|_| async {
        while !enough.is_cancelled() {
            shop.at(&shop.buyer(), 0).purchase(&id).await.expect(201);
        }
    }));
    let few = async {
        for _ in 0..20 {
            shop.at(&shop.buyer(), 1).purchase(&id).await.expect(201);
        }
        enough.cancel();
    };
    tokio::join!(crowd, few);
    shop.check_invariants(&id, 1).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restock_in_mid_sale_is_sold_too() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 50}))).await;
    let path = format!("/products/{id}/restock");
    let crowd = join_all((0..300).map(|number| {
        let buyer = shop.at(&shop.buyer(), number % 2);
        let id = id.clone();
        async move { buyer.purchase(&id).await }
    }));
    let admin = shop.admin();
    let restocks = async {
        for _ in 0..10 {
            admin.post(&path, &json!({"quantity": 5})).await.expect(200);
        }
    };
    let (answers, ()) = tokio::join!(crowd, restocks);
    let early = answers.iter().filter(|answer| answer.status == 201).count();
    // Buyers who come after the restocks get what the crowd has left.
    let late = join_all((early..110).map(|_| {
        let (buyer, id) = (shop.buyer(), id.clone());
        async move { buyer.purchase(&id).await.status }
    }))
    .await;
    assert_eq!(early + late.iter().filter(|status| **status == 201).count(), 100);
    assert_eq!(shop.check_invariants(&id, 1).await, 100);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admins_changes_and_purchases_do_not_undo_each_other() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 200}))).await;
    let path = format!("/products/{id}");
    let crowd = join_all((0..200).map(|number| {
        let buyer = shop.at(&shop.buyer(), number % 2);
        let id = id.clone();
        async move { buyer.purchase(&id).await.expect(201).json }
    }));
    let admin = shop.admin();
    let changes = async {
        let mut names = Vec::new();
        for number in 0..20 {
            let name = format!("Name {number}");
            let price = json!({"amount": number, "currency": "USD"});
            let changed = admin.patch(&path, "*", &json!({"name": name, "price": price})).await.expect(200);
            assert_eq!(changed.json["name"], name);
            names.push(name.clone());
            // With a version, the change either succeeds or reports the conflict.
            let stale = admin.patch(&path, &changed.etag(), &json!({"description": name})).await;
            assert!(stale.status == 200 || stale.code() == "version_conflict", "{stale:?}");
        }
        names
    };
    let (purchases, names) = tokio::join!(crowd, changes);
    let product = shop.product(&id).await;
    assert_eq!(product["name"], names.last().unwrap().as_str());
    assert_eq!((&product["stock"], &product["sold"]), (&json!(0), &json!(200)));
    for purchase in purchases {
        let amount = purchase["unitPrice"]["amount"].as_i64().unwrap();
        assert!((0..20).contains(&amount) || amount == 9900, "a price that never was: {amount}");
        assert_eq!(purchase["total"], purchase["unitPrice"]);
    }
    assert_eq!(shop.check_invariants(&id, 1).await, 200);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_crowd_of_readers_every_read_knows_what_was_bought_before_on_its_server() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&sneaker()).await;
    let paths =
        [format!("/products/{id}"), "/products".to_owned(), format!("/leaderboard?productId={id}&limit=200")];
    let enough = tokio_util::sync::CancellationToken::new();
    let crowd = join_all((0..30).map(|number| {
        let (reader, path, enough) = (shop.at(&shop.visitor(), number % 2), &paths[number % 3], &enough);
        async move {
            while !enough.is_cancelled() {
                reader.get(path).await.expect(200);
            }
        }
    }));
    let buying = async {
        for sold in 1..=30 {
            shop.at(&shop.buyer(), sold % 2).purchase(&id).await.expect(201);
            let seen = async |server: usize| {
                let reader = shop.at(&shop.visitor(), server);
                let product = reader.get(&paths[0]).await.expect(200).json;
                let list = reader.get(&paths[1]).await.expect(200).json;
                let board = reader.get(&paths[2]).await.expect(200).json;
                [
                    product["sold"].as_u64().unwrap(),
                    list["items"][0]["sold"].as_u64().unwrap(),
                    board["items"].as_array().unwrap().len() as u64,
                ]
            };
            let all = [sold as u64; 3];
            assert_eq!(seen(sold % 2).await, all);
            // Under a crowd the other server answers from memory, which its change stream updates.
            soon("the purchase at the other server", async { while seen(1 - sold % 2).await != all {} })
                .await;
        }
        enough.cancel();
    };
    tokio::join!(crowd, buying);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_server_sells_at_a_price_of_the_past() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&sneaker()).await;
    for amount in 1..=5 {
        // This server knows the product, but the change is made on the other one.
        shop.at(&shop.buyer(), 1).purchase(&id).await.expect(201);
        let price = json!({"price": {"amount": amount, "currency": "USD"}});
        shop.admin().patch(&format!("/products/{id}"), "*", &price).await.expect(200);
        let purchase = shop.at(&shop.buyer(), 1).purchase(&id).await.expect(201).json;
        assert_eq!(purchase["unitPrice"]["amount"], amount);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_that_an_admin_ends_is_over_at_once_on_every_server() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&sneaker()).await;
    shop.at(&shop.buyer(), 1).purchase(&id).await.expect(201);
    let end = json!({"saleEndTime": "2025-01-02T00:00:00Z"});
    shop.admin().patch(&format!("/products/{id}"), "*", &end).await.expect(200);
    for server in [0, 1] {
        let refused = shop.at(&shop.buyer(), server).purchase(&id).await.problem(409, "sale_ended");
        assert_eq!(refused.json["saleEndTime"], "2025-01-02T00:00:00.000Z");
    }
    let again = json!({"saleEndTime": "2099-01-02T00:00:00Z"});
    shop.admin().patch(&format!("/products/{id}"), "*", &again).await.expect(200);
    shop.at(&shop.buyer(), 1).purchase(&id).await.expect(201);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hang_up_leave_nothing_half_done() {
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 1000}))).await;
    let buyers: Vec<_> = (0..200).map(|_| shop.buyer()).collect();
    let body = json!({"productId": id}).to_string();
    join_all(buyers.iter().map(|buyer| async {
        let mut connection = RawConnection::open(buyer.host()).await;
        let head = format!(
            "POST /products/purchase HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nIdempotency-Key: once\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            buyer.host(),
            buyer.token(),
            body.len(),
        );
        connection.send(head.as_bytes()).await;
        drop(connection);
    }))
    .await;
    // Whatever happened to each request: with the same key every buyer ends up with exactly one purchase.
    for buyer in &buyers {
        buyer.purchase_with_key(&id, 1, "once").await.expect(201);
        assert_eq!(buyer.get("/purchases").await.expect(200).json["items"].as_array().unwrap().len(), 1);
    }
    assert_eq!(shop.check_invariants(&id, 1).await, 200);
    shop.close().await;
}
