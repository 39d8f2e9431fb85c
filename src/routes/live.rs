//! `GET /live`: the events of many products over one WebSocket. `docs/asyncapi.yaml` describes the messages in both
//! directions.

use std::time::Duration;

use axum::Router;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message as Frame, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::get;
use futures_util::future::{pending, select_all};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use self::request::SocketRequest;
use super::state::AppState;
use crate::accounts::current_user::CurrentUser;
use crate::config::CorsOrigins;
use crate::error::{Error, Result};
use crate::http::client::Client;
use crate::http::connections::ConnectionPermit;
use crate::live::message::Message;
use crate::live::room::End;
use crate::live::subscription::{Next, Subscription};
use crate::live::watchers::WatcherPermit;
use crate::model::id::Id;
use crate::store::token_bucket::TokenBucket;

mod request;

/// The read buffer of each socket, in bytes. Small, because clients send little.
const READ_BUFFER_BYTES: usize = 2 * 1024;
/// The largest write buffer of each socket, in bytes. Messages go out at once and are not collected in it, but the
/// one that is being sent has to fit.
const WRITE_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// A message that is too large is still read, up to this many times the allowed size: closing a connection with
/// unread data resets it, perhaps before the client has read the reason.
const MESSAGE_READ_FACTOR: usize = 8;
/// How long to wait for the client's answer to a close, in milliseconds.
const CLOSE_MS_MAX: u64 = 1_000;

/// Not part of the OpenAPI document, which cannot describe WebSocket messages.
pub fn router() -> Router<AppState> {
    Router::new().route("/live", get(live))
}

async fn live(
    State(app): State<AppState>,
    client: Client,
    viewer: Option<CurrentUser>,
    connection: Option<Extension<ConnectionPermit>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response> {
    let upgrade = upgrade.map_err(|_| Error::invalid("Upgrade", "must be websocket, version 13"))?;
    check_origin(&headers, &app.cors_origins)?;
    app.check_open()?;
    let permit = app.watchers.enter(client)?;
    let message_bytes_max = app.limits.live.socket_message_bytes_max * MESSAGE_READ_FACTOR;
    let upgrade = upgrade
        .max_message_size(message_bytes_max)
        .max_frame_size(message_bytes_max)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| {
        let task = Socket::new(app.clone(), socket, permit).run(viewer);
        app.rooms.track(async move {
            task.await;
            drop(connection);
        })
    }))
}

/// A page of another origin may connect only if its origin is on the list. Clients other than browsers send no origin.
fn check_origin(headers: &HeaderMap, allowed: &CorsOrigins) -> Result<()> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_own = origin.split_once("://").is_some_and(|(scheme, authority)| {
        let port = if scheme == "https" { ":443" } else { ":80" };
        let without_port = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
        without_port(authority) == without_port(host)
    });
    let is_allowed = match allowed {
        CorsOrigins::Any => true,
        CorsOrigins::List(origins) => origins.iter().any(|allowed| allowed == origin),
    };
    if is_own || is_allowed { Ok(()) } else { Err(Error::FOREIGN_ORIGIN) }
}

struct Socket {
    app: AppState,
    socket: WebSocket,
    subscriptions: Vec<Subscription>,
    /// Counts what was sent; rotates which subscription is asked first.
    next_first: usize,
    message_bucket: TokenBucket,
    send_max: Duration,
    _permit: WatcherPermit,
}

/// How the connection ends.
enum Close {
    /// It broke.
    Gone,
    /// The client closes it, and gets its close frame back (RFC 6455, 5.5.1).
    Asked,
    /// The server closes it with this frame. If a message was the cause, an error message comes first.
    Because(CloseFrame, Option<Error>),
}

impl Close {
    fn because(code: u16, reason: impl Into<Utf8Bytes>) -> Self {
        Self::Because(CloseFrame { code, reason: reason.into() }, None)
    }

    fn bad_message(code: u16, reason: &'static str, error: Error) -> Self {
        Self::Because(CloseFrame { code, reason: reason.into() }, Some(error))
    }
}

impl Socket {
    fn new(app: AppState, socket: WebSocket, permit: WatcherPermit) -> Self {
        let limits = &app.limits.live;
        Self {
            message_bucket: TokenBucket::new(limits.socket_messages_burst, limits.socket_messages_per_second),
            send_max: Duration::from_millis(limits.socket_send_ms_max),
            subscriptions: Vec::new(),
            next_first: 0,
            _permit: permit,
            socket,
            app,
        }
    }

    /// Serves until the client or the server ends it, or the token of `viewer` ends, if there is one.
    async fn run(mut self, viewer: Option<CurrentUser>) {
        let app = self.app.clone();
        let close = tokio::select! {
            close = self.serve() => Some(close),
            () = app.access.ended(viewer) => Some(Close::because(close_code::POLICY, "the token has ended")),
            () = app.closing() => None,
        };
        match close.unwrap_or_else(|| self.goodbye()) {
            Close::Gone => return,
            Close::Asked => {}
            Close::Because(frame, error) => {
                // Failures are ignored: the client may be gone or too slow.
                if let Some(error) = error {
                    drop(self.error(&error, None).await);
                }
                drop(timeout(self.send_max, self.socket.send(Frame::Close(Some(frame)))).await);
            }
        }
        // Receiving also flushes what is still to be sent. And closing the connection with unread data would reset it,
        // perhaps before the client has read the reason.
        let answer = async { while let Some(Ok(_)) = self.socket.recv().await {} };
        drop(timeout(Duration::from_millis(CLOSE_MS_MAX), answer).await);
    }

