//! What the log tells the operator, and what it must never contain.

use flash_sale::model::id::Id;
use flash_sale::model::user::Role;
use flash_sale::store::patch_level;
use mongodb::bson::doc;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    ADMIN, Actor, SECRET, database_uri, drop_database, own_mongo, process_directory, signal, sneaker, token,
};
use crate::process::Running;

/// A server on the test's own database that logs JSON.
fn start(name: &str, uri: &str, admin: (&str, &str)) -> Running {
    start_where(name, uri, admin, &[])
}

/// The same with more settings.
fn start_where(name: &str, uri: &str, admin: (&str, &str), more: &[(&str, &str)]) -> Running {
    let usual = [
        ("MONGO_URI", uri),
        ("JWT_SECRET", SECRET),
        ("ADMIN_EMAIL", admin.0),
        ("ADMIN_PASSWORD", admin.1),
        ("LOG_FORMAT", "json"),
    ];
    Running::start_with(&process_directory(name), &[&usual, more].concat())
}

/// The lines of this level from this module, after a check that the log leaks nothing.
fn lines(log: &str, level: &str, part: &str) -> Vec<Value> {
    for secret in [ADMIN.0, ADMIN.1, SECRET, "eyJ"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let is_meant = |line: &Value| line["level"] == level && line["target"].as_str().unwrap().contains(part);
    lines.filter(is_meant).collect()
}

fn message(line: &Value) -> &str {
    line["fields"]["message"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_password_that_opens_nothing_is_told() {
    let uri = database_uri().await;
    let start = |password| start("admin-password", &uri, (ADMIN.0, password));
    assert_eq!(lines(&start(ADMIN.1).stop(), "WARN", "::accounts"), [Value::Null; 0]);
    assert_eq!(lines(&start(ADMIN.1).stop(), "WARN", "::accounts"), [Value::Null; 0]);
    let log = start("another password").stop();
    let warnings = lines(&log, "WARN", "::accounts");
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(message(&warnings[0]).starts_with("ADMIN_PASSWORD is not the password"), "{log}");
    assert!(!log.contains("another password"), "{log}");
    drop_database(&uri).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_told_at_the_start() {
    let uri = database_uri().await;
    let log = start("database", &uri, ADMIN).stop();
    let (hosts, name) = uri.split('?').next().unwrap().rsplit_once('/').unwrap();
    let first = hosts.rsplit(['/', '@']).next().unwrap().split(',').next().unwrap();
    let told = format!("the database is {name} at {first}");
    assert!(lines(&log, "INFO", "::server").iter().any(|line| message(line).starts_with(&told)), "{log}");
    drop_database(&uri).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_known_holes_is_told_at_the_start() {
    let uri = database_uri().await;
    let database = mongodb::Client::with_uri_str(&uri).await.unwrap().database("admin");
    let version = database.run_command(doc! { "buildInfo": 1 }).await.unwrap();
    let hole = patch_level::hole(version.get_str("version").unwrap());
    let log = start("holes", &uri, ADMIN).stop();
    let warnings = lines(&log, "WARN", "::server");
    let told: Vec<_> = warnings.iter().map(message).filter(|text| text.starts_with("MongoDB ")).collect();
    assert_eq!(told, hole.as_deref().into_iter().collect::<Vec<_>>(), "{log}");
    drop_database(&uri).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_administrates_is_told() {
    let uri = database_uri().await;
    let server = start("administration", &uri, ADMIN);
    let id = Id::new();
    let admin = Actor::of(&server.base, id, Some(token(id, "Grace Hopper", Role::Admin)));
    let send = async |method, path: &str, body: Value, request_id| {
        let headers = [("X-Request-Id", request_id), ("If-Match", "*")];
        admin.send(method, path, Some(body.to_string()), &headers).await
    };
    let product = send(Method::POST, "/products", sneaker(), "request-1").await.expect(201);
    let product = product.json["id"].as_str().unwrap().to_owned();
    let path = format!("/products/{product}");
    send(Method::PATCH, &path, json!({"name": "Another"}), "request-2").await.expect(200);
    send(Method::POST, &format!("{path}/restock"), json!({"quantity": 1}), "request-3").await.expect(200);
    send(Method::POST, &format!("{path}/restock"), json!({"quantity": 0}), "refused").await.expect(422);
    send(Method::DELETE, &path, json!({}), "request-4").await.expect(204);
    let log = server.stop();
    let lines = lines(&log, "INFO", "::products");
    let told: Vec<_> = lines.iter().filter(|line| line["fields"]["product_id"] == product).collect();
    assert_eq!(told.len(), 4, "{log}");
    let user = id.to_hex();
    for (number, (line, done)) in told.iter().zip(["created", "changed", "restocked", "deleted"]).enumerate()
    {
        let request = format!("request-{}", number + 1);
        let fields = &line["fields"];
        assert_eq!((&fields["user_id"], &fields["request_id"]), (&json!(user), &json!(request)), "{line}");
        let text = format!("product {product} was {done} by admin {user}, request {request}");
        assert_eq!(message(line), text);
    }
    drop_database(&uri).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_reaches_its_limit_is_told_once_and_by_its_id() {
    let uri = database_uri().await;
    let server = start_where("guesses", &uri, ADMIN, &[("TRUSTED_PROXIES", "127.0.0.1")]);
    let visitor = Actor::of(&server.base, Id::new(), None).behind_proxy("198.51.100.1");
    for email in [ADMIN.0, "nobody@shop.example"] {
        for _ in 0..12 {
            visitor.post("/auth/login", &json!({"email": email, "password": "not the password"})).await;
        }
    }
    let credentials = json!({"email": ADMIN.0, "password": ADMIN.1});
    visitor.post("/auth/login", &credentials).await.problem(429, "rate_limited");
    let log = server.stop();
    let warnings = lines(&log, "WARN", "::accounts");
    assert_eq!(warnings.len(), 2, "{log}");
    let users = mongodb::Client::with_uri_str(&uri).await.unwrap().default_database().unwrap();
    let users = users.collection::<mongodb::bson::Document>("users");
    let admin = users.find_one(mongodb::bson::doc! { "email": ADMIN.0 }).await.unwrap().unwrap();
    assert_eq!(warnings[0]["fields"]["user_id"], admin.get_object_id("_id").unwrap().to_hex());
    assert_eq!(warnings[1]["fields"]["user_id"], Value::Null);
    assert!(!log.contains("nobody@"), "{log}");
    drop_database(&uri).await;
}

/// The lines that were logged in a span with this field.
fn lines_in_span<'a>(lines: &'a [Value], field: &str, value: &str) -> Vec<&'a Value> {
    let is_in = |line: &&Value| line["request"][field] == value || line["span"][field] == value;
    lines.iter().filter(is_in).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_leads_to_the_cause() {
    let mongo = own_mongo("cause").await;
    let server = start("cause", mongo.uri().reveal(), ADMIN);
    let actor = |role| {
        let id = Id::new();
        Actor::of(&server.base, id, Some(token(id, "Ada Lovelace", role)))
    };
    let (admin, buyer) = (actor(Role::Admin), actor(Role::Customer));
    let product =
        admin.post("/products", &sneaker()).await.expect(201).json["id"].as_str().unwrap().to_owned();
    let body = json!({"productId": product}).to_string();
    let path = format!("/products/{product}");
    signal(&mongo, Signal::STOP);
    let read = buyer.send(Method::GET, &path, None, &[("X-Request-Id", "read-1")]);
    let headers = [("X-Request-Id", "purchase-1"), ("Idempotency-Key", "once")];
    let purchase = buyer.send(Method::POST, "/products/purchase", Some(body), &headers);
    let (read, purchase) = tokio::join!(read, purchase);
    assert_eq!((read.status, purchase.status), (503, 503), "{read:?} {purchase:?}");
    signal(&mongo, Signal::CONT);
    let log = server.stop();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    let of_read = lines_in_span(&lines, "request_id", "read-1");
    assert!(of_read.iter().any(|line| message(line).contains("the database")), "{log}");
    assert_eq!(of_read[0]["request"]["route"], "/products/{id}", "{log}");

    let of_purchase = lines_in_span(&lines, "request_id", "purchase-1");
    let batch = of_purchase.iter().find_map(|line| line["fields"]["batch_id"].as_str()).expect(&log);
    assert_eq!(of_purchase[0]["request"]["user_id"], buyer.id.to_hex(), "{log}");
    let of_batch = lines_in_span(&lines, "batch_id", batch);
    assert!(of_batch.iter().any(|line| message(line).contains("the database")), "{log}");
    assert_eq!(of_batch[0]["span"]["product_id"], product, "{log}");
    mongo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_nobody_named_is_told_once() {
    let uri = database_uri().await;
    let server = start("unnamed-proxy", &uri, ADMIN);
    let visitor = Actor::of(&server.base, Id::new(), None);
    for number in 0..3 {
        visitor.behind_proxy(&format!("198.51.100.{number}")).get("/time").await.expect(200);
    }
    let log = server.stop();
    let warnings = lines(&log, "WARN", "::http::client");
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(message(&warnings[0]).contains("set TRUSTED_PROXIES"), "{log}");
    assert!(!log.contains("198.51.100"), "{log}");
    drop_database(&uri).await;
}
