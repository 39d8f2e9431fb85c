//! `GET /products/{id}/events`: one product's events as Server-Sent Events.

use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::AppState;
use crate::error::{Error, Result};
use crate::http::page::Query;
use crate::http::path::PathId;
use crate::http::peer::PeerAddress;
use crate::live::room::End;
use crate::live::subscription::{Next, Subscription};
use crate::live::watchers::WatcherPermit;

/// A client that reconnects sends the id of the last event it got.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells nginx not to hold the stream back.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// A comment, which clients ignore.
const KEEPALIVE: Bytes = Bytes::from_static(b":\n\n");

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(events))
}

/// What else to send.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "it only describes the parameter `include`")]
enum Include {
    Purchases,
}

/// One product's events, as they happen
///
/// Server-Sent Events whose data is JSON. `product` (a `Product`) comes first, and again after any change of the
/// product except its stock. `stock` (a `StockEvent`) comes after a change of the stock, at most twenty times a
/// second; of several changes in between only the newest is sent. `purchase` (a `LeaderboardItem`), with
/// `include=purchases`, comes for every purchase, without gaps and in the order of `sequence`; its `rank` is its
/// `sequence`. `released` (a `ReleasedEvent`), with the purchases, says that one has expired or was canceled or
/// refunded; it has no id. `stale` (a `StaleEvent`) says that the server has lost touch with the database; from the next `product` on the events are up
/// to date again.
///
/// An event's `id` is the number of the product's purchases up to it. A client that reconnects with it as
/// `Last-Event-ID`, as browsers do, gets the purchases that it has missed, up to 10,000, and is told again which earlier
/// ones were released since the last one that it got was made. The stream ends when the
/// server shuts down, with a `retry` that differs from client to client, and when the product is deleted.
#[utoipa::path(
    get, path = "/products/{id}/events", tag = "live", operation_id = "productEvents",
    params(
        ("id" = String, Path, description = "The product's id", example = "65f1c0ffee65f1c0ffee65f1"),
        ("include" = inline(Option<Include>), Query, description = "`purchases`: also every purchase"),
        ("Last-Event-ID" = Option<i64>, Header, minimum = 0, description = "The id of the last event that you got: the purchases after it are sent"),
    ),
    responses((status = OK, description = "The events, without end", body = String, content_type = "text/event-stream")),
    extensions(("x-problem-codes" = json!(["product_not_found", "rate_limited", "overloaded", "database_unavailable"]))),
)]
async fn events(
    State(app): State<AppState>,
    Extension(address): Extension<PeerAddress>,
    id: PathId,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response> {
    let id = id.or(Error::ProductNotFound)?;
    let purchases = query.parameter("include", |value| match value {
        "purchases" => Ok(()),
        _ => Err("must be purchases".into()),
    });
    let ((), after) = Error::both(query.finish(), last_event_id(&headers))?;
    app.check_open()?;
    let permit = app.watchers.enter(address)?;
    let subscription = app.rooms.watch(id, purchases.map(|()| after)).await.map_err(named_as_sent)?;
    let watcher = Watcher { app, subscription, _permit: permit, has_begun: false, has_ended: false };
    let stream = stream::unfold(watcher, |mut watcher| async move {
        let bytes = watcher.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), watcher))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>> {
    // An empty value counts as none: a browser's last event id may be empty.
    let Some(value) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|id| *id >= 0);
    id.map(Some).ok_or_else(|| Error::invalid("Last-Event-ID", "must be the id of an event"))
}

/// `Rooms::watch` calls the field `after`, as WebSocket clients do; here it came as a header.
fn named_as_sent(error: Error) -> Error {
    match error {
        Error::ValidationFailed { mut errors } => {
            errors.iter_mut().for_each(|error| error.field = "Last-Event-ID".into());
            Error::ValidationFailed { errors }
        }
        error => error,
    }
}

struct Watcher {
    app: AppState,
    subscription: Subscription,
    _permit: WatcherPermit,
    has_begun: bool,
    has_ended: bool,
}

impl Watcher {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.has_ended {
            return None;
        }
        match self.subscription.next().await {
            Next::Messages(messages) if messages.len() == 1 && self.has_begun => Some(messages[0].sse()),
            Next::Messages(messages) => {
                let mut bytes = Vec::new();
                if !self.has_begun {
                    // So that not all clients reconnect at the same moment if their connections break.
                    bytes.extend_from_slice(self.retry().as_bytes());
                    self.has_begun = true;
                }
                messages.iter().for_each(|message| bytes.extend_from_slice(&message.sse()));
                Some(bytes.into())
            }
            Next::Keepalive => Some(KEEPALIVE),
            Next::End(End::Shutdown) => {
                self.has_ended = true;
                Some(self.retry().into())
            }
            Next::End(End::Deleted) => None,
        }
    }

    fn retry(&self) -> String {
        format!("retry: {}\n\n", self.app.rooms.reconnect_ms())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::arbitrary::header_bytes;

    fn read(bytes: &[u8]) -> Option<Result<Option<i64>>> {
        let value = HeaderValue::from_bytes(bytes).ok()?;
        Some(last_event_id(&HeaderMap::from_iter([(LAST_EVENT_ID, value)])))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) })]

        #[test]
        fn the_last_event_id_is_read_or_refused(bytes in header_bytes()) {
            if let Some(Ok(Some(id))) = read(&bytes) {
                prop_assert!(id >= 0 && bytes.iter().all(|byte| byte.is_ascii_digit() || *byte == b'+'));
            }
        }

        #[test]
        fn the_id_of_an_event_comes_back(id in 0..=i64::MAX) {
            prop_assert_eq!(read(id.to_string().as_bytes()), Some(Ok(Some(id))));
        }
    }
}
