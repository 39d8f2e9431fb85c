//! What can be looked into afterwards: purchases by filter, as CSV, and where they came from.

use flash_sale::model::id::Id;
use mongodb::bson::{DateTime, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Actor, FailingMongo, RawConnection, Shop, patient, sneaker, sneaker_with, soon};

async fn ids(actor: &Actor, query: &str) -> Vec<String> {
    let page = actor.get(&format!("/purchases?{query}")).await.expect(200).json;
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

fn reversed(ids: &[&str]) -> Vec<String> {
    ids.iter().rev().map(|id| (*id).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn purchases_are_filtered_and_ordered() {
    let shop = Shop::open_with(patient()).await;
    let (one, two) =
        (shop.sell(&sneaker_with(json!({"purchaseLimit": 9}))).await, shop.sell(&sneaker()).await);
    let (ada, eve) = (shop.buyer(), shop.buyer());
    let mut bought = Vec::new();
    for (buyer, product) in [(&ada, &one), (&ada, &two), (&eve, &one), (&ada, &one)] {
        let purchase = buyer.purchase(product).await.expect(201).json;
        bought.push(purchase["id"].as_str().unwrap().to_owned());
    }
    let [a, b, c, d] = &bought[..] else { panic!() };
    let admin = shop.admin();
    assert_eq!(ids(&admin, "").await, reversed(&[a, b, c, d]));
    assert_eq!(ids(&admin, "order=asc").await, bought);
    assert_eq!(ids(&admin, "order=desc").await, reversed(&[a, b, c, d]));
    assert_eq!(ids(&admin, &format!("productId={one}")).await, reversed(&[a, c, d]));
    assert_eq!(ids(&admin, &format!("productId={one}&order=asc")).await, [a.clone(), c.clone(), d.clone()]);
    assert_eq!(ids(&admin, &format!("userId={}", ada.id)).await, reversed(&[a, b, d]));
    assert_eq!(ids(&admin, &format!("userId={}&productId={one}", ada.id)).await, reversed(&[a, d]));
    // Without a payment window a purchase is confirmed at once.
    assert_eq!(ids(&admin, "status=confirmed").await, reversed(&[a, b, c, d]));
    assert_eq!(ids(&admin, "status=refunded").await, [] as [String; 0]);
    assert_eq!(ids(&ada, "").await, reversed(&[a, b, d]));
    assert_eq!(
        ids(&ada, &format!("productId={one}&status=confirmed&order=asc")).await,
        [a.clone(), d.clone()]
    );
    assert_eq!(ids(&eve, &format!("productId={two}")).await, [] as [String; 0]);
    // An empty parameter means none.
    assert_eq!(ids(&ada, "productId=&status=&order=&limit=&cursor=").await, reversed(&[a, b, d]));

    for (actor, filter, all) in [
        (&admin, "order=asc".to_owned(), &bought[..]),
        (&admin, format!("productId={one}&order=asc"), &[a.clone(), c.clone(), d.clone()][..]),
        (&ada, "order=asc".to_owned(), &[a.clone(), b.clone(), d.clone()]),
    ] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = actor.get(&format!("/purchases?limit=1&{filter}{cursor}")).await.expect(200).json;
            seen.push(page["items"][0]["id"].as_str().unwrap().to_owned());
            let Some(next) = page["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, all, "{filter}");
    }
    let foreign = admin.get(&format!("/purchases?limit=1&productId={one}")).await.expect(200).json;
    let cursor = foreign["nextCursor"].as_str().unwrap();
    admin.get(&format!("/purchases?cursor={cursor}")).await.invalid(&["cursor"]);
    // Only who sees everybody's purchases can choose whose.
    ada.get(&format!("/purchases?userId={}", eve.id)).await.invalid(&["userId"]);
    admin.get("/purchases?productId=1&status=sold&userId=x&order=up&productid=1&Status=").await.invalid(&[
        "productId",
        "status",
        "userId",
        "order",
        "Status",
        "productid",
    ]);
    shop.close().await;
}

const CSV: [(&str, &str); 1] = [("Accept", "text/csv")];

/// The rows of a CSV without quotes, without the header.
fn rows(text: &str) -> Vec<Vec<&str>> {
    assert!(text.ends_with("\r\n"), "{text:?}");
    text.lines().skip(1).map(|line| line.split(',').collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_has_all_purchases_that_match() {
    // Several pages, the last of them full.
    let shop = Shop::open_with(patient().with(|limits| limits.records.csv_page_purchases_max = 3)).await;
    let id = shop.sell(&sneaker()).await;
    let ada = shop.buyer();
    ada.purchase(&id).await.expect(201);
    for _ in 0..5 {
        shop.buyer().purchase(&id).await.expect(201);
    }
    let admin = shop.admin();
    let answer =
        admin.get_with(&format!("/purchases?order=asc&productId={id}&limit=1"), &CSV).await.expect(200);
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("vary"), Some("Accept"));
    let header = answer.text.lines().next().unwrap();
    let columns: Vec<_> = header.split(',').collect();
    let all = admin.get("/purchases?order=asc").await.expect(200).json;
    for (row, purchase) in rows(&answer.text).iter().zip(all["items"].as_array().unwrap()) {
        for (column, cell) in columns.iter().zip(row) {
            let member = purchase.pointer(&format!("/{}", column.replace('.', "/"))).unwrap();
            let expected = match member {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(*cell, expected, "{column}");
        }
    }
    assert_eq!(rows(&answer.text).len(), 6);
    // Newest first without an order; the own ones for a customer; only a header where nothing matches.
    let newest = admin.get_with("/purchases", &CSV).await.expect(200).text;
    assert_eq!(rows(&newest).iter().rev().cloned().collect::<Vec<_>>(), rows(&answer.text));
    assert_eq!(rows(&ada.get_with("/purchases", &CSV).await.expect(200).text).len(), 1);
    assert_eq!(
        ada.get_with("/purchases?status=expired", &CSV).await.expect(200).text,
        format!("{header}\r\n")
    );
    // Who does not prefer CSV gets JSON.
    let json =
        ada.get_with("/purchases", &[("Accept", "text/csv;q=0.5, application/json")]).await.expect(200);
    assert_eq!(json.json["items"].as_array().unwrap().len(), 1);
    ada.get_with("/purchases?x=1", &CSV).await.invalid(&["x"]);
    shop.close().await;
}

/// Sells so many that the connection cannot hold them.
async fn sell_many(shop: &Shop, count: i64) {
    let id = shop.sell(&sneaker_with(json!({"stock": 1_000_000}))).await;
    let product: Id = id.parse().unwrap();
    let purchases = shop.database().await.collection::<Document>("purchases");
    let documents = (1..=count).map(|sequence| {
        doc! {
            "productId": product, "userId": Id::new(), "buyer": "Ada L.", "quantity": 1_i64, "firstUnit": 1_i64,
            "unitPrice": { "amount": 9900_i64, "currency": "USD" }, "sequence": sequence, "purchasedAt": DateTime::now(),
        }
    });
    purchases.insert_many(documents.collect::<Vec<_>>()).await.unwrap();
}

/// Asks until there is a place for one more stream, and reads its header.
async fn ask_for_csv(admin: &Actor) -> RawConnection {
    let ask = async {
        loop {
            let mut connection = RawConnection::open_narrow(admin.host()).await;
            let request = format!(
                "GET /purchases HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nAccept: text/csv\r\n\r\n",
                admin.host(),
                admin.token()
            );
            connection.send(request.as_bytes()).await;
            if connection.read_until("\r\n").await.starts_with("HTTP/1.1 200 ") {
                return connection;
            }
        }
    };
    soon("a place", ask).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_or_goes_away_frees_its_place() {
    let shop = Shop::open_with(patient().with(|limits| {
        limits.records.csv_page_purchases_max = 5_000;
        limits.records.csv_streams_in_flight_max = 1;
        limits.records.csv_chunk_wait_ms_max = 1_000;
    }))
    .await;
    sell_many(&shop, 60_000).await;
    let admin = shop.admin();
    let gone = ask_for_csv(&admin).await;
    admin.get_with("/purchases", &CSV).await.problem(503, "overloaded");
    // A page by itself takes no place.
    shop.buyer().get_with("/purchases", &CSV).await.expect(200);
    drop(gone);
    let slow = ask_for_csv(&admin).await;
    drop(ask_for_csv(&admin).await);
    // It was cut: the end of a chunked body would be a chunk of length 0.
    let rest = slow.read_to_end().await;
    assert!(!rest.ends_with("0\r\n\r\n"), "a clean end");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_in_the_middle_does_not_end_like_a_whole_one() {
    let mongo = FailingMongo::start("csv").await;
    mongo.ready().await;
    let limits = patient().with(|limits| limits.records.csv_page_purchases_max = 5_000);
    let shop = Shop::open_at_with(&mongo.uri, limits).await;
    sell_many(&shop, 20_000).await;
    let admin = shop.admin();
    let connection = ask_for_csv(&admin).await;
    const INTERNAL_ERROR: i32 = 1;
    mongo.fail(&["find"], INTERNAL_ERROR).await;
    let rest = connection.read_to_end().await;
    assert!(!rest.ends_with("0\r\n\r\n"), "a clean end");
    mongo.fail_no_more().await;
    let whole = admin.send(Method::GET, "/purchases", None, &CSV).await.expect(200);
    assert_eq!(rows(&whole.text).len(), 20_000);
    shop.close().await;
}

async fn networks(shop: &Shop) -> Vec<Option<String>> {
    use futures_util::TryStreamExt;
    let purchases = shop.database().await.collection::<Document>("purchases");
    let found = purchases.find(doc! {}).sort(doc! { "sequence": 1 }).await.unwrap();
    let found: Vec<Document> = found.try_collect().await.unwrap();
    found.iter().map(|purchase| purchase.get_str("network").ok().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_keeps_its_network_and_nobody_is_told() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient().with(|limits| limits.records.network_days = 0)).await;
    let id = shop.sell(&sneaker()).await;
    let ada = shop.buyer();
    let mut answers =
        vec![shop.visitor_from([127, 0, 0, 9]).with_token(ada.token()).purchase(&id).await.expect(201)];
    let keyless = shop.buyer();
    answers.push(shop.at(&keyless, 1).purchase(&id).await.expect(201));
    for path in ["/purchases", "/leaderboard"] {
        answers.push(shop.admin().get(path).await.expect(200));
    }
    answers.push(shop.admin().get_with("/purchases", &CSV).await.expect(200));
    assert!(answers.iter().all(|answer| !answer.text.contains("127.0.0")), "{answers:?}");
    assert_eq!(networks(&shop).await, [Some("127.0.0.9".to_owned()), None]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_networks_of_old_purchases_are_removed() {
    let limits = patient().with(|limits| {
        limits.records.network_removal_batch_purchases = 2;
        limits.records.network_removal_pause_ms = 1;
    });
    let mut shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker()).await;
    for _ in 0..8 {
        shop.buyer().purchase(&id).await.expect(201);
    }
    let purchases = shop.database().await.collection::<Document>("purchases");
    // Seven are old, five of them of the same moment.
    let day_ms = 24 * 60 * 60 * 1_000;
    let now = DateTime::now().timestamp_millis();
    for (sequence, days) in [(1, 33), (2, 32), (3, 32), (4, 32), (5, 32), (6, 32), (7, 31), (8, 29)] {
        let at = doc! { "$set": { "purchasedAt": DateTime::from_millis(now - days * day_ms) } };
        purchases.update_one(doc! { "sequence": sequence }, at).await.unwrap();
    }
    // As if no server had looked yet. Both start with looking.
    let progress = shop.database().await.collection::<Document>("progress");
    progress.delete_many(doc! {}).await.unwrap();
    shop.add_server_with(limits.clone()).await;
    shop.add_server_with(limits.clone()).await;
    let is_kept = async || networks(&shop).await.iter().map(Option::is_some).collect::<Vec<_>>();
    let expected: Vec<_> = (1..=8).map(|sequence| sequence == 8).collect();
    soon("the removal", async { while is_kept().await != expected {} }).await;
    // The next server goes on from there.
    let until = async || {
        progress.find_one(doc! {}).await.unwrap().unwrap().get_datetime("until").unwrap().timestamp_millis()
    };
    soon("the note", async { while until().await < now - 31 * day_ms {} }).await;
    let changed: Value = shop.admin().get("/purchases").await.expect(200).json;
    assert_eq!(changed["items"].as_array().unwrap().len(), 8);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_a_sale_tells_when_and_to_whom() {
    let shop = Shop::open_with(patient().with(|limits| {
        limits.records.report_accounts_purchases_max = 4;
        limits.records.report_points_max = 10;
    }))
    .await;
    let visitor = shop.visitor();
    let mut customers = Vec::new();
    for (name, email) in
        [("Ada", "ada@shop.example"), ("Ada", "a.da+2@shop.example"), ("Eve", "eve@shop.example")]
    {
        let account = json!({"name": name, "email": email, "password": "correct horse battery"});
        let session = visitor.post("/auth/register", &account).await.expect(201).json;
        customers.push(session["token"].as_str().unwrap().to_owned());
    }
    let id = shop.sell(&sneaker_with(json!({"stock": 7, "purchaseLimit": 2}))).await;
    let path = format!("/products/{id}/report");
    let admin = shop.admin();
    let empty = admin.get(&path).await.expect(200).json;
    assert_eq!((&empty["curve"], &empty["outcomes"]), (&json!([]), &json!([])));
    assert_eq!((&empty["firstPurchaseAt"], &empty["timeToSellOutMs"]), (&Value::Null, &Value::Null));
    let tokens = customers.iter().map(|token| visitor.with_token(token));
    for (buyer, address) in tokens.chain([shop.buyer(), shop.buyer()]).zip([9, 9, 9, 8, 8]) {
        let there = shop.visitor_from([127, 0, 0, address]).with_token(buyer.token());
        there.purchase(&id).await.expect(201);
    }
    let restless = visitor.with_token(&customers[0]);
    restless.purchase(&id).await.expect(201);
    let purchases = shop.database().await.collection::<Document>("purchases");
    // The moments: 50 ms, 0.5 s, 1.5 s and 100 s after the start; one is refunded, one has lost its network, one was bought at
    // another price.
    let start = 1_735_689_600_000_i64;
    for (sequence, after_ms) in [(1, 50), (2, 500), (3, 1_500), (4, 1_500), (5, 100_000), (6, 100_000)] {
        let at = doc! { "$set": { "purchasedAt": DateTime::from_millis(start + after_ms) } };
        purchases.update_one(doc! { "sequence": sequence }, at).await.unwrap();
    }
    purchases.update_one(doc! { "sequence": 5 }, doc! { "$set": { "status": "refunded" } }).await.unwrap();
    purchases.update_one(doc! { "sequence": 4 }, doc! { "$unset": { "network": "" } }).await.unwrap();
    let cheap = doc! { "$set": { "unitPrice": { "amount": 10_i64, "currency": "CHF" } } };
    purchases.update_one(doc! { "sequence": 2 }, cheap).await.unwrap();
    let before = admin.get(&path).await.expect(200).json;
    assert_eq!(before["timeToSellOutMs"], Value::Null);
    restless.get(&path).await.problem(403, "forbidden");
    shop.buyer().purchase(&id).await.expect(201);
    let last = doc! { "$set": { "purchasedAt": DateTime::from_millis(start + 100_000) } };
    purchases.update_one(doc! { "sequence": 7 }, last).await.unwrap();

    let report = admin.get(&path).await.expect(200).json;
    assert_eq!(report["timeToSellOutMs"], 100_000);
    let money = |amount: i64, currency: &str| json!({"amount": amount, "currency": currency});
    assert_eq!(
        report["outcomes"],
        json!([
            {"status": "confirmed", "purchases": 6, "units": 6, "totals": [money(10, "CHF"), money(49_500, "USD")]},
            {"status": "refunded", "purchases": 1, "units": 1, "totals": [money(9_900, "USD")]},
        ])
    );
    // A hundred seconds in at most eleven points.
    assert_eq!(report["secondsPerPoint"], 11);
    let point = |seconds: i64, purchases: i64| {
        let at = flash_sale::model::timestamp::Timestamp::from_milliseconds(start + seconds * 1_000);
        json!({"at": at, "purchases": purchases, "units": purchases})
    };
    assert_eq!(report["curve"], json!([point(0, 4), point(99, 3)]));
    assert_eq!(
        report["early"],
        json!([
            {"withinMs": 100, "purchases": 1, "units": 1}, {"withinMs": 1000, "purchases": 2, "units": 2},
        ])
    );
    assert_eq!(
        report["networks"],
        json!([
            {"network": "127.0.0.9", "buyers": 3, "purchases": 3, "units": 3},
            {"network": "127.0.0.1", "buyers": 2, "purchases": 2, "units": 2},
            {"network": "127.0.0.8", "buyers": 1, "purchases": 1, "units": 1},
        ])
    );
    assert_eq!(report["purchasesWithoutNetwork"], 1);
    // Of the first four purchases: three of accounts that were made after the moments that we gave them.
    let accounts = &report["accounts"];
    assert_eq!((&accounts["purchases"], &accounts["unknown"]), (&json!(4), &json!(1)));
    assert_eq!(accounts["byAge"][0], json!({"belowSeconds": 60, "purchases": 3}));
    assert_eq!(
        accounts["sharedAddresses"],
        json!([{"address": "ada@shop.example", "accounts": 2, "purchases": 2}])
    );
    admin.get(&format!("/products/{}/report", Id::new())).await.problem(404, "product_not_found");
    shop.close().await;
}
