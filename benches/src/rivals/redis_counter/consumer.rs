//! The other half of the usual design: a consumer that takes the orders from the stream and brings them into MongoDB,
//! many at a time. What it has stored stays pending in Redis until then, so a consumer that dies loses no order.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use flash_sale::model::id::Id;
use flash_sale::model::timestamp::Timestamp;
use flash_sale::store::connect::durable;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection, IndexModel};
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands, FromRedisValue};

use crate::Outcome;
use crate::rivals::UNIT_PRICE;

/// Orders of one insert.
const ORDERS_MAX: usize = 1_000;
/// How long one question waits for the next order, in milliseconds.
const WAIT_MS: usize = 100;
const GROUP: &str = "orders";

/// What is in MongoDB.
#[derive(Default)]
pub struct Stored {
    count: AtomicUsize,
    last_at_ms: AtomicI64,
}

impl Stored {
    /// How many orders, and since when, in milliseconds since 1970.
    pub fn now(&self) -> (usize, i64) {
        (self.count.load(Ordering::Acquire), self.last_at_ms.load(Ordering::Acquire))
    }
}

/// A consumer of one stream.
pub struct Consumer {
    stream: String,
    product: Id,
    /// Its own: a question that waits would hold up everybody else's.
    redis: MultiplexedConnection,
    orders: Collection<Document>,
    stored: Arc<Stored>,
}

impl Consumer {
    /// Prepares both sides.
    pub async fn new(
        mongo_uri: &str,
        mut redis: MultiplexedConnection,
        stream: &str,
        product: Id,
        stored: Arc<Stored>,
    ) -> Outcome<Self> {
        let mut options = ClientOptions::parse(mongo_uri).await?;
        options.write_concern = Some(durable());
        let name = options.default_database.clone().unwrap_or_else(|| "rival".into());
        let orders = Client::with_options(options)?.database(&name).collection("orders");
        // What a shop asks for: the orders of a buyer, and of a product.
        let by_buyer = IndexModel::builder().keys(doc! { "userId": 1, "productId": 1 }).build();
        let by_product = IndexModel::builder().keys(doc! { "productId": 1, "sequence": 1 }).build();
        orders.create_indexes([by_buyer, by_product]).await?;
        let _: () = redis.xgroup_create_mkstream(stream, GROUP, "0").await?;
        Ok(Self { stream: stream.to_owned(), product, redis, orders, stored })
    }

    /// Stores orders for ever.
    pub async fn run(mut self) {
        loop {
            if let Err(error) = self.step().await {
                eprintln!("flash-sale-benches: the orders could not be stored: {error}");
                return;
            }
        }
    }

    async fn step(&mut self) -> Outcome {
        let new = StreamReadOptions::default().group(GROUP, "only").count(ORDERS_MAX).block(WAIT_MS);
        let reply: Option<StreamReadReply> = self.redis.xread_options(&[&self.stream], &[">"], &new).await?;
        let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids);
        let (mut ids, mut orders) = (Vec::new(), Vec::new());
        for entry in entries {
            orders.push(self.order(&entry.map)?);
            ids.push(entry.id);
        }
        if ids.is_empty() {
            return Ok(());
        }
        self.orders.insert_many(&orders).ordered(false).await?;
        let _: () = self.redis.xack(&self.stream, GROUP, &ids).await?;
        self.stored.last_at_ms.store(Timestamp::now_here().milliseconds(), Ordering::Release);
        self.stored.count.fetch_add(ids.len(), Ordering::Release);
        Ok(())
    }

    fn order(&self, entry: &HashMap<String, redis::Value>) -> Outcome<Document> {
        let quantity: i64 = field(entry, "quantity")?;
        Ok(doc! {
            "_id": id(entry, "id")?, "productId": self.product, "userId": id(entry, "user")?,
            "buyer": field::<String>(entry, "buyer")?, "quantity": quantity,
            "unitPrice": { "amount": UNIT_PRICE, "currency": "USD" },
            "sequence": field::<i64>(entry, "sequence")?,
            "purchasedAt": DateTime::from_millis(field(entry, "at")?),
        })
    }
}

fn field<T: FromRedisValue>(entry: &HashMap<String, redis::Value>, name: &str) -> Outcome<T> {
    let value = entry.get(name).ok_or_else(|| format!("an order has no {name}"))?;
    Ok(redis::from_redis_value_ref(value)?)
}

fn id(entry: &HashMap<String, redis::Value>, name: &str) -> Outcome<Id> {
    Ok(Id::from_str(&field::<String>(entry, name)?)?)
}
