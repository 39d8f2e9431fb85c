//! What one client may ask for, by network and by account, and what it hears of that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use flash_sale::config::{Limits, Quota};
use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Actor, Answer, PASSWORD, Shop, patient, sneaker, sneaker_with, soon};

/// In a window this long nothing comes back during a test.
const DAY: u32 = 24 * 60 * 60;

/// Registers `count` accounts at once, with names that start with `name`.
async fn register(visitor: &Actor, name: &str, count: usize) -> Vec<Answer> {
    let body = |number: usize| json!({"name": name, "email": format!("{name}{number}@shop.example"), "password": PASSWORD});
    let bodies: Vec<_> = (0..count).map(body).collect();
    join_all(bodies.iter().map(|body| visitor.post("/auth/register", body))).await
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// Checks both headers, and returns what is left of the quota of this name.
#[track_caller]
fn left(answer: &Answer, name: &str, quota: Quota) -> u32 {
    let policy = format!("\"{name}\";q={};w={}", quota.requests, quota.window_seconds);
    assert_eq!(answer.header("ratelimit-policy"), Some(policy.as_str()), "{answer:#?}");
    let now = answer.header("ratelimit").expect("RateLimit");
    let rest = now.strip_prefix(&format!("\"{name}\";r=")).unwrap_or_else(|| panic!("{now}"));
    let (left, seconds) = rest.split_once(";t=").unwrap_or_else(|| panic!("{now}"));
    assert!(seconds.parse::<u32>().unwrap() <= quota.window_seconds, "{now}");
    left.parse().unwrap()
}

/// Forty accounts of one address in three seconds, and so forty units of a product with a limit of one.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_registers_no_crowd() {
    let shop = Shop::open_behind_proxy(patient()).await;
    let visitor = shop.visitor();
    let answers = register(&visitor.behind_proxy("203.0.113.7"), "scalper", 40).await;
    assert_eq!((count(&answers, 201), count(&answers, 429)), (20, 20));
    let quota = Quota::new(20, 1_200);
    for answer in &answers {
        let left = left(answer, "registrations", quota);
        assert!(if answer.status == 201 { left < 20 } else { left == 0 }, "{answer:#?}");
    }
    for refused in answers.iter().filter(|answer| answer.status == 429) {
        assert_eq!(refused.code(), "rate_limited");
        let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "one a minute comes back: {seconds}");
    }
    let others = register(&visitor.behind_proxy("203.0.113.8"), "ada", 5).await;
    assert_eq!(count(&others, 201), 5);
    shop.close().await;
}

