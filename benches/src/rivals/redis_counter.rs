//! `redis-counter`: the usual design for a fast sale. The stock is a number in Redis; one Lua script checks and
//! decrements it and appends the order to a stream, from which a consumer later stores it in a database, if it is given one.
//!
//! With `appendfsync everysec` a crash loses up to a second of sales: it promises less than the product does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{FromRef, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use flash_sale::error::Error;
use flash_sale::model::id::Id;
use flash_sale::model::timestamp::Timestamp;
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, Script};

use super::{Buyer, Common, PurchaseRequest, Refusal, Sale, Verifier, bought, complain, serve};
use crate::Outcome;

mod consumer;

use consumer::{Consumer, Stored};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    sale: Sale,
    /// The port of Redis, on the loopback
    #[arg(long)]
    redis_port: u16,
    /// How many connections to Redis; each carries any number of requests at once
    #[arg(long, default_value_t = 1)]
    redis_connections: usize,
    /// The database that a consumer brings the orders into; without one they stay in Redis
    #[arg(long)]
    mongo_uri: Option<String>,
}

struct Server {
    verifier: Verifier,
    script: Script,
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
    product: Id,
    keys: [String; 3],
}

impl FromRef<Arc<Server>> for Verifier {
    fn from_ref(server: &Arc<Server>) -> Self {
        server.verifier.clone()
    }
}

pub async fn run(arguments: Arguments) -> Outcome {
    let Arguments { common, sale, redis_port, redis_connections, mongo_uri } = arguments;
    let client = redis::Client::open(format!("redis://127.0.0.1:{redis_port}/"))?;
    // The clients limit the wait, not this timeout: under load an answer may take longer than the default half
    // second.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let mut connections = Vec::new();
    for _ in 0..redis_connections.max(1) {
        connections.push(client.get_multiplexed_async_connection_with_config(&config).await?);
    }
    let key = |what: &str| format!("{what}:{}", sale.product);
    let keys = [key("sale"), key("buyers"), key("orders")];
    let (start_ms, end_ms) = sale.window_ms();
    let fields = [("stock", sale.stock), ("limit", sale.limit), ("startMs", start_ms), ("endMs", end_ms)];
    let connection = &mut connections[0];
    let _: () = connection.del(&keys).await?;
    let _: () = connection.hset_multiple(&keys[0], &fields).await?;
    let stored = Arc::new(Stored::default());
    if let Some(mongo_uri) = mongo_uri {
        let redis = client.get_multiplexed_async_connection_with_config(&config).await?;
        let consumer = Consumer::new(&mongo_uri, redis, &keys[2], sale.product, stored.clone()).await?;
        tokio::spawn(consumer.run());
    }
    let server = Server {
        verifier: common.verifier(),
        script: Script::new(include_str!("sale.lua")),
        connections,
        next: AtomicUsize::new(0),
        product: sale.product,
        keys,
    };
    let router = Router::new().route("/products/purchase", post(purchase)).with_state(Arc::new(server));
    let router = router.route("/stored", get(async move || told(&stored)));
    serve(common.port, router).await
}

/// How many orders are in MongoDB.
fn told(stored: &Stored) -> Json<serde_json::Value> {
    let (count, last_at_ms) = stored.now();
    Json(serde_json::json!({ "count": count, "lastAtMs": last_at_ms }))
}

async fn purchase(
    State(server): State<Arc<Server>>,
    Buyer(buyer): Buyer,
    Json(request): Json<PurchaseRequest>,
) -> Response {
    if request.product_id != server.product {
        return Refusal(Error::ProductNotFound).into_response();
    }
    let id = Id::new();
    let mut script = server.script.prepare_invoke();
    for key in &server.keys {
        script.key(key);
    }
    script.arg(id.to_hex()).arg(buyer.id.to_hex()).arg(&buyer.name).arg(request.quantity);
    let turn = server.next.fetch_add(1, Ordering::Relaxed) % server.connections.len();
    let mut connection = server.connections[turn].clone();
    let answer: Result<(String, i64, i64), _> = script.invoke_async(&mut connection).await;
    match answer {
        Ok((outcome, number, now_ms)) => match outcome.as_str() {
            "bought" => bought(id, &buyer, &request, number, Timestamp::from_milliseconds(now_ms)),
            "sold_out" if number == 0 => Refusal(Error::SoldOut).into_response(),
            "sold_out" => Refusal(Error::InsufficientStock { remaining: number }).into_response(),
            "limit" => {
                Refusal(Error::PurchaseLimitReached { limit: number, purchased: number }).into_response()
            }
            _ => Refusal(Error::SaleEnded { sale_end_time: Timestamp::from_milliseconds(now_ms) })
                .into_response(),
        },
        Err(error) => complain(&error).into_response(),
    }
}
