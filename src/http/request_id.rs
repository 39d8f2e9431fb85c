//! The outermost layer. It gives every response its `X-Request-Id`, turns every error into problem+json, and serves the
//! request inside a span, so that its id finds all log lines about it.
//!
//! It replaces tower-http's trace layer, which wraps each body, has no problem+json, and costs more per purchase.

use std::convert::Infallible;
use std::fmt;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::FutureExt;
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tower::Service;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::error::{Code, Error, PROBLEM_JSON, Problem};
use crate::metrics::StatusLabel;

/// The header for the id, in requests and responses.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest client's own id that is kept, in characters.
const REQUEST_ID_CHARACTERS_MAX: usize = 128;
/// The log cuts paths to this length, in characters.
const ROUTE_CHARACTERS_MAX: usize = 100;
/// The initial capacity of a problem's body, in bytes: enough for nearly all.
const PROBLEM_BYTES_USUAL: usize = 512;

/// Every request carries its id as an extension.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.to_str().unwrap_or_default())
    }
}

/// Handles one request; see the module.
pub fn layer<S>(
    answers: Family<StatusLabel, Counter>,
    mut request: Request<Incoming>,
    mut inner: S,
) -> impl Future<Output = Result<Response, Infallible>> + use<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let id = RequestId(sane_id(request.headers()).unwrap_or_else(new_id));
    // At the highest level, so that the span exists for every log line, whatever the log level.
    let span = tracing::error_span!(
        "request",
        request_id = %id,
        method = %request.method(),
        route = %Route(request.uri().path()),
        user_id = Empty,
        status = Empty,
    );
    request.extensions_mut().insert(id.clone());
    // `map`, not `async`: an `async` block would hold the request, and the inner future twice, in a future that hyper
    // moves.
    let answer = span.in_scope(|| inner.call(request));
    answer.map(move |Ok(response)| Ok(finish(&answers, response, id))).instrument(span)
}

fn finish(answers: &Family<StatusLabel, Counter>, mut response: Response, id: RequestId) -> Response {
    if response.status().is_client_error() || response.status().is_server_error() {
        response = into_problem(response, &id);
    }
    let status = response.status().as_u16();
    answers.get_or_create(&StatusLabel { status }).inc();
    response.headers_mut().insert(X_REQUEST_ID, id.0);
    // Keeps a browser from guessing another content type.
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A path as the log shows it: shortened, and with `{id}` in place of each id.
struct Route<'a>(&'a str);

impl fmt::Display for Route<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_id = |part: &str| part.len() == 24 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let end = self.0.len().min(ROUTE_CHARACTERS_MAX);
        // Cutting at any byte is safe: a path is ASCII, all else is percent-encoded.
        for part in self.0.get(1..end).unwrap_or_default().split('/') {
            write!(formatter, "/{}", if is_id(part) { "{id}" } else { part })?;
        }
        Ok(())
    }
}

/// The client's id, if it sent exactly one, which is short and has only characters that are safe in logs and headers.
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

/// Gives an error response its body. A response that is not from our handlers (a wrong method, a panic) carries no
/// `Error`: its status decides which one it gets, and its other headers (`Allow`) stay.
fn into_problem(response: Response, id: &RequestId) -> Response {
    let (mut parts, _) = response.into_parts();
    let error = parts.extensions.remove::<Error>().unwrap_or_else(|| error_of(parts.status));
    parts.status = error.code().status();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    tell(&error, id);
    let problem = Problem { error: &error, instance: id.0.to_str().unwrap_or_default() };
    let mut body = Vec::with_capacity(PROBLEM_BYTES_USUAL);
    if let Err(error) = serde_json::to_writer(&mut body, &problem) {
        tracing::error!("cannot serialize a problem: {error}");
    }
    Response::from_parts(parts, Body::from(body))
}

/// Logs the answers that no client should ever get. Other faults come in crowds, and are logged where they are found.
fn tell(error: &Error, request_id: &RequestId) {
    let (code, status) = (error.code().name(), error.code().status().as_u16());
    match error.code() {
        Code::Internal => {
            Span::current().record("status", status);
            tracing::error!("answered with {status} {code}, request {request_id}");
        }
        Code::OutcomeUnknown => {
            Span::current().record("status", status);
            tracing::warn!("answered with {status} {code}, request {request_id}");
        }
        _ => {}
    }
}

fn error_of(status: StatusCode) -> Error {
    match status {
        // axum answers 400 to a path that is not UTF-8: no route has such a path.
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
    fn a_route_is_short_and_has_no_ids() {
        let check = |path: &str, route: &str| assert_eq!(Route(path).to_string(), route);
        check("/", "/");
        check("/products/65f1c0ffee65f1c0ffee65f1/restock", "/products/{id}/restock");
        check("/products/65f1c0ffee", "/products/65f1c0ffee");
        check(&format!("/{}", "x".repeat(1_000)), &format!("/{}", "x".repeat(99)));
        check("*", "/");
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
