//! The metrics that the person on call watches.

use flash_sale::config::Quota;
use reqwest::Method;
use serde_json::{Value, json};

use crate::expiry::until_held;
use crate::harness::{
    Actor, NO_ID, RawConnection, Shop, bounded, document, metric, patient, sneaker, sneaker_with,
};
use crate::payments::{held, id_of};

/// The metrics as text, and their media type. `accept` is the header; by itself the client takes everything.
pub async fn metrics(actor: &Actor, accept: &str) -> (String, String) {
    let client = reqwest::Client::new();
    let request = client.get(format!("http://{}/metrics", actor.host())).header("Accept", accept);
    let response = request.send().await.unwrap();
    let media_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    (response.text().await.unwrap(), media_type)
}

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
    let id = shop.sell(&sneaker_with(json!({"stock": 3, "purchaseLimit": 2}))).await;
    let ada = shop.buyer();
    ada.purchase_with_key(&id, 2, "press-17").await.expect(201);
    ada.purchase_with_key(&id, 2, "press-17").await.expect(201);
    ada.purchase(&id).await.problem(409, "purchase_limit_reached");
    shop.buyer().purchase(&id).await.expect(201);
    for _ in 0..3 {
        shop.buyer().purchase(&id).await.problem(409, "sold_out");
    }
    let (text, _) = metrics(&ada, "*/*").await;
    for (outcome, count) in
        [("bought", 2.0), ("replayed", 1.0), ("purchase_limit_reached", 1.0), ("sold_out", 3.0)]
    {
        assert_eq!(
            value(&text, &format!("flash_sale_purchases_total{{outcome=\"{outcome}\"}}")),
            count,
            "{outcome}"
        );
    }
    assert_eq!(value(&text, "flash_sale_units_sold_total"), 3.0);
    assert_eq!(value(&text, "flash_sale_batch_purchases_sum"), 7.0);
    assert_eq!(value(&text, "flash_sale_purchase_queue_wait_seconds_count"), 7.0);
    assert_eq!(value(&text, "flash_sale_lanes"), 1.0);
    assert_eq!(value(&text, "flash_sale_purchases_under_way"), 0.0);
    let labels = |status| format!("{{route=\"/products/purchase\",method=\"POST\",status=\"{status}\"}}");
    assert_eq!(value(&text, &format!("flash_sale_http_requests_total{}", labels(201))), 3.0);
    assert_eq!(value(&text, &format!("flash_sale_http_requests_total{}", labels(409))), 4.0);
    let labels = "{route=\"/products/purchase\",method=\"POST\",class=\"4xx\"}";
    assert_eq!(value(&text, &format!("flash_sale_http_request_duration_seconds_count{labels}")), 4.0);
    assert_eq!(value(&text, "flash_sale_http_problems_total{code=\"sold_out\"}"), 3.0);
    assert!(value(&text, "flash_sale_heartbeat_age_seconds") < 60.0);
    assert!(!text.contains(&ada.id.to_hex()) && !text.contains("press-17"), "{text}");
    shop.close().await;
}

/// What becomes of purchases that have to be paid for.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_purchase_is_counted() {
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&held(json!({"stock": 2}))).await;
    let [ada, eve] = [shop.buyer(), shop.buyer()];
    let (admin, payments) = (shop.admin(), shop.payment_service());
    let late = id_of(&ada.purchase_many(&id, 2).await.expect(201).json);
    shop.let_expire(std::slice::from_ref(&late)).await;
    until_held(&shop, &id, 0).await;
    let next = id_of(&eve.purchase_many(&id, 2).await.expect(201).json);
    payments.confirm(&late, "pi_1").await.problem(409, "payment_unfillable");
    for _ in 0..2 {
        payments.confirm(&next, "pi_2").await.expect(200);
        admin.refund(&next, &json!({})).await.expect(200);
        admin.refund(&late, &json!({})).await.expect(200);
    }
    let canceled = id_of(&eve.purchase(&id).await.expect(201).json);
    eve.cancel(&canceled).await.expect(200);
    let (text, _) = metrics(&ada, "*/*").await;
    for change in ["expired", "unfillable", "confirmed", "refunded", "returned", "canceled"] {
        let sample = format!("flash_sale_purchase_changes_total{{change=\"{change}\"}}");
        assert_eq!(value(&text, &sample), 1.0, "{change}");
    }
    assert_eq!(value(&text, "flash_sale_units_held_total"), 5.0);
    assert_eq!(value(&text, "flash_sale_units_released_total"), 5.0);
    assert!(value(&text, "flash_sale_expiry_lag_seconds") >= 0.0);
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
    let (text, _) = metrics(&visitor, "*/*").await;
    for (outcome, count) in [("logged_in", 1.0), ("invalid_credentials", 2.0), ("rate_limited", 1.0)] {
        let sample = format!("flash_sale_logins_total{{outcome=\"{outcome}\"}}");
        assert_eq!(value(&text, &sample), count, "{outcome}");
    }
    assert_eq!(value(&text, "flash_sale_limits_hit_total{limit=\"login_failures\"}"), 1.0);
    assert_eq!(value(&text, "flash_sale_password_hash_duration_seconds_count"), 4.0);
    assert_eq!(value(&text, "flash_sale_password_hashes_waiting"), 0.0);
    shop.close().await;
}

