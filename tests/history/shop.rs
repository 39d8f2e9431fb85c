//! The shop of a run: its products, what is written down of it, and how to read an answer of the API.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::client::{Connection, PATIENT, Post, exchange, token};
use crate::cluster::{Cluster, soon};
use crate::record::{
    Change, Figures, History, Micros, ProductPlan, Purchase, Stored, StoredPurchase, Terms, Try, What, now,
};

/// The shop, which everybody shares.
pub struct Shop {
    history: Mutex<History>,
    /// The products' ids, by number.
    pub products: Vec<String>,
    /// The servers' ports.
    pub ports: Vec<u16>,
    pub admin: String,
    users: AtomicU32,
}

/// One wish to buy.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    pub user: u32,
    pub product: u8,
    pub key: Option<u32>,
    pub quantity: i64,
    pub reuses_key: bool,
}

impl Shop {
    /// Opens it at the servers of the cluster, with these products.
    pub async fn open(cluster: &Cluster, plans: Vec<ProductPlan>) -> Self {
        let ports = cluster.servers.iter().map(|server| server.port).collect();
        let admin = token("65f1c0ffee65f1c0ffee65f1", "Grace Hopper", "admin");
        let mut shop =
            Self { history: Mutex::default(), products: Vec::new(), ports, admin, users: AtomicU32::new(1) };
        for plan in plans {
            let body = new_product(&plan);
            shop.write().products.push(plan);
            let id = shop.create(body).await;
            shop.products.push(id);
        }
        shop
    }

    async fn create(&self, body: Value) -> String {
        let mut connection = Connection::to(self.ports[0]);
        let create = async {
            loop {
                let (body, token) = (body.clone(), &self.admin);
                let post = Post { method: "POST", path: "/products", token, key: None, if_match: None, body };
                match connection.post(&post, PATIENT).await {
                    Ok(answer) if answer.status == 201 => {
                        return answer.json["id"].as_str().expect("an id").to_owned();
                    }
                    Ok(answer) if answer.status == 503 => {}
                    other => panic!("no product: {other:?}"),
                }
            }
        };
        soon("a product", create).await
    }