/// The client is who our proxies say, whatever the client says.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_the_last_address_that_is_no_proxy() {
    let quota = Quota::new(2, DAY);
    let limits = || Limits::default().with(|limits| limits.clients.reads = Some(quota));
    let mut shop = Shop::open_behind_proxy(limits()).await;
    let visitor = shop.visitor();
    let left_of = async |forwarded_for: &str| {
        let answer = visitor.behind_proxy(forwarded_for).get("/time").await;
        if answer.status == 429 { None } else { Some(left(&answer.expect(200), "reads", quota)) }
    };
    assert_eq!(left_of("198.51.100.1").await, Some(1));
    assert_eq!(left_of("203.0.113.9, 198.51.100.1, 127.0.0.1").await, Some(0));
    assert_eq!(left_of("198.51.100.1:4711").await, None);
    // All of a /64 is one client, and another /64 is another.
    assert_eq!(left_of("2001:db8:1:1::1").await, Some(1));
    assert_eq!(left_of("2001:db8:1:1:ffff::2").await, Some(0));
    assert_eq!(left_of("2001:db8:1:1::3").await, None);
    assert_eq!(left_of("2001:db8:1:2::1").await, Some(1));
    // What cannot be read, or names only proxies, is the proxy itself.
    assert_eq!(left_of("unknown").await, Some(1));
    assert_eq!(left_of("127.0.0.2, 127.0.0.1").await, Some(0));
    assert_eq!(left_of("198.51.100.2, _hidden").await, None);
    let forwarded = [("Forwarded", "for=\"[2001:db8:9::1]:80\";proto=https")];
    assert_eq!(left(&visitor.get_with("/time", &forwarded).await.expect(200), "reads", quota), 1);

    // A peer that is no trusted proxy is the client itself.
    shop.add_server_with(limits().with(|limits| limits.clients.leaves_private_alone = false)).await;
    let visitor = shop.at(&visitor, 1);
    for (forwarded_for, status) in [("198.51.100.4", 200), ("198.51.100.5", 200), ("198.51.100.6", 429)] {
        visitor.behind_proxy(forwarded_for).get("/time").await.expect(status);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_peer_that_nobody_named_is_left_alone() {
    let quota = Quota::new(1, DAY);
    let limits = patient().with(|limits| {
        limits.clients.reads = Some(quota);
        limits.clients.registrations = Some(quota);
    });
    let mut shop = Shop::open_with(limits.clone()).await;
    // A proxy that is named, and says not for whom it asks, stands for all customers as well.
    shop.add_server_behind_proxy(limits).await;
    for server in [0, 1] {
        let visitor = shop.at(&shop.visitor(), server);
        for _ in 0..5 {
            assert_eq!(left(&visitor.get("/products").await.expect(200), "reads", quota), 1);
        }
        assert_eq!(count(&register(&visitor, &format!("ada{server}-"), 3).await, 201), 3);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_bounded_but_for_health_metrics_and_documents() {
    let quota = Quota::new(3, DAY);
    let shop =
        Shop::open_behind_proxy(Limits::default().with(|limits| limits.clients.reads = Some(quota))).await;
    let id = shop.sell(&sneaker()).await;
    let visitor = shop.visitor().behind_proxy("198.51.100.1");
    for (path, expected) in
        [(format!("/products/{id}"), 2), ("/leaderboard".into(), 1), ("/products".into(), 0)]
    {
        assert_eq!(left(&visitor.get(&path).await.expect(200), "reads", quota), expected);
    }
    let refused = visitor.get("/products").await.problem(429, "rate_limited");
    assert_eq!(left(&refused, "reads", quota), 0);
    visitor.get(&format!("/products/{id}/events")).await.problem(429, "rate_limited");
    for path in ["/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs/", "/"] {
        let answer = visitor.get(path).await.expect(200);
        assert_eq!(answer.header("ratelimit"), None, "{path}");
    }
    // A page of another origin may read the headers.
    let exposed = visitor.get_with("/time", &[("Origin", "https://shop.example")]).await;
    let exposed = exposed.header("access-control-expose-headers").unwrap();
    assert!(exposed.contains("ratelimit,") && exposed.contains("ratelimit-policy"), "{exposed}");
    shop.visitor().behind_proxy("198.51.100.2").get("/products").await.expect(200);
    shop.close().await;
}

/// Three hundred purchases of one account in a sixth of a second.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_does_not_flood_the_sale() {
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 1_000, "purchaseLimit": 1_000}))).await;
    let (ada, bob) = (shop.buyer(), shop.buyer());
    let start = Instant::now();
    let answers = join_all((0..300).map(|_| ada.purchase(&id))).await;
    // Thirty at once, and five a second.
    let allowed = 30 + 5 * (start.elapsed().as_secs() as usize + 1);
    let bought = count(&answers, 201);
    assert!((30..=allowed).contains(&bought), "{bought} of {allowed}");
    assert_eq!(count(&answers, 429), 300 - bought);
    assert!(answers.iter().all(|answer| left(answer, "purchases", Quota::new(30, 6)) < 30));
    bob.purchase(&id).await.expect(201);
    shop.close().await;
}

