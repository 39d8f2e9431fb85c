//! The OpenAPI document is a promise: it changes on purpose or not at all. Every other test checks its answers
//! against it.

use serde_json::Value;

use crate::harness::{Shop, document};

/// Set to write the document that the server gives instead of comparing it.
const UPDATE: &str = "UPDATE_OPENAPI";

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_the_committed_one() {
    let shop = Shop::open().await;
    let served = shop.visitor().get("/openapi.json").await.expect(200).json;
    if std::env::var_os(UPDATE).is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        std::fs::write(path, format!("{served:#}\n")).unwrap();
        return;
    }
    // Not `assert_eq`: nobody reads two whole documents.
    assert!(
        &served == document(),
        "docs/openapi.json is stale: {UPDATE}=1 cargo test the_document writes it anew"
    );
    shop.close().await;
}

#[test]
fn the_document_is_complete() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            ids.push(operation["operationId"].as_str().unwrap_or_else(|| panic!("{place} has no id")));
            assert!(operation["summary"].is_string(), "{place} has no summary");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("500"), "{place}");
            check_security(operation, responses, &place);
        }
    }
    let routes = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((routes, ids.len()), (20, 20), "operation ids are unique: {ids:?}");
}

fn check_security(operation: &Value, responses: &serde_json::Map<String, Value>, place: &str) {
    let secured = operation["security"].as_array().is_some_and(|security| !security.is_empty());
    let codes =
        &responses.get("401").unwrap_or(&Value::Null)["content"]["application/problem+json"]["examples"];
    assert_eq!(secured, codes["unauthenticated"].is_object(), "{place}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_needs_no_other_host() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let redirect = visitor.get("/docs").await.expect(303);
    assert_eq!(redirect.header("location"), Some("/docs/"));
    let client = reqwest::Client::new();
    let page =
        client.get(format!("http://{}/docs/", visitor.host())).send().await.unwrap().text().await.unwrap();
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
    for file in page.split('"').filter_map(|part| part.strip_prefix("./")) {
        assert_eq!(visitor.get(&format!("/docs/{file}")).await.status, 200, "{file}");
    }
    shop.close().await;
}
