//! Sends the crowd's requests: as fast as the answers come (closed loop), or on time whatever comes back (open loop).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use super::wire::{Answer, Connection, Kind};

/// How long one answer is waited for; a server of ours answers long before.
const ANSWER_SECONDS_MAX: u64 = 30;
/// Connections that are being opened at once: fewer than a listener's backlog, beyond which the kernel makes them wait for
/// seconds.
const OPENING_MAX: usize = 100;
/// How long a connection may take to open: a server that is full lets it wait for ever, and one that is gone for minutes.
const OPEN_SECONDS_MAX: u64 = 5;
/// The pause before a broken connection is opened again.
const RECONNECT_MS: u64 = 20;

/// One request and its answer.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// When it was to be sent, since the start.
    pub at: Duration,
    /// From then until the answer was read: in an open loop, waiting for a free connection counts.
    pub latency: Duration,
    /// The part of it before the request was sent: every connection was busy, or this machine was.
    pub waited: Duration,
    /// The answer.
    pub kind: Kind,
    /// Its HTTP status; 0 when there was no answer.
    pub status: u16,
}

/// What is sent, and how.
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// Connections that are open at once.
    pub connections: usize,
    /// Requests a second; none for a closed loop.
    pub rate: Option<f64>,
    /// The requests, in order.
    pub requests: Arc<Vec<Box<[u8]>>>,
    /// After the last request the first one is sent again, until `stop`.
    pub repeats: bool,
    /// What is shown meanwhile.
    pub live: Arc<Progress>,
    /// Ends the sending.
    pub stop: CancellationToken,
}

impl Load {
    /// Opens the connections, before any request is due. Those that the server has no place for are left out.
    pub async fn open(self) -> Ready {
        let opening = (0..self.connections).map(|_| in_time(open(self.address)));
        let opened: Vec<_> = stream::iter(opening).buffer_unordered(OPENING_MAX).collect().await;
        let mut connections: Vec<_> = opened.into_iter().flatten().map(Some).collect();
        if connections.is_empty() {
            // Somebody has to find out, request by request, that nobody answers.
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
    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.connections.iter().flatten().count()
    }

    /// Sends until all requests are sent or `stop`; then every answer under way is awaited. Sets `stop` itself at the end.
    pub async fn run(self) -> Vec<Event> {
        let load = Arc::new(self.load);
        let next = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let mut connections = JoinSet::new();
        for connection in self.connections {
            connections.spawn(load.clone().serve(connection, next.clone(), start));
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
    /// One connection: takes the next request, waits for its time, sends it.
    async fn serve(
        self: Arc<Self>,
        mut connection: Option<Connection>,
        next: Arc<AtomicUsize>,
        start: Instant,
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
            self.live.record(&event);
            events.push(event);
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

/// Opens a connection and uses it once, whatever the answer: before that, it may still wait in the listener's backlog.
async fn open(address: SocketAddr) -> io::Result<Connection> {
    let mut connection = Connection::open(address).await?;
    let request = format!("GET /health/live HTTP/1.1\r\nHost: {address}\r\n\r\n");
    connection.exchange(request.as_bytes()).await?;
    Ok(connection)
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