/// Somebody with two tabs whose frontends press once a second, and again when they are told to.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_two_tabs_never_meets_the_bound() {
    let shop = Shop::open_with(patient()).await;
    let id = shop.sell(&sneaker_with(json!({"stock": 0}))).await;
    let ada = shop.buyer();
    for _ in 0..5 {
        let answers = join_all((0..6).map(|_| ada.purchase(&id))).await;
        assert_eq!(count(&answers, 409), 6, "{answers:#?}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_costs_nothing_and_is_always_answered() {
    let quota = Quota::new(4, DAY);
    let limits = patient().with(|limits| limits.clients.purchases = Some(quota));
    let mut shop = Shop::open_with(limits.clone()).await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 10}))).await;
    let ada = shop.buyer();
    let first = ada.purchase_with_key(&id, 1, "first").await.expect(201);
    assert_eq!(left(&first, "purchases", quota), 3);
    for _ in 0..10 {
        let replay = ada.purchase_with_key(&id, 1, "first").await.expect(201);
        assert_eq!((replay.header("idempotent-replayed"), &replay.json), (Some("true"), &first.json));
        assert_eq!(left(&replay, "purchases", quota), 3);
    }
    // A refused request costs, whatever it was refused for.
    ada.post("/products/purchase", &json!({"productId": id, "quantity": 0})).await.invalid(&["quantity"]);
    ada.purchase_with_key(&id, 2, "first").await.problem(422, "idempotency_key_reused");
    ada.purchase_many(&id, 100).await.problem(409, "purchase_limit_reached");
    // The account has used up its quota here, and on a server that has sold nothing, and knows no key.
    shop.add_server_with(limits).await;
    let elsewhere = shop.at(&ada, 1);
    for _ in 0..4 {
        elsewhere.purchase_many(&id, 100).await.problem(409, "purchase_limit_reached");
    }
    for ada in [&ada, &elsewhere] {
        for _ in 0..3 {
            let refused = ada.purchase(&id).await.problem(429, "rate_limited");
            assert_eq!(left(&refused, "purchases", quota), 0);
            ada.purchase_with_key(&id, 1, "second").await.problem(429, "rate_limited");
            ada.purchase_with_key(&id, 0, "second").await.problem(429, "rate_limited");
            let replay = ada.purchase_with_key(&id, 1, "first").await.expect(201);
            assert_eq!((replay.header("idempotent-replayed"), &replay.json), (Some("true"), &first.json));
        }
    }
    assert_eq!(shop.check_invariants(&id, 10).await, 1);
    shop.close().await;
}

/// Random keys reach neither a lane nor, beyond some, the database.
#[tokio::test(flavor = "multi_thread")]
async fn random_keys_do_not_get_around_the_bound() {
    let limits = patient().with(|limits| {
        limits.clients.purchases = Some(Quota::new(2, DAY));
        limits.clients.key_lookups = Quota::new(3, DAY);
    });
    let shop = Shop::open_with(limits).await;
    let id = shop.sell(&sneaker_with(json!({"purchaseLimit": 1_000}))).await;
    let ada = shop.buyer();
    let keys: Vec<_> = (0..50).map(|number| format!("random-{number}")).collect();
    let answers = join_all(keys.iter().map(|key| ada.purchase_with_key(&id, 1, key))).await;
    assert_eq!((count(&answers, 201), count(&answers, 429)), (2, 48));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_may_bound_purchases_by_network() {
    let limits = patient().with(|limits| limits.clients.purchases_of_network = Some(Quota::new(3, DAY)));
    let shop = Shop::open_behind_proxy(limits).await;
    let id = shop.sell(&sneaker()).await;
    let buy = async |client: &str| shop.buyer().behind_proxy(client).purchase(&id).await;
    for _ in 0..3 {
        let bought = buy("198.51.100.1").await.expect(201);
        let policies: Vec<_> = bought.headers.get_all("ratelimit-policy").iter().collect();
        assert_eq!(policies, ["\"purchases\";q=30;w=6", "\"purchases-of-network\";q=3;w=86400"]);
    }
    buy("198.51.100.1").await.problem(429, "rate_limited");
    buy("198.51.100.2").await.expect(201);
    shop.close().await;
}

/// A hundred and fifty logins of unknown accounts from one address once made the others' wait ten seconds and fail. Now each of
/// them waits for one or two of the storm's hashes, of some 20 ms. How long that is depends on the machine that runs this,
/// so the test counts how many of the storm are answered while somebody else waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_logins_from_one_network_does_not_keep_the_others_waiting() {
    const STORM: usize = 90;
    /// A registration takes two turns of the threads, and its time in the database, in which the storm goes on. A queue that is
    /// not fair would first serve all of the storm that waits: at the beginning nearly all of it.
    const MEANWHILE_MAX: usize = STORM / 3;
    let limits = patient().with(|limits| {
        // The storm is served to its end, however slow the machine is.
        limits.accounts.password_hash_wait_ms_max = 600_000;
        limits.accounts.password_hashes_in_flight_max = 1;
        limits.accounts.login_failures_of_network_max = 1_000;
    });
    let shop = Shop::open_behind_proxy(limits).await;
    let visitor = shop.visitor();
    let ada = json!({"email": "ada0@shop.example", "password": PASSWORD});
    register(&visitor.behind_proxy("198.51.100.1"), "ada", 1).await;
    let answered = AtomicUsize::new(0);
    let storm = async {
        let attacker = visitor.behind_proxy("203.0.113.7");
        let guess = async |number: usize| {
            let body = json!({"email": format!("{number}@shop.example"), "password": PASSWORD});
            attacker.post("/auth/login", &body).await.problem(401, "invalid_credentials");
            answered.fetch_add(1, Ordering::Relaxed);
        };
        join_all((0..STORM).map(guess)).await;
    };
    let others = async {
        let mut most = 0;
        for number in 0..3 {
            // Once the storm is there, and before it is over.
            let begun = async {
                while answered.load(Ordering::Relaxed) <= number {
                    tokio::task::yield_now().await
                }
            };
            soon("the storm", begun).await;
            let before = answered.load(Ordering::Relaxed);
            visitor.behind_proxy(&format!("198.51.100.{number}")).post("/auth/login", &ada).await.expect(200);
            most = most.max(answered.load(Ordering::Relaxed) - before);
            let before = answered.load(Ordering::Relaxed);
            let bob = visitor.behind_proxy(&format!("198.51.101.{number}"));
            assert_eq!(count(&register(&bob, &format!("bob{number}-"), 1).await, 201), 1);
            most = most.max(answered.load(Ordering::Relaxed) - before);
        }
        assert!(answered.load(Ordering::Relaxed) < STORM, "the storm is over, and nothing was seen");
        most
    };
    let ((), most) = tokio::join!(storm, others);
    assert!(most <= MEANWHILE_MAX, "{most} of the storm were served while another waited");
    shop.close().await;
}

