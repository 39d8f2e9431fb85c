//! Accounts and tokens.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use flash_sale::config::Limits;
use flash_sale::model::timestamp::Timestamp;
use flash_sale::model::user::Role;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Actor, Shop, bounded, token_under};

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
    let token = registered.json["token"].as_str().unwrap();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let moment = |value: &Value| Timestamp::parse(value.as_str().unwrap()).unwrap().milliseconds();
    assert_eq!(moment(&registered.json["expiresAt"]), claims["exp"].as_i64().unwrap() * 1_000);
    let now = moment(&visitor.get("/time").await.json["now"]);
    let lifetime_ms = claims["exp"].as_i64().unwrap() * 1_000 - now;
    assert!((86_000_000..=86_400_000).contains(&lifetime_ms), "{lifetime_ms}");
    let age_ms = now - moment(&registered.json["user"]["createdAt"]);
    assert!((-1_000..60_000).contains(&age_ms), "{age_ms}");

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
    // At the same time, so that the unique index must decide.
    let bodies = [body("ada@shop.example"), body("ADA@shop.example"), body("ada@SHOP.example")];
    let answers = join_all(bodies.iter().map(|body| visitor.post("/auth/register", body))).await;
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
    let limits = bounded().with(|limits| limits.accounts.login_failures_max = 3);
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

/// Logs in `count` times at once; returns how many were answered with 200, 401 and 429.
async fn many_logins(visitor: &Actor, count: usize, password: &str) -> [usize; 3] {
    let body = json!({"email": "ada@shop.example", "password": password});
    let answers = join_all((0..count).map(|_| visitor.post("/auth/login", &body))).await;
    [200, 401, 429].map(|status| answers.iter().filter(|answer| answer.status == status).count())
}

