//! A shop: a database with one or more servers, and the people who use it.

use std::collections::HashMap;

use flash_sale::accounts::tokens::Tokens;
use flash_sale::config::{Config, Limits, Secret, StoreLimits};
use flash_sale::model::id::Id;
use flash_sale::model::user::{Role, User};
use flash_sale::server::Server;
use flash_sale::store::Store;
use mongodb::bson::DateTime;
use serde_json::{Value, json};

use super::actor::Actor;
use super::answer::Answer;
use super::mongo::{OWN_DATABASE, database_uri, drop_database, with_database};

/// The JWT secret of all shops.
pub const SECRET: &str = "kZ3v9Qm1xY7pL0tR5wB8nC2dF6gH4jS1";

/// The password of all accounts that `account` registers.
pub const PASSWORD: &str = "correct horse battery";

/// The e-mail and the password of the admin that `make_admin` creates.
pub const ADMIN: (&str, &str) = ("grace@shop.example", "a rear admiral's password");

/// The servers on one database. Each test has its own shop.
pub struct Shop {
    pub servers: Vec<Server>,
    uri: String,
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

    /// The same; the servers trust what a proxy on this machine says about its clients (`Actor::behind_proxy`).
    pub async fn open_behind_proxy(limits: Limits) -> Self {
        let client = reqwest::Client::new();
        let mut shop = Self { servers: Vec::new(), uri: database_uri().await, client };
        shop.add_server_behind_proxy(limits).await;
        shop
    }

    pub async fn add_server_behind_proxy(&mut self, limits: Limits) {
        let server = self.start_server(limits, &[("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
        self.servers.push(server);
    }

    /// The same; the server gives the database `application` as its name.
    pub async fn open_as(application: &str, limits: Limits) -> Self {
        let uri = database_uri().await;
        let separator = if uri.contains('?') { '&' } else { '?' };
        Self::open_on(format!("{uri}{separator}appName={application}"), limits).await
    }

    /// A shop on the test's own MongoDB.
    pub async fn open_at(uri: &str) -> Self {
        Self::open_in(uri, OWN_DATABASE).await
    }

    pub async fn open_at_with(uri: &str, limits: Limits) -> Self {
        Self::open_on(with_database(uri, OWN_DATABASE), limits).await
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
        self.start_server(patient(), &settings).await.stop().await;
    }

    /// Starts another server, with these settings on top of the usual ones.
    pub async fn add_server_where(&mut self, settings: &[(&str, &str)]) {
        let server = self.start_server(Limits::default(), settings).await;
        self.servers.push(server);
    }

    /// The same under limits for a slow machine.
    pub async fn add_patient_server_where(&mut self, settings: &[(&str, &str)]) {
        let server = self.start_server(patient(), settings).await;
        self.servers.push(server);
    }

    /// Starts another server, with these settings, those of its limits included.
    pub async fn add_server_as_set(&mut self, settings: &[(&str, &str)]) {
        let map = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let server = self.start_server(Config::from_settings(&map).unwrap().limits, settings).await;
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

    async fn start_server(&self, mut limits: Limits, more: &[(&str, &str)]) -> Server {
        // Beside browsers on a busy machine, what is left over for a hash can be next to nothing for a minute.
        limits.accounts.password_hash_niceness = 0;
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
        Box::pin(Server::start(config)).await.unwrap_or_else(|error| panic!("{error}"))
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

    /// Somebody who registers an account with this address.
    pub async fn account(&self, email: &str) -> Actor {
        let body = json!({ "name": "Ada Lovelace", "email": email, "password": PASSWORD });
        self.session(&self.visitor().post("/auth/register", &body).await.expect(201))
    }

    /// The owner of an account, who logs in.
    pub async fn login(&self, (email, password): (&str, &str)) -> Actor {
        let body = json!({ "email": email, "password": password });
        self.session(&self.visitor().post("/auth/login", &body).await.expect(200))
    }

    /// The user whom a login has answered.
    pub fn session(&self, answer: &Answer) -> Actor {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let id = text(&answer.json["user"]["id"]).parse().unwrap();
        self.actor(id, Some(text(&answer.json["token"])), 0)
    }

    /// The connection string of the database.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    fn person(&self, name: &str, role: Role) -> Actor {
        let id = Id::new();
        self.actor(id, Some(token(id, name, role)), 0)
    }

    fn actor(&self, id: Id, token: Option<String>, server: usize) -> Actor {
        let base = format!("http://{}", self.servers[server].address());
        Actor { id, base, token, forwarded_for: None, client: self.client.clone() }
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
        limits.accounts.password_hash_wait_ms_max = 60_000;
        limits.store.read_ms_max = 60_000;
        limits.store.write_ms_max = 60_000;
        limits.store.permit_wait_ms_max = 60_000;
        limits.store.heartbeat_age_ms_max = 60_000;
    })
}

/// Limits under which each address of the loopback network is a client like any other, not a proxy that nobody named.
pub fn bounded() -> Limits {
    Limits::default().with(|limits| limits.clients.leaves_private_alone = false)
}

/// A token as any identity provider that knows the secret would sign it.
pub fn token(id: Id, name: &str, role: Role) -> String {
    token_under(&Limits::default(), id, name, role)
}

pub fn token_under(limits: &Limits, id: Id, name: &str, role: Role) -> String {
    let user = User::new(name.into(), String::new(), String::new(), role, DateTime::now());
    let user = User { id, ..user };
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
