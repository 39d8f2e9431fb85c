//! How many may watch, and what happens to watchers that do not read.

use flash_sale::config::Limits;
use serde_json::json;

use crate::harness::{
    Actor, EventStream, RawConnection, Shop, Socket, UPGRADE, Watcher, bounded, metric, sneaker, soon,
};

/// Waits until the server counts this many watchers.
async fn until_watching(actor: &Actor, count: f64) {
    soon("a place given back", async { while metric(actor, "flash_sale_watchers").await != count {} }).await;
}

async fn check_places_are_limited_and_freed(limits: Limits, status: u16, code: &str) {
    let shop = Shop::open_with(limits).await;
    let id = shop.sell(&sneaker()).await;
    let visitor = shop.visitor();
    let events = format!("/products/{id}/events");
    for _ in 0..3 {
        let stream = EventStream::open(&visitor, &id).await;
        let socket = Socket::open(&visitor).await;
        // `Answer` checks the Retry-After.
        visitor.get(&events).await.problem(status, code);
        visitor.get_with("/live", &UPGRADE).await.problem(status, code);
        drop(stream);
        until_watching(&visitor, 1.0).await;
        let another = Socket::open(&visitor).await;
        visitor.get(&events).await.problem(status, code);
        drop((socket, another));
        until_watching(&visitor, 0.0).await;
    }
    // A watcher who is refused for another reason takes no place.
    for _ in 0..3 {
        visitor
            .get(&format!("/products/{}/events", crate::harness::NO_ID))
            .await
            .problem(404, "product_not_found");
    }
    until_watching(&visitor, 0.0).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_limits_its_watchers_and_frees_their_places() {
    let limits = Limits::default().with(|limits| limits.live.watchers_max = 2);
    check_places_are_limited_and_freed(limits, 503, "overloaded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_of_an_address_are_limited_and_their_places_freed() {
    let limits = bounded().with(|limits| limits.live.watchers_per_address_max = 2);
    check_places_are_limited_and_freed(limits, 429, "rate_limited").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_stays_one_of_the_connections() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let sockets = (Socket::open(&visitor).await, Socket::open(&visitor).await);
    // The two sockets and the connection that asks.
    assert_eq!(metric(&visitor, "flash_sale_connections").await, 3.0);
    drop(sockets);
    let given_back = async { while metric(&visitor, "flash_sale_connections").await != 1.0 {} };
    soon("places given back", given_back).await;
    shop.close().await;
}

/// Changes the product to something large, so that its watchers must read a lot.
async fn change(shop: &Shop, id: &str, number: usize) -> String {
    let name = format!("Name {number}.");
    let change = json!({ "name": name, "description": "\u{1f45f}".repeat(5_000) });
    shop.admin().patch(&format!("/products/{id}"), "*", &change).await.expect(200);
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_of_quiet_products_slow_nobody_down() {
    // If each change went to all watchers of any product, the test would run out of patience.
    let limits = Limits::default().with(|limits| {
        limits.live.stock_messages_per_second_max = 1;
        limits.live.keepalive_ms = 600_000;
    });
    let shop = Shop::open_with(limits).await;
    let mut quiet = Vec::new();
    for _ in 0..50 {
        quiet.push(shop.sell(&sneaker()).await);
    }
    let visitor = shop.visitor();
    let mut sockets = [Socket::open(&visitor).await, Socket::open(&visitor).await];
    for socket in &mut sockets {
        socket.ask(&json!({ "subscribe": quiet })).await;
        for _ in &quiet {
            socket.expect("product").await;
        }
    }
    let id = shop.sell(&sneaker()).await;
    let mut stream = EventStream::open(&visitor, &id).await;
    stream.expect("product").await;
    for sold in 1..=3 {
        shop.buyer().purchase(&id).await.expect(201);
        assert_eq!(stream.expect("stock").await.data["sold"], sold);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_read_is_skipped_ahead_and_holds_nobody_up() {
    const CHANGES: usize = 150;
    let shop = Shop::open_with(Limits::default().with(|limits| limits.live.stock_interval_ms_min = 0)).await;
    let id = shop.sell(&sneaker()).await;
    let mut slow = RawConnection::open_narrow(shop.visitor().host()).await;
    slow.send(format!("GET /products/{id}/events HTTP/1.1\r\nHost: shop\r\n\r\n").as_bytes()).await;
    let mut quick = EventStream::open(&shop.visitor(), &id).await;
    quick.expect("product").await;
    for number in 0..CHANGES {
        let name = change(&shop, &id, number).await;
        assert_eq!(quick.expect("product").await.data["name"], name);
    }
    let last = format!("Name {}.", CHANGES - 1);
    let read = soon("the newest product", slow.read_until(&last)).await;
    let told = read.matches("event: product").count();
    assert!(told < CHANGES, "all of {CHANGES} changes were kept for one that did not read");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_not_read_is_cut_and_holds_nobody_up() {
    let limits = Limits::default().with(|limits| {
        limits.live.stock_interval_ms_min = 0;
        limits.live.socket_send_ms_max = 100;
    });
    let shop = Shop::open_with(limits).await;
    let id = shop.sell(&sneaker()).await;
    let visitor = shop.visitor();
    let mut slow = Socket::open_narrow(&visitor).await;
    slow.ask(&json!({ "subscribe": [id] })).await;
    let (mut quick, _) = Socket::watching(&visitor, &id).await;
    let cut = async {
        for number in 0.. {
            let name = change(&shop, &id, number).await;
            assert_eq!(quick.expect("product").await.data["name"], name);
            if metric(&visitor, "flash_sale_watchers").await == 1.0 {
                return;
            }
        }
    };
    soon("the cut", cut).await;
    drop(slow);
    shop.close().await;
}
