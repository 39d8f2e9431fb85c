//! Watchers: of one product over Server-Sent Events, of many over a WebSocket.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Request;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::actor::Actor;
use super::raw::narrow;
use super::schema::{check_event, check_message};

/// Generous, for any machine; a test that passes does not wait this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The headers that ask for an upgrade to a WebSocket.
pub const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Waits for something that must happen; panics with its name when it does not.
pub async fn soon<T>(what: &str, happening: impl Future<Output = T>) -> T {
    timeout(PATIENCE, happening).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// An event, over either transport.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: Option<i64>,
    pub data: Value,
}

pub trait Watcher {
    /// The next event, checked against its schema; `None` at the end.
    async fn next(&mut self) -> Option<Event>;

    /// The next event, which must have this name.
    async fn expect(&mut self, name: &str) -> Event {
        let event = self.next().await.unwrap_or_else(|| panic!("the end, and no {name}"));
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// The first event from now on for which `is_it` holds.
    async fn until(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
        let mut before = Vec::new();
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("the end, and no {what}: {before:#?}"));
            if is_it(&event) {
                return event;
            }
            before.push(event);
        }
    }

    /// The first event with this stock.
    async fn until_stock(&mut self, stock: i64) -> Event {
        self.until(&format!("stock {stock}"), |event| event.data["stock"] == stock).await
    }
}

/// A client of `GET /products/{id}/events`.
pub struct EventStream {
    response: Response,
    buffer: Vec<u8>,
    /// What a browser would send when it reconnects.
    pub last_event_id: Option<i64>,
    /// The delays before reconnecting that the server has asked for, in milliseconds.
    pub retries: Vec<u64>,
    /// The keepalives received.
    pub beats: usize,
}

impl EventStream {
    /// Watches a product from now on.
    pub async fn open(actor: &Actor, product: &str) -> Self {
        Self::connect(actor, &format!("/products/{product}/events"), None).await
    }

    /// Watches a product and each purchase after the one with this number.
    pub async fn purchases(actor: &Actor, product: &str, after: Option<i64>) -> Self {
        let after = after.map(|id| id.to_string());
        Self::connect(actor, &format!("/products/{product}/events?include=purchases"), after.as_deref()).await
    }

    /// Watches a product and its purchases, with any text as the last id.
    pub async fn returning(actor: &Actor, product: &str, last_event_id: &str) -> Self {
        let path = format!("/products/{product}/events?include=purchases");
        Self::connect(actor, &path, Some(last_event_id)).await
    }

    /// Watches a product with the actor's token.
    pub async fn open_with_token(actor: &Actor, product: &str) -> Self {
        let request =
            reqwest::Client::new().get(format!("http://{}/products/{product}/events", actor.host()));
        Self::send(request.bearer_auth(actor.token())).await
    }

    async fn connect(actor: &Actor, path: &str, last_event_id: Option<&str>) -> Self {
        let mut request = reqwest::Client::new().get(format!("http://{}{path}", actor.host()));
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let stream = Self::send(request).await;
        Self { last_event_id: last_event_id.and_then(|id| id.parse().ok()), ..stream }
    }

    async fn send(request: reqwest::RequestBuilder) -> Self {
        let response = soon("an answer", request.send()).await.unwrap();
        let header = |name: &str| response.headers()[name].to_str().unwrap();
        assert_eq!(response.status(), 200, "{response:?}");
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!((header("cache-control"), header("x-accel-buffering")), ("no-cache, no-transform", "no"));
        Self { response, buffer: Vec::new(), last_event_id: None, retries: Vec::new(), beats: 0 }
    }

    /// Waits for a keepalive; no event may come before it.
    pub async fn beat(&mut self) {
        let block = self.block().await.expect("a sign of life before the end");
        assert_eq!(block, ":");
    }

    /// The text up to the next empty line; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return Some(String::from_utf8(block).unwrap());
            }
            match soon("a sign of life", self.response.chunk()).await.unwrap() {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => {
                    assert!(self.buffer.is_empty(), "the stream ends within an event");
                    return None;
                }
            }
        }
    }

    /// Reads a block as a browser does: an event, or nothing.
    fn read(&mut self, block: &str) -> Option<Event> {
        let (mut name, mut data) = (None, None);
        for line in block.lines() {
            let (field, value) = line.split_once(':').expect("a field");
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => self.beats += 1,
                "retry" => self.retries.push(value.parse().unwrap()),
                "id" => self.last_event_id = Some(value.parse().unwrap()),
                "event" => name = Some(value.to_owned()),
                "data" => data = Some(serde_json::from_str(value).unwrap()),
                _ => panic!("unknown field: {line}"),
            }
        }
        let (name, data): (String, Value) = (name?, data?);
        check_event(&name, &data);
        let id = block.lines().any(|line| line.starts_with("id:")).then_some(self.last_event_id).flatten();
        Some(Event { name, id, data })
    }
}

