//! The threads that serve requests. They are separate from the threads that talk to the database: a flood of requests
//! must not delay each step of the transactions that serve it.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::accept;
use super::client::Clients;
use crate::config::HttpLimits;
use crate::metrics::Metrics;

/// A tokio runtime for HTTP. Dropping it ends the tasks that still run on it.
pub struct HttpRuntime(Option<Runtime>);

impl HttpRuntime {
    /// Starts one thread per core, and runs the accept loop (`accept::serve`) on them.
    ///
    /// # Errors
    /// The system's, when it has no threads left.
    pub fn serve<S>(
        listener: TcpListener,
        service: S,
        limits: HttpLimits,
        clients: Clients,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> io::Result<(Self, JoinHandle<()>)>
    where
        S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let runtime = Builder::new_multi_thread().enable_all().thread_name("http").build()?;
        let listener = listener.into_std()?;
        let listener = {
            // A listener belongs to the runtime in which it is created.
            let _context = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let clients = Arc::new(clients);
        let serving = runtime.spawn(async move {
            accept::serve(listener, service, &limits, clients, metrics, shutdown).await
        });
        Ok((Self(Some(runtime)), serving))
    }
}

impl Drop for HttpRuntime {
    fn drop(&mut self) {
        // In the background: blocking on the threads is not allowed inside async code, and the tasks that matter have
        // ended.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
