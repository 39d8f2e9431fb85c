//! What the log says about the request that is being served.
//!
//! This does the work of a `tracing` span for each request: every line that is logged while a request is served, or by a
//! task that works for it, names it. It is not a span, because a span is formatted when it is opened: it took a tenth of the
//! server's processor time, and most requests log nothing. The context costs one allocation.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use axum::http::{HeaderValue, Method, Uri};

use crate::model::id::Id;

/// The part of a path that the log shows, in characters.
const ROUTE_CHARACTERS_MAX: usize = 100;

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// One request; clones share it.
#[derive(Debug, Clone)]
pub struct RequestContext(Arc<Request>);

#[derive(Debug)]
struct Request {
    id: HeaderValue,
    method: Method,
    uri: Uri,
    user: OnceLock<Id>,
}

impl RequestContext {
    /// A request of nobody yet.
    pub fn new(id: HeaderValue, method: Method, uri: Uri) -> Self {
        Self(Arc::new(Request { id, method, uri, user: OnceLock::new() }))
    }

    /// The request that the current task serves or works for.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Notes who has sent the current request.
    pub fn set_user(user: Id) {
        // Two extractors of the same request find the same user.
        let _ = CURRENT.try_with(|context| context.0.user.set(user));
    }

    /// Runs `work` for this request.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// The request's id, as the client gets it.
    pub fn id(&self) -> &str {
        self.0.id.to_str().unwrap_or_default()
    }

    /// The fields for the log: their names and values.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let user = self.0.user.get().map(|user| ("user_id", user.to_hex()));
        [
            ("request_id", self.id().to_owned()),
            ("method", self.0.method.to_string()),
            ("route", Route(self.0.uri.path()).to_string()),
        ]
        .into_iter()
        .chain(user)
    }
}

/// Runs `work` for the request that the current task works for, in whichever task it is spawned.
pub async fn in_current_request<F: Future>(context: Option<RequestContext>, work: F) -> F::Output {
    match context {
        Some(context) => context.scope(work).await,
        None => work.await,
    }
}

/// A path as the log shows it: each id as `{id}`, and cut where a line would become too long.
struct Route<'a>(&'a str);

impl fmt::Display for Route<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_id = |part: &str| part.len() == 24 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        // Paths are ASCII, so every byte is the start of a character.
        let end = self.0.len().min(ROUTE_CHARACTERS_MAX);
        for part in self.0.get(1..end).unwrap_or_default().split('/') {
            write!(formatter, "/{}", if is_id(part) { "{id}" } else { part })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_short_and_has_no_ids() {
        let check = |path: &str, route: &str| assert_eq!(Route(path).to_string(), route);
        check("/", "/");
        check("/products/65f1c0ffee65f1c0ffee65f1/restock", "/products/{id}/restock");
        check("/products/65f1c0ffee", "/products/65f1c0ffee");
        check(&format!("/{}", "x".repeat(1_000)), &format!("/{}", "x".repeat(99)));
        check("*", "/");
    }

    #[tokio::test]
    async fn a_task_keeps_the_request_that_it_works_for() {
        let id = HeaderValue::from_static("order-17");
        let context = RequestContext::new(id, Method::GET, Uri::from_static("/time"));
        assert!(RequestContext::current().is_none());
        context
            .scope(async {
                RequestContext::set_user(Id::from_bytes([7; 12]));
                let work = in_current_request(RequestContext::current(), async {
                    RequestContext::current().unwrap().fields().map(|(_, value)| value).collect::<Vec<_>>()
                });
                let fields = tokio::spawn(work).await.unwrap();
                assert_eq!(fields, ["order-17", "GET", "/time", "070707070707070707070707"]);
            })
            .await;
    }
}
