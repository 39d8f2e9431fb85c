//! Server-Sent Events: watchers learn what happens to a product, on whichever server it happens.

use flash_sale::config::Limits;
use flash_sale::model::timestamp::Timestamp;
use serde_json::json;

use crate::harness::{EventStream, NO_ID, Shop, Socket, Watcher, sneaker, sneaker_with, soon};

#[tokio::test(flavor = "multi_thread")]
async fn first_the_whole_product_then_its_stock() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    shop.buyer().purchase(&id).await.expect(201);
    let mut stream = EventStream::open(&shop.visitor(), &id).await;
    let first = stream.expect("product").await;
    assert_eq!((&first.data, first.id), (&shop.product(&id).await, Some(1)));
    assert_eq!(stream.retries.len(), 1, "how long to wait before connecting again comes first");
    shop.buyer().purchase(&id).await.expect(201);
    let stock = stream.expect("stock").await;
    assert_eq!(stock.data, json!({ "productId": id, "stock": 98, "held": 0, "sold": 2, "version": 3 }));
    assert_eq!(stock.id, Some(2));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn purchases_are_told_to_those_who_ask_for_them_only() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    let mut with = EventStream::purchases(&shop.visitor(), &id, None).await;
    let mut without = EventStream::open(&shop.visitor(), &id).await;
    with.expect("product").await;
    without.expect("product").await;
    for sold in 1..=3 {
        shop.buyer_named("Ada Lovelace").purchase(&id).await.expect(201);
        let purchase = with.expect("purchase").await;
        assert_eq!((&purchase.data["sequence"], purchase.id), (&json!(sold), Some(sold)));
        assert_eq!(purchase.data["buyer"], "Ada L.");
        assert_eq!(with.expect("stock").await.data["sold"], sold);
        assert_eq!(without.expect("stock").await.data["sold"], sold);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_changes_a_product_is_told_on_every_server() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let id = shop.sell(&sneaker_with(json!({ "stock": 1 }))).await;
    let here = EventStream::open(&shop.visitor(), &id).await;
    let there = EventStream::open(&shop.at(&shop.visitor(), 1), &id).await;
    let mut watchers = [here, there];
    for watcher in &mut watchers {
        watcher.expect("product").await;
    }
    let admin = shop.admin();
    for (server, name) in ["Renamed here", "Renamed there"].iter().enumerate() {
        let path = format!("/products/{id}");
        shop.at(&admin, server).patch(&path, "*", &json!({ "name": name })).await.expect(200);
        for watcher in &mut watchers {
            assert_eq!(watcher.expect("product").await.data["name"], *name);
        }
    }
    for server in [0, 1] {
        // Sold out, then on sale again.
        shop.at(&shop.buyer(), 1 - server).purchase(&id).await.expect(201);
        for watcher in &mut watchers {
            let product = watcher.expect("product").await.data;
            assert_eq!((&product["status"], &product["stock"]), (&json!("sold_out"), &json!(0)));
        }
        let restock = format!("/products/{id}/restock");
        shop.at(&admin, server).post(&restock, &json!({ "quantity": 1 })).await.expect(200);
        for watcher in &mut watchers {
            let product = watcher.expect("product").await.data;
            assert_eq!((&product["status"], &product["stock"]), (&json!("live"), &json!(1)));
        }
    }
    // A restock raises the total as well, so watchers get the whole product and not only its stock.
    admin.post(&format!("/products/{id}/restock"), &json!({ "quantity": 5 })).await.expect(200);
    for watcher in &mut watchers {
        assert_eq!(watcher.expect("product").await.data["totalStock"], 8);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sale_starts_and_ends_by_time_alone() {
    let shop = Shop::open().await;
    let now = shop.visitor().get("/time").await.json["now"].as_str().unwrap().to_owned();
    let now = Timestamp::parse(&now).unwrap().milliseconds();
    let at = |milliseconds: i64| json!(Timestamp::from_milliseconds(now + milliseconds));
    let times = json!({ "saleStartTime": at(2_000), "saleEndTime": at(3_000) });
    let id = shop.sell(&sneaker_with(times)).await;
    let mut stream = EventStream::open(&shop.visitor(), &id).await;
    for status in ["upcoming", "live", "ended"] {
        assert_eq!(stream.expect("product").await.data["status"], status);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_watched_no_more() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let ids = [shop.sell(&sneaker()).await, shop.sell(&sneaker()).await];
    for (server, id) in ids.iter().enumerate() {
        let visitor = shop.visitor();
        let mut stream = EventStream::open(&visitor, id).await;
        stream.expect("product").await;
        let (mut socket, _) = Socket::watching(&visitor, id).await;
        shop.at(&shop.admin(), server).delete(&format!("/products/{id}")).await.expect(204);
        assert_eq!(stream.next().await, None);
        let error = socket.expect("error").await;
        assert_eq!(error.data["code"], "product_not_found");
        assert!(error.data["detail"].as_str().unwrap().contains(id.as_str()), "{error:?}");
        let events = format!("/products/{id}/events");
        visitor.get(&events).await.problem(404, "product_not_found");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_watched_is_refused() {
    let shop = Shop::open_with(Limits::default().with(|limits| limits.live.missed_purchases_max = 2)).await;
    let visitor = shop.visitor();
    visitor.get(&format!("/products/{NO_ID}/events")).await.problem(404, "product_not_found");
    visitor.get("/products/nothing/events").await.problem(404, "product_not_found");
    let id = shop.sell(&sneaker()).await;
    let events = format!("/products/{id}/events");
    visitor.get(&format!("{events}?include=everything")).await.invalid(&["include"]);
    for bad in ["x", "-1", "1.5", "9223372036854775808"] {
        visitor.get_with(&events, &[("Last-Event-ID", bad)]).await.invalid(&["Last-Event-ID"]);
    }
    for _ in 0..3 {
        shop.buyer().purchase(&id).await.expect(201);
    }
    let purchases = format!("{events}?include=purchases");
    let both = visitor.get_with(&format!("{events}?include=all"), &[("Last-Event-ID", "x")]).await;
    both.invalid(&["include", "Last-Event-ID"]);
    visitor.get_with(&purchases, &[("Last-Event-ID", "0")]).await.invalid(&["Last-Event-ID"]);
    let mut stream = EventStream::purchases(&visitor, &id, Some(1)).await;
    assert_eq!(stream.expect("product").await.id, None, "two purchases before it are still to come");
    assert_eq!([stream.expect("purchase").await.id, stream.expect("purchase").await.id], [Some(2), Some(3)]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_watcher_gets_signs_of_life() {
    let shop = Shop::open_with(Limits::default().with(|limits| limits.live.keepalive_ms = 100)).await;
    let id = shop.sell(&sneaker()).await;
    let mut stream = EventStream::open(&shop.visitor(), &id).await;
    stream.expect("product").await;
    stream.beat().await;
    stream.beat().await;
    let (mut socket, _) = Socket::watching(&shop.visitor(), &id).await;
    while socket.pings < 2 {
        // Something to read after the pings.
        socket.ask(&json!({ "subscribe": [id] })).await;
        socket.expect("product").await;
        stream.beat().await;
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_says_goodbye_to_its_watchers() {
    // If the shutdown waited for a watcher, it would exceed the test's patience.
    let limits = Limits::default().with(|limits| limits.http.shutdown_ms_max = 600_000);
    let mut shop = Shop::open_with(limits).await;
    let id = shop.sell(&sneaker()).await;
    let mut stream = EventStream::open(&shop.visitor(), &id).await;
    stream.expect("product").await;
    let (mut socket, _) = Socket::watching(&shop.visitor(), &id).await;
    let mut idle = Socket::open(&shop.visitor()).await;
    let server = shop.servers.remove(0);
    let (_, end, close, idle_close) = soon("a prompt end", async {
        tokio::join!(server.stop(), stream.next(), socket.closed(), idle.closed())
    })
    .await;
    assert_eq!(end, None);
    assert_eq!(stream.retries.len(), 2, "one at the beginning, one at the end");
    assert!(stream.retries.iter().all(|delay| (1_000..=3_000).contains(delay)), "{:?}", stream.retries);
    for close in [close, idle_close] {
        assert_eq!(u16::from(close.code), 1012);
        let delay = close.reason.strip_prefix("connect again in ").and_then(|rest| rest.strip_suffix(" ms"));
        let delay: u64 = delay.unwrap_or_else(|| panic!("{close:?}")).parse().unwrap();
        assert!((1_000..=3_000).contains(&delay), "{close:?}");
    }
    shop.close().await;
}
