//! The OpenAPI document changes only on purpose. All other tests check their answers against it.

use serde_json::Value;

use crate::harness::{Shop, check_answer, document};

/// If this variable is set, the server's document is written to the file instead of compared with it.
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
    // Not `assert_eq`, which would print both documents in full.
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
    assert!(routes >= 20);
    assert_eq!(routes, ids.len(), "operation ids are unique: {ids:?}");
}

fn check_security(operation: &Value, responses: &serde_json::Map<String, Value>, place: &str) {
    let security = operation["security"].as_array();
    let secured = !security.unwrap_or_else(|| panic!("{place} does not say who may")).is_empty();
    // The empty requirement says that no token is needed, but one that is sent has to be good.
    let codes =
        &responses.get("401").unwrap_or(&Value::Null)["content"]["application/problem+json"]["examples"];
    assert_eq!(secured, codes["unauthenticated"].is_object(), "{place}");
}

/// A client's `switch` over the codes of an answer is complete with those of its response.
#[test]
fn a_problem_lists_its_codes_and_an_example_of_each() {
    let items = document()["paths"].as_object().unwrap().values();
    let operations = items.flat_map(|item| item.as_object().unwrap().values());
    for response in operations.flat_map(|operation| operation["responses"].as_object().unwrap().values()) {
        let problem = &response["content"]["application/problem+json"];
        let Some(examples) = problem["examples"].as_object() else { continue };
        let codes = problem.pointer("/schema/allOf/1/properties/code/enum").and_then(Value::as_array);
        let mut codes: Vec<_> = codes.unwrap().iter().map(|code| code.as_str().unwrap()).collect();
        codes.sort_unstable();
        assert_eq!(codes, examples.keys().collect::<Vec<_>>());
        for (code, example) in examples {
            let example = &example["value"];
            assert_eq!(example["code"], code.as_str());
            check_answer(&problem["schema"], example);
            let member = match code.as_str() {
                "validation_failed" => "errors",
                "sale_not_started" => "saleStartTime",
                "sale_ended" => "saleEndTime",
                "sold_out" | "insufficient_stock" => "remaining",
                "purchase_limit_reached" => "purchased",
                "account_too_new" => "registeredBefore",
                "price_changed" => "price",
                "too_many_lapses" => "lapses",
                "purchase_not_pending" | "payment_unfillable" => "purchaseStatus",
                "amount_mismatch" => "total",
                "outcome_unknown" => "purchaseId",
                _ => continue,
            };
            assert!(!example[member].is_null(), "{code} has no {member}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_a_product_can_be_bought() {
    let shop = Shop::open().await;
    let example = &document()["components"]["schemas"]["CreateProductRequest"]["example"];
    let product = shop.admin().post("/products", example).await.expect(201);
    shop.buyer().purchase(product.json["id"].as_str().unwrap()).await.expect(201);
    shop.close().await;
}

/// A key that everybody copies would answer the second purchase with the first.
#[test]
fn a_key_has_no_example() {
    let parameters = &document()["paths"]["/products/purchase"]["post"]["parameters"];
    let key = parameters.as_array().unwrap().iter().find(|parameter| parameter["name"] == "Idempotency-Key");
    assert!(key.unwrap().get("example").is_none() && key.unwrap()["schema"].get("example").is_none());
}

/// The page to try the API, and the files that it loads.
async fn files_of_the_page(shop: &Shop) -> Vec<String> {
    let page = text_of(shop, "/docs/").await;
    let referred = page.split('"').filter_map(|part| part.strip_prefix("./"));
    let files: Vec<_> =
        ["/docs/".to_owned()].into_iter().chain(referred.map(|name| format!("/docs/{name}"))).collect();
    assert_eq!(files.len(), 5, "{page}");
    files
}

async fn text_of(shop: &Shop, path: &str) -> String {
    let response = reqwest::get(format!("http://{}{path}", shop.visitor().host())).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_needs_no_other_host() {
    let shop = Shop::open().await;
    let redirect = shop.visitor().get("/docs").await.expect(303);
    assert_eq!(redirect.header("location"), Some("/docs/"));
    let page = text_of(&shop, "/docs/").await;
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
    shop.visitor().get("/docs/nope.js").await.problem(404, "not_found");
    shop.close().await;
}

/// The policy matters here too: people enter a token on this page.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_has_the_policy_of_the_storefront() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let storefront = visitor.get("/").await.expect(200);
    for path in files_of_the_page(&shop).await {
        let file = visitor.get(&path).await.expect(200);
        for name in ["cache-control", "x-content-type-options", "referrer-policy", "permissions-policy"] {
            assert!(file.header(name).is_some(), "{path}: {name}");
            assert_eq!(file.header(name), storefront.header(name), "{path}: {name}");
        }
        let policy = file.header("content-security-policy").unwrap();
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.split("; ").any(|part| part == directive), "{path}: {directive}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_keeps_the_page() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    for path in files_of_the_page(&shop).await {
        let tag = visitor.get(&path).await.expect(200).etag();
        let kept = visitor.get_with(&path, &[("If-None-Match", &tag)]).await.expect(304);
        assert_eq!(kept.etag(), tag, "{path}");
        visitor.get_with(&path, &[("If-None-Match", "\"another\"")]).await.expect(200);
    }
    shop.close().await;
}