    /// What is written down so far.
    pub fn write(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that was written down.
    pub fn into_history(self) -> History {
        self.history.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody who was never here.
    pub fn new_user(&self) -> u32 {
        self.users.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of a product's id.
    pub fn number(&self, id: &Value) -> Option<u8> {
        let place = self.products.iter().position(|known| id == known)?;
        u8::try_from(place).ok()
    }

    /// Tries to buy once. The try is written down before it is sent.
    pub async fn buy(
        &self,
        wish: Wish,
        server: usize,
        connection: &mut Connection,
        patience: std::time::Duration,
    ) -> Try {
        let place = self.begin(wish, server);
        let key = wish.key.map(|key| format!("key-{key}"));
        let user = user_id(wish.user).to_hex();
        let body =
            json!({ "productId": self.products[usize::from(wish.product)], "quantity": wish.quantity });
        let post = Post {
            method: "POST",
            path: "/products/purchase",
            token: &token(&user, "Ada Lovelace", "customer"),
            key: key.as_deref(),
            if_match: None,
            body,
        };
        let sent = self.write().tries[place].exchange.sent;
        let answer = connection.post(&post, patience).await;
        let exchange = exchange(number(server), sent, &answer);
        let promised_id =
            answer.as_ref().ok().and_then(|answer| answer.json["purchaseId"].as_str()?.parse().ok());
        let answer = answer.ok().filter(|answer| answer.status == 201);
        let mut history = self.write();
        let one = &mut history.tries[place];
        (one.exchange, one.promised_id) = (exchange, promised_id);
        one.told = answer.as_ref().and_then(|answer| purchase(&answer.json));
        one.is_replay = answer.is_some_and(|answer| answer.is_replay);
        one.clone()
    }

    /// Until there is an answer, the client has given it up.
    fn begin(&self, wish: Wish, server: usize) -> usize {
        let Wish { user, product, key, quantity, reuses_key } = wish;
        let mut history = self.write();
        let sent = now();
        let exchange = crate::record::Exchange {
            server: number(server),
            sent,
            ended: Micros::MAX,
            reply: crate::record::Reply::GaveUp,
        };
        let one = Try {
            user,
            product,
            key,
            quantity,
            reuses_key,
            exchange,
            told: None,
            is_replay: false,
            promised_id: None,
        };
        history.tries.push(one);
        history.tries.len() - 1
    }

    /// Changes a product as an admin; what is known of it afterwards.
    pub async fn change(
        &self,
        product: u8,
        what: What,
        server: usize,
        etag: Option<&str>,
        body: Value,
    ) -> Change {
        let path = format!("/products/{}", self.products[usize::from(product)]);
        let restock = format!("{path}/restock");
        let (method, path) = match what {
            What::Restock(_) => ("POST", &restock),
            What::Terms => ("PATCH", &path),
        };
        let post = Post { method, path, token: &self.admin, key: None, if_match: etag, body };
        let sent = now();
        let answer = Connection::to(self.ports[server]).post(&post, PATIENT).await;
        let exchange = exchange(number(server), sent, &answer);
        let figures = answer.ok().and_then(|answer| self.figures(&answer.json));
        let change = Change { product, what, exchange, figures };
        self.write().changes.push(change.clone());
        change
    }

    /// Puts units on sale.
    pub async fn restock(&self, product: u8, units: i64, server: usize) -> Change {
        self.change(product, What::Restock(units), server, None, json!({ "quantity": units })).await
    }

    /// Sells it under other terms from now on, if it is still at the version of this ETag.
    pub async fn sell_under(&self, product: u8, terms: Terms, server: usize, etag: &str) -> Change {
        self.write().products[usize::from(product)].terms.push(terms);
        let body = terms_body(terms);
        self.change(product, What::Terms, server, Some(etag), body).await
    }

    /// What a product's answer says of its stock.
    pub fn figures(&self, json: &Value) -> Option<Figures> {
        let number = |name: &str| json[name].as_i64();
        Some(Figures {
            product: self.number(&json["id"])?,
            version: number("version")?,
            stock: number("stock")?,
            held: number("held").unwrap_or(0),
            sold: number("sold")?,
            total: number("totalStock")?,
        })
    }

    /// Reads what the database holds. The servers have ended.
    pub async fn read_stored(&self, database: &Database) {
        let numbers: HashMap<ObjectId, u8> = self
            .products
            .iter()
            .zip(0..)
            .filter_map(|(id, number)| Some((id.parse().ok()?, number)))
            .collect();
        let mut stored = Stored::default();
        let products: Vec<Document> = all(database, "products").await;
        for document in &products {
            let number = |name: &str| document.get_i64(name).unwrap_or(0);
            let Some(product) = document.get_object_id("_id").ok().and_then(|id| numbers.get(&id)) else {
                continue;
            };
            let (version, stock, sold) = (number("version"), number("stock"), number("sold"));
            let (held, total) = (number("held"), number("totalStock"));
            stored.products.push(Figures { product: *product, version, stock, held, sold, total });
        }
        stored.products.sort_by_key(|figures| figures.product);
        let purchases: Vec<Document> = all(database, "purchases").await;
        stored.purchases =
            purchases.iter().filter_map(|document| stored_purchase(document, &numbers)).collect();
        assert_eq!(stored.purchases.len(), purchases.len(), "a purchase that is none of this run");
        self.write().stored = stored;
    }
}

async fn all(database: &Database, collection: &str) -> Vec<Document> {
    let read = async {
        loop {
            let found = database.collection::<Document>(collection).find(doc! {}).await;
            if let Ok(cursor) = found
                && let Ok(documents) = cursor.try_collect().await
            {
                return documents;
            }
        }
    };
    soon("the end state", read).await
}

fn stored_purchase(document: &Document, numbers: &HashMap<ObjectId, u8>) -> Option<StoredPurchase> {
    let price = document.get_document("unitPrice").ok()?.get_i64("amount").ok()?;
    let key = document.get_str("idempotencyKey").ok().and_then(|key| key.strip_prefix("key-")?.parse().ok());
    Some(StoredPurchase {
        user: user_number(document.get_object_id("userId").ok()?),
        product: *numbers.get(&document.get_object_id("productId").ok()?)?,
        key,
        purchase: Purchase {
            id: document.get_object_id("_id").ok()?,
            sequence: document.get_i64("sequence").ok()?,
            quantity: document.get_i64("quantity").ok()?,
            price,
            purchased_at: document.get_datetime("purchasedAt").ok()?.timestamp_millis(),
        },
    })
}

/// A purchase as the API shows it.
pub fn purchase(json: &Value) -> Option<Purchase> {
    Some(Purchase {
        id: json["id"].as_str()?.parse().ok()?,
        sequence: json["sequence"].as_i64()?,
        quantity: json["quantity"].as_i64()?,
        price: json["unitPrice"]["amount"].as_i64()?,
        purchased_at: milliseconds(&json["purchasedAt"])?,
    })
}

/// A moment of the API in milliseconds since 1970.
pub fn milliseconds(json: &Value) -> Option<i64> {
    let moment = OffsetDateTime::parse(json.as_str()?, &Rfc3339).ok()?;
    i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
}

/// The number of a server or a watcher, as it is written down.
pub fn number(place: usize) -> u8 {
    u8::try_from(place).expect("few of them")
}

/// The id of a user.
pub fn user_id(user: u32) -> ObjectId {
    let mut bytes = *b"history-user";
    bytes[8..].copy_from_slice(&user.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

fn user_number(id: ObjectId) -> u32 {
    id.bytes().last_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn new_product(plan: &ProductPlan) -> Value {
    let mut body = terms_body(plan.terms[0]);
    body["name"] = "Limited sneaker".into();
    body["stock"] = plan.stock.into();
    body
}

fn terms_body(terms: Terms) -> Value {
    json!({
        "price": { "amount": terms.price, "currency": "USD" },
        "purchaseLimit": terms.limit,
        "saleStartTime": timestamp(terms.start),
        "saleEndTime": timestamp(terms.end),
    })
}

/// Milliseconds since 1970 as the API writes them.
fn timestamp(milliseconds: i64) -> String {
    mongodb::bson::DateTime::from_millis(milliseconds).try_to_rfc3339_string().expect("a year of four digits")
}