/// Long waits for a password hash are allowed: a slow machine is not the subject here.
fn patient_with_hashes() -> Limits {
    bounded().with(|limits| limits.accounts.password_hash_wait_ms_max = 60_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_guesses_are_limited_too_and_only_where_they_come_from() {
    let shop = Shop::open_with(patient_with_hashes()).await;
    let body = json!({"name": "Ada", "email": "ada@shop.example", "password": PASSWORD});
    shop.visitor().post("/auth/register", &body).await.expect(201);
    let (stranger, ada) = (shop.visitor_from([127, 0, 0, 2]), shop.visitor_from([127, 0, 0, 3]));
    assert_eq!(many_logins(&stranger, 50, "not the password").await, [0, 10, 40]);
    // From there not even the right password works, but the owner at another address gets in.
    assert_eq!(many_logins(&stranger, 1, PASSWORD).await, [0, 0, 1]);
    assert_eq!(many_logins(&ada, 1, PASSWORD).await, [1, 0, 0]);
    shop.close().await;
}

/// A hundred from eleven addresses once closed an account to its owner.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_from_many_addresses_slow_each_of_them_and_not_the_owner() {
    let limits = patient_with_hashes().with(|limits| limits.accounts.login_failures_of_account_max = 20);
    let shop = Shop::open_with(limits).await;
    let body = json!({"name": "Ada", "email": "ada@shop.example", "password": PASSWORD});
    shop.visitor().post("/auth/register", &body).await.expect(201);
    let from = |address| shop.visitor_from([127, 0, 0, address]);
    assert_eq!(many_logins(&from(99), 1, PASSWORD).await, [1, 0, 0]);
    for address in [2, 3] {
        assert_eq!(many_logins(&from(address), 12, "not the password").await, [0, 10, 2]);
    }
    // Whoever comes now has one guess; the owner gets in wherever she is, and may be wrong where she was before.
    for address in 4..12 {
        assert_eq!(many_logins(&from(address), 3, "not the password").await, [0, 1, 2]);
    }
    assert_eq!(many_logins(&from(12), 1, PASSWORD).await, [1, 0, 0]);
    assert_eq!(many_logins(&from(99), 3, "not the password").await, [0, 3, 0]);
    assert_eq!(many_logins(&from(99), 1, PASSWORD).await, [1, 0, 0]);
    shop.close().await;
}

/// Ten wrong passwords behind a proxy that nobody named once closed the admin's account.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_that_nobody_named_nobody_closes_an_account() {
    let limits = Limits::default().with(|limits| limits.accounts.password_hash_wait_ms_max = 60_000);
    let shop = Shop::open_with(limits).await;
    let body = json!({"name": "Ada", "email": "ada@shop.example", "password": PASSWORD});
    shop.visitor().post("/auth/register", &body).await.expect(201);
    assert_eq!(many_logins(&shop.visitor(), 30, "not the password").await, [0, 30, 0]);
    assert_eq!(many_logins(&shop.visitor(), 1, PASSWORD).await, [1, 0, 0]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn right_passwords_are_not_limited() {
    let shop = Shop::open_with(patient_with_hashes()).await;
    let body = json!({"name": "Ada", "email": "ada@shop.example", "password": PASSWORD});
    shop.visitor().post("/auth/register", &body).await.expect(201);
    assert_eq!(many_logins(&shop.visitor(), 30, PASSWORD).await, [30, 0, 0]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_was_not_judged_does_not_count() {
    let limits = bounded().with(|limits| {
        limits.accounts.login_failures_max = 3;
        limits.accounts.password_hashes_waiting_max = 1;
        limits.accounts.password_hashes_in_flight_max = 1;
    });
    let shop = Shop::open_with(limits).await;
    let visitors: Vec<_> = (0..30).map(|number| shop.visitor_from([127, 0, 1, number])).collect();
    let body = json!({"email": "ada@shop.example", "password": PASSWORD});
    let first = join_all(visitors.iter().map(|visitor| visitor.post("/auth/login", &body))).await;
    let (visitor, _) =
        visitors.iter().zip(first).find(|(_, answer)| answer.code() == "overloaded").expect("a refusal");
    for _ in 0..3 {
        visitor.post("/auth/login", &body).await.problem(401, "invalid_credentials");
    }
    visitor.post("/auth/login", &body).await.problem(429, "rate_limited");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_storm_is_refused_early() {
    let limits = Limits::default().with(|limits| {
        limits.accounts.password_hashes_waiting_max = 1;
        limits.accounts.password_hashes_in_flight_max = 1;
    });
    let shop = Shop::open_with(limits).await;
    let visitor = shop.visitor();
    let body = json!({"email": "ada@shop.example", "password": PASSWORD});
    let answers = join_all((0..30).map(|_| visitor.post("/auth/login", &body))).await;
    let overloaded = answers.iter().filter(|answer| answer.code() == "overloaded").count();
    let judged = answers.iter().filter(|answer| answer.code() == "invalid_credentials").count();
    assert!(overloaded > 0 && judged > 0, "{overloaded} overloaded, {judged} judged");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_expired_is_called_so() {
    let shop = Shop::open().await;
    let id = shop.sell(&crate::harness::sneaker()).await;
    let none = Limits::default().with(|limits| limits.accounts.token_lifetime_seconds = 0);
    let visitor = shop.visitor();
    let late = visitor.with_token(&token_under(&none, visitor.id, "Ada", Role::Customer));
    late.get("/purchases").await.problem(401, "token_expired");
    let refused = late.purchase(&id).await.problem(401, "token_expired");
    assert!(refused.header("www-authenticate").unwrap().contains("invalid_token"), "{refused:?}");
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
    // Signed by another provider: valid, but this shop has no such account.
    shop.buyer().get("/auth/me").await.problem(404, "not_found");
    // The name of the scheme is case-insensitive.
    let token = shop.buyer().token().to_owned();
    visitor.get_with("/purchases", &[("Authorization", &format!("bEARER {token}"))]).await.expect(200);
    let good = crate::harness::token(visitor.id, "Ada", Role::Customer);
    let (signed, _) = good.rsplit_once('.').unwrap();
    visitor.with_token(&format!("{signed}.AAAA")).get("/purchases").await.problem(401, "unauthenticated");
    shop.close().await;
}
