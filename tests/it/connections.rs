//! How many connections one address may hold, and for how long without a request.

use std::time::Duration;

use flash_sale::config::Limits;
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{RawConnection, Shop, bounded, metric, sneaker, soon};

async fn connect_from(address: [u8; 4], host: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((std::net::Ipv4Addr::from(address), 0).into()).unwrap();
    socket.connect(host.parse().unwrap()).await.unwrap()
}

/// Three hundred silent connections of one address, each for a minute.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_holds_no_more_than_its_connections() {
    const MAX: usize = 10;
    let limits = bounded().with(|limits| limits.http.connections_per_address_max = MAX);
    let shop = Shop::open_with(limits).await;
    let ada = shop.visitor_from([127, 0, 0, 3]);
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(connect_from([127, 0, 0, 2], ada.host()).await);
    }
    // Of those that are too many, each is closed; a buyer at another address gets in.
    let kept = silent.drain(..MAX).collect::<Vec<_>>();
    for stream in silent {
        soon("the end of a connection that is one too many", RawConnection::over(stream).read_to_end()).await;
    }
    assert_eq!(ada.get("/time").await.status, 200);
    // `metric` asks over a connection of its own, from 127.0.0.1.
    assert_eq!(metric(&ada, "flash_sale_connections").await, (MAX + 2) as f64);
    // One more of that address is told why.
    let told = shop.visitor_from([127, 0, 0, 2]).get("/products").await.problem(429, "rate_limited");
    assert_eq!(told.header("connection"), Some("close"));
    drop(kept);
    let given_back = async { while metric(&ada, "flash_sale_connections").await != 2.0 {} };
    soon("places given back", given_back).await;
    assert_eq!(shop.visitor_from([127, 0, 0, 2]).get("/time").await.status, 200);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_sends_nothing_ends_soon_and_one_that_has_asked_stays() {
    let limits = bounded().with(|limits| limits.http.first_header_read_ms_max = 500);
    let mut shop = Shop::open_with(limits.clone()).await;
    let visitor = shop.visitor();
    let mut asks = RawConnection::open(visitor.host()).await;
    asks.send(b"GET /time HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    assert!(asks.read_answer().await.starts_with("HTTP/1.1 200"));
    let silent = RawConnection::open(visitor.host()).await;
    let mut slow = RawConnection::open(visitor.host()).await;
    slow.send(b"GET /time HTTP/1.1\r\nHost:").await;
    assert_eq!(soon("the end of a silent connection", silent.read_to_end()).await, "");
    assert_eq!(soon("the end of a slow head", slow.read_to_end()).await, "");
    asks.send(b"GET /time HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    assert!(asks.read_answer().await.starts_with("HTTP/1.1 200"));
    // A proxy opens connections before it needs them.
    shop.add_server_with(Limits { clients: Limits::default().clients, ..limits }).await;
    let proxy = shop.at(&visitor, 1);
    let mut early = RawConnection::open(proxy.host()).await;
    let silent = connect_from([127, 0, 0, 2], visitor.host()).await;
    soon("the end of a client's silent connection", RawConnection::over(silent).read_to_end()).await;
    early.send(b"GET /time HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    assert!(early.read_answer().await.starts_with("HTTP/1.1 200"));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_end_sooner_when_few_places_are_left() {
    let limits = bounded().with(|limits| {
        limits.http.connections_max = 8;
        limits.http.scarce_header_read_ms_max = 300;
    });
    let shop = Shop::open_with(limits).await;
    let visitor = shop.visitor();
    let ask = async |address: [u8; 4]| {
        let mut connection = RawConnection::over(connect_from(address, visitor.host()).await);
        connection.send(b"GET /time HTTP/1.1\r\nHost: shop\r\n\r\n").await;
        assert!(connection.read_answer().await.starts_with("HTTP/1.1 200"));
        connection
    };
    let mut early = Vec::new();
    for number in 0..7 {
        early.push(ask([127, 0, 0, 10 + number]).await);
    }
    // The eighth place: few are left, and an idle connection gives it back.
    for number in 0..3 {
        let late = ask([127, 0, 0, 30 + number]).await;
        soon("the end of an idle connection", late.read_to_end()).await;
    }
    early[0].send(b"GET /time HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    assert!(early[0].read_answer().await.starts_with("HTTP/1.1 200"));
    shop.close().await;
}

/// Twenty addresses once could take all connections by watching.
#[tokio::test(flavor = "multi_thread")]
async fn watchers_leave_room_for_buyers() {
    let defaults = Limits::default();
    assert!(defaults.live.watchers_max * 5 <= defaults.http.connections_max * 4);
    let limits = bounded().with(|limits| {
        limits.http.connections_max = 10;
        limits.live.watchers_max = 8;
    });
    let shop = Shop::open_with(limits).await;
    let id = shop.sell(&sneaker()).await;
    let visitor = shop.visitor();
    let mut watching = Vec::new();
    let full = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let answer =
                reqwest::get(format!("http://{}/products/{id}/events", visitor.host())).await.unwrap();
            match answer.status().as_u16() {
                200 => watching.push(answer),
                status => break status,
            }
        }
    });
    assert!([429, 503].contains(&full.await.unwrap()));
    let buyer = shop.visitor_from([127, 0, 0, 9]).with_token(shop.buyer().token());
    buyer.purchase(&id).await.expect(201);
    shop.close().await;
}
