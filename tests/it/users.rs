//! What admins do with accounts, and what the audit log keeps of it.

use flash_sale::model::id::Id;
use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::access::change;
use crate::harness::{ADMIN, Actor, NO_ID, PASSWORD, Shop};

/// A shop with an admin who has an account.
async fn with_admin() -> (Shop, Actor) {
    let shop = Shop::open().await;
    shop.make_admin().await;
    let admin = shop.login(ADMIN).await;
    (shop, admin)
}

fn emails(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|user| user["email"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_listed_and_found() {
    let (shop, admin) = with_admin().await;
    let ada = shop.account("ada@shop.example").await;
    let bob = shop.account("bob.lovelace@shop.example").await;
    let list = async |query: &str| admin.get(&format!("/users{query}")).await.expect(200).json;
    let everybody = list("").await;
    assert_eq!(emails(&everybody), ["bob.lovelace@shop.example", "ada@shop.example", ADMIN.0]);
    assert_eq!(everybody["items"][0]["lastLoginAt"], Value::Null);
    assert!(everybody["items"][2]["lastLoginAt"].is_string(), "{everybody}");
    assert_eq!(emails(&list("?email=ADA@Shop.Example").await), ["ada@shop.example"]);
    assert_eq!(emails(&list("?role=admin").await), [ADMIN.0]);
    assert_eq!(emails(&list("?role=payments").await), Vec::<&str>::new());
    assert_eq!(emails(&list("?search=LOVELACE%20bob").await), ["bob.lovelace@shop.example"]);
    assert_eq!(emails(&list("?search=b.b").await), Vec::<&str>::new(), "a search is no pattern");
    change(&admin, &ada, json!({ "disabled": true })).await.expect(200);
    assert_eq!(emails(&list("?disabled=true").await), ["ada@shop.example"]);
    assert_eq!(emails(&list("?disabled=false&role=customer").await), ["bob.lovelace@shop.example"]);
    // Page by page.
    let mut seen = Vec::new();
    let mut path = "?limit=1".to_owned();
    loop {
        let page = list(&path).await;
        seen.extend(emails(&page).into_iter().map(str::to_owned));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("?limit=1&cursor={cursor}");
    }
    assert_eq!(seen, emails(&everybody));
    let one = admin.get(&format!("/users/{}", bob.id.to_hex())).await.expect(200).json;
    assert_eq!(one, everybody["items"][0]);
    admin.get(&format!("/users/{NO_ID}")).await.problem(404, "not_found");
    admin.get("/users/17").await.problem(404, "not_found");
    let wrong = "/users?email=ada&role=root&disabled=1&search=a%00b&limit=0&cursor=x";
    admin.get(wrong).await.invalid(&["email", "role", "disabled", "search", "limit", "cursor"]);
    for path in ["/users".to_owned(), format!("/users/{}", ada.id.to_hex())] {
        bob.get(&path).await.problem(403, "forbidden");
        shop.visitor().get(&path).await.problem(401, "unauthenticated");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_checked() {
    let (shop, admin) = with_admin().await;
    let ada = shop.account("ada@shop.example").await;
    let wrong = json!({ "role": "root", "disabled": "yes", "email": "eve@shop.example" });
    change(&admin, &ada, wrong).await.invalid(&["role", "disabled", "email"]);
    change(&admin, &ada, json!({ "role": null, "disabled": null })).await.invalid(&["role", "disabled"]);
    let same = change(&admin, &ada, json!({})).await.expect(200).json;
    assert_eq!((same["role"].as_str(), same["disabled"].as_bool()), (Some("customer"), Some(false)));
    change(&ada, &ada, json!({ "role": "admin" })).await.problem(403, "forbidden");
    let nobody = shop.buyer();
    change(&admin, &nobody, json!({ "disabled": true })).await.problem(404, "not_found");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_who_can_log_in_stays() {
    let (shop, admin) = with_admin().await;
    for body in [json!({ "role": "customer" }), json!({ "role": "payments" }), json!({ "disabled": true })] {
        change(&admin, &admin, body).await.problem(409, "last_admin");
    }
    // An admin who cannot log in does not count.
    let ada = shop.account("ada@shop.example").await;
    change(&admin, &ada, json!({ "role": "admin", "disabled": true })).await.expect(200);
    change(&admin, &admin, json!({ "role": "customer" })).await.problem(409, "last_admin");
    change(&admin, &ada, json!({ "disabled": false })).await.expect(200);
    change(&admin, &admin, json!({ "role": "customer" })).await.expect(200);
    change(&ada, &ada, json!({ "disabled": true })).await.problem(409, "last_admin");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_who_demote_each_other_at_once_leave_one() {
    let (mut shop, first) = with_admin().await;
    shop.add_server().await;
    let mut admins = vec![first.clone()];
    for email in ["ada@shop.example", "bob@shop.example"] {
        let account = shop.account(email).await;
        change(&first, &account, json!({ "role": "admin" })).await.expect(200);
        admins.push(account);
    }
    let users = shop.database().await.collection::<Document>("users");
    for round in 0..10 {
        // Each demotes the next one, in a circle over two servers.
        let demotions = (0..admins.len()).map(|number| {
            let (actor, target) = (&admins[number], &admins[(number + 1) % admins.len()]);
            let body = if (round + number) % 2 == 0 {
                json!({ "disabled": true })
            } else {
                json!({ "role": "customer" })
            };
            let actor = shop.at(actor, number % 2);
            async move { change(&actor, target, body).await }
        });
        let answers = futures_util::future::join_all(demotions).await;
        for answer in &answers {
            // Whoever was demoted first may do nothing any more.
            let expected = matches!(answer.code(), "" | "last_admin" | "forbidden" | "account_disabled");
            assert!(expected, "{answer:?}");
        }
        let can_log_in = doc! { "role": "admin", "disabled": { "$ne": true } };
        assert!(users.count_documents(can_log_in).await.unwrap() >= 1, "{answers:#?}");
        let again = doc! { "$set": { "role": "admin", "disabled": false } };
        users
            .update_many(
                doc! { "_id": { "$in": admins.iter().map(|admin| admin.id).collect::<Vec<_>>() } },
                again,
            )
            .await
            .unwrap();
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_tells_who_ended_whose_access() {
    let (shop, admin) = with_admin().await;
    let ada = shop.account("ada@shop.example").await;
    let login = shop.login(("ada@shop.example", PASSWORD)).await;
    login.post("/auth/logout", &Value::Null).await.expect(204);
    ada.post("/auth/logout?everywhere=true", &Value::Null).await.expect(204);
    let login = shop.login(("ada@shop.example", PASSWORD)).await;
    let body = json!({ "currentPassword": PASSWORD, "newPassword": "incorrect zebra battery" });
    login.post("/auth/password", &body).await.expect(200);
    let changed = change(&admin, &ada, json!({ "role": "payments" })).await.expect(200);
    change(&admin, &ada, json!({ "role": "payments" })).await.expect(200);
    shop.login(("ada@shop.example", "incorrect zebra battery")).await;
    let audit = shop.database().await.collection::<Document>("audit");
    let entries: Vec<Document> =
        audit.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap();
    let actions: Vec<_> = entries
        .iter()
        .map(|entry| (entry.get_str("action").unwrap(), entry.get_object_id("actor").ok()))
        .collect();
    let (ada, admin) = (Some(ada.id), Some(admin.id));
    assert_eq!(
        actions,
        [
            ("admin_created", None::<Id>),
            ("user_logged_in", admin),
            ("user_registered", ada),
            ("user_logged_out", ada),
            ("user_logged_out_everywhere", ada),
            ("user_password_changed", ada),
            ("user_changed", admin),
            ("user_logged_in", ada),
        ]
    );
    let changed_entry = &entries[6];
    assert_eq!(changed_entry.get_object_id("target").ok(), ada);
    assert_eq!(changed_entry.get_document("before").unwrap(), &doc! { "role": "customer" });
    assert_eq!(changed_entry.get_document("after").unwrap(), &doc! { "role": "payments" });
    assert_eq!(changed_entry.get_str("requestId").ok(), changed.header("x-request-id"));
    assert_eq!(changed_entry.get_str("address").unwrap(), "127.0.0.1");
    assert!(!format!("{entries:?}").contains("argon2"), "a hash is in the audit log");
    shop.close().await;
}
