//! Query parameters: unknown ones are refused everywhere, an empty one means none.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{NO_ID, Shop, document, sneaker, sneaker_with};

#[tokio::test(flavor = "multi_thread")]
async fn no_route_ignores_a_parameter() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    let admin = shop.admin();
    for (template, item) in document()["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let path = template.replace("{id}", &id);
            let method: Method = method.to_uppercase().parse().unwrap();
            let body = (method != Method::GET).then(|| "{}".to_owned());
            let asked = format!("{path}?Colour=red&Colour=blue&b=");
            let answer = admin.send(method, &asked, body, &[("If-Match", "*")]).await;
            answer.invalid(&["Colour", "b"]);
        }
    }
    // A page for people may be linked to with whatever its readers' tools add.
    shop.visitor().get("/?utm_source=mail").await.expect(200);
    shop.visitor().get("/nowhere?x=1").await.problem(404, "not_found");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_in_a_query_is_named() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let answer = visitor.get("/products?Status=ended&limit=0&status=soon&cursor=x").await;
    answer.invalid(&["status", "limit", "cursor", "Status"]);
    let buyer = shop.buyer();
    buyer.get("/purchases?sort=up").await.invalid(&["sort"]);
    visitor.get("/leaderboard?order=up&page=2").await.invalid(&["order", "page"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_parameter_means_none() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker()).await;
    let buyer = shop.buyer();
    buyer.purchase(&id).await.expect(201);
    for (path, count) in [
        ("/products?status=&search=&ids=&limit=&cursor=", 1),
        ("/leaderboard?productId=&order=&limit=&cursor=", 1),
        ("/purchases?limit=&cursor=", 1),
    ] {
        let page = buyer.get(path).await.expect(200).json;
        assert_eq!(page["items"].as_array().unwrap().len(), count, "{path}");
    }
    shop.close().await;
}

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn products_are_listed_by_ids_and_by_several_statuses() {
    let shop = Shop::open().await;
    let mut ids = Vec::new();
    for (name, changes) in [
        ("Ended", json!({"saleStartTime": "2020-01-01T00:00:00Z", "saleEndTime": "2020-01-02T00:00:00Z"})),
        ("Live", json!({})),
        ("Gone", json!({"saleStartTime": "2025-01-02T00:00:00Z", "stock": 0})),
        ("Soon", json!({"saleStartTime": "2098-01-01T00:00:00Z"})),
    ] {
        let mut product = sneaker_with(changes);
        product["name"] = json!(name);
        ids.push(shop.sell(&product).await);
    }
    let visitor = shop.visitor();
    let check = async |query: String, expected: &[&str]| {
        // The second time from what is remembered.
        for _ in 0..2 {
            let page = visitor.get(&format!("/products?{query}")).await.expect(200).json;
            assert_eq!(names(&page), expected, "{query}");
        }
    };
    check("status=live,upcoming".into(), &["Live", "Soon"]).await;
    check("status=sold_out,ended,ended".into(), &["Ended", "Gone"]).await;
    check(format!("ids={},{NO_ID},{}", ids[3], ids[0].to_uppercase()), &["Ended", "Soon"]).await;
    check(format!("ids={},{}&status=upcoming", ids[3], ids[0]), &["Soon"]).await;
    check(format!("ids={NO_ID}"), &[]).await;
    let many = |count| vec![ids[1].as_str(); count].join(",");
    check(format!("ids={}", many(50)), &["Live"]).await;
    visitor.get(&format!("/products?ids={}", many(51))).await.invalid(&["ids"]);
    visitor.get("/products?ids=x&status=live,,").await.invalid(&["status", "ids"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_ignores_case_width_and_form() {
    let shop = Shop::open().await;
    let mut product = sneaker();
    for name in ["Zu\u{308}rich Tee", "Ｔｏｋｙｏ ガ cap"] {
        product["name"] = json!(name);
        shop.sell(&product).await;
    }
    let visitor = shop.visitor();
    for (words, name) in [
        ("Z\u{fc}RICH", "Zu\u{308}rich Tee"),
        ("zu\u{308}rich tee", "Zu\u{308}rich Tee"),
        ("tokyo", "Ｔｏｋｙｏ ガ cap"),
        ("ＣＡＰ ｶﾞ", "Ｔｏｋｙｏ ガ cap"),
    ] {
        let page = visitor.get(&format!("/products?search={words}")).await.expect(200).json;
        assert_eq!(names(&page), [name], "{words}");
    }
    shop.close().await;
}
