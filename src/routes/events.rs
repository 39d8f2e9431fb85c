//! `GET /products/{id}/events`: one product's events as Server-Sent Events.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, stream};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::AppState;
use crate::accounts::current_user::CurrentUser;
use crate::error::{Error, Result};
use crate::http::client::Client;
use crate::http::page::Query;
use crate::http::path::PathId;
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
/// refunded; it has no id, and may come again for the same purchase. `stale` (a `StaleEvent`) says that the server has lost
/// touch with the database; from the next `product` on the events are up to date again.
///
/// An event's `id` is the number of the product's purchases up to it. A client that reconnects with it as
/// `Last-Event-ID`, as browsers do, gets the purchases that it has missed, up to 10,000, and is told again which earlier
/// ones were released since the last one that it got was made. With an id from longer ago, or
/// with one that is no event's, the stream begins like a new one. It ends when the server shuts down, with a `retry` that
/// differs from client to client, and when the product is deleted. No token is needed; if one is sent it has to be good,
/// and the stream ends within two seconds after the token.
#[utoipa::path(
    get, path = "/products/{id}/events", tag = "live", operation_id = "productEvents",
    params(
        ("id" = String, Path, description = "The product's id", example = "65f1c0ffee65f1c0ffee65f1"),
        ("include" = inline(Option<Include>), Query, description = "`purchases`: also every purchase"),
        ("Last-Event-ID" = Option<String>, Header, example = "17", description = "The id of the last event that you got: the purchases after it are sent, if they are not too many"),
    ),
    responses((status = OK, description = "The events, without end", body = String, content_type = "text/event-stream")),
    security((), ("bearer" = [])),
    extensions(("x-problem-codes" = json!(["product_not_found", "rate_limited"]))),
)]
async fn events(
    State(app): State<AppState>,
    client: Client,
    viewer: Option<CurrentUser>,
    id: PathId,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response> {
    let id = id.or(Error::ProductNotFound)?;
    let purchases = query.parameter("include", |value| match value {
        "purchases" => Ok(()),
        _ => Err("must be purchases".into()),
    });
    query.finish()?;
    app.check_open()?;
    let permit = app.watchers.enter(client)?;
    let after = last_event_id(&headers);
    let subscription = match app.rooms.watch(id, purchases.map(|()| after)).await {
        // Too long ago. An EventSource cannot take its id back, and would never try again after an error.
        Err(Error::ValidationFailed { .. }) => app.rooms.watch(id, purchases.map(|()| None)).await?,
        subscription => subscription?,
    };
    let access_ended = {
        let access = app.access.clone();
        async move { access.ended(viewer).await }.boxed()
    };
    let watcher =
        Watcher { app, subscription, access_ended, _permit: permit, has_begun: false, has_ended: false };
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

/// The id that the client sent. One that is no id of an event counts as none, because an EventSource cannot take it back.
fn last_event_id(headers: &HeaderMap) -> Option<i64> {
    let id = headers.get(LAST_EVENT_ID)?.to_str().ok()?;
    // No sign: `-0` would be read as 0.
    id.bytes().all(|byte| byte.is_ascii_digit()).then(|| id.parse().ok())?
}

struct Watcher {
    app: AppState,
    subscription: Subscription,
    /// Resolves when the viewer's token counts no more.
    access_ended: BoxFuture<'static, ()>,
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
        let next = tokio::select! {
            next = self.subscription.next() => next,
            () = &mut self.access_ended => return None,
        };
        match next {
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

    fn read(bytes: &[u8]) -> Option<i64> {
        let value = HeaderValue::from_bytes(bytes).ok()?;
        last_event_id(&HeaderMap::from_iter([(LAST_EVENT_ID, value)]))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) })]

        #[test]
        fn the_last_event_id_is_read_or_ignored(bytes in header_bytes()) {
            if let Some(id) = read(&bytes) {
                prop_assert!(id >= 0 && bytes.iter().all(u8::is_ascii_digit));
            }
        }

        #[test]
        fn an_id_with_a_sign_is_ignored(sign in "[+-]", id in 0..=i64::MAX) {
            prop_assert_eq!(read(format!("{sign}{id}").as_bytes()), None);
            prop_assert_eq!(read(format!("{sign}0").as_bytes()), None);
        }

        #[test]
        fn the_id_of_an_event_comes_back(id in 0..=i64::MAX) {
            prop_assert_eq!(read(id.to_string().as_bytes()), Some(id));
        }
    }
}
