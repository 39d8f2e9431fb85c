//! Access ends: at once on routes for admins, within two seconds everywhere else, on every server.

use std::time::{Duration, Instant};

use flash_sale::model::user::Role;
use mongodb::bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ADMIN, Actor, Answer, PASSWORD, Shop, sneaker, soon, token};

/// What is promised.
const AT_MOST: Duration = Duration::from_secs(2);

/// Every request that begins two seconds from now or later is refused with this code.
pub async fn is_refused_in_time(actor: &Actor, code: &str) {
    let ended = Instant::now();
    loop {
        let begun = ended.elapsed();
        let answer = actor.get("/purchases").await;
        if answer.code() == code {
            return;
        }
        assert!(begun < AT_MOST, "{begun:?} later: {answer:?}");
        answer.expect(200);
    }
}

/// A shop with two servers and an admin who has an account.
async fn two_servers() -> (Shop, Actor) {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    shop.make_admin().await;
    let admin = shop.login(ADMIN).await;
    (shop, admin)
}

/// Changes an account.
pub async fn change(admin: &Actor, user: &Actor, body: Value) -> Answer {
    let path = format!("/users/{}", user.id.to_hex());
    admin.send(Method::PATCH, &path, Some(body.to_string()), &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_ends_one_token_on_every_server() {
    let (shop, _) = two_servers().await;
    let phone = shop.account("ada@shop.example").await;
    let laptop = shop.login(("ada@shop.example", PASSWORD)).await;
    assert_ne!(phone.token(), laptop.token());
    let id = shop.sell(&sneaker()).await;
    phone.post("/auth/logout", &Value::Null).await.expect(204);
    // At once where it was asked for.
    let refused = phone.get("/auth/me").await.problem(401, "unauthenticated");
    assert!(refused.header("www-authenticate").unwrap().contains("invalid_token"), "{refused:?}");
    phone.purchase(&id).await.problem(401, "unauthenticated");
    is_refused_in_time(&shop.at(&phone, 1), "unauthenticated").await;
    shop.at(&phone, 1).purchase(&id).await.problem(401, "unauthenticated");
    for server in [0, 1] {
        shop.at(&laptop, server).get("/auth/me").await.expect(200);
    }
    // A token of another provider needs no account to be ended.
    let (buyer, other) = (shop.buyer(), shop.buyer());
    buyer.post("/auth/logout?everywhere=false", &Value::Null).await.expect(204);
    is_refused_in_time(&shop.at(&buyer, 1), "unauthenticated").await;
    shop.at(&other, 1).get("/purchases").await.expect(200);
    shop.visitor().post("/auth/logout", &Value::Null).await.problem(401, "unauthenticated");
    other.post("/auth/logout?everywhere=yes", &Value::Null).await.invalid(&["everywhere"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_everywhere_ends_all_tokens_of_the_account() {
    let (shop, _) = two_servers().await;
    let phone = shop.account("ada@shop.example").await;
    let laptop = shop.login(("ada@shop.example", PASSWORD)).await;
    let foreign = phone.with_token(&token(phone.id, "Ada", Role::Customer));
    let bystander = shop.account("bob@shop.example").await;
    phone.post("/auth/logout?everywhere=true", &Value::Null).await.expect(204);
    // The next login is as good as any, in the same second, also where the end is not known yet.
    let next = shop.login(("ada@shop.example", PASSWORD)).await;
    for server in [0, 1] {
        shop.at(&next, server).get("/auth/me").await.expect(200);
    }
    for ended in [&phone, &laptop, &foreign] {
        is_refused_in_time(ended, "unauthenticated").await;
        is_refused_in_time(&shop.at(ended, 1), "unauthenticated").await;
    }
    for good in [&next, &bystander] {
        shop.at(good, 1).get("/auth/me").await.expect(200);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_an_account_can_log_out_everywhere() {
    let (shop, _) = two_servers().await;
    let buyer = shop.buyer();
    let other = buyer.with_token(&token(buyer.id, "Ada", Role::Customer));
    buyer.post("/auth/logout?everywhere=true", &Value::Null).await.expect(204);
    for ended in [&buyer, &other] {
        is_refused_in_time(ended, "unauthenticated").await;
        is_refused_in_time(&shop.at(ended, 1), "unauthenticated").await;
    }
    // Tokens of other providers are dated by the second: the next second's counts.
    let next = || buyer.with_token(&token(buyer.id, "Ada", Role::Customer));
    soon("a good token", async { while next().get("/purchases").await.status != 200 {} }).await;
    let good = next();
    // And once more.
    good.post("/auth/logout?everywhere=true", &Value::Null).await.expect(204);
    is_refused_in_time(&shop.at(&good, 1), "unauthenticated").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_every_earlier_token_and_answers_with_a_good_one() {
    let (shop, _) = two_servers().await;
    let phone = shop.account("ada@shop.example").await;
    let laptop = shop.login(("ada@shop.example", PASSWORD)).await;
    let body =
        |current: &str| json!({ "currentPassword": current, "newPassword": "incorrect zebra battery" });
    laptop.post("/auth/password", &body("not the password")).await.problem(401, "invalid_credentials");
    laptop
        .post("/auth/password", &json!({ "currentPassword": PASSWORD, "newPassword": "short" }))
        .await
        .invalid(&["newPassword"]);
    phone.get("/auth/me").await.expect(200);
    let answer = laptop.post("/auth/password", &body(PASSWORD)).await.expect(200);
    let changed = shop.session(&answer);
    for server in [0, 1] {
        shop.at(&changed, server).get("/auth/me").await.expect(200);
    }
    for ended in [&phone, &laptop] {
        ended.get("/auth/me").await.problem(401, "unauthenticated");
        is_refused_in_time(&shop.at(ended, 1), "unauthenticated").await;
    }
    shop.at(&changed, 1).get("/auth/me").await.expect(200);
    let old = json!({ "email": "ada@shop.example", "password": PASSWORD });
    shop.visitor().post("/auth/login", &old).await.problem(401, "invalid_credentials");
    shop.login(("ada@shop.example", "incorrect zebra battery")).await;
    shop.buyer().post("/auth/password", &body(PASSWORD)).await.problem(404, "not_found");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_neither_logs_in_nor_buys() {
    let (shop, admin) = two_servers().await;
    let ada = shop.account("ada@shop.example").await;
    let foreign = ada.with_token(&token(ada.id, "Ada", Role::Customer));
    let id = shop.sell(&sneaker()).await;
    let changed = change(&admin, &ada, json!({ "disabled": true })).await.expect(200);
    assert_eq!(changed.json["disabled"], true);
    let login = |password: &str| json!({ "email": "ada@shop.example", "password": password });
    let visitor = shop.at(&shop.visitor(), 1);
    visitor.post("/auth/login", &login("not the password")).await.problem(401, "invalid_credentials");
    visitor.post("/auth/login", &login(PASSWORD)).await.problem(403, "account_disabled");
    for ended in [&ada, &foreign] {
        ended.purchase(&id).await.problem(403, "account_disabled");
        is_refused_in_time(&shop.at(ended, 1), "account_disabled").await;
        shop.at(ended, 1).purchase(&id).await.problem(403, "account_disabled");
    }
    assert_eq!(shop.product(&id).await["sold"], 0);
    change(&admin, &ada, json!({ "disabled": false })).await.expect(200);
    shop.login(("ada@shop.example", PASSWORD)).await.purchase(&id).await.expect(201);
    ada.get("/auth/me").await.expect(200);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_counts_at_once_on_the_routes_of_admins() {
    let (shop, admin) = two_servers().await;
    let ada = shop.account("ada@shop.example").await;
    // Another provider still calls the user an admin: the account has the last word.
    let foreign = ada.with_token(&token(ada.id, "Ada", Role::Admin));
    let create = async |actor: &Actor| shop.at(actor, 1).post("/products", &sneaker()).await;
    for actor in [&ada, &foreign] {
        create(actor).await.problem(403, "forbidden");
    }
    change(&admin, &ada, json!({ "role": "admin" })).await.expect(200);
    for actor in [&ada, &foreign] {
        create(actor).await.expect(201);
    }
    change(&admin, &ada, json!({ "role": "customer" })).await.expect(200);
    for actor in [&ada, &foreign] {
        create(actor).await.problem(403, "forbidden");
    }
    change(&admin, &ada, json!({ "role": "admin" })).await.expect(200);
    ada.post("/auth/logout", &Value::Null).await.expect(204);
    create(&ada).await.problem(401, "unauthenticated");
    create(&foreign).await.expect(201);
    change(&admin, &ada, json!({ "disabled": true })).await.expect(200);
    create(&foreign).await.problem(403, "account_disabled");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_service_sees_all_purchases_and_may_do_no_more() {
    let (shop, admin) = two_servers().await;
    let service = shop.account("pay@shop.example").await;
    let id = shop.sell(&sneaker()).await;
    let purchase = shop.buyer().purchase(&id).await.expect(201).json;
    let path = format!("/purchases/{}", purchase["id"].as_str().unwrap());
    service.get(&path).await.problem(404, "purchase_not_found");
    change(&admin, &service, json!({ "role": "payments" })).await.expect(200);
    let here = [&service, &shop.at(&service, 1)];
    let sees = async |actor: &Actor| actor.get("/purchases").await.expect(200).json["items"][0] == purchase;
    for actor in here {
        soon("the new role", async { while !sees(actor).await {} }).await;
        assert_eq!(actor.get(&path).await.expect(200).json, purchase);
        actor.post("/products", &sneaker()).await.problem(403, "forbidden");
        actor.get("/users").await.problem(403, "forbidden");
        change(actor, &service, json!({ "role": "admin" })).await.problem(403, "forbidden");
    }
    // Staff are looked up: what they may see no longer, they do not see on any server.
    change(&admin, &service, json!({ "role": "customer" })).await.expect(200);
    for actor in here {
        assert_eq!(actor.get("/purchases").await.expect(200).json["items"], json!([]));
    }
    // Other providers sign such tokens as well.
    let foreign = service.with_token(&token(flash_sale::model::id::Id::new(), "Pay", Role::Payments));
    assert!(sees(&foreign).await);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_knows_what_was_ended_before() {
    let (mut shop, admin) = two_servers().await;
    let (ada, bob) = (shop.account("ada@shop.example").await, shop.account("bob@shop.example").await);
    let (cid, buyer) = (shop.account("cid@shop.example").await, shop.buyer());
    ada.post("/auth/logout", &Value::Null).await.expect(204);
    bob.post("/auth/logout?everywhere=true", &Value::Null).await.expect(204);
    change(&admin, &cid, json!({ "disabled": true })).await.expect(200);
    buyer.post("/auth/logout?everywhere=true", &Value::Null).await.expect(204);
    // An hour ago: too long for a server that asks only what is new.
    let now = u32::try_from(mongodb::bson::DateTime::now().timestamp_millis() / 1_000).unwrap();
    let long_ago = mongodb::bson::Timestamp { time: now - 3_600, increment: 1 };
    for (collection, field) in [("users", "accessChangedAt"), ("endedTokens", "endedAt")] {
        let changed = shop.database().await.collection::<Document>(collection);
        let update = doc! { "$set": { field: long_ago } };
        changed.update_many(doc! { field: { "$exists": true } }, update).await.unwrap();
    }
    shop.add_server().await;
    for ended in [&ada, &bob, &buyer] {
        shop.at(ended, 2).get("/purchases").await.problem(401, "unauthenticated");
    }
    shop.at(&cid, 2).get("/purchases").await.problem(403, "account_disabled");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_too_much_to_remember_looks() {
    let mut shop = Shop::open().await;
    shop.add_server_with(
        flash_sale::config::Limits::default().with(|limits| limits.accounts.access_entries_max = 2),
    )
    .await;
    let buyers: Vec<_> = (0..6).map(|_| shop.buyer()).collect();
    let (ended, others) = buyers.split_at(5);
    for buyer in ended {
        buyer.post("/auth/logout", &Value::Null).await.expect(204);
    }
    for buyer in ended {
        is_refused_in_time(&shop.at(buyer, 1), "unauthenticated").await;
    }
    shop.at(&others[0], 1).get("/purchases").await.expect(200);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_deleted_account_opens_no_route_of_admins() {
    let (shop, admin) = two_servers().await;
    let users = shop.database().await.collection::<Document>("users");
    users.delete_one(doc! { "_id": admin.id }).await.unwrap();
    shop.at(&admin, 1).post("/products", &sneaker()).await.problem(401, "unauthenticated");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_tokens_of_an_earlier_version_are_good_and_can_be_ended() {
    let (shop, admin) = two_servers().await;
    let ada = shop.account("ada@shop.example").await;
    let users = shop.database().await.collection::<Document>("users");
    let new = doc! {
        "disabled": "", "tokenGeneration": "", "tokensValidFrom": "", "lastLoginAt": "", "accessChangedAt": "",
    };
    users.update_many(doc! {}, doc! { "$unset": new }).await.unwrap();
    // An earlier version's token says nothing of a generation, like another provider's.
    let early = ada.with_token(&token(ada.id, "Ada", Role::Customer));
    early.get("/auth/me").await.expect(200);
    let login = shop.login(("ada@shop.example", PASSWORD)).await;
    let listed = admin.get("/users?email=ADA@shop.example").await.expect(200).json;
    assert_eq!(listed["items"][0]["disabled"], false);
    let body = json!({ "currentPassword": PASSWORD, "newPassword": "incorrect zebra battery" });
    login.post("/auth/password", &body).await.expect(200);
    for ended in [&early, &login, &ada] {
        is_refused_in_time(&shop.at(ended, 1), "unauthenticated").await;
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_secrets_count_while_one_is_rotated() {
    const NEW: &str = "N3w-Qm1xY7pL0tR5wB8nC2dF6gH4jS1kZ3v9";
    let mut shop = Shop::open().await;
    shop.add_server_where(&[("JWT_SECRET", NEW), ("JWT_SECRET_PREVIOUS", crate::harness::SECRET)]).await;
    shop.add_server_where(&[("JWT_SECRET", NEW)]).await;
    let ada = shop.account("ada@shop.example").await;
    for buyer in [&ada, &shop.buyer()] {
        shop.at(buyer, 1).get("/purchases").await.expect(200);
        shop.at(buyer, 2).get("/purchases").await.problem(401, "unauthenticated");
    }
    let body = json!({ "email": "ada@shop.example", "password": PASSWORD });
    let login = shop.at(&shop.visitor(), 1).post("/auth/login", &body).await.expect(200);
    let rotated = shop.session(&login);
    rotated.get("/auth/me").await.problem(401, "unauthenticated");
    shop.at(&rotated, 2).get("/auth/me").await.expect(200);
    shop.close().await;
}
