//! `GET /live`: many products over one WebSocket, what its clients may send, and from which origins.

use flash_sale::config::Limits;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Actor, NO_ID, RawConnection, Shop, Socket, UPGRADE, Watcher, sneaker};

#[tokio::test(flavor = "multi_thread")]
async fn one_socket_watches_many_products() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let ids = [shop.sell(&sneaker()).await, shop.sell(&sneaker()).await, shop.sell(&sneaker()).await];
    let mut socket = Socket::open(&shop.visitor()).await;
    socket.ask(&json!({ "subscribe": [ids[0], ids[1]] })).await;
    let mut first = [socket.expect("product").await.data, socket.expect("product").await.data];
    first.sort_by_key(|product| product["id"].to_string());
    assert_eq!(first, [shop.product(&ids[0]).await, shop.product(&ids[1]).await]);
    for (server, id) in ids[..2].iter().enumerate() {
        shop.at(&shop.buyer(), server).purchase(id).await.expect(201);
        let stock = socket.expect("stock").await;
        assert_eq!(stock.data, json!({ "productId": id, "stock": 99, "held": 0, "sold": 1, "version": 2 }));
        assert_eq!(stock.id, Some(1));
    }
    // Unsubscribes from one product and asks for the purchases of another.
    let change = json!({ "unsubscribe": [ids[0]], "subscribe": [ids[2]], "include": ["purchases"] });
    socket.ask(&change).await;
    assert_eq!(socket.expect("product").await.data["id"], ids[2]);
    shop.buyer().purchase(&ids[0]).await.expect(201);
    shop.buyer().purchase(&ids[2]).await.expect(201);
    let purchase = socket.expect("purchase").await;
    assert_eq!((&purchase.data["productId"], purchase.id), (&json!(ids[2]), Some(1)));
    assert_eq!(socket.expect("stock").await.data["productId"], ids[2]);
    // A second subscription replaces the first: it starts over, now without purchases.
    socket.ask(&json!({ "subscribe": [ids[2]] })).await;
    assert_eq!(socket.expect("product").await.data["sold"], 1);
    shop.buyer().purchase(&ids[2]).await.expect(201);
    assert_eq!(socket.expect("stock").await.data["sold"], 2);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_message_gets_an_error_and_changes_nothing() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    let (mut socket, _) = Socket::watching(&shop.visitor(), &id).await;
    for text in ["", "{", "subscribe", "{}{}"] {
        assert_eq!(socket.refused(text).await, "malformed_json", "{text:?}");
    }
    let ids: Vec<_> = (0..51).map(|_| flash_sale::model::id::Id::new().to_hex()).collect();
    for message in [
        json!(null),
        json!([]),
        json!({}),
        json!({ "subscribe": id }),
        json!({ "subscribe": ["x"] }),
        json!({ "subscribe": [{ "$gt": "" }] }),
        json!({ "unsubscribe": [{ "$oid": id }] }),
        json!({ "unsubscribe": [id], "extra": 1 }),
        json!({ "unsubscribe": [id], "include": ["everything"] }),
        json!({ "unsubscribe": [id], "subscribe": [id], "after": 1 }),
        json!({ "subscribe": [id], "include": ["purchases"], "after": -1 }),
        json!({ "subscribe": [id], "include": ["purchases"], "after": "1" }),
        json!({ "subscribe": ids[..50], "unsubscribe": ids }),
    ] {
        assert_eq!(socket.refused(&message.to_string()).await, "validation_failed", "{message}");
    }
    socket.send(Message::binary(b"{}".to_vec())).await;
    assert_eq!(socket.error().await, "validation_failed");
    socket.ask(&json!({ "subscribe": [NO_ID] })).await;
    assert_eq!(socket.error().await, "product_not_found");
    shop.buyer().purchase(&id).await.expect(201);
    assert_eq!(socket.expect("stock").await.data["stock"], 99);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_watches_a_limited_number_of_products() {
    let shop =
        Shop::open_with(Limits::default().with(|limits| limits.live.socket_subscriptions_max = 2)).await;
    let ids = [shop.sell(&sneaker()).await, shop.sell(&sneaker()).await, shop.sell(&sneaker()).await];
    let mut socket = Socket::open(&shop.visitor()).await;
    assert_eq!(socket.refused(&json!({ "subscribe": ids }).to_string()).await, "validation_failed");
    socket.ask(&json!({ "subscribe": ids[..2] })).await;
    socket.expect("product").await;
    socket.expect("product").await;
    assert_eq!(socket.refused(&json!({ "subscribe": [ids[2]] }).to_string()).await, "validation_failed");
    socket.ask(&json!({ "subscribe": [ids[2]], "unsubscribe": [ids[0]] })).await;
    assert_eq!(socket.expect("product").await.data["id"], ids[2]);
    shop.close().await;
}

