//! Watchers hear which purchases were given back, wherever that happened, and after a break as well.

use serde_json::{Value, json};

use crate::harness::{Actor, EventStream, Shop, Socket, Watcher, patient, soon};
use crate::payments::{held, id_of};

/// The next `released` of a watcher, skipping what else it is told; and the last stock that it was told.
async fn next_released(stream: &mut EventStream) -> (Value, Option<Value>) {
    let mut stock = None;
    let event = async {
        loop {
            let event = stream.next().await.expect("an event");
            match event.name.as_str() {
                "released" => return event,
                "stock" => stock = Some(event.data),
                _ => {}
            }
        }
    };
    let event = soon("a released", event).await;
    assert_eq!(event.id, None, "it says nothing of which purchases were sent");
    (event.data, stock)
}

/// The next `count` purchases that a watcher is told of, or that were given back, by the names of the events.
async fn told(stream: &mut EventStream, count: usize) -> Vec<(String, i64)> {
    let mut told = Vec::new();
    let hearing = async {
        while told.len() < count {
            let event = stream.next().await.expect("an event");
            if ["purchase", "released"].contains(&event.name.as_str()) {
                told.push((event.name, event.data["sequence"].as_i64().unwrap()));
            }
        }
    };
    soon("what was missed", hearing).await;
    told
}

async fn buy(buyer: &Actor, id: &str) -> String {
    id_of(&buyer.purchase(id).await.expect(201).json)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_is_told_on_every_server() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&held(json!({}))).await;
    let visitor = shop.visitor();
    let mut streams = [
        EventStream::purchases(&visitor, &id, None).await,
        EventStream::purchases(&shop.at(&visitor, 1), &id, None).await,
    ];
    let mut plain = EventStream::open(&visitor, &id).await;
    let (mut socket, _) = Socket::watching(&shop.at(&visitor, 1), &id).await;
    let buyers = [shop.buyer(), shop.buyer(), shop.buyer()];
    let mut purchases = Vec::new();
    for buyer in &buyers {
        purchases.push(buy(buyer, &id).await);
    }
    shop.at(&buyers[0], 1).cancel(&purchases[0]).await.expect(200);
    for stream in &mut streams {
        let (released, stock) = next_released(stream).await;
        assert_eq!(released, json!({"productId": id, "sequence": 1, "status": "canceled"}));
        let stock = stock.unwrap_or_default();
        assert!(stock.is_null() || stock["held"].as_i64().unwrap() <= 3, "{stock}");
    }
    shop.let_expire(&purchases[1..2]).await;
    for stream in &mut streams {
        assert_eq!(next_released(stream).await.0["status"], "expired");
    }
    shop.payment_service().confirm(&purchases[2], "pi_1").await.expect(200);
    shop.admin().refund(&purchases[2], &json!({})).await.expect(200);
    for stream in &mut streams {
        let (released, _) = next_released(stream).await;
        assert_eq!((&released["sequence"], &released["status"]), (&json!(3), &json!("refunded")));
    }
    // Those who did not ask for purchases hear only of the figures.
    let watching = async {
        loop {
            let event = plain.next().await.expect("an event");
            assert!(["product", "stock"].contains(&event.name.as_str()), "{event:?}");
            let data = &event.data;
            if (&data["stock"], &data["held"], &data["sold"]) == (&json!(100), &json!(0), &json!(0))
                && data["version"].as_i64() >= Some(8)
            {
                break;
            }
        }
    };
    soon("the last stock", watching).await;
    let watching = async { while socket.next().await.expect("an event").data["stock"] != 100 {} };
    soon("the last stock", watching).await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_hides_nothing_that_was_given_back() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&held(json!({}))).await;
    let buyers = [shop.buyer(), shop.buyer(), shop.buyer()];
    let mut purchases = Vec::new();
    for buyer in &buyers {
        purchases.push(buy(buyer, &id).await);
    }
    // Somebody has seen all three, and is away while the first is given back and a fourth is bought.
    buyers[0].cancel(&purchases[0]).await.expect(200);
    buy(&shop.buyer(), &id).await;
    let mut streams = Vec::new();
    for server in [0, 1] {
        let visitor = shop.at(&shop.visitor(), server);
        let mut stream = EventStream::purchases(&visitor, &id, Some(3)).await;
        let mut told = told(&mut stream, 2).await;
        told.sort();
        assert_eq!(told, [("purchase".to_owned(), 4), ("released".to_owned(), 1)]);
        streams.push(stream);
    }
    // Who knows of none hears of the first as well.
    let mut newcomer = EventStream::purchases(&shop.visitor(), &id, Some(0)).await;
    assert_eq!(next_released(&mut newcomer).await.0["sequence"], 1);
    // From then on each is told once.
    buyers[1].cancel(&purchases[1]).await.expect(200);
    buyers[2].cancel(&purchases[2]).await.expect(200);
    for stream in &mut streams {
        assert_eq!(next_released(stream).await.0["sequence"], 2);
        assert_eq!(next_released(stream).await.0["sequence"], 3);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_hears_of_what_was_given_back_later() {
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&held(json!({}))).await;
    let buyers = [shop.buyer(), shop.buyer(), shop.buyer()];
    buy(&buyers[0], &id).await;
    // Nothing has been given back yet when they come.
    let mut streams = Vec::new();
    for after in [0, 1] {
        streams.push(EventStream::purchases(&shop.visitor(), &id, Some(after)).await);
    }
    let second = buy(&buyers[1], &id).await;
    buyers[1].cancel(&second).await.expect(200);
    for stream in &mut streams {
        assert_eq!(next_released(stream).await.0["sequence"], 2);
    }
    // Somebody has seen the first, and is away while a third is bought and given back.
    let third = buy(&buyers[2], &id).await;
    buyers[2].cancel(&third).await.expect(200);
    let mut stream = EventStream::purchases(&shop.visitor(), &id, Some(1)).await;
    let told = told(&mut stream, 4).await;
    // A purchase comes before what has become of it.
    let expected = [("purchase", 2), ("purchase", 3), ("released", 2), ("released", 3)];
    assert_eq!(told, expected.map(|(name, number)| (name.to_owned(), number)));
    shop.close().await;
}