    async fn serve(&mut self) -> Close {
        let app = self.app.clone();
        let keepalive = Duration::from_millis(app.limits.live.keepalive_ms);
        let mut pings = interval_at(Instant::now() + keepalive, keepalive);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                frame = self.socket.recv() => match frame {
                    Some(Ok(frame)) => self.receive(frame).await,
                    Some(Err(error)) => Err(self.unreadable(error)),
                    None => Err(Close::Gone),
                },
                (next, index) = next(&mut self.subscriptions, self.next_first) => self.tell(next, index).await,
                _ = pings.tick() => self.send([Frame::Ping(axum::body::Bytes::new())]).await,
            };
            if let Err(close) = step {
                return close;
            }
        }
    }

    async fn receive(&mut self, frame: Frame) -> Result<(), Close> {
        let bytes = match &frame {
            Frame::Text(text) => text.len(),
            Frame::Binary(data) => data.len(),
            Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_) => 0,
        };
        if bytes > self.app.limits.live.socket_message_bytes_max {
            return Err(self.too_large());
        }
        let text = match frame {
            Frame::Text(text) => text,
            Frame::Ping(_) | Frame::Pong(_) => return self.count_message().await,
            Frame::Binary(_) => {
                self.count_message().await?;
                return self.error(&Error::invalid("message", "must be text"), None).await;
            }
            Frame::Close(_) => return Err(Close::Asked),
        };
        self.count_message().await?;
        let request = match SocketRequest::parse(&text, self.app.limits.live.socket_subscriptions_max) {
            Ok(request) => request,
            Err(error) => return self.error(&error, None).await,
        };
        self.subscriptions.retain(|subscription| !request.unsubscribe.contains(&subscription.product_id()));
        for id in request.subscribe.iter().copied() {
            if let Err(error) = self.subscribe(id, &request).await {
                self.error(&error, Some(id)).await?;
            }
        }
        Ok(())
    }

    /// Disconnects a client that sends too many messages.
    async fn count_message(&mut self) -> Result<(), Close> {
        if self.message_bucket.take() {
            return Ok(());
        }
        self.error(&Error::RateLimited { retry_after_seconds: 1 }, None).await?;
        Err(Close::because(close_code::POLICY, "too many messages"))
    }

    async fn subscribe(&mut self, id: Id, request: &SocketRequest) -> Result<()> {
        // A repeated subscription starts again from the beginning.
        self.subscriptions.retain(|subscription| subscription.product_id() != id);
        let subscriptions_max = self.app.limits.live.socket_subscriptions_max;
        if self.subscriptions.len() >= subscriptions_max {
            let message = format!("is one product too many: a connection can watch {subscriptions_max}");
            return Err(Error::invalid("subscribe", message));
        }
        let purchases = request.wants_purchases.then_some(request.after);
        // Boxed: it may read the product, and what that takes would stay a part of every socket.
        let subscription = Box::pin(self.app.rooms.watch(id, purchases)).await?;
        self.subscriptions.push(subscription);
        Ok(())
    }

    async fn tell(&mut self, next: Next, index: usize) -> Result<(), Close> {
        self.next_first = self.next_first.wrapping_add(1);
        match next {
            Next::Messages(messages) => {
                let frames: Vec<_> = messages.iter().map(|outgoing| Frame::Text(outgoing.text())).collect();
                self.send(frames).await
            }
            // A socket has pings of its own.
            Next::Keepalive => Ok(()),
            Next::End(End::Shutdown) => Err(self.goodbye()),
            Next::End(End::Deleted) => {
                let id = self.subscriptions.swap_remove(index).product_id();
                self.error(&Error::ProductNotFound, Some(id)).await
            }
        }
    }

    async fn error(&mut self, error: &Error, about: Option<Id>) -> Result<(), Close> {
        self.send([Frame::Text(Message::error(error, about))]).await
    }

    /// Disconnects a client that does not take a message in time.
    async fn send(&mut self, frames: impl IntoIterator<Item = Frame>) -> Result<(), Close> {
        let send_max = self.send_max;
        for frame in frames {
            match timeout(send_max, self.socket.send(frame)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Close::Gone),
                Err(_) => return Err(Close::because(close_code::POLICY, "too slow")),
            }
        }
        Ok(())
    }

    /// The close for a failed read: too large, or not a WebSocket message.
    fn unreadable(&self, error: axum::Error) -> Close {
        match error.into_inner().downcast_ref() {
            Some(tungstenite::Error::Capacity(_)) => self.too_large(),
            Some(tungstenite::Error::Protocol(_)) => {
                Close::because(close_code::PROTOCOL, "not a WebSocket frame")
            }
            Some(tungstenite::Error::Utf8(_)) => {
                let (reason, detail) = ("the text is not UTF-8", "The message is not UTF-8.".into());
                Close::bad_message(close_code::INVALID, reason, Error::MalformedJson { detail })
            }
            _ => Close::Gone,
        }
    }

    fn too_large(&self) -> Close {
        let body_bytes_max = self.app.limits.live.socket_message_bytes_max;
        let error = Error::PayloadTooLarge { body_bytes_max };
        Close::bad_message(close_code::SIZE, "a message is too large", error)
    }

    fn goodbye(&self) -> Close {
        let reconnect_ms = self.app.rooms.reconnect_ms();
        Close::because(close_code::RESTART, format!("connect again in {reconnect_ms} ms"))
    }
}

/// The next event of any subscription, and the subscription's index. `start` is asked first and changes each time, so
/// that a subscription that always has an event does not starve the others.
async fn next(subscriptions: &mut [Subscription], start: usize) -> (Next, usize) {
    if subscriptions.is_empty() {
        return pending().await;
    }
    let count = subscriptions.len();
    let start = start % count;
    let (before, after) = subscriptions.split_at_mut(start);
    let (next, index, _) =
        select_all(after.iter_mut().chain(before).map(|subscription| Box::pin(subscription.next()))).await;
    (next, (start + index) % count)
}
