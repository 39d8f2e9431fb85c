//! Sends the crowd's requests: as fast as the answers come (closed loop), or on time whatever comes back (open loop).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::progress::Live;
use super::wire::{Connection, Kind};

/// How long one answer is waited for; a server of ours answers long before.
const ANSWER_SECONDS_MAX: u64 = 30;
/// The pause before a broken connection is opened again.
const RECONNECT_MS: u64 = 20;

/// One request and its answer.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// When it was to be sent, since the start.
    pub at: Duration,
    /// From then until the answer was read: in an open loop, waiting for a free connection counts.
    pub latency: Duration,
    /// The answer.
    pub kind: Kind,
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
    /// What is shown meanwhile.
    pub live: Arc<Live>,
    /// Ends the sending.
    pub stop: CancellationToken,
}

impl Load {
    /// Sends until all requests are sent or `stop`; then every answer under way is awaited. Sets `stop` itself at the end.
    pub async fn run(self) -> Vec<Event> {
        let load = Arc::new(self);
        let next = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let mut connections = JoinSet::new();
        for _ in 0..load.connections {
            connections.spawn(load.clone().serve(next.clone(), start));
        }
        let mut events = Vec::with_capacity(load.requests.len());
        while let Some(finished) = connections.join_next().await {
            events.extend(finished.unwrap_or_default());
        }
        load.stop.cancel();
        events
    }

    /// One connection: takes the next request, waits for its time, sends it.
    async fn serve(self: Arc<Self>, next: Arc<AtomicUsize>, start: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        let mut connection = Connection::open(self.address).await.ok();
        while !self.stop.is_cancelled() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(request) = self.requests.get(index) else { break };
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
                connection = Connection::open(self.address).await.ok();
            }
            let kind = exchange(&mut connection, request).await;
            let event = Event { at: intended - start, latency: intended.elapsed(), kind };
            self.live.record(&event);
            events.push(event);
        }
        events
    }
}

async fn exchange(connection: &mut Option<Connection>, request: &[u8]) -> Kind {
    let Some(open) = connection else { return Kind::Broken };
    match tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), open.exchange(request)).await {
        Ok(Ok(kind)) => kind,
        Ok(Err(_)) | Err(_) => {
            *connection = None;
            Kind::Broken
        }
    }
}