impl Watcher for EventStream {
    async fn next(&mut self) -> Option<Event> {
        // Keepalives are skipped.
        let event = async {
            loop {
                let block = self.block().await?;
                if let Some(event) = self.read(&block) {
                    return Some(event);
                }
            }
        };
        soon("an event of a product", event).await
    }
}

/// A client of `GET /live`.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// The pings received.
    pub pings: usize,
    /// The close frame that the server has sent.
    pub close: Option<CloseFrame>,
}

impl Socket {
    /// Connects without an `Origin` header, as programs do.
    pub async fn open(actor: &Actor) -> Self {
        Self::open_from(actor, None).await
    }

    /// Connects as a page of this origin would.
    pub async fn open_from(actor: &Actor, origin: Option<&str>) -> Self {
        let mut request = format!("ws://{}/live", actor.host()).into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("Origin", origin.parse().unwrap());
        }
        Self::over(TcpStream::connect(actor.host()).await.unwrap(), request).await
    }

    /// Connects with the actor's token.
    pub async fn open_with_token(actor: &Actor) -> Self {
        let mut request = format!("ws://{}/live", actor.host()).into_client_request().unwrap();
        let token = format!("Bearer {}", actor.token());
        request.headers_mut().insert("Authorization", token.parse().unwrap());
        Self::over(TcpStream::connect(actor.host()).await.unwrap(), request).await
    }

    /// Connects with a small receive buffer.
    pub async fn open_narrow(actor: &Actor) -> Self {
        let request = format!("ws://{}/live", actor.host()).into_client_request().unwrap();
        Self::over(narrow(actor.host()).await, request).await
    }

    async fn over(connection: TcpStream, request: Request<()>) -> Self {
        let (stream, _) = soon("the upgrade", client_async(request, connection)).await.unwrap();
        Self { stream, pings: 0, close: None }
    }

    /// Watches one product and returns its first event.
    pub async fn watching(actor: &Actor, product: &str) -> (Self, Event) {
        let mut socket = Self::open(actor).await;
        socket.ask(&json!({ "subscribe": [product] })).await;
        let event = socket.expect("product").await;
        (socket, event)
    }

    /// Sends a request, checked against its schema.
    pub async fn ask(&mut self, request: &Value) {
        check_message("request", request);
        self.say(&request.to_string()).await;
    }

    /// Sends any text.
    pub async fn say(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    pub async fn send(&mut self, message: Message) {
        soon("sending", self.stream.send(message)).await.unwrap();
    }

    /// Queues a text for the next flush.
    pub async fn feed(&mut self, text: &str) {
        self.stream.feed(Message::text(text)).await.unwrap();
    }

    pub async fn flush(&mut self) {
        soon("sending", self.stream.flush()).await.unwrap();
    }

    /// Sends an invalid request and returns the code of the error.
    pub async fn refused(&mut self, text: &str) -> String {
        self.say(text).await;
        self.error().await
    }

    /// The code of the next message, which must be an error.
    pub async fn error(&mut self) -> String {
        let error = self.expect("error").await;
        error.data["code"].as_str().unwrap().to_owned()
    }

    /// The close frame of the server; messages before it are skipped.
    pub async fn closed(&mut self) -> CloseFrame {
        while self.next().await.is_some() {}
        self.close.clone().expect("a close frame")
    }
}

impl Watcher for Socket {
    async fn next(&mut self) -> Option<Event> {
        soon("a message about the products", self.receive()).await
    }
}

impl Socket {
    async fn receive(&mut self) -> Option<Event> {
        loop {
            let text = match self.stream.next().await? {
                Ok(Message::Text(text)) => text,
                Ok(Message::Ping(_)) => {
                    self.pings += 1;
                    continue;
                }
                Ok(Message::Close(frame)) => {
                    self.close = frame;
                    continue;
                }
                Ok(message) => panic!("{message:?}"),
                Err(Error::ConnectionClosed) => return None,
                Err(error) => panic!("the connection broke: {error}"),
            };
            let message: Value = serde_json::from_str(&text).unwrap();
            let name = message["event"].as_str().unwrap().to_owned();
            check_message(&name, &message);
            return Some(Event { name, id: message["id"].as_i64(), data: message["data"].clone() });
        }
    }
}