/// A slow body once held a place for purchases for ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_holds_no_place_that_a_buyer_needs() {
    use crate::harness::RawConnection;
    // Two of the bodies used to hold both places.
    let limits = patient().with(|limits| limits.purchases.purchases_in_flight_max = 2);
    let shop = Shop::open_with(limits).await;
    let id = shop.sell(&sneaker()).await;
    let slow = shop.buyer();
    let head = format!(
        "POST /products/purchase HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\n",
        slow.token()
    );
    let body = json!({ "productId": id }).to_string();
    let mut connections = Vec::new();
    for (more, start) in [
        ("Transfer-Encoding: chunked".to_owned(), format!("{:x}\r\n{}", body.len(), &body[..5])),
        (format!("Content-Length: {}", body.len()), body[..5].to_owned()),
    ] {
        let mut connection = RawConnection::open(slow.host()).await;
        connection.send(format!("{head}{more}\r\n\r\n").as_bytes()).await;
        // From here on the server waits for the body.
        connection.read_until("100 Continue\r\n\r\n").await;
        connection.send(start.as_bytes()).await;
        connections.push(connection);
    }
    for _ in 0..3 {
        shop.buyer().purchase(&id).await.expect(201);
    }
    // The slow ones are served all the same.
    connections[0].send(format!("{}\r\n0\r\n\r\n", &body[5..]).as_bytes()).await;
    let answer = connections[0].read_answer().await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bounds_are_settings() {
    let mut shop = Shop::open().await;
    let settings = [
        ("TRUSTED_PROXIES", "127.0.0.0/8"),
        ("READS_PER_NETWORK", "1/60"),
        ("PURCHASES_PER_ACCOUNT", "off"),
        ("PURCHASES_PER_NETWORK", "2/60"),
    ];
    shop.add_server_as_set(&settings).await;
    let visitor = shop.at(&shop.visitor(), 1).behind_proxy("198.51.100.1");
    visitor.get("/time").await.expect(200);
    visitor.get("/time").await.problem(429, "rate_limited");
    let buyer = shop.at(&shop.buyer(), 1).behind_proxy("198.51.100.1");
    for status in [404, 404, 429] {
        let answer = buyer.purchase(crate::harness::NO_ID).await.expect(status);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"purchases-of-network\";q=2;w=60"));
    }
    shop.close().await;
}
