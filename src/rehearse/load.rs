//! Sends the crowd's requests: each after an answer (closed loop), or on schedule whatever the answers (open loop).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use super::wire::{Answer, Connection, Kind};
use crate::model::id::Id;

/// How long to wait for an answer; our server answers long before.
pub(super) const ANSWER_SECONDS_MAX: u64 = 30;
/// Connections that open at the same time: fewer than a listener's backlog, because the kernel delays further ones for
/// seconds.
const OPENING_MAX: usize = 100;
/// How long a connection may take to open: with a full server it would take forever, with an unreachable one minutes.
const OPEN_SECONDS_MAX: u64 = 5;
/// The pause before a connection is opened in place of a broken one.
const RECONNECT_MS: u64 = 20;

/// One request and its answer.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// The scheduled time of the request, from the start.
    pub at: Duration,
    /// From `at` until the answer was read. In an open loop this includes waiting for a free connection.
    pub latency: Duration,
    /// The part of `latency` before the request was sent, because all connections or this machine were busy.
    pub waited: Duration,
    /// What the answer means.
    pub kind: Kind,
    /// The HTTP status of the answer; 0 if there was none.
    pub status: u16,
}

/// A purchase that a buyer was told of.
#[derive(Debug, Clone, Copy)]
pub struct Bought {
    /// The index of the request that bought it.
    pub request: usize,
    /// Its id.
    pub purchase: Id,
}

/// What to send, and how.
pub struct Load {
    /// The server's address.
    pub address: SocketAddr,
    /// Connections to open.
    pub connections: usize,
    /// Requests per second; `None` for a closed loop.
    pub rate: Option<f64>,
    /// The requests, in order.
    pub requests: Arc<Vec<Box<[u8]>>>,
    /// Starts again with the first request after the last one, until `stop`.
    pub repeats: bool,
    /// Counts the answers for the display.
    pub progress: Arc<Progress>,
    /// Ends the sending.
    pub stop: CancellationToken,
}

impl Load {
    /// Opens the connections before any request is due. Leaves out those that the server does not take.
    pub async fn open(self) -> Ready {
        let opening = (0..self.connections).map(|_| in_time(open(self.address)));
        let opened: Vec<_> = stream::iter(opening).buffer_unordered(OPENING_MAX).collect().await;
        let mut connections: Vec<_> = opened.into_iter().flatten().map(Some).collect();
        if connections.is_empty() {
            // Without any connection, each request still has to try and to fail.
            connections.resize_with(self.connections, || None);
        }
        Ready { load: self, connections }
    }
}

/// A load whose connections are open.
pub struct Ready {
    load: Load,
    connections: Vec<Option<Connection>>,
}

impl Ready {
    /// The number of open connections.
    pub fn connections(&self) -> usize {
        self.connections.iter().flatten().count()
    }

    /// Sends until all requests are sent or `stop` is cancelled, waits for the outstanding answers, and cancels `stop`.
    pub async fn run(self) -> Vec<Event> {
        self.run_telling(None).await
    }

    /// The same, and tells of each purchase as soon as it is answered.
    pub async fn run_telling(self, bought: Option<mpsc::UnboundedSender<Bought>>) -> Vec<Event> {
        let load = Arc::new(self.load);
        let next = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let mut connections = JoinSet::new();
        for connection in self.connections {
            connections.spawn(load.clone().serve(connection, next.clone(), start, bought.clone()));
        }
        let mut events = Vec::with_capacity(load.requests.len());
        while let Some(finished) = connections.join_next().await {
            events.extend(finished.unwrap_or_default());
        }
        load.stop.cancel();
        events
    }
}

impl Load {
    /// Serves one connection: takes the next request, waits for its time, sends it.
    async fn serve(
        self: Arc<Self>,
        mut connection: Option<Connection>,
        next: Arc<AtomicUsize>,
        start: Instant,
        bought: Option<mpsc::UnboundedSender<Bought>>,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        while !self.stop.is_cancelled() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(request) = self.request(index) else { break };
            let intended = match self.rate {
                Some(rate) => start + Duration::from_secs_f64(index as f64 / rate),
                None => Instant::now(),
            };
            if self.rate.is_some() {
                tokio::select! {
                    () = tokio::time::sleep_until(intended) => {}
                    () = self.stop.cancelled() => break,
                }
            }
            if connection.is_none() {
                tokio::time::sleep(Duration::from_millis(RECONNECT_MS)).await;
                let opening = in_time(Connection::open(self.address));
                let Some(opened) = self.stop.run_until_cancelled(opening).await else { break };
                connection = opened;
            }
            let waited = intended.elapsed();
            let Answer { status, kind } = exchange(&mut connection, request).await;
            let event = Event { at: intended - start, latency: intended.elapsed(), waited, kind, status };
            self.progress.record(&event);
            events.push(event);
            if let (Kind::Bought, Some(bought), Some(open)) = (kind, &bought, &connection)
                && let Some(purchase) = purchase_in(open.received())
            {
                // If nobody listens any more, nobody pays any more.
                bought.send(Bought { request: index, purchase }).unwrap_or_default();
            }
        }
        events
    }

    fn request(&self, index: usize) -> Option<&[u8]> {
        let index = if self.repeats { index.checked_rem(self.requests.len())? } else { index };
        self.requests.get(index).map(AsRef::as_ref)
    }
}

/// The connection, if it opens in time.
async fn in_time(opening: impl Future<Output = io::Result<Connection>>) -> Option<Connection> {
    tokio::time::timeout(Duration::from_secs(OPEN_SECONDS_MAX), opening).await.ok()?.ok()
}

/// Opens a connection and uses it once, whatever the answer: until it is answered, it may still wait in the listener's
/// backlog.
async fn open(address: SocketAddr) -> io::Result<Connection> {
    let mut connection = Connection::open(address).await?;
    let request = format!("GET /health/live HTTP/1.1\r\nHost: {address}\r\n\r\n");
    connection.exchange(request.as_bytes()).await?;
    Ok(connection)
}

/// The id of the purchase in an answer.
fn purchase_in(received: &[u8]) -> Option<Id> {
    const BEFORE: &[u8] = b"\"id\":\"";
    let start = received.windows(BEFORE.len()).position(|window| window == BEFORE)? + BEFORE.len();
    std::str::from_utf8(received.get(start..start + 24)?).ok()?.parse().ok()
}

async fn exchange(connection: &mut Option<Connection>, request: &[u8]) -> Answer {
    const NONE: Answer = Answer { status: 0, kind: Kind::Broken };
    let Some(open) = connection else { return NONE };
    match tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), open.exchange(request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => {
            *connection = None;
            NONE
        }
    }
}
