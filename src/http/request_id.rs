//! The outermost layer. Every response carries `X-Request-Id` and is counted, every error leaves as problem+json unless it
//! is a page (`ForPeople`), and whatever is logged while the request is served names it (`request_context`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::FutureExt;
use hyper::body::Incoming;
use tower::Service;

use crate::error::{Code, Error, PROBLEM_JSON, Problem};
use crate::http::request_context::RequestContext;
use crate::metrics::http::HttpMetrics;

/// Carries the request's id both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A client's own id is kept when it is no longer than this, in characters.
const REQUEST_ID_CHARACTERS_MAX: usize = 128;
/// Room for all but the longest problems.
const PROBLEM_BYTES_USUAL: usize = 512;

/// In the extensions of an error response: its body is a page for people, and stays.
#[derive(Debug, Clone, Copy)]
pub struct ForPeople;

/// Gives the request its id and its context; writes the id into the response, and an error as problem+json.
pub fn layer<S>(
    metrics: Arc<HttpMetrics>,
    request: Request<Incoming>,
    mut inner: S,
) -> impl Future<Output = Result<Response, Infallible>> + use<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let began = Instant::now();
    let endpoint = metrics.endpoint(request.method(), request.uri().path());
    let id = sane_id(request.headers()).unwrap_or_else(new_id);
    let context = RequestContext::new(id.clone(), request.method().clone(), request.uri().clone());
    // Mapped rather than awaited: an `async` block would hold the request, and the inner future twice, and hyper moves it.
    let answer = inner.call(request).map(move |Ok(response)| {
        let response = finish(&metrics, response, id);
        metrics.count(endpoint, response.status(), began.elapsed());
        Ok(response)
    });
    context.scope(answer)
}

fn finish(metrics: &HttpMetrics, mut response: Response, id: HeaderValue) -> Response {
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    if is_error && response.extensions().get::<ForPeople>().is_none() {
        response = into_problem(metrics, response, &id);
    }
    response.headers_mut().insert(X_REQUEST_ID, id);
    // What is JSON stays JSON, whatever a browser would make of its content.
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The client's id, if it sent exactly one that is short and made of characters that are safe in logs and headers.
fn sane_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(X_REQUEST_ID).iter();
    let id = values.next().filter(|_| values.next().is_none())?;
    let sane = (1..=REQUEST_ID_CHARACTERS_MAX).contains(&id.len())
        && id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte));
    sane.then(|| id.clone())
}

fn new_id() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let random: [u8; 32] = rand::random();
    let id = random.map(|byte| DIGITS[usize::from(byte % 16)]);
    HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("unidentified"))
}

/// Gives an error response its body. Those that no handler of ours made (a wrong method, a panic) get here without a
/// problem: their status tells which one it is, and their other headers (`Allow`) stay.
fn into_problem(metrics: &HttpMetrics, response: Response, id: &HeaderValue) -> Response {
    let (mut parts, _) = response.into_parts();
    let error = parts.extensions.remove::<Error>().unwrap_or_else(|| error_of(parts.status));
    metrics.count_problem(error.code());
    parts.status = error.code().status();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let instance = id.to_str().unwrap_or_default();
    log_fault(&error, instance);
    let problem = Problem { error: &error, instance };
    let mut body = Vec::with_capacity(PROBLEM_BYTES_USUAL);
    if let Err(error) = serde_json::to_writer(&mut body, &problem) {
        tracing::error!("a problem cannot be written: {error}");
    }
    Response::from_parts(parts, Body::from(body))
}

/// Logs an answer that should not be. The other faults are logged where they are found, because they come in crowds.
fn log_fault(error: &Error, request_id: &str) {
    let (code, status) = (error.code().name(), error.code().status().as_u16());
    match error.code() {
        Code::Internal => tracing::error!(status, "answered with {status} {code}, request {request_id}"),
        Code::OutcomeUnknown => tracing::warn!(status, "answered with {status} {code}, request {request_id}"),
        _ => {}
    }
}

fn error_of(status: StatusCode) -> Error {
    match status {
        // A path that is no UTF-8 comes as 400: there is nothing at such a path.
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Error::NO_ROUTE,
        StatusCode::METHOD_NOT_ALLOWED => Error::MethodNotAllowed,
        StatusCode::SERVICE_UNAVAILABLE => Error::Overloaded { detail: "Try again in a moment." },
        _ => Error::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, sane: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_str(value).unwrap());
        assert_eq!(sane_id(&headers).is_some(), sane, "{value}");
    }

    #[test]
    fn a_sane_id_is_kept() {
        check("order-17_a.b:c", true);
        check(&"x".repeat(128), true);
        check(&"x".repeat(129), false);
        check("a b", false);
        check("<script>", false);
        check("", false);
    }
}
