//! Hidden names: who hides it, or has it hidden by an admin, is `Anonymous` to the public.

use serde_json::json;

use crate::harness::{ADMIN, Browser, PASSWORD, Shop, no_browser, patient, sneaker_with, soon};

async fn buyers(shop: &Shop, product: &str) -> Vec<String> {
    let board = shop.leaderboard(product).await;
    board.iter().map(|item| item["buyer"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_hidden_by_choice() {
    let mut shop = Shop::open_with(patient()).await;
    shop.add_server_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 10}))).await;
    let ada = shop.account("ada@shop.example").await;
    ada.purchase(&id).await.expect(201);
    shop.buyer_named("Grace Hopper").purchase(&id).await.expect(201);
    ada.patch("/auth/me", "*", &json!({})).await.invalid(&["hideName"]);
    ada.patch("/auth/me", "*", &json!({"hideName": "yes", "name": "Eve"}))
        .await
        .invalid(&["hideName", "name"]);

    let hidden = ada.patch("/auth/me", "*", &json!({"hideName": true})).await.expect(200);
    // The owner sees it still.
    assert_eq!(hidden.json["user"]["name"], "Ada Lovelace");
    let earlier = ada;
    let ada = shop.session(&hidden);
    assert_eq!(ada.get("/auth/me").await.expect(200).json, hidden.json["user"]);
    assert_eq!(buyers(&shop, &id).await, ["Anonymous", "Grace H."]);
    shop.at(&ada, 1).purchase(&id).await.expect(201);
    assert_eq!(buyers(&shop, &id).await, ["Anonymous", "Grace H.", "Anonymous"]);
    // Tokens that say the name have ended. What one has bought in the last moment is hidden a little later.
    let database = shop.database().await;
    let late = mongodb::bson::doc! { "$set": { "buyer": "Ada L." } };
    let purchases = database.collection::<mongodb::bson::Document>("purchases");
    purchases.update_one(mongodb::bson::doc! { "sequence": 1 }, late).await.unwrap();
    soon("the late name", async { while buyers(&shop, &id).await[0] != "Anonymous" {} }).await;
    earlier.purchase(&id).await.problem(401, "unauthenticated");
    // Asking again changes nothing.
    let again = ada.patch("/auth/me", "*", &json!({"hideName": true})).await.expect(200);
    ada.purchase(&id).await.expect(201);
    shop.session(&again).purchase(&id).await.expect(201);
    // A new login says it, too.
    let later = shop.login(("ada@shop.example", PASSWORD)).await;
    later.purchase(&id).await.expect(201);
    let mut shown: Vec<_> = buyers(&shop, &id).await;
    assert_eq!(shown.split_off(3), ["Anonymous"; 3]);

    let answer = later.patch("/auth/me", "*", &json!({"hideName": false})).await.expect(200);
    shop.session(&answer).purchase(&id).await.expect(201);
    assert_eq!(buyers(&shop, &id).await.last().unwrap(), "Ada L.");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_hides_a_name() {
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 10}))).await;
    let (ada, admin) = (shop.account("ada@shop.example").await, shop.admin());
    ada.purchase(&id).await.expect(201);
    let path = format!("/users/{}", ada.id.to_hex());
    ada.patch(&path, "*", &json!({"hideName": true})).await.problem(403, "forbidden");
    let changed = admin.patch(&path, "*", &json!({"hideName": true})).await.expect(200).json;
    assert_eq!((&changed["hideName"], &changed["name"]), (&json!(true), &json!("Ada Lovelace")));
    assert_eq!(buyers(&shop, &id).await, ["Anonymous"]);
    ada.purchase(&id).await.problem(401, "unauthenticated");
    let ada = shop.login(("ada@shop.example", PASSWORD)).await;
    ada.purchase(&id).await.expect(201);
    assert_eq!(buyers(&shop, &id).await, ["Anonymous"; 2]);
    let log = admin.get(&format!("/audit?target={}&action=user_changed", ada.id.to_hex())).await.expect(200);
    let entry = &log.json["items"][0];
    assert_eq!(
        (&entry["before"], &entry["after"]),
        (&json!({"hideName": false}), &json!({"hideName": true}))
    );
    shop.close().await;
}

/// Whoever has no account here hides the name where the tokens come from.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_provider_may_say_it() {
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({}))).await;
    let stranger = shop.buyer_named("Anonymous");
    stranger.purchase(&id).await.expect(201);
    assert_eq!(buyers(&shop, &id).await, ["Anonymous"]);
    stranger.patch("/auth/me", "*", &json!({"hideName": true})).await.problem(404, "not_found");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_hides_a_name_and_shows_it_again() {
    if no_browser() {
        return;
    }
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 10}))).await;
    let page = Browser::open(&shop.visitor()).await;
    page.press("#account button", "Log in").await;
    page.register("Ada Lovelace", "ada@shop.example").await;
    page.sees("#account", "Ada Lovelace").await;
    for (entry, hidden) in [("Hide my name", "Anonymous"), ("Show my name", "Ada L.")] {
        const TOKEN: &str = "JSON.parse(localStorage.getItem('flash-sale.session')).token";
        page.run(&format!("window.earlier = {TOKEN}"), json!([])).await;
        page.press("#account > button", "Account:").await;
        page.press("#account-menu button", entry).await;
        page.press("dialog button[class*=primary]", entry).await;
        page.waits(&format!("{TOKEN} !== window.earlier")).await;
        let token = page.run(&format!("return {TOKEN}"), json!([])).await;
        shop.visitor().with_token(token.as_str().unwrap()).purchase(&id).await.expect(201);
        assert_eq!(buyers(&shop, &id).await.last().unwrap(), hidden);
    }
    page.close(&[]).await;

    shop.make_admin().await;
    let page = Browser::open(&shop.visitor()).await;
    page.log_in(ADMIN.0, ADMIN.1).await;
    page.follow("/admin/users?search=ada").await;
    page.press(".row button", "Hide name").await;
    page.press("dialog button[class*=primary]", "Hide name").await;
    page.sees(".row", "Name hidden").await;
    assert_eq!(buyers(&shop, &id).await, ["Anonymous"; 2]);
    page.press(".row button", "Show name").await;
    page.press("dialog button[class*=primary]", "Show name").await;
    page.misses(".row", "Name hidden").await;
    page.close(&[]).await;
    shop.close().await;
}
