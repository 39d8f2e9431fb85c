//! Whatever a client sends, an error is problem+json with the right code.

use flash_sale::config::Limits;
use reqwest::Method;
use serde_json::json;

use crate::harness::{NO_ID, RawConnection, Shop, Socket, UPGRADE, sneaker};

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_wrong_methods() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    for path in ["/nope", "/products/17/restock/more", "/docs/nope.js", "/%00", "/..%2f..%2fetc/passwd"] {
        visitor.get(path).await.problem(404, "not_found");
    }
    for (method, path, allow) in [
        (Method::PUT, "/products", "GET,HEAD,POST"),
        (Method::DELETE, "/purchases", "GET,HEAD"),
        (Method::GET, "/products/purchase", ""),
        (Method::GET, "/auth/login", "POST"),
        (Method::POST, "/health/live", "GET,HEAD"),
        (Method::POST, "/openapi.json", "GET,HEAD"),
        (Method::POST, "/docs/", "GET,HEAD"),
        (Method::OPTIONS, "/products", "GET,HEAD,POST"),
    ] {
        let answer = visitor.send(method, path, None, &[]).await.problem(405, "method_not_allowed");
        let allowed = answer.header("allow").unwrap();
        assert!(allow.is_empty() || allowed == allow, "{path}: {allowed}");
    }
    visitor.send(Method::OPTIONS, "/nope", None, &[]).await.problem(404, "not_found");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slash_at_the_end_is_redirected() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    for (path, location) in [
        ("/products/", "/products"),
        ("/products/?limit=2", "/products?limit=2"),
        ("/auth/login///", "/auth/login"),
    ] {
        let answer = visitor.send(Method::POST, path, Some("{}".into()), &[]).await.expect(308);
        assert_eq!(answer.header("location"), Some(location));
    }
    // A browser takes `//evil.example` for another host.
    for path in ["//evil.example/", "///"] {
        visitor.get(path).await.problem(404, "not_found");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_json() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let send = async |body: &str, content_type: &str| {
        let headers = [("Content-Type", content_type)];
        visitor.send(Method::POST, "/auth/login", Some(body.to_owned()), &headers).await
    };
    for body in
        ["", "{", "{]", "{\"email\":}", "nul", "{} {}", "\u{feff}", "{\"a\":1e999}", &"[".repeat(1000)]
    {
        send(body, "application/json").await.problem(400, "malformed_json");
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "", "json"] {
        send("{}", content_type).await.problem(415, "unsupported_media_type");
    }
    let headers = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    let packed = visitor.send(Method::POST, "/auth/login", Some("{}".into()), &headers).await;
    packed.problem(415, "unsupported_media_type");
    let headers = [("Content-Type", "Application/JSON"), ("Content-Encoding", "Identity")];
    let plain = visitor.send(Method::POST, "/auth/login", Some("{}".into()), &headers).await;
    plain.invalid(&["email", "password"]);
    for body in ["[]", "17", "null", "\"x\"", "true"] {
        send(body, "application/json; charset=utf-8").await.invalid(&[""]);
    }
    send("\u{feff}{}", "application/json").await.invalid(&["email", "password"]);
    send("{}", "application/problem+json").await.invalid(&["email", "password"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_too_large() {
    let shop = Shop::open().await;
    let ada = shop.buyer();
    for bytes in [64 * 1024 + 1, 10 * 1024 * 1024] {
        let body = format!("{{\"productId\":\"{}\"}}", "x".repeat(bytes));
        let answer = ada.send(Method::POST, "/products/purchase", Some(body), &[]).await;
        answer.problem(413, "payload_too_large");
    }
    // This client reads only after it has sent everything.
    let mut stubborn = RawConnection::open(ada.host()).await;
    let bytes = 10 * 1024 * 1024;
    let head = format!(
        "POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n"
    );
    stubborn.send(head.as_bytes()).await;
    stubborn.send(&vec![b'x'; bytes]).await;
    let answer = stubborn.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("payload_too_large"), "{answer}");
    // `Expect: 100-continue`: the client waits for an answer before it sends the body.
    let mut slow = RawConnection::open(ada.host()).await;
    let head = "POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n";
    slow.send(head.as_bytes()).await;
    let answer = slow.read_answer().await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("payload_too_large"), "{answer}");
    // No handler reads these bodies either, and the client still learns the reason.
    let large = || Some("x".repeat(10 * 1024 * 1024));
    ada.send(Method::POST, "/nope", large(), &[]).await.problem(404, "not_found");
    ada.send(Method::PUT, "/products", large(), &[]).await.problem(405, "method_not_allowed");
    shop.visitor().send(Method::POST, "/products", large(), &[]).await.problem(401, "unauthenticated");
    // Just below the limit the body is read and validated.
    let body = json!({"productId": "x".repeat(64 * 1024 - 20)});
    ada.post("/products/purchase", &body).await.invalid(&["productId"]);
    shop.close().await;
}

/// Many clients send the head and the body in two packets and keep the connection for the next request. A refusal
/// that needs only the head must not close it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_keeps_the_connection() {
    let shop = Shop::open().await;
    let mut connection = RawConnection::open(shop.visitor().host()).await;
    for (path, status) in
        [("/products", "401"), ("/nope", "404"), ("/products/purchase", "401"), ("/time", "405")]
    {
        for body in ["{}".to_owned(), "x".repeat(40_000)] {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            connection.send(head.as_bytes()).await;
            // An answer on another connection shows that the server has seen the head alone.
            shop.visitor().get("/time").await.expect(200);
            connection.send(body.as_bytes()).await;
            let answer = connection.read_answer().await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        }
    }
    shop.close().await;
}

