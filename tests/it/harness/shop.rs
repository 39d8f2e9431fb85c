//! A shop: a database with one or more servers on it, and the people who come.

use std::collections::HashMap;

use flash_sale::auth::tokens::Tokens;
use flash_sale::auth::user::{Role, User};
use flash_sale::config::{Config, Limits, Secret};
use flash_sale::id::Id;
use flash_sale::server::Server;
use flash_sale::store::Store;
use mongodb::bson::DateTime;
use reqwest::Method;
use serde_json::{Value, json};

use super::answer::Answer;
use super::mongo::{database_uri, drop_database, with_database};
use super::watch::soon;

/// The secret of all shops.
pub const SECRET: &str = "kZ3v9Qm1xY7pL0tR5wB8nC2dF6gH4jS1";

/// What an admin of a shop with accounts logs in with: e-mail and password.
pub const ADMIN: (&str, &str) = ("grace@shop.example", "a rear admiral's password");

/// Servers on one database. Each test has its own.
pub struct Shop {
    pub servers: Vec<Server>,
    uri: String,
    client: reqwest::Client,
}

/// Somebody who talks to one of the shop's servers.
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

    /// A shop with one server that has other limits.
    pub async fn open_with(limits: Limits) -> Self {
        Self::open_on(database_uri().await, limits).await
    }

    /// The same, with a server that calls itself `application` to the database.
    pub async fn open_as(application: &str, limits: Limits) -> Self {
        let uri = database_uri().await;
        let separator = if uri.contains('?') { '&' } else { '?' };
        Self::open_on(format!("{uri}{separator}appName={application}"), limits).await
    }

    /// A shop on a MongoDB of the test's own.
    pub async fn open_at(uri: &str) -> Self {
        Self::open_in(uri, "test_own").await
    }

    /// The same with other limits.
    pub async fn open_at_with(uri: &str, limits: Limits) -> Self {
        Self::open_on(with_database(uri, "test_own"), limits).await
    }

    /// A shop on a database of that name.
    pub async fn open_in(uri: &str, database: &str) -> Self {
        Self::open_on(with_database(uri, database), Limits::default()).await
    }

    async fn open_on(uri: String, limits: Limits) -> Self {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let mut shop = Self { servers: Vec::new(), uri, client };
        shop.add_server_with(limits).await;
        shop
    }

    /// Makes the account of an admin, with which one can log in.
    pub async fn make_admin(&self) {
        let settings = [("ADMIN_EMAIL", ADMIN.0), ("ADMIN_PASSWORD", ADMIN.1)];
        self.start_server(Limits::default(), &settings).await.stop().await;
    }

    /// Starts one more server, with these settings besides the usual ones.
    pub async fn add_server_where(&mut self, settings: &[(&str, &str)]) {
        let server = self.start_server(Limits::default(), settings).await;
        self.servers.push(server);
    }

    /// Stops the newest server, and gives the port where it was.
    pub async fn stop_newest_server(&mut self) -> u16 {
        let server = self.servers.pop().unwrap();
        let port = server.address().port();
        server.stop().await;
        port
    }

    /// Starts one more server, at this port.
    pub async fn add_server_at(&mut self, port: u16) {
        self.add_server_where(&[("PORT", &port.to_string())]).await;
    }

    /// Starts one more server on the same database.
    pub async fn add_server(&mut self) {
        self.add_server_with(Limits::default()).await;
    }

    /// Starts one more server, with other limits.
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

    /// What another program needs to have the same database and the same tokens.
    pub fn settings(&self) -> [(&'static str, &str); 2] {
        [("MONGO_URI", &self.uri), ("JWT_SECRET", SECRET)]
    }

    /// The database, for what only it can tell.
    pub async fn database(&self) -> mongodb::Database {
        let client = mongodb::Client::with_uri_str(&self.uri).await.unwrap();
        client.default_database().unwrap()
    }

    /// The database as the servers use it.
    pub async fn store(&self) -> Store {
        Store::connect(&self.uri, &Limits::default()).await.unwrap()
    }

    /// Somebody without a token.
    pub fn visitor(&self) -> Actor {
        self.actor(Id::new(), None, 0)
    }

    /// A visitor who comes from this address of the loopback network.
    pub fn visitor_from(&self, address: [u8; 4]) -> Actor {
        let client =
            reqwest::Client::builder().local_address(std::net::IpAddr::from(address)).build().unwrap();
        Actor { client, ..self.visitor() }
    }

    /// An admin.
    pub fn admin(&self) -> Actor {
        self.person("Grace Hopper", Role::Admin)
    }

    /// A new customer with a token of an identity provider that knows the secret.
    pub fn buyer(&self) -> Actor {
        self.buyer_named("Ada Lovelace")
    }

    /// A new customer of that name.
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

    /// Puts a product on sale and gives its id.
    pub async fn sell(&self, product: &Value) -> String {
        let answer = self.admin().post("/products", product).await.expect(201);
        answer.json["id"].as_str().unwrap().to_owned()
    }

    /// The product as everybody sees it.
    pub async fn product(&self, id: &str) -> Value {
        self.visitor().get(&format!("/products/{id}")).await.expect(200).json
    }

    /// All purchases of a product, from its leaderboard, page by page.
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

    /// Checks, from the database itself, what must hold of a product at any time: nothing oversold, a sequence without
    /// gaps, time along it, no buyer over `limit`. Gives the units sold.
    pub async fn check_invariants(&self, product: &str, limit: i64) -> i64 {
        use futures_util::TryStreamExt;
        use mongodb::bson::{Document, doc};
        let database = self.database().await;
        let id: Id = product.parse().unwrap();
        let stored =
            database.collection::<Document>("products").find_one(doc! { "_id": id }).await.unwrap().unwrap();
        let purchases = database.collection::<Document>("purchases");
        let purchases = purchases.find(doc! { "productId": id }).sort(doc! { "sequence": 1 }).await.unwrap();
        let purchases: Vec<Document> = purchases.try_collect().await.unwrap();
        let sequences: Vec<_> =
            purchases.iter().map(|purchase| purchase.get_i64("sequence").unwrap()).collect();
        assert_eq!(sequences, (1..=i64::try_from(purchases.len()).unwrap()).collect::<Vec<_>>());
        let times: Vec<_> =
            purchases.iter().map(|purchase| *purchase.get_datetime("purchasedAt").unwrap()).collect();
        assert!(times.is_sorted(), "purchasedAt goes back");
        let mut by_user: HashMap<Id, i64> = HashMap::new();
        for purchase in &purchases {
            let units = by_user.entry(purchase.get_object_id("userId").unwrap()).or_default();
            assert_eq!(purchase.get_i64("firstUnit").unwrap(), *units + 1);
            *units += purchase.get_i64("quantity").unwrap();
        }
        assert!(by_user.values().all(|units| *units <= limit), "somebody has more than {limit}");
        let sold: i64 = by_user.values().sum();
        let field = |name: &str| stored.get_i64(name).unwrap();
        assert_eq!(sold, field("sold"));
        assert!(field("stock") >= 0);
        assert_eq!(field("stock") + field("sold"), field("totalStock"));
        assert_eq!(field("purchaseCount"), i64::try_from(purchases.len()).unwrap());
        sold
    }
}

