//! Each purchase reaches its watchers once and in order: in a crowd, on every server, however often they reconnect.

use futures_util::future::join_all;
use rand::RngExt as _;
use serde_json::{Value, json};

use crate::harness::{
    Actor, Event, EventStream, Shop, Socket, Watcher, patient, sneaker, sneaker_with, soon,
};

/// What a client that follows the purchases has received, over all its connections.
#[derive(Default)]
struct Story {
    purchases: Vec<Value>,
    /// The id of the last event that had one: the client resumes there.
    last_id: i64,
    /// The product's version in the last event of this connection.
    version: i64,
    stock: i64,
}

impl Story {
    fn told(&self) -> i64 {
        i64::try_from(self.purchases.len()).unwrap()
    }

    fn connect(&mut self) {
        assert_eq!(self.last_id, self.told(), "it would go on at the wrong place");
        self.version = 0;
    }

    fn take(&mut self, event: Event) {
        match event.name.as_str() {
            "purchase" => {
                assert_eq!(event.data["sequence"], self.told() + 1, "{event:?}");
                assert_eq!(event.id, event.data["sequence"].as_i64(), "{event:?}");
                self.purchases.push(event.data);
            }
            "product" | "stock" => {
                let version = event.data["version"].as_i64().unwrap();
                assert!(version > self.version, "version {} after {}", version, self.version);
                self.version = version;
                self.stock = event.data["stock"].as_i64().unwrap();
            }
            _ => panic!("{event:?}"),
        }
        if let Some(id) = event.id {
            assert!(id <= self.told(), "the id {id} jumps over purchases after {}", self.told());
            self.last_id = id;
        }
    }
}

/// After how many events a connection is cut.
fn a_while() -> usize {
    rand::rng().random_range(1..60)
}

async fn follow_stream(visitor: Actor, product: String, count: i64) -> Story {
    let mut story = Story::default();
    while story.told() < count {
        story.connect();
        let mut stream = EventStream::purchases(&visitor, &product, Some(story.last_id)).await;
        for _ in 0..a_while() {
            story.take(stream.next().await.expect("an event"));
            if story.told() == count {
                break;
            }
        }
    }
    story
}

async fn follow_socket(visitor: Actor, product: String, count: i64) -> Story {
    let mut story = Story::default();
    while story.told() < count {
        story.connect();
        let mut socket = Socket::open(&visitor).await;
        let request = json!({ "subscribe": [product], "include": ["purchases"], "after": story.last_id });
        socket.ask(&request).await;
        for _ in 0..a_while() {
            story.take(socket.next().await.expect("a message"));
            if story.told() == count {
                break;
            }
        }
    }
    story
}