/// A body means the same however it is cut into packets and chunks.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_pieces_is_one_body() {
    let shop = Shop::open().await;
    let ada = shop.buyer();
    let mut connection = RawConnection::open(ada.host()).await;
    let token = ada.token();
    let head = |framing: &str| {
        format!(
            "POST /products/purchase HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
        )
    };
    let body = format!("{{\"productId\":\"{NO_ID}\",\"quantity\":1}}");
    let pieces = |body: &str, bytes: usize| -> Vec<String> {
        body.as_bytes().chunks(bytes).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
    };
    let chunk = |piece: String| format!("{:x}\r\n{piece}\r\n", piece.len());
    for bytes in [1, 7, 20, body.len()] {
        connection.send(head(&format!("Content-Length: {}", body.len())).as_bytes()).await;
        for piece in pieces(&body, bytes) {
            // Two pieces may still arrive together; mostly they do not.
            tokio::task::yield_now().await;
            connection.send(piece.as_bytes()).await;
        }
        let answer = connection.read_answer().await;
        assert!(answer.contains("product_not_found"), "{bytes}: {answer}");
        for trailers in ["", "Digest: none\r\n"] {
            connection.send(head("Transfer-Encoding: chunked\r\nTrailer: Digest").as_bytes()).await;
            for piece in pieces(&body, bytes) {
                connection.send(chunk(piece).as_bytes()).await;
            }
            connection.send(format!("0\r\n{trailers}\r\n").as_bytes()).await;
            let answer = connection.read_answer().await;
            assert!(answer.contains("product_not_found"), "{bytes}, chunked: {answer}");
        }
    }
    // The limits are the same: an empty body and one that is too large.
    connection.send(head("Transfer-Encoding: chunked").as_bytes()).await;
    connection.send(b"0\r\n\r\n").await;
    let answer = connection.read_answer().await;
    assert!(answer.contains("malformed_json") && answer.contains("is empty"), "{answer}");
    connection.send(head("Transfer-Encoding: chunked").as_bytes()).await;
    for piece in pieces(&" ".repeat(64 * 1024 + 1), 5_000) {
        connection.send(chunk(piece).as_bytes()).await;
    }
    connection.send(b"0\r\n\r\n").await;
    let answer = connection.read_answer().await;
    assert!(answer.contains("payload_too_large"), "{answer}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_is_not_waited_for() {
    let mut shop = Shop::open_with(Limits::default().with(|limits| limits.http.body_read_ms_max = 100)).await;
    // A separate server, because the head of the first request could miss this limit as well.
    shop.add_server_with(Limits::default().with(|limits| limits.http.header_read_ms_max = 100)).await;
    let visitor = shop.visitor();
    let mut half_a_body = RawConnection::open(visitor.host()).await;
    half_a_body
        .send(b"POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
        .await;
    let answer = half_a_body.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("malformed_json"), "{answer}");
    let mut half_a_head = RawConnection::open(shop.at(&visitor, 1).host()).await;
    half_a_head.send(b"GET /products HTTP/1.1\r\nHost:").await;
    // It is closed, with an answer or without.
    half_a_head.read_to_end().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absurd_headers() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let many = (0..200).map(|number| format!("X-{number}: a\r\n")).collect::<String>();
    let long = format!("X-Long: {}\r\n", "a".repeat(100_000));
    for (headers, status) in
        [(many.as_str(), "431"), (&long, "431"), ("Content-Length: many\r\n", "400"), ("no colon\r\n", "400")]
    {
        let mut connection = RawConnection::open(visitor.host()).await;
        connection.send(format!("GET /products HTTP/1.1\r\nHost: a\r\n{headers}\r\n").as_bytes()).await;
        let answer = connection.read_to_end().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {answer}");
    }
    for value in ["", "\u{ff}", "\"\"", "*, *", "W/", ",,,", "\"999999999999999999999999\""] {
        visitor.get_with("/products", &[("If-None-Match", value), ("Accept", value), ("Range", value)]).await;
        shop.admin()
            .patch("/products/65f1c0ffee65f1c0ffee65f1", value, &json!({}))
            .await
            .problem(404, "product_not_found");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_malformed() {
    let shop = Shop::open().await;
    let admin = shop.admin();
    for id in ["17", "zzzzzzzzzzzzzzzzzzzzzzzz", "%7B%22$gt%22:%22%22%7D", "65f1c0ffee65f1c0ffee65f1a", "%ff"]
    {
        let path = format!("/products/{id}");
        admin.get(&path).await.problem(404, "product_not_found");
        admin.patch(&path, "*", &json!({})).await.problem(404, "product_not_found");
        admin
            .post(&format!("{path}/restock"), &json!({"quantity": 1}))
            .await
            .problem(404, "product_not_found");
        admin.delete(&path).await.problem(404, "product_not_found");
        admin.get(&format!("/purchases/{id}")).await.problem(404, "purchase_not_found");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sane_request_id_comes_back() {
    let shop = Shop::open().await;
    let visitor = shop.visitor();
    let own = visitor.get_with("/products", &[("X-Request-Id", "order-17")]).await;
    assert_eq!(own.header("x-request-id"), Some("order-17"));
    let own = visitor.get_with("/nope", &[("X-Request-Id", "order-18")]).await;
    assert_eq!(own.json["instance"], "order-18");
    for insane in ["a b", "<script>alert(1)</script>", &"x".repeat(129)] {
        let answer = visitor.get_with("/products", &[("X-Request-Id", insane)]).await;
        assert_ne!(answer.header("x-request-id"), Some(insane));
    }
    let twice = visitor.get_with("/products", &[("X-Request-Id", "one"), ("X-Request-Id", "one")]).await;
    assert_ne!(twice.header("x-request-id"), Some("one"));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_listed_origins_may_call() {
    let mut shop = Shop::open().await;
    shop.add_server_where(&[("CORS_ORIGINS", "*")]).await;
    shop.add_server_where(&[("CORS_ORIGINS", "")]).await;
    shop.sell(&sneaker()).await;
    let visitor = shop.visitor();
    let (listed, evil) = ("https://shop.example", "https://evil.example");
    for (server, origin, allowed) in [
        (0, listed, Some(listed)),
        (0, evil, None),
        (1, listed, Some("*")),
        (1, evil, Some("*")),
        (2, listed, None),
    ] {
        let visitor = shop.at(&visitor, server);
        let answer = visitor.get_with("/products", &[("Origin", origin)]).await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{server} {origin}");
        let names = "etag,location,retry-after,www-authenticate,allow,x-request-id,idempotent-replayed";
        let exposed = answer.header("access-control-expose-headers").unwrap_or_default().to_owned();
        let all = names.split(',').all(|name| exposed.split(',').any(|exposed| exposed == name));
        assert_eq!(all, server != 2, "{server} {origin}: {exposed}");
        // A page may open a WebSocket exactly where it may call the API.
        match allowed {
            Some(_) => drop(Socket::open_from(&visitor, Some(origin)).await),
            None => {
                let headers = [&UPGRADE[..], &[("Origin", origin)]].concat();
                visitor.get_with("/live", &headers).await.problem(403, "forbidden");
            }
        }
    }
    for (method, headers) in [
        ("POST", "authorization,content-type,idempotency-key,x-request-id"),
        ("PATCH", "authorization,content-type,if-match"),
        ("DELETE", "authorization,if-match"),
        ("GET", "if-none-match,last-event-id"),
        // What tracing libraries add to each request of a page.
        ("GET", "traceparent,tracestate,baggage,sentry-trace"),
    ] {
        let preflight = [
            ("Origin", listed),
            ("Access-Control-Request-Method", method),
            ("Access-Control-Request-Headers", headers),
        ];
        for server in [0, 1] {
            let visitor = shop.at(&visitor, server);
            let answer =
                visitor.send(Method::OPTIONS, "/products/purchase", None, &preflight).await.expect(200);
            assert!(answer.header("access-control-allow-origin").is_some(), "{server} {method}");
            let told = |name: &str| answer.header(name).unwrap_or_default().to_ascii_lowercase();
            let (methods, allowed) =
                (told("access-control-allow-methods"), told("access-control-allow-headers"));
            assert!(methods.split(',').any(|one| one.eq_ignore_ascii_case(method)), "{method}: {methods}");
            for header in headers.split(',') {
                assert!(allowed.split(',').any(|one| one == header), "{header}: {allowed}");
            }
        }
    }
    shop.close().await;
}
