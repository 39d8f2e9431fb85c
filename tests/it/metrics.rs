//! The metrics that the person on call watches.

use serde_json::json;

use crate::harness::{Shop, bounded, sneaker_with};

/// The value of the sample whose line starts like this.
fn value(text: &str, sample: &str) -> f64 {
    let line = text
        .lines()
        .find(|line| line.starts_with(sample))
        .unwrap_or_else(|| panic!("no {sample} in:\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_purchase_is_counted_by_its_outcome() {
    let shop = Shop::open().await;
    let id = shop.sell(&sneaker_with(json!({"stock": 2}))).await;
    let ada = shop.buyer();
    ada.purchase_with_key(&id, 1, "once").await.expect(201);
    ada.purchase_with_key(&id, 1, "once").await.expect(201);
    ada.purchase(&id).await.problem(409, "purchase_limit_reached");
    shop.buyer().purchase(&id).await.expect(201);
    for _ in 0..3 {
        shop.buyer().purchase(&id).await.problem(409, "sold_out");
    }
    let client = reqwest::Client::new();
    let response = client.get(format!("http://{}/metrics", ada.host())).send().await.unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = response.text().await.unwrap();
    for (outcome, count) in
        [("bought", 2.0), ("replayed", 1.0), ("purchase_limit_reached", 1.0), ("sold_out", 3.0)]
    {
        assert_eq!(
            value(&text, &format!("flash_sale_purchases_total{{outcome=\"{outcome}\"}}")),
            count,
            "{outcome}"
        );
    }
    assert_eq!(value(&text, "flash_sale_batch_purchases_sum"), 7.0);
    assert_eq!(value(&text, "flash_sale_lanes"), 1.0);
    assert_eq!(value(&text, "flash_sale_http_answers_total{status=\"409\"}"), 4.0);
    assert!(value(&text, "flash_sale_heartbeat_age_seconds") < 60.0);
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(!text.contains(&ada.id.to_hex()) && !text.contains("once"), "{text}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_login_is_counted_by_its_outcome() {
    let shop = Shop::open_with(bounded().with(|limits| limits.accounts.login_failures_max = 2)).await;
    let visitor = shop.visitor();
    let right = json!({"email": "ada@shop.example", "password": "correct horse battery"});
    let wrong = json!({"email": "ada@shop.example", "password": "not the password"});
    let name = json!({"name": "Ada", "email": right["email"], "password": right["password"]});
    visitor.post("/auth/register", &name).await.expect(201);
    visitor.post("/auth/login", &right).await.expect(200);
    visitor.post("/auth/login", &wrong).await.problem(401, "invalid_credentials");
    visitor.post("/auth/login", &wrong).await.problem(401, "invalid_credentials");
    visitor.post("/auth/login", &right).await.problem(429, "rate_limited");
    let response = reqwest::get(format!("http://{}/metrics", visitor.host())).await.unwrap();
    let text = response.text().await.unwrap();
    for (outcome, count) in [("logged_in", 1.0), ("invalid_credentials", 2.0), ("rate_limited", 1.0)] {
        let sample = format!("flash_sale_logins_total{{outcome=\"{outcome}\"}}");
        assert_eq!(value(&text, &sample), count, "{outcome}");
    }
    shop.close().await;
}
