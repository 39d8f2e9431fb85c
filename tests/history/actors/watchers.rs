//! Watchers: over Server-Sent Events and WebSocket, who come back and go on where they were.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::Actor;
use crate::record::{Event, Told};
use crate::shop::{milliseconds, number};

/// A stream has a sign of life every 15 s; without one for twice that it is dead.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Before it comes back.
const PAUSE_MS: (u64, u64) = (100, 500);

/// A watcher of one product.
pub struct Watcher {
    pub actor: Actor,
    pub number: usize,
    pub product: u8,
    pub over_socket: bool,
    connection: u32,
    /// The id of the newest event: the purchases up to it are known.
    after: Option<i64>,
    /// When it has all purchases up to this, at the end, it goes home.
    pub until: tokio::sync::watch::Receiver<Option<i64>>,
}

impl Watcher {
    /// One that has not come yet.
    pub fn new(
        actor: Actor,
        number: usize,
        product: u8,
        over_socket: bool,
        until: tokio::sync::watch::Receiver<Option<i64>>,
    ) -> Self {
        Self { actor, number, product, over_socket, connection: 0, after: None, until }
    }

    /// Watches until it has seen all.
    pub async fn watch_on_and_on(mut self) {
        while !self.has_all() {
            let server = self.actor.any_server();
            // Now and then a watcher goes elsewhere by itself.
            let stays = Duration::from_millis(self.actor.random.between(3_000, 30_000));
            let mut until = self.until.clone();
            let watching = async {
                match self.over_socket {
                    true => self.over_socket(server).await.unwrap_or_default(),
                    false => self.over_events(server).await.unwrap_or_default(),
                }
            };
            tokio::select! {
                () = watching => {}
                () = tokio::time::sleep(stays) => {}
                // Near the end, it looks more often whether it has all.
                () = async { drop(until.wait_for(Option::is_some).await); tokio::time::sleep(Duration::from_secs(5)).await; } => {}
            }
            let pause = self.actor.random.between(PAUSE_MS.0, PAUSE_MS.1);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    fn has_all(&self) -> bool {
        self.until.borrow().is_some_and(|last| self.after.unwrap_or(0) >= last)
    }

    async fn over_events(&mut self, server: usize) -> Option<()> {
        let product = &self.actor.shop.products[usize::from(self.product)];
        let port = self.actor.shop.ports[server];
        let url = format!("http://127.0.0.1:{port}/products/{product}/events?include=purchases");
        let mut request = reqwest::Client::new().get(url);
        if let Some(after) = self.after {
            request = request.header("Last-Event-ID", after);
        }
        let response = tokio::time::timeout(SILENCE_MAX, request.send()).await.ok()?.ok()?;
        if response.status() != 200 {
            return None;
        }
        let mut response = response;
        self.connected();
        let mut buffer = Vec::new();
        while let Ok(Ok(Some(chunk))) = tokio::time::timeout(SILENCE_MAX, response.chunk()).await {
            buffer.extend_from_slice(&chunk);
            while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = buffer.drain(..end + 2).collect();
                self.note_block(&String::from_utf8_lossy(&block));
            }
            if self.has_all() {
                break;
            }
        }
        Some(())
    }

    fn note_block(&mut self, block: &str) {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let (Some(event), Some(data)) = (field("event:"), field("data:")) else { return };
        let data: Value = serde_json::from_str(data).unwrap_or_default();
        self.note(event, field("id:").and_then(|id| id.parse().ok()), &data);
    }

    async fn over_socket(&mut self, server: usize) -> Option<()> {
        let port = self.actor.shop.ports[server];
        let connect = async {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
            let url = format!("ws://127.0.0.1:{port}/live");
            tokio_tungstenite::client_async(url, stream).await.ok()
        };
        let (mut socket, _) = tokio::time::timeout(SILENCE_MAX, connect).await.ok()??;
        let product = &self.actor.shop.products[usize::from(self.product)];
        let mut message = json!({ "subscribe": [product], "include": ["purchases"] });
        if let Some(after) = self.after {
            message["after"] = after.into();
        }
        socket.send(Message::text(message.to_string())).await.ok()?;
        self.connected();
        while let Ok(Some(Ok(message))) = tokio::time::timeout(SILENCE_MAX, socket.next()).await {
            if let Message::Text(text) = message {
                let json: Value = serde_json::from_str(&text).unwrap_or_default();
                self.note(json["event"].as_str().unwrap_or_default(), json["id"].as_i64(), &json["data"]);
            }
            if self.has_all() {
                break;
            }
        }
        Some(())
    }

    fn connected(&mut self) {
        self.connection += 1;
        self.write(Told::Connected { after: self.after });
    }

    fn note(&mut self, event: &str, id: Option<i64>, data: &Value) {
        let number = |name: &str| data[name].as_i64().unwrap_or(-1);
        match event {
            "purchase" => {
                if self.connection > 1 && id.is_some() {
                    self.actor.shop.write().sightings.resyncs += u64::from(self.after.is_some());
                }
                let purchased_at = milliseconds(&data["purchasedAt"]).unwrap_or(-1);
                let (sequence, quantity) = (number("sequence"), number("quantity"));
                self.write(Told::Purchase { sequence, quantity, purchased_at });
            }
            "product" | "stock" => {
                let figures = self.actor.shop.figures(data);
                self.write(Told::Stock { version: number("version"), figures });
            }
            _ => {}
        }
        if id.is_some() {
            self.after = id;
        }
    }

    fn write(&self, told: Told) {
        let (watcher, product) = (number(self.number), self.product);
        self.actor.shop.write().events.push(Event { watcher, product, told });
    }
}
