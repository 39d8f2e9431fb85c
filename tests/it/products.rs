//! The catalogue: reading it and maintaining it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{NO_ID, Shop, sneaker, sneaker_with};

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_creates_a_product_that_everybody_sees() {
    let shop = Shop::open().await;
    let product = sneaker_with(json!({
        "name": " Größe 42 ", "description": "One run,\nnumbered.", "imageUrl": "https://shop.example/a.jpg",
        "originalPrice": {"amount": 12_000, "currency": "USD"}, "purchaseLimit": 3,
        "saleStartTime": "2025-01-01T01:00:00.123456+01:00",
    }));
    let created = shop.admin().post("/products", &product).await.expect(201);
    let id = created.json["id"].as_str().unwrap();
    assert_eq!(created.header("location"), Some(format!("/products/{id}").as_str()));
    assert_eq!(created.json["name"], "Größe 42");
    assert_eq!(created.json["description"], "One run,\nnumbered.");
    assert_eq!(created.json["saleStartTime"], "2025-01-01T00:00:00.123Z");
    for member in ["imageUrl", "originalPrice", "price", "purchaseLimit", "saleEndTime"] {
        let sent =
            if member == "saleEndTime" { json!("2099-12-31T00:00:00.000Z") } else { product[member].clone() };
        assert_eq!(created.json[member], sent, "{member}");
    }
    assert_eq!(created.json["status"], "live");
    assert_eq!(
        (&created.json["stock"], &created.json["sold"], &created.json["totalStock"]),
        (&json!(100), &json!(0), &json!(100))
    );
    let seen = shop.visitor().get(&format!("/products/{id}")).await.expect(200);
    assert_eq!(seen.json, created.json);
    assert_eq!(seen.etag(), created.etag());
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_may_change_products() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    let path = format!("/products/{id}");
    let (visitor, buyer) = (shop.visitor(), shop.buyer());
    visitor.post("/products", &sneaker()).await.problem(401, "unauthenticated");
    buyer.post("/products", &sneaker()).await.problem(403, "forbidden");
    buyer.patch(&path, "*", &json!({})).await.problem(403, "forbidden");
    buyer.post(&format!("{path}/restock"), &json!({"quantity": 1})).await.problem(403, "forbidden");
    buyer.delete(&path).await.problem(403, "forbidden");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_field_of_a_product_is_named() {
    let shop = Shop::open().await;
    let admin = shop.admin();
    admin.post("/products", &json!({})).await.invalid(&[
        "name",
        "price",
        "stock",
        "saleStartTime",
        "saleEndTime",
    ]);
    let body = json!({
        "name": " ", "description": "x".repeat(5001), "imageUrl": "javascript:alert(1)",
        "price": {"amount": -1, "currency": "DOLLAR", "tax": 1}, "originalPrice": 5, "stock": 1_000_000_001,
        "saleStartTime": "tomorrow", "saleEndTime": 17, "purchaseLimit": 0, "sold": 5,
    });
    admin.post("/products", &body).await.invalid(&[
        "name",
        "description",
        "imageUrl",
        "price.amount",
        "price.currency",
        "price.tax",
        "originalPrice",
        "stock",
        "saleStartTime",
        "saleEndTime",
        "purchaseLimit",
        "sold",
    ]);
    for (name, value) in [
        ("stock", json!(1.5)),
        ("stock", json!("5")),
        ("stock", json!(-1)),
        ("stock", json!(1e300)),
        ("purchaseLimit", json!(1001)),
        ("name", json!("x".repeat(201))),
        ("imageUrl", json!(format!("https://shop.example/{}", "x".repeat(2048)))),
        ("saleEndTime", json!("2025-01-01T00:00:00Z")),
        ("saleEndTime", json!("2024-12-31T00:00:00Z")),
        ("saleEndTime", json!("2024-02-30T00:00:00Z")),
    ] {
        admin.post("/products", &sneaker_with(json!({name: value}))).await.invalid(&[name]);
    }
    let price = json!({"price": {"amount": 1_000_000_000_001_i64, "currency": "USD"}});
    admin.post("/products", &sneaker_with(price)).await.invalid(&["price.amount"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_needs_the_version_that_it_was_made_from() {
    let shop = Shop::open().await;
    let admin = shop.admin();
    let created = admin.post("/products", &sneaker_with(json!({"description": "old"}))).await.expect(201);
    let path = format!("/products/{}", created.json["id"].as_str().unwrap());
    let send = |body: Value| Some(body.to_string());
    admin
        .send(reqwest::Method::PATCH, &path, send(json!({"name": "New"})), &[])
        .await
        .problem(428, "precondition_required");
    let changed =
        admin.patch(&path, &created.etag(), &json!({"name": "New", "description": null})).await.expect(200);
    assert_eq!((&changed.json["name"], &changed.json["description"]), (&json!("New"), &Value::Null));
    let moment = |value: &Value| value.as_str().unwrap().to_owned();
    assert_eq!(changed.json["createdAt"], created.json["createdAt"]);
    assert!(moment(&changed.json["updatedAt"]) > moment(&created.json["updatedAt"]), "{changed:?}");
    assert_ne!(changed.etag(), created.etag());
    admin.patch(&path, &created.etag(), &json!({"name": "Newer"})).await.problem(412, "version_conflict");
    admin.patch(&path, "\"nonsense\"", &json!({"name": "Newer"})).await.problem(412, "version_conflict");
    // A purchase is a change too. An admin who does not care about the version sends `*`.
    shop.buyer().purchase(changed.json["id"].as_str().unwrap()).await.expect(201);
    admin.patch(&path, &changed.etag(), &json!({"name": "Newer"})).await.problem(412, "version_conflict");
    let newer = admin.patch(&path, "*", &json!({"name": "Newer"})).await.expect(200);
    let version = newer.json["version"].to_string();
    let newest = admin.patch(&path, &version, &json!({"purchaseLimit": 7})).await.expect(200);
    assert_eq!(newest.json["purchaseLimit"], 7);
    let all = json!({
        "description": "Another run.", "imageUrl": "https://shop.example/b.jpg",
        "price": {"amount": 1, "currency": "EUR"}, "originalPrice": {"amount": 2, "currency": "EUR"},
    });
    let changed = admin.patch(&path, "*", &all).await.expect(200);
    assert!(all.as_object().unwrap().iter().all(|(name, value)| changed.json[name] == *value), "{changed:?}");
    assert_eq!(shop.visitor().get(&path).await.expect(200).json, changed.json);
    let none = json!({"imageUrl": null, "originalPrice": null});
    let changed = admin.patch(&path, "*", &none).await.expect(200);
    assert_eq!((&changed.json["imageUrl"], &changed.json["originalPrice"]), (&Value::Null, &Value::Null));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_keeps_the_rules() {
    let shop = Shop::open().await;
    let admin = shop.admin();
    let id = shop.sell(&sneaker()).await;
    let path = format!("/products/{id}");
    admin.patch(&path, "*", &json!({"stock": 5})).await.invalid(&["stock"]);
    admin.patch(&path, "*", &json!({"name": null, "price": null})).await.invalid(&["name", "price"]);
    admin.patch(&path, "*", &json!({"saleEndTime": "2024-01-01T00:00:00Z"})).await.invalid(&["saleEndTime"]);
    admin
        .patch(&path, "*", &json!({"saleStartTime": "2100-01-01T00:00:00Z"}))
        .await
        .invalid(&["saleStartTime"]);
    let wrong =
        json!({"name": "", "saleStartTime": "2030-01-01T00:00:00Z", "saleEndTime": "2029-01-01T00:00:00Z"});
    admin.patch(&path, "*", &wrong).await.invalid(&["saleEndTime", "name"]);
    let both = json!({"saleStartTime": "2100-01-01T00:00:00Z", "saleEndTime": "2101-01-01T00:00:00Z"});
    let moved = admin.patch(&path, "*", &both).await.expect(200);
    assert_eq!(moved.json["status"], "upcoming");
    admin.patch(&format!("/products/{NO_ID}"), "*", &json!({})).await.problem(404, "product_not_found");
    // An empty change changes nothing, not even the version.
    let same = admin.patch(&path, &moved.etag(), &json!({})).await.expect(200);
    assert_eq!(same.etag(), moved.etag());
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_changes_by_restocking() {
    let shop = Shop::open().await;
    let admin = shop.admin();
    let id = shop.sell(&sneaker_with(json!({"stock": 1}))).await;
    shop.buyer().purchase(&id).await.expect(201);
    shop.buyer().purchase(&id).await.problem(409, "sold_out");
    let path = format!("/products/{id}/restock");
    let product = admin.post(&path, &json!({"quantity": 2})).await.expect(200).json;
    assert_eq!(
        (&product["stock"], &product["sold"], &product["totalStock"]),
        (&json!(2), &json!(1), &json!(3))
    );
    shop.buyer().purchase(&id).await.expect(201);
    let again = |if_match: &'static str| {
        let body = Some(json!({"quantity": 1}).to_string());
        let (admin, path) = (&admin, &path);
        async move { admin.send(Method::POST, path, body, &[("If-Match", if_match)]).await }
    };
    again("\"1-live\"").await.problem(412, "version_conflict");
    again("*").await.expect(200);
    for quantity in [json!(0), json!(-1), json!(1001), json!("1"), json!(null)] {
        admin.post(&path, &json!({"quantity": quantity})).await.invalid(&["quantity"]);
    }
    admin
        .post(&format!("/products/{NO_ID}/restock"), &json!({"quantity": 1}))
        .await
        .problem(404, "product_not_found");
    let full = shop.sell(&sneaker_with(json!({"stock": 1_000_000_000}))).await;
    admin.post(&format!("/products/{full}/restock"), &json!({"quantity": 1})).await.invalid(&["quantity"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_can_be_deleted_only_unsold() {
    let shop = Shop::open().await;
    let admin = shop.admin();
    let (unsold, sold) = (shop.sell(&sneaker()).await, shop.sell(&sneaker()).await);
    let stale = [("If-Match", "\"999\"")];
    let path = format!("/products/{unsold}");
    admin.send(reqwest::Method::DELETE, &path, None, &stale).await.problem(412, "version_conflict");
    admin.delete(&path).await.expect(204);
    admin.delete(&format!("/products/{unsold}")).await.problem(404, "product_not_found");
    shop.visitor().get(&format!("/products/{unsold}")).await.problem(404, "product_not_found");
    shop.buyer().purchase(&unsold).await.problem(404, "product_not_found");
    shop.buyer().purchase(&sold).await.expect(201);
    admin.delete(&format!("/products/{sold}")).await.problem(409, "product_has_sales");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_filtered_searched_and_paged() {
    let shop = Shop::open().await;
    for (name, changes) in [
        ("Red Ärmel shirt", json!({"saleStartTime": "2025-01-02T00:00:00Z"})),
        ("red sneaker [42]", json!({"saleStartTime": "2025-01-01T00:00:00Z"})),
        ("Blue sneaker", json!({"saleStartTime": "2098-01-01T00:00:00Z"})),
        ("Old hat", json!({"saleStartTime": "2020-01-01T00:00:00Z", "saleEndTime": "2020-01-02T00:00:00Z"})),
        ("Nothing", json!({"saleStartTime": "2025-01-03T00:00:00Z", "stock": 0})),
        ("ΟΔΟΣ ΟΔΟΣΑ Straße", json!({"saleStartTime": "2098-01-02T00:00:00Z"})),
    ] {
        let mut product = sneaker_with(changes);
        product["name"] = json!(name);
        shop.sell(&product).await;
    }
    let visitor = shop.visitor();
    let check = async |query: &str, expected: &[&str]| {
        let page = visitor.get(&format!("/products?{query}")).await.expect(200).json;
        let names: Vec<_> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, expected, "{query}");
    };
    let all =
        ["Old hat", "red sneaker [42]", "Red Ärmel shirt", "Nothing", "Blue sneaker", "ΟΔΟΣ ΟΔΟΣΑ Straße"];
    check("", &all).await;
    check("status=live", &["red sneaker [42]", "Red Ärmel shirt"]).await;
    check("status=upcoming", &all[4..]).await;
    check("status=ended", &["Old hat"]).await;
    check("status=sold_out", &["Nothing"]).await;
    check("search=RED", &["red sneaker [42]", "Red Ärmel shirt"]).await;
    check("search=sneak+red", &["red sneaker [42]"]).await;
    check("search=%C3%84RMEL", &["Red Ärmel shirt"]).await;
    for word in ["ΟΔΟΣ", "οδος", "οδοσ", "Οδοσα", "STRASSE", "straße"] {
        check(&format!("search={word}"), &all[5..]).await;
    }
    check("search=%5B42%5D", &["red sneaker [42]"]).await;
    check("search=.*", &[]).await;
    check("status=upcoming&search=sneaker", &["Blue sneaker"]).await;

    let mut seen = Vec::new();
    let mut path = "/products?limit=2".to_owned();
    loop {
        let page = visitor.get(&path).await.expect(200).json;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        path = format!("/products?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, all);
    visitor.get("/products?limit=0&cursor=x&status=soon").await.invalid(&["status", "limit", "cursor"]);
    visitor.get("/products?limit=201").await.invalid(&["limit"]);
    visitor.get("/products?limit=5&limit=6").await.invalid(&["limit"]);
    for search in ["x".repeat(201), "%00".into(), "a+b+c+d+e+f+g+h+i+j+k".into()] {
        visitor.get(&format!("/products?search={search}")).await.invalid(&["search"]);
    }
    check("search=red+RED+red+red+red+red+red+red+red+red+red+red", &["red sneaker [42]", "Red Ärmel shirt"])
        .await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_product_is_answered_with_304() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    let visitor = shop.visitor();
    for path in ["/products".to_owned(), format!("/products/{id}")] {
        let tag = visitor.get(&path).await.expect(200).etag();
        let again = visitor.get_with(&path, &[("If-None-Match", &tag)]).await.expect(304);
        assert_eq!(again.etag(), tag);
        shop.buyer().purchase(&id).await.expect(201);
        let changed = visitor.get_with(&path, &[("If-None-Match", &tag)]).await.expect(200);
        assert_ne!(changed.etag(), tag);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_shows_what_is_yours() {
    let mut shop = Shop::open().await;
    shop.add_server().await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 3}))).await;
    let path = format!("/products/{id}");
    let ada = shop.buyer();
    let check = async |actor: &crate::harness::Actor, purchased: i64, remaining: i64| {
        let answer = actor.get(&path).await.expect(200);
        let yours = json!({"purchased": purchased, "remaining": remaining, "lapses": 0});
        assert_eq!(answer.json["yours"], yours);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        // For a change, not for a cache: the answer is whole whatever the client has.
        let tag = answer.etag();
        assert_eq!(tag, actor.get_with(&path, &[("If-None-Match", &tag)]).await.expect(200).etag());
        // Besides, it is what everybody sees.
        let mut product = answer.json;
        product.as_object_mut().unwrap().remove("yours");
        assert_eq!(product, shop.product(&id).await);
    };
    check(&ada, 0, 3).await;
    shop.buyer().purchase(&id).await.expect(201);
    ada.purchase_many(&id, 2).await.expect(201);
    check(&ada, 2, 1).await;
    check(&shop.at(&ada, 1), 2, 1).await;
    check(&shop.buyer(), 0, 3).await;
    shop.admin().patch(&path, "*", &json!({"purchaseLimit": 1})).await.expect(200);
    check(&ada, 2, 0).await;
    // An entity tag of everybody's answer is none of this one.
    let tag = shop.visitor().get(&path).await.expect(200).etag();
    ada.get_with(&path, &[("If-None-Match", &tag)]).await.expect(200);
    ada.with_token("nonsense").get(&path).await.problem(401, "unauthenticated");
    ada.get(&format!("/products/{}", crate::harness::NO_ID)).await.problem(404, "product_not_found");
    shop.close().await;
}
