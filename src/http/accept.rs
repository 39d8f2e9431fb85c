//! The accept loop, our own on top of hyper: `axum::serve` sets neither a time limit for a request's head nor
//! TCP_NODELAY, and bounds neither headers nor connections.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::client::{Clients, Peer};
use super::connections::{ConnectionPermit, Connections, Entry};
use crate::config::HttpLimits;
use crate::metrics::Metrics;

/// Connections that the system queues for the loop; the system may lower this. With the usual 128, clients of a crowd
/// that connects in the same moment wait for retransmissions, a second or more.
const BACKLOG_CONNECTIONS: u32 = 4_096;
/// The pause after a failed accept, for example when the process has no file descriptor left.
const ACCEPT_RETRY_MS: u64 = 50;
/// The time in which a connection that is one too many has to send a request, which is refused.
const REFUSED_HEADER_READ_MS_MAX: u64 = 5_000;

/// Listens at the first address of `host` that can be bound.
///
/// # Errors
/// The system's, for the last address that was tried.
pub async fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut last_error = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        match bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart need not wait for the connections of the last run to leave TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG_CONNECTIONS)
}

/// Serves `service`, which must always be ready, on `listener` until `shutdown`; then lets open requests finish, for
/// at most `shutdown_ms_max`. `clients` finds the client of each request; `metrics` counts the connections.
pub async fn serve<S>(
    listener: TcpListener,
    service: S,
    limits: &HttpLimits,
    clients: Arc<Clients>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let connections = Connections::new(limits, metrics);
    let tasks = TaskTracker::new();
    let builders = Builders::new(limits);
    let send_ms_max = u32::try_from(limits.send_ms_max).unwrap_or(u32::MAX);
    loop {
        let place = tokio::select! {
            () = shutdown.cancelled() => break,
            place = connections.place() => place,
        };
        let (stream, address) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener) => accepted,
        };
        let peer = clients.peer(address);
        let network = peer.bounded_network();
        let (hold, patience) = match connections.enter(place, network) {
            Entry::Served(permit) => {
                (Hold::Served(permit), builders.patience(network.is_some(), &connections))
            }
            Entry::Refused(refusal) => (Hold::Refused(refusal), builders.hasty()),
            Entry::Closed => continue,
        };
        let (service, shutdown) = (service.clone(), shutdown.clone());
        tasks.spawn(async move {
            bound_sending(&stream, send_ms_max);
            serve_connection(stream, peer, hold, patience, service, shutdown).await;
        });
    }
    drop(listener);
    tasks.close();
    let patience = Duration::from_millis(limits.shutdown_ms_max);
    if tokio::time::timeout(patience, tasks.wait()).await.is_err() {
        tracing::warn!("{} connections were cut off at shutdown", tasks.len());
    }
}

/// How the connections are served: their buffers, and how long each may be silent.
struct Builders {
    usual: Arc<http1::Builder>,
    /// For when few places are left.
    scarce: Arc<http1::Builder>,
    /// For connections that get nothing but a refusal.
    refusing: Arc<http1::Builder>,
    first_head: Duration,
}

/// How long a connection may be silent.
struct Patience {
    builder: Arc<http1::Builder>,
    /// Until the head of its first request; `None` is as long as for the others.
    first_head: Option<Duration>,
}

impl Builders {
    fn new(limits: &HttpLimits) -> Self {
        let with = |header_read_ms_max: u64| {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_millis(header_read_ms_max))
                .max_buf_size(limits.header_bytes_max)
                .max_headers(limits.headers_max);
            Arc::new(builder)
        };
        Self {
            usual: with(limits.header_read_ms_max),
            scarce: with(limits.scarce_header_read_ms_max.min(limits.header_read_ms_max)),
            refusing: with(REFUSED_HEADER_READ_MS_MAX.min(limits.header_read_ms_max)),
            first_head: Duration::from_millis(limits.first_header_read_ms_max),
        }
    }

    /// A proxy keeps connections open that it does not need yet; others have no reason to.
    fn patience(&self, is_client: bool, connections: &Connections) -> Patience {
        let builder = if is_client && connections.are_scarce() { &self.scarce } else { &self.usual };
        Patience { builder: builder.clone(), first_head: is_client.then_some(self.first_head) }
    }

    fn hasty(&self) -> Patience {
        Patience { builder: self.refusing.clone(), first_head: None }
    }
}

/// What a connection holds until it ends.
enum Hold {
    Served(ConnectionPermit),
    /// Its network has too many connections: every request on it is refused.
    Refused(#[expect(dead_code, reason = "only held, until it is dropped")] OwnedSemaphorePermit),
}

/// Marks a request on a connection that is one too many of its network. It is to be refused, and the connection closed.
#[derive(Debug, Clone, Copy)]
pub struct OneTooMany;

async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return (stream, address.ip()),
            // The client gave up before we accepted.
            Err(error) if is_connection_error(&error) => {}
            Err(error) => {
                tracing::error!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            }
        }
    }
}

fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Closes the connection of a client that does not read its answer for too long.
fn bound_sending(stream: &TcpStream, send_ms_max: u32) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, send_ms_max) {
        tracing::debug!("cannot set TCP_USER_TIMEOUT: {error}");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, send_ms_max);
}

async fn serve_connection<S>(
    stream: TcpStream,
    peer: Peer,
    hold: Hold,
    patience: Patience,
    service: S,
    shutdown: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    // An answer is one small write: Nagle's algorithm would hold it back until a delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("cannot set TCP_NODELAY: {error}");
    }
    let has_begun = Arc::new(AtomicBool::new(false));
    let begun = has_begun.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        begun.store(true, Ordering::Relaxed);
        let client = peer.client_of(request.headers());
        request.extensions_mut().insert(client);
        match &hold {
            Hold::Served(permit) if request.headers().contains_key(header::UPGRADE) => {
                request.extensions_mut().insert(permit.clone());
            }
            Hold::Served(_) => {}
            Hold::Refused(_) => drop(request.extensions_mut().insert(OneTooMany)),
        }
        // Boxed: hyper keeps the future's space while the connection is open, and moves it.
        Box::pin(service.clone().call(request))
    });
    let mut connection =
        pin!(patience.builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = silence(patience.first_head, &has_begun) => {
            tracing::debug!("a connection sent no request and is closed");
            return;
        }
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!("a connection ended early: {error}");
    }
}

/// Resolves when the first request has not begun in time.
async fn silence(first_head: Option<Duration>, has_begun: &AtomicBool) {
    let Some(first_head) = first_head else { return pending().await };
    tokio::time::sleep(first_head).await;
    if has_begun.load(Ordering::Relaxed) {
        pending().await
    }
}
