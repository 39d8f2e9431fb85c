//! The shop of a run: its products, what is written down of it, and how to read an answer of the API.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::client::{Connection, PATIENT, Post, exchange, token};
use crate::cluster::{Cluster, soon};
use crate::record::{
    Change, Figures, History, Micros, ProductPlan, Purchase, Standing, Status, Terms, Try, What, now,
};

/// The shortest payment window that the API takes.
const WINDOW_SECONDS_MIN: i64 = 60;

/// The shop, which everybody shares.
pub struct Shop {
    history: Mutex<History>,
    /// The products' ids, by number.
    pub products: Vec<String>,
    /// The servers' ports.
    pub ports: Vec<u16>,
    pub admin: String,
    /// The token of the payment service.
    pub payments: String,
    users: AtomicU32,
    payment_count: AtomicU32,
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
        let mut shop = Self {
            history: Mutex::default(),
            products: Vec::new(),
            ports,
            admin: token("65f1c0ffee65f1c0ffee65f1", "Grace Hopper", "admin"),
            payments: token("65f1c0ffee65f1c0ffee65f2", "Payment service", "payments"),
            users: AtomicU32::new(1),
            payment_count: AtomicU32::new(0),
        };
        for plan in plans {
            let (body, window) = (new_product(&plan), plan.payment_window_seconds);
            shop.write().products.push(plan);
            let id = shop.create(body).await;
            if let Some(seconds) = window.filter(|seconds| *seconds < WINDOW_SECONDS_MIN) {
                shop.shorten_window(cluster, &id, seconds).await;
            }
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

    /// Gives the product a payment window that is shorter than the API allows: in a run of half a minute nothing would expire
    /// otherwise. This is the only thing that is ever changed behind the servers' back, once, before the first purchase and
    /// with a new version, like any change of a product. What follows is the servers' own doing: they date `expiresAt` by the
    /// product's document. (To move `expiresAt` itself while they sell would bring about what cannot happen.)
    async fn shorten_window(&self, cluster: &Cluster, id: &str, seconds: i64) {
        let products = cluster.database().await.collection::<Document>("products");
        let shorter = doc! { "$set": { "paymentWindowSeconds": seconds }, "$inc": { "version": 1_i64 } };
        let id: ObjectId = id.parse().expect("an id");
        soon("a shorter window", async {
            while products.update_one(doc! { "_id": id }, shorter.clone()).await.is_err() {}
        })
        .await;
        for port in &self.ports {
            let mut connection = Connection::to(*port);
            let path = format!("/products/{}", id.to_hex());
            soon("a server that knows the shorter window", async {
                while connection
                    .get(&path, None, PATIENT)
                    .await
                    .is_ok_and(|answer| answer.json["paymentWindowSeconds"] != seconds)
                {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            })
            .await;
        }
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

    /// A payment that nobody has made before.
    pub fn new_payment(&self) -> u32 {
        self.payment_count.fetch_add(1, Ordering::Relaxed)
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

/// A purchase and where it stands, as the API shows it.
pub fn standing(json: &Value) -> Option<Standing> {
    Some(Standing {
        purchase: purchase(json)?,
        status: Status::named(json["status"].as_str()?)?,
        payment: json["paymentReference"].as_str().and_then(payment),
        refund_due: json["refundDue"].as_bool()?,
        expires_at: milliseconds(&json["expiresAt"]),
    })
}

/// The reference of a payment.
pub fn reference(payment: u32) -> String {
    format!("pi_{payment}")
}

/// The number of a payment.
pub fn payment(reference: &str) -> Option<u32> {
    reference.strip_prefix("pi_")?.parse().ok()
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

fn new_product(plan: &ProductPlan) -> Value {
    let mut body = terms_body(plan.terms[0]);
    body["name"] = "Limited sneaker".into();
    body["stock"] = plan.stock.into();
    if let Some(seconds) = plan.payment_window_seconds {
        body["paymentWindowSeconds"] = seconds.max(WINDOW_SECONDS_MIN).into();
    }
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
