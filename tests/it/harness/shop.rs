//! A shop: a database with one or more servers, and the people who use it.

use std::collections::HashMap;

use flash_sale::accounts::tokens::Tokens;
use flash_sale::config::{Config, Limits, Secret, StoreLimits};
use flash_sale::model::id::Id;
use flash_sale::model::user::{Role, User};
use flash_sale::server::Server;
use flash_sale::store::Store;
use mongodb::bson::DateTime;
use reqwest::Method;
use serde_json::{Value, json};

use super::answer::Answer;
use super::mongo::{database_uri, drop_database, with_database};
use super::watch::soon;

/// The JWT secret of all shops.
pub const SECRET: &str = "kZ3v9Qm1xY7pL0tR5wB8nC2dF6gH4jS1";

/// The e-mail and the password of the admin that `make_admin` creates.
pub const ADMIN: (&str, &str) = ("grace@shop.example", "a rear admiral's password");

/// The servers on one database. Each test has its own shop.
pub struct Shop {
    pub servers: Vec<Server>,
    uri: String,
    client: reqwest::Client,
}

/// A person who talks to one of the shop's servers.
#[derive(Clone)]
pub struct Actor {
    pub id: Id,
    base: String,
    token: Option<String>,
    client: reqwest::Client,
}

impl Shop {
    /// A shop with one server.
    pub async fn open() -> Self {
        Self::open_with(Limits::default()).await
    }

    /// A shop with one server under these limits.
    pub async fn open_with(limits: Limits) -> Self {
        Self::open_on(database_uri().await, limits).await
    }

    /// The same; the server gives the database `application` as its name.
    pub async fn open_as(application: &str, limits: Limits) -> Self {
        let uri = database_uri().await;
        let separator = if uri.contains('?') { '&' } else { '?' };
        Self::open_on(format!("{uri}{separator}appName={application}"), limits).await
    }

    /// A shop on the test's own MongoDB.
    pub async fn open_at(uri: &str) -> Self {
        Self::open_in(uri, "test_own").await
    }

    pub async fn open_at_with(uri: &str, limits: Limits) -> Self {
        Self::open_on(with_database(uri, "test_own"), limits).await
    }

    /// A shop on this database of the test's own MongoDB.
    pub async fn open_in(uri: &str, database: &str) -> Self {
        Self::open_on(with_database(uri, database), Limits::default()).await
    }

    async fn open_on(uri: String, limits: Limits) -> Self {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut shop = Self { servers: Vec::new(), uri, client };
        shop.add_server_with(limits).await;
        shop
    }

    /// Creates an admin's account with a password.
    pub async fn make_admin(&self) {
        let settings = [("ADMIN_EMAIL", ADMIN.0), ("ADMIN_PASSWORD", ADMIN.1)];
        self.start_server(Limits::default(), &settings).await.stop().await;
    }

    /// Starts another server, with these settings on top of the usual ones.
    pub async fn add_server_where(&mut self, settings: &[(&str, &str)]) {
        let server = self.start_server(Limits::default(), settings).await;
        self.servers.push(server);
    }

    /// Stops the newest server and returns its port.
    pub async fn stop_newest_server(&mut self) -> u16 {
        let server = self.servers.pop().unwrap();
        let port = server.address().port();
        server.stop().await;
        port
    }

    /// Starts another server at this port.
    pub async fn add_server_at(&mut self, port: u16) {
        self.add_server_where(&[("PORT", &port.to_string())]).await;
    }

    pub async fn add_server(&mut self) {
        self.add_server_with(Limits::default()).await;
    }

    pub async fn add_server_with(&mut self, limits: Limits) {
        let server = self.start_server(limits, &[]).await;
        self.servers.push(server);
    }