/// What one client may not ask for is counted by the limit that refused it.
#[tokio::test(flavor = "multi_thread")]
async fn the_bounds_for_each_client_are_counted_by_limit() {
    let one = Some(Quota::new(1, 24 * 60 * 60));
    let limits = patient().with(|limits| {
        limits.clients.registrations = one;
        limits.clients.logins = one;
        limits.clients.reads = one;
        limits.clients.purchases = one;
        limits.clients.purchases_of_network = Some(Quota::new(2, 24 * 60 * 60));
    });
    let shop = Shop::open_behind_proxy(limits).await;
    let id = shop.sell(&sneaker()).await;
    let visitor = shop.visitor().behind_proxy("198.51.100.1");
    for (path, refusals) in [("/auth/register", 1), ("/auth/login", 2)] {
        visitor.post(path, &json!({})).await.problem(422, "validation_failed");
        for _ in 0..refusals {
            visitor.post(path, &json!({})).await.problem(429, "rate_limited");
        }
    }
    visitor.get("/products").await.expect(200);
    for _ in 0..3 {
        visitor.get("/products").await.problem(429, "rate_limited");
    }
    let [ada, eve] = [0, 1].map(|_| shop.buyer().behind_proxy("198.51.100.2"));
    ada.purchase_with_key(&id, 1, "press-17").await.expect(201);
    // A replay is no refusal, although the account has used its quota up.
    ada.purchase_with_key(&id, 1, "press-17").await.expect(201);
    ada.purchase_with_key(&id, 1, "press-18").await.problem(429, "rate_limited");
    eve.purchase(&id).await.problem(429, "rate_limited");
    let (text, _) = metrics(&visitor, "*/*").await;
    for (limit, count) in [
        ("registrations_per_network", 1.0),
        ("logins_per_network", 2.0),
        ("reads_per_network", 3.0),
        ("purchases_per_account", 1.0),
        ("purchases_per_network", 1.0),
        ("connections_per_address", 0.0),
    ] {
        assert_eq!(
            value(&text, &format!("flash_sale_limits_hit_total{{limit=\"{limit}\"}}")),
            count,
            "{limit}"
        );
    }
    assert_eq!(value(&text, "flash_sale_purchases_total{outcome=\"rate_limited\"}"), 2.0);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_format_is_the_one_that_the_client_prefers() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    // Prometheus 2.42 and 3.4 as they ask.
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
        text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
        application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
        text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    for (accept, is_open) in [
        (prometheus, true),
        (prometheus_3, true),
        ("application/openmetrics-text", true),
        ("application/openmetrics-text; version=1.0.0", true),
        ("application/openmetrics-text;q=0.6, text/plain;q=0.5", true),
        ("application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5", false),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.6", false),
        ("text/plain", false),
        ("text/plain;version=0.0.4", false),
        ("*/*", false),
        ("application/json", false),
        ("nonsense", false),
    ] {
        let (text, media_type) = metrics(&visitor, accept).await;
        let expected = match is_open {
            true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            false => "text/plain; version=0.0.4; charset=utf-8",
        };
        assert_eq!(media_type, expected, "{accept}");
        // A counter's family has another name in OpenMetrics.
        let counter =
            if is_open { "flash_sale_purchases counter" } else { "flash_sale_purchases_total counter" };
        assert!(text.contains(&format!("# TYPE {counter}\n")), "{accept}:\n{text}");
        assert_eq!(text.ends_with("# EOF\n"), is_open, "{accept}:\n{text}");
        assert_eq!(text.contains("# UNIT "), is_open, "{accept}:\n{text}");
    }
    let mut connection = RawConnection::open(visitor.host()).await;
    connection.send(b"GET /metrics HTTP/1.1\r\nHost: shop\r\n\r\n").await;
    let without = connection.read_answer().await;
    assert!(without.contains("content-type: text/plain; version=0.0.4"), "{without}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_of_its_own_only_scrapers_read_the_metrics() {
    let mut shop = Shop::open().await;
    shop.add_server_where(&[("METRICS_TOKEN", "scrape$it/+~=")]).await;
    let open = shop.visitor();
    open.with_token("anything").get("/metrics").await.expect(200);
    let closed = shop.at(&open, 1);
    closed.get("/metrics").await.problem(401, "unauthenticated");
    for wrong in ["scrape$it/+~", "scrape$it/+~==", "SCRAPE$IT/+~=", shop.admin().token()] {
        let answer = closed.with_token(wrong).get("/metrics").await.problem(401, "unauthenticated");
        assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"), "{answer:?}");
        assert!(!answer.json.to_string().contains("scrape"), "{answer:?}");
    }
    let basic = [("Authorization", "Basic scrape$it/+~=")];
    closed.get_with("/metrics", &basic).await.problem(401, "unauthenticated");
    closed.with_token("scrape$it/+~=").get("/metrics").await.expect(200);
    shop.close().await;
}

/// A path of this template, with an id that nothing has.
fn path_of(template: &str) -> String {
    template.replace("{id}", NO_ID)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_counted_under_its_own_name() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let mut sent = Vec::new();
    for (template, item) in document()["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            let answer = visitor.send(method.clone(), &path_of(template), None, &[]).await;
            sent.push((template.as_str(), method, answer.status));
        }
    }
    assert!(sent.len() > 15, "{sent:?}");
    let sale = format!("/sales/{}", shop.sell(&sneaker()).await);
    for (path, template) in [
        ("/", "/"),
        ("/my/purchases", "/my/purchases"),
        ("/admin/users", "/admin/users"),
        (&sale, "/sales/{id}"),
        ("/assets/build/main.js", "/assets/{*file}"),
        ("/docs/", "/docs/"),
        ("/docs/start.js", "/docs/{*file}"),
        ("/live", "/live"),
        ("/not/here", "unmatched"),
    ] {
        let answer = visitor.get(path).await;
        sent.push((template, Method::GET, answer.status));
    }
    let answer = visitor.send("BREW".parse().unwrap(), "/time", None, &[]).await;
    sent.push(("/time", "other".parse().unwrap(), answer.status));
    let (text, _) = metrics(&visitor, "*/*").await;
    for (route, method, status) in sent {
        let labels = format!("{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}");
        assert!(value(&text, &format!("flash_sale_http_requests_total{labels}")) >= 1.0, "{labels}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_make_up_makes_no_series() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    visitor.send("BREW".parse().unwrap(), "/made-up", None, &[]).await.expect(404);
    visitor.get(&format!("/products/{NO_ID}")).await.expect(404);
    let count = async || metrics(&visitor, "*/*").await.0.lines().count();
    // Once for the series of /metrics itself.
    count().await;
    let before = count().await;
    for number in 0..20 {
        let method = format!("BREW{number}").parse().unwrap();
        visitor.send(method, &format!("/made-up/{number}"), None, &[]).await.expect(404);
        visitor.get(&format!("/products/65f1c0ffee65f1c0ffee65{number:02}")).await.expect(404);
    }
    let (text, _) = metrics(&visitor, "*/*").await;
    assert_eq!(text.lines().count(), before, "{text}");
    assert!(!text.contains("made-up") && !text.contains("BREW"), "{text}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn known_series_exist_before_their_first_event() {
    let shop = Shop::open().await;
    let (text, _) = metrics(&shop.visitor(), "*/*").await;
    let begins = |sample: &str| assert_eq!(value(&text, sample), 0.0, "{sample}");
    let responses = document()["paths"]["/products/purchase"]["post"]["responses"].as_object().unwrap();
    let examples = responses
        .values()
        .filter_map(|response| response["content"]["application/problem+json"]["examples"].as_object());
    // A purchase without a good token reaches no lane and is not counted as one.
    let codes = examples
        .flat_map(|examples| examples.keys())
        .filter(|code| !["unauthenticated", "token_expired"].contains(&code.as_str()));
    for code in codes {
        begins(&format!("flash_sale_purchases_total{{outcome=\"{code}\"}}"));
    }
    let problem = &document()["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    for code in problem.as_array().unwrap().iter().filter_map(Value::as_str) {
        begins(&format!("flash_sale_http_problems_total{{code=\"{code}\"}}"));
    }
    for limit in ["purchases", "queue_wait", "watchers", "watchers_per_address", "password_hashes"] {
        begins(&format!("flash_sale_limits_hit_total{{limit=\"{limit}\"}}"));
    }
    for reason in ["stale", "conflict", "duplicate", "unavailable"] {
        begins(&format!("flash_sale_batch_retries_total{{reason=\"{reason}\"}}"));
    }
    begins("flash_sale_http_requests_total{route=\"/products/purchase\",method=\"POST\",status=\"201\"}");
    begins("flash_sale_http_requests_total{route=\"/products/{id}\",method=\"GET\",status=\"500\"}");
    begins("flash_sale_commits_in_doubt_total");
    for change in ["confirmed", "canceled", "expired", "refunded", "unfillable", "returned"] {
        begins(&format!("flash_sale_purchase_changes_total{{change=\"{change}\"}}"));
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drivers_connections_are_counted() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let open = metric(&visitor, "flash_sale_database_connections").await;
    assert!(open >= 1.0, "{open}");
    assert!(metric(&visitor, "flash_sale_database_connections_opened_total").await >= open);
    // The change stream reads on one of them, and gives it back in between.
    let waits = "flash_sale_database_connection_wait_seconds_count";
    let before = metric(&visitor, waits).await;
    visitor.get("/products").await.expect(200);
    assert!(metric(&visitor, waits).await > before);
    assert!(metric(&visitor, "flash_sale_database_connections_in_use").await <= open);
    shop.close().await;
}
