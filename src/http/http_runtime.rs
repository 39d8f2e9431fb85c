//! The threads that serve requests: apart from those that speak with the database, so that a flood of requests does not
//! stand in front of every step of the transactions that are to serve it.

use std::convert::Infallible;
use std::io;

use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::accept;
use crate::config::HttpLimits;

/// A runtime of its own. Dropping it ends what still runs on it.
pub struct HttpRuntime(Option<Runtime>);

impl HttpRuntime {
    /// Starts as many threads as there are cores, and on them the accept loop (`accept::serve`).
    ///
    /// # Errors
    /// The system's, when it has no threads left.
    pub fn serve<S>(
        listener: TcpListener,
        service: S,
        limits: HttpLimits,
        open: Gauge,
        shutdown: CancellationToken,
    ) -> io::Result<(Self, JoinHandle<()>)>
    where
        S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let runtime = Builder::new_multi_thread().enable_all().thread_name("http").build()?;
        let listener = listener.into_std()?;
        let listener = {
            // A listener belongs to the runtime in which it is made.
            let _context = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let serving =
            runtime.spawn(async move { accept::serve(listener, service, &limits, open, shutdown).await });
        Ok((Self(Some(runtime)), serving))
    }
}

impl Drop for HttpRuntime {
    fn drop(&mut self) {
        // Waiting for the threads is not possible where tasks run; those that had to be awaited were.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
