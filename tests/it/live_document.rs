//! The AsyncAPI document: its examples match its schemas, and the server answers its requests. All other tests check
//! every message against it.

use serde_json::json;

use crate::harness::{Shop, Socket, Watcher, asyncapi, check_message, sneaker};

#[test]
fn every_example_is_as_documented() {
    let document = asyncapi();
    assert_eq!(document["asyncapi"], "3.0.0");
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        let examples = message["examples"].as_array().unwrap();
        assert!(!examples.is_empty(), "{name}");
        examples.iter().for_each(|example| check_message(name, &example["payload"]));
        let is_in_channel = &document["channels"]["live"]["messages"][name];
        assert!(is_in_channel.is_object(), "{name} is not in the channel");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_of_the_messages_is_served() {
    let shop = Shop::open().await;
    let answer = shop.visitor().get("/asyncapi.yaml").await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/yaml"));
    let known = [("If-None-Match", answer.header("etag").unwrap())];
    shop.visitor().get_with("/asyncapi.yaml", &known).await.expect(304);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_follows_the_requests_of_the_document() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    let mut socket = Socket::open(&shop.visitor()).await;
    for example in asyncapi()["components"]["messages"]["request"]["examples"].as_array().unwrap() {
        let request = example["payload"].to_string().replace(crate::harness::NO_ID, &id);
        socket.say(&request).await;
        if request.contains("\"subscribe\"") {
            socket.expect("product").await;
        }
    }
    // Nothing is watched any more, and nothing was refused.
    shop.buyer().purchase(&id).await.expect(201);
    socket.ask(&json!({ "subscribe": [id] })).await;
    assert_eq!(socket.expect("product").await.data["stock"], 99);
    shop.close().await;
}