/// Follows without a cut, up to the last change of the stock.
async fn follow_to_the_end(mut watcher: impl Watcher, count: i64) -> Story {
    let mut story = Story { stock: count, ..Story::default() };
    while story.told() < count || story.stock > 0 {
        story.take(watcher.next().await.expect("an event"));
    }
    story
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_at_two_servers_is_told_in_order_and_completely_at_both() {
    const BUYERS: i64 = 400;
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({ "stock": BUYERS }))).await;
    let visitors = [shop.visitor(), shop.at(&shop.visitor(), 1)];
    let (mut cut, mut whole) = (Vec::new(), Vec::new());
    for visitor in &visitors {
        whole.push(tokio::spawn(follow_to_the_end(
            EventStream::purchases(visitor, &id, Some(0)).await,
            BUYERS,
        )));
        let mut socket = Socket::open(visitor).await;
        socket.ask(&json!({ "subscribe": [id], "include": ["purchases"], "after": 0 })).await;
        whole.push(tokio::spawn(follow_to_the_end(socket, BUYERS)));
        cut.push(tokio::spawn(follow_stream(visitor.clone(), id.clone(), BUYERS)));
        cut.push(tokio::spawn(follow_socket(visitor.clone(), id.clone(), BUYERS)));
    }
    let crowd = join_all((0..BUYERS).map(|number| {
        let buyer = shop.at(&shop.buyer(), usize::from(number % 2 == 0));
        let id = id.clone();
        async move { buyer.purchase(&id).await.expect(201) }
    }));
    soon("the crowd buying", crowd).await;
    let board = shop.leaderboard(&id).await;
    for story in join_all(whole.into_iter().chain(cut)).await {
        let story = story.unwrap();
        assert!(story.purchases == board, "not what was bought: {:#?}", story.purchases);
    }
    // Late watchers get all purchases too, also those that memory no longer holds.
    let late = follow_stream(visitors[1].clone(), id.clone(), BUYERS).await;
    assert!(late.purchases == board);
    let late = follow_socket(visitors[0].clone(), id.clone(), BUYERS).await;
    assert!(late.purchases == board);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_socket_delivers_missed_purchases() {
    let shop = Shop::open_with(patient()).await;
    let (quiet, busy) =
        (shop.sell(&sneaker_with(json!({ "stock": 300 }))).await, sneaker_with(json!({ "stock": 100_000 })));
    let busy = shop.sell(&busy).await;
    let buyers = |product: &str, count: usize| {
        let product = product.to_owned();
        let buyers: Vec<_> = (0..count).map(|_| shop.buyer()).collect();
        async move { join_all(buyers.iter().map(|buyer| buyer.purchase(&product))).await }
    };
    buyers(&quiet, 300).await;
    let mut socket = Socket::open(&shop.visitor()).await;
    socket.ask(&json!({ "subscribe": [busy] })).await;
    socket.expect("product").await;
    socket.ask(&json!({ "subscribe": [quiet], "include": ["purchases"], "after": 0 })).await;
    let mut story = Story::default();
    let reading = async {
        while story.told() < 300 {
            let event = socket.next().await.expect("a message");
            if event.data["productId"] == quiet.as_str() || event.data["id"] == quiet.as_str() {
                story.take(event);
            }
        }
    };
    let selling = async {
        loop {
            buyers(&busy, 5).await;
        }
    };
    tokio::select! {
        () = soon("the missed purchases", reading) => {}
        () = selling => {}
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_beyond_the_last_purchase_misses_none() {
    let shop = Shop::open().await;
    let (sold, new) = (shop.sell(&sneaker()).await, shop.sell(&sneaker()).await);
    for _ in 0..3 {
        shop.buyer().purchase(&sold).await.expect(201);
    }
    let mut socket = Socket::open(&shop.visitor()).await;
    socket.ask(&json!({ "subscribe": [sold, new], "include": ["purchases"], "after": 3 })).await;
    let counted: Vec<_> = [socket.expect("product").await, socket.expect("product").await]
        .map(|product| (product.id, product.data["sold"].as_i64()))
        .into();
    assert!(counted.contains(&(Some(3), Some(3))) && counted.contains(&(Some(0), Some(0))), "{counted:?}");
    shop.buyer().purchase(&new).await.expect(201);
    let purchase = socket.until("a purchase", |event| event.name == "purchase").await;
    assert_eq!((purchase.id, &purchase.data["productId"]), (Some(1), &json!(new)));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_has_missed_too_much_is_told_to_read_the_leaderboard() {
    let limits = flash_sale::config::Limits::default().with(|limits| limits.live.missed_purchases_max = 2);
    let shop = Shop::open_with(limits).await;
    let id = shop.sell(&sneaker_with(json!({ "stock": 10 }))).await;
    for _ in 0..3 {
        shop.buyer().purchase(&id).await.expect(201);
    }
    let mut socket = Socket::open(&shop.visitor()).await;
    socket.ask(&json!({ "subscribe": [id], "include": ["purchases"], "after": 0 })).await;
    let error = socket.expect("error").await;
    assert_eq!(error.data["code"], "validation_failed");
    assert!(error.data["detail"].as_str().unwrap().contains("leaderboard"), "{error:?}");
    socket.ask(&json!({ "subscribe": [id], "include": ["purchases"], "after": 1 })).await;
    // Until purchases 2 and 3 are sent, no event counts them, not even by its id.
    let product = socket.expect("product").await;
    assert_eq!((&product.data["sold"], product.id), (&json!(3), Some(1)));
    assert_eq!([socket.expect("purchase").await.id, socket.expect("purchase").await.id], [Some(2), Some(3)]);
    shop.close().await;
}
