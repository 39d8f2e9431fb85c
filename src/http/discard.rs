//! The layer around the routes. It reads and discards what a refused request still sends, and answers when a handler
//! panics.
//!
//! Most clients send their whole body before they read the answer. If the server answered early (too large, no token,
//! no such path) and closed the connection before the rest, they would see a broken connection instead of the answer,
//! or learn with their next request that the connection is closed. No layer of tower-http does this.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::Either;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tower::Service;

use crate::config::HttpLimits;
use crate::error::Error;
use crate::http::body;

/// A body up to this size, in bytes, is read before the handler runs: this costs less than sharing the body.
const SMALL_BYTES_MAX: u64 = 8 * 1024;

/// Gives the handler the body, and reads the rest after it, within bounds.
pub fn layer<S>(
    limits: Arc<HttpLimits>,
    request: Request<Incoming>,
    routes: S,
) -> impl Future<Output = Result<Response, Infallible>>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    // A client that sends `Expect` waits for our consent, and does not send a refused body.
    let asks = request.headers().contains_key(header::EXPECT);
    let answer = if asks || http_body::Body::is_end_stream(request.body()) {
        Either::Left(call(routes, request.map(Body::new)))
    } else {
        let (parts, body) = request.into_parts();
        Either::Right(answer(limits, parts, body, routes))
    };
    let answer = AssertUnwindSafe(answer).catch_unwind();
    // The panic hook has logged the cause.
    answer.map(|answer| Ok(answer.unwrap_or_else(|_| Error::Internal.into_response())))
}

async fn answer<S>(limits: Arc<HttpLimits>, parts: Parts, body: Incoming, routes: S) -> Response
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let patience = Duration::from_millis(limits.body_read_ms_max);
    if http_body::Body::size_hint(&body).upper().is_some_and(|bytes| bytes <= SMALL_BYTES_MAX) {
        return match tokio::time::timeout(patience, body::gather(body)).await {
            Ok(Ok(body)) => call(routes, Request::from_parts(parts, Body::from(body))).await,
            Ok(Err(_)) => body::incomplete().into_response(),
            Err(_) => body::too_slow().into_response(),
        };
    }
    let body = SharedBody(Arc::new(Mutex::new(Body::new(body))));
    let response = call(routes, Request::from_parts(parts, Body::new(body.clone()))).await;
    if tokio::time::timeout(patience, discard(body, limits.discarded_bytes_max)).await.is_err() {
        tracing::debug!("the rest of a refused body did not arrive in time");
    }
    response
}

fn call<S>(mut routes: S, request: Request) -> impl Future<Output = Response>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    routes.call(request).map(|Ok(response)| response)
}

async fn discard(mut body: SharedBody, bytes_max: usize) {
    let mut bytes = 0;
    while bytes <= bytes_max {
        match body.frame().await {
            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => return,
        }
    }
}

/// A body that the handler reads first, and then this layer.
#[derive(Clone)]
struct SharedBody(Arc<Mutex<Body>>);

impl SharedBody {
    fn lock(&self) -> MutexGuard<'_, Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl http_body::Body for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&*self.lock())
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&*self.lock())
    }
}