/// A WebSocket on which a test can send any bytes.
async fn upgraded(visitor: &Actor) -> RawConnection {
    let mut connection = RawConnection::open(visitor.host()).await;
    let upgrade = "GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    connection.send(upgrade.as_bytes()).await;
    connection.read_until("\r\n\r\n").await;
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_frame_is_answered() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    let (mut watching, _) = Socket::watching(&shop.visitor(), &id).await;
    let mut idle = Socket::open(&shop.visitor()).await;
    for socket in [&mut watching, &mut idle] {
        socket.send(Message::Close(None)).await;
        // RFC 6455: the peer answers a close frame. Without the answer, reading fails.
        while socket.next().await.is_some() {}
    }
    let mut raw = upgraded(&shop.visitor()).await;
    // Close code 1000, masked with zeros.
    raw.send(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await;
    assert_eq!(raw.read_bytes_to_end().await, [0x88, 0x02, 0x03, 0xe8]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_too_much_is_cut_off() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    let mut socket = Socket::open(&shop.visitor()).await;
    let large = json!({ "subscribe": [id], "include": [" ".repeat(8 * 1024)] }).to_string();
    socket.say(&large).await;
    assert_eq!(socket.error().await, "payload_too_large");
    assert_eq!(u16::from(socket.closed().await.code), 1009);
    // A text frame with one byte that is not UTF-8, masked with zeros.
    let mut no_text = upgraded(&shop.visitor()).await;
    no_text.send(&[0x81, 0x81, 0, 0, 0, 0, 0xff]).await;
    let answer = no_text.read_bytes_to_end().await;
    let told = String::from_utf8_lossy(&answer);
    assert!(told.contains("malformed_json"), "{told}");
    assert!(answer.windows(2).any(|bytes| bytes == 1007_u16.to_be_bytes()), "{told}");
    // A frame with a reserved bit set, masked with zeros.
    let mut unreadable = upgraded(&shop.visitor()).await;
    unreadable.send(&[0xf1, 0x80, 0, 0, 0, 0]).await;
    let close = unreadable.read_bytes_to_end().await;
    // A close frame with 1002, protocol error.
    assert_eq!((close[0], &close[2..4]), (0x88, &1002_u16.to_be_bytes()[..]), "{close:?}");
    let limits = Limits::default().with(|limits| {
        limits.live.socket_messages_burst = 5;
        limits.live.socket_messages_per_second = 0;
    });
    let mut shop_of_few_words = shop;
    shop_of_few_words.add_server_with(limits).await;
    let visitor = shop_of_few_words.at(&shop_of_few_words.visitor(), 1);
    // All at once, so that messages are still on their way when the server closes.
    let mut socket = Socket::open(&visitor).await;
    for _ in 0..500 {
        socket.feed("{}").await;
    }
    socket.flush().await;
    for _ in 0..5 {
        assert_eq!(socket.error().await, "validation_failed");
    }
    assert_eq!(socket.error().await, "rate_limited");
    assert_eq!(u16::from(socket.closed().await.code), 1008);
    shop_of_few_words.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_that_may_can_connect() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let own = format!("http://{}", visitor.host());
    for origin in [None, Some(own.as_str()), Some("https://shop.example")] {
        Socket::open_from(&visitor, origin).await;
    }
    // The same origin, with the port that its scheme has anyway.
    for (host, origin) in [
        ("shop.test:443", "https://shop.test"),
        ("shop.test", "https://shop.test"),
        ("Shop.test", "http://shop.test:80"),
    ] {
        let headers = [&UPGRADE[..], &[("Origin", origin), ("Host", host)]].concat();
        visitor.get_with("/live", &headers).await.expect(101);
    }
    for (host, origin) in [("shop.test:80", "https://shop.test"), ("shop.test:8443", "https://shop.test")] {
        let headers = [&UPGRADE[..], &[("Origin", origin), ("Host", host)]].concat();
        visitor.get_with("/live", &headers).await.problem(403, "forbidden");
    }
    for origin in
        ["https://elsewhere.example", "null", "http://shop.example", "https://shop.example.evil.example"]
    {
        let headers = [&UPGRADE[..], &[("Origin", origin)]].concat();
        visitor.get_with("/live", &headers).await.problem(403, "forbidden");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_upgrade_is_refused() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    visitor.get("/live").await.invalid(&["Upgrade"]);
    let old = [UPGRADE[0], UPGRADE[1], ("Sec-WebSocket-Version", "8"), UPGRADE[3]];
    visitor.get_with("/live", &old).await.invalid(&["Upgrade"]);
    let posted = visitor.post("/live", &json!({})).await.problem(405, "method_not_allowed");
    assert!(posted.header("allow").unwrap().contains("GET"));
    shop.close().await;
}
