//! Accounts and tokens.

use flash_sale::auth::user::Role;
use flash_sale::config::Limits;
use serde_json::json;

use crate::harness::Shop;

const PASSWORD: &str = "correct horse battery";

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_registers_logs_in_and_is_known() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let body = json!({"name": "  Ada Lovelace ", "email": "Ada@Shop.Example", "password": PASSWORD});
    let registered = visitor.post("/auth/register", &body).await.expect(201);
    assert_eq!(registered.json["user"]["name"], "Ada Lovelace");
    assert_eq!(registered.json["user"]["email"], "ada@shop.example");
    assert_eq!(registered.json["user"]["role"], "customer");
    assert_eq!(registered.json["tokenType"], "Bearer");
    assert_eq!(registered.header("cache-control"), Some("no-store"));

    let body = json!({"email": "ADA@shop.example", "password": PASSWORD});
    let session = visitor.post("/auth/login", &body).await.expect(200).json;
    let ada = visitor.with_token(session["token"].as_str().unwrap());
    let me = ada.get("/auth/me").await.expect(200).json;
    assert_eq!(me, registered.json["user"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_one_account() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let body = |email: &str| json!({"name": "Ada", "email": email, "password": PASSWORD});
    // At once, so that the unique index has to decide.
    let bodies = [body("ada@shop.example"), body("ADA@shop.example"), body("ada@SHOP.example")];
    let answers =
        futures_util::future::join_all(bodies.iter().map(|body| visitor.post("/auth/register", body))).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409]);
    visitor.post("/auth/register", &body("ada@shop.example")).await.problem(409, "email_taken");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_names_every_wrong_field() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    visitor.post("/auth/register", &json!({})).await.invalid(&["name", "email", "password"]);
    let body = json!({"name": "a".repeat(81), "email": "nobody", "password": "short", "role": "admin"});
    visitor.post("/auth/register", &body).await.invalid(&["name", "email", "password", "role"]);
    let body = json!({"name": {"$ne": null}, "email": {"$gt": ""}, "password": ["x"]});
    visitor.post("/auth/register", &body).await.invalid(&["name", "email", "password"]);
    let body = json!({"name": "Ada\u{0}", "email": format!("{}@shop.example", "a".repeat(250)), "password": "a".repeat(129)});
    visitor.post("/auth/register", &body).await.invalid(&["name", "email", "password"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_tell_nothing_and_are_limited() {
    let limits = Limits { login_failures_max: 3, ..Limits::default() };
    let shop = Shop::open_with(limits).await;
    let visitor = shop.visitor();
    let body = json!({"name": "Ada", "email": "ada@shop.example", "password": PASSWORD});
    visitor.post("/auth/register", &body).await.expect(201);
    let known = json!({"email": "ada@shop.example", "password": "not the password"});
    let unknown = json!({"email": "eve@shop.example", "password": "not the password"});
    let (known_answer, unknown_answer) =
        (visitor.post("/auth/login", &known).await, visitor.post("/auth/login", &unknown).await);
    assert_eq!(known_answer.json["detail"], unknown_answer.json["detail"]);
    known_answer.problem(401, "invalid_credentials");
    unknown_answer.problem(401, "invalid_credentials");
    for _ in 0..2 {
        visitor.post("/auth/login", &known).await.problem(401, "invalid_credentials");
    }
    visitor.post("/auth/login", &known).await.problem(429, "rate_limited");
    let operator = json!({"email": {"$gt": ""}, "password": {"$gt": ""}});
    visitor.post("/auth/login", &operator).await.invalid(&["email", "password"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_storm_is_refused_early() {
    let limits =
        Limits { password_hashes_waiting_max: 1, password_hashes_in_flight_max: 1, ..Limits::default() };
    let shop = Shop::open_with(limits).await;
    let visitor = shop.visitor();
    let body = json!({"email": "ada@shop.example", "password": PASSWORD});
    let answers = futures_util::future::join_all((0..30).map(|_| visitor.post("/auth/login", &body))).await;
    let overloaded = answers.iter().filter(|answer| answer.code() == "overloaded").count();
    let judged = answers.iter().filter(|answer| answer.code() == "invalid_credentials").count();
    assert!(overloaded > 0 && judged > 0, "{overloaded} overloaded, {judged} judged");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_checked() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    visitor.get("/auth/me").await.problem(401, "unauthenticated");
    visitor.with_token("nonsense").get("/auth/me").await.problem(401, "unauthenticated");
    for value in ["Basic YTpi", "Bearer", "bearer", "\u{e9}"] {
        visitor.get_with("/auth/me", &[("Authorization", value)]).await.problem(401, "unauthenticated");
    }
    // Of another provider: good, but without an account here.
    shop.buyer().get("/auth/me").await.problem(404, "not_found");
    // The scheme is compared without case.
    let token = shop.buyer().token().to_owned();
    visitor.get_with("/purchases", &[("Authorization", &format!("bEARER {token}"))]).await.expect(200);
    let good = crate::harness::token(visitor.id, "Ada", Role::Customer);
    let (signed, _) = good.rsplit_once('.').unwrap();
    visitor.with_token(&format!("{signed}.AAAA")).get("/purchases").await.problem(401, "unauthenticated");
    shop.close().await;
}