    async fn start_server(&self, limits: Limits, more: &[(&str, &str)]) -> Server {
        let usual = [
            ("PORT", "0"),
            ("MONGO_URI", &self.uri),
            ("JWT_SECRET", SECRET),
            ("CORS_ORIGINS", "https://shop.example"),
        ];
        let settings = usual.iter().chain(more);
        let settings: HashMap<_, _> =
            settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let config = Config { limits, ..Config::from_settings(&settings).unwrap() };
        Server::start(config).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Stops all servers in order, and drops the database.
    pub async fn close(self) {
        for server in self.servers {
            server.stop().await;
        }
        drop_database(&self.uri).await;
    }

    /// The settings with which another program uses the same database and accepts the same tokens.
    pub fn settings(&self) -> [(&'static str, &str); 2] {
        [("MONGO_URI", &self.uri), ("JWT_SECRET", SECRET)]
    }

    pub async fn database(&self) -> mongodb::Database {
        let client = mongodb::Client::with_uri_str(&self.uri).await.unwrap();
        client.default_database().unwrap()
    }

    /// The database through the servers' own layer.
    pub async fn store(&self) -> Store {
        Store::connect(&self.uri, &StoreLimits::default()).await.unwrap()
    }

    /// A person without a token.
    pub fn visitor(&self) -> Actor {
        self.actor(Id::new(), None, 0)
    }

    /// A visitor from this address of the loopback network.
    pub fn visitor_from(&self, address: [u8; 4]) -> Actor {
        let client =
            reqwest::Client::builder().local_address(std::net::IpAddr::from(address)).build().unwrap();
        Actor { client, ..self.visitor() }
    }

    /// The shop's payment service.
    pub fn payment_service(&self) -> Actor {
        self.person("Payments", Role::Payments)
    }

    pub fn admin(&self) -> Actor {
        self.person("Grace Hopper", Role::Admin)
    }

    /// A new customer, with a token as an external identity provider would sign it.
    pub fn buyer(&self) -> Actor {
        self.buyer_named("Ada Lovelace")
    }

    /// A new customer with this name.
    pub fn buyer_named(&self, name: &str) -> Actor {
        self.person(name, Role::Customer)
    }

    fn person(&self, name: &str, role: Role) -> Actor {
        let id = Id::new();
        self.actor(id, Some(token(id, name, role)), 0)
    }

    fn actor(&self, id: Id, token: Option<String>, server: usize) -> Actor {
        let base = format!("http://{}", self.servers[server].address());
        Actor { id, base, token, client: self.client.clone() }
    }

    /// The same person at another server.
    pub fn at(&self, actor: &Actor, server: usize) -> Actor {
        Actor { base: format!("http://{}", self.servers[server].address()), ..actor.clone() }
    }

    /// Puts a product on sale and returns its id.
    pub async fn sell(&self, product: &Value) -> String {
        let answer = self.admin().post("/products", product).await.expect(201);
        answer.json["id"].as_str().unwrap().to_owned()
    }

    /// The product as everybody sees it.
    pub async fn product(&self, id: &str) -> Value {
        self.visitor().get(&format!("/products/{id}")).await.expect(200).json
    }

    /// All purchases of a product, read page by page from its leaderboard.
    pub async fn leaderboard(&self, product: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/leaderboard?productId={product}&limit=200{cursor}");
            let page = self.visitor().get(&path).await.expect(200).json;
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}

/// Limits for a slow machine: refusals for lack of speed are not the subject of the test.
pub fn patient() -> Limits {
    Limits::default().with(|limits| {
        limits.purchases.estimated_wait_ms_max = 60_000;
        limits.purchases.lane_estimated_wait_ms_max = 60_000;
        limits.purchases.queue_wait_ms_max = 60_000;
        limits.purchases.batch_ms_max = 60_000;
        limits.store.read_ms_max = 60_000;
        limits.store.permit_wait_ms_max = 60_000;
        limits.store.heartbeat_age_ms_max = 60_000;
    })
}

/// A token as any identity provider that knows the secret would sign it.
pub fn token(id: Id, name: &str, role: Role) -> String {
    token_under(&Limits::default(), id, name, role)
}

pub fn token_under(limits: &Limits, id: Id, name: &str, role: Role) -> String {
    let user = User {
        id,
        name: name.into(),
        email: String::new(),
        password_hash: String::new(),
        role,
        created_at: DateTime::now(),
    };
    Tokens::new(&Secret::new(SECRET), &limits.accounts).sign(&user).unwrap().token
}

/// The token of an identity provider that says nothing of when the account was made, with these claims on top.
pub fn foreign_token(id: Id, more: Value) -> String {
    // Installs the algorithm.
    let _ = token(id, "Ada Lovelace", Role::Customer);
    let now = DateTime::now().timestamp_millis() / 1_000;
    let mut claims = json!({
        "sub": id.to_hex(), "name": "Ada Lovelace", "role": "customer", "iss": "flash-sale", "aud": "flash-sale",
        "iat": now, "nbf": now, "exp": now + 3_600,
    });
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&header, &claims, &key).unwrap()
}

impl Actor {
    /// A person who talks to a server outside any shop.
    pub fn of(base: &str, id: Id, token: Option<String>) -> Self {
        Self { id, base: base.to_owned(), token, client: reqwest::Client::new() }
    }

    /// The same person with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The address of this actor's server, as `host:port`.
    pub fn host(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, &[]).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, None, headers).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(body.to_string()), &[]).await
    }

    pub async fn patch(&self, path: &str, if_match: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, Some(body.to_string()), &[("If-Match", if_match)]).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, &[]).await
    }

    pub async fn purchase(&self, product: &str) -> Answer {
        self.post("/products/purchase", &json!({ "productId": product })).await
    }

    pub async fn purchase_many(&self, product: &str, quantity: i64) -> Answer {
        self.post("/products/purchase", &json!({ "productId": product, "quantity": quantity })).await
    }

    /// A purchase that expects this price in US cents.
    pub async fn purchase_at(&self, product: &str, amount: i64, headers: &[(&str, &str)]) -> Answer {
        let price = json!({ "amount": amount, "currency": "USD" });
        let body = json!({ "productId": product, "expectedPrice": price }).to_string();
        self.send(Method::POST, "/products/purchase", Some(body), headers).await
    }

    pub async fn purchase_with_key(&self, product: &str, quantity: i64, key: &str) -> Answer {
        let body = json!({ "productId": product, "quantity": quantity }).to_string();
        self.send(Method::POST, "/products/purchase", Some(body), &[("Idempotency-Key", key)]).await
    }

    /// Tells as the payment service that a purchase is paid for.
    pub async fn confirm(&self, purchase: &str, reference: &str) -> Answer {
        let body = json!({ "paymentReference": reference });
        self.post(&format!("/purchases/{purchase}/confirm"), &body).await
    }

    pub async fn cancel(&self, purchase: &str) -> Answer {
        self.send(Method::POST, &format!("/purchases/{purchase}/cancel"), None, &[]).await
    }

    pub async fn refund(&self, purchase: &str, body: &Value) -> Answer {
        self.post(&format!("/purchases/{purchase}/refund"), body).await
    }

    /// Sends any request. The body counts as JSON unless `headers` say otherwise.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                request = request.header("Content-Type", "application/json");
            }
            request = request.body(body);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = async {
            let response = request.send().await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
            Answer::read(&method, path, response).await
        };
        soon(&format!("an answer to {method} {path}"), answer).await
    }
}