/// Servers that wait for a slow machine: who is refused for want of speed is not what is tested here.
pub fn patient() -> Limits {
    Limits {
        predicted_wait_ms_max: 60_000,
        lane_predicted_wait_ms_max: 60_000,
        queue_wait_ms_max: 60_000,
        batch_ms_max: 60_000,
        read_ms_max: 60_000,
        turn_wait_ms_max: 60_000,
        pulse_age_ms_max: 60_000,
        ..Limits::default()
    }
}

/// A token as any identity provider with the secret mints it.
pub fn token(id: Id, name: &str, role: Role) -> String {
    token_under(&Limits::default(), id, name, role)
}

/// The same under other limits.
pub fn token_under(limits: &Limits, id: Id, name: &str, role: Role) -> String {
    let user = User {
        id,
        name: name.into(),
        email: String::new(),
        password_hash: String::new(),
        role,
        created_at: DateTime::now(),
    };
    Tokens::new(&Secret::new(SECRET), limits).sign(&user).unwrap().token
}

impl Actor {
    /// Somebody who talks to a server that no shop has started.
    pub fn of(base: &str, id: Id, token: Option<String>) -> Self {
        Self { id, base: base.to_owned(), token, client: reqwest::Client::new() }
    }

    /// The same person with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// Where this actor's server listens, as `host:port`.
    pub fn host(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// The token.
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

    /// Buys one.
    pub async fn purchase(&self, product: &str) -> Answer {
        self.post("/products/purchase", &json!({ "productId": product })).await
    }

    /// Buys several.
    pub async fn purchase_many(&self, product: &str, quantity: i64) -> Answer {
        self.post("/products/purchase", &json!({ "productId": product, "quantity": quantity })).await
    }

    /// Buys with an idempotency key.
    pub async fn purchase_with_key(&self, product: &str, quantity: i64, key: &str) -> Answer {
        let body = json!({ "productId": product, "quantity": quantity }).to_string();
        self.send(Method::POST, "/products/purchase", Some(body), &[("Idempotency-Key", key)]).await
    }

    /// Sends any request; a body is JSON unless `headers` say otherwise.
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
