//! `/server`: what the server that answers has counted, for an admin who watches a sale. The figures are those of the
//! metrics; `/metrics` is for programs that collect them from each server.

use axum::extract::State;
use axum::http::Method;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Admin;
use super::purchases::PURCHASE_PATH;
use super::state::AppState;
use crate::error::Result;
use crate::http::{Uncached, uncached};
use crate::model::timestamp::Timestamp;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(server_figures))
}

/// What one server has counted since it started, over all products.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerFigures {
    /// Which server has answered: another one after each start.
    #[schema(example = "65f1c0ffee65f1c0ffee65f1")]
    pub server: String,
    /// When it started, by its own clock.
    pub started_at: Timestamp,
    /// When the figures were read, by the database's clock.
    pub at: Timestamp,
    /// `live`, or `stale` while it does not learn what other servers do.
    #[schema(example = "live")]
    pub feed: &'static str,
    /// How far it was behind the other servers when it last heard of them, in milliseconds.
    #[schema(minimum = 0, example = 12)]
    pub feed_lag_ms: i64,
    /// How long ago the database last committed for it, in milliseconds. It tries once a second.
    #[schema(minimum = 0, example = 430)]
    pub heartbeat_age_ms: i64,
    /// Clients that watch live, whichever product.
    #[schema(minimum = 0, example = 1200)]
    pub watchers: i64,
    /// Purchases that wait or are being decided.
    #[schema(minimum = 0, example = 17)]
    pub purchases_under_way: i64,
    /// Purchases of which it does not know yet whether they were committed.
    #[schema(minimum = 0, example = 0)]
    pub purchases_in_doubt: i64,
    /// Requested purchases, by outcome; those that have happened, or usually do.
    pub purchases: Vec<PurchaseOutcomeCount>,
    /// How long the answers took that brought a purchase. The last entry has no bound.
    pub purchase_times: Vec<PurchaseTimeCount>,
}

/// Requested purchases with the same outcome.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PurchaseOutcomeCount {
    /// `bought`, `replayed`, or the code of the problem that was answered.
    #[schema(example = "sold_out")]
    pub outcome: &'static str,
    /// How many.
    #[schema(minimum = 0, example = 5230)]
    pub count: u64,
}

/// Answers that took about as long.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PurchaseTimeCount {
    /// They took at most this, in milliseconds, and more than the bound before; null for those that took longer than all.
    #[schema(required, minimum = 0, example = 25)]
    pub within_ms: Option<f64>,
    /// How many.
    #[schema(minimum = 0, example = 412)]
    pub count: u64,
}

/// What the server that answers has counted
///
/// For an admin who watches a sale. Each server counts for itself, over all products, since its start: with several servers,
/// whoever asks again may be answered by another.
#[utoipa::path(
    get, path = "/server", tag = "status", operation_id = "getServerFigures",
    responses((status = OK, description = "Its figures", body = ServerFigures)),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!(["forbidden"]))),
)]
async fn server_figures(State(app): State<AppState>, _admin: Admin) -> Result<Uncached<ServerFigures>> {
    app.purchases.measure();
    let metrics = &app.metrics;
    let times = metrics.http.good_answers(metrics.http.endpoint(&Method::POST, PURCHASE_PATH));
    let count = |(outcome, count)| PurchaseOutcomeCount { outcome, count };
    let time = |(seconds, count): (f64, u64)| PurchaseTimeCount {
        within_ms: seconds.is_finite().then_some(seconds * 1e3),
        count,
    };
    Ok(uncached(ServerFigures {
        server: app.store.server.to_hex(),
        started_at: app.store.server.timestamp().into(),
        at: app.heartbeat.database_time(),
        feed: if app.feed.is_synced() { "live" } else { "stale" },
        feed_lag_ms: (metrics.feed_lag.get() * 1e3) as i64,
        heartbeat_age_ms: i64::try_from(app.heartbeat.age().as_millis()).unwrap_or(i64::MAX),
        watchers: metrics.watchers.get(),
        purchases_under_way: metrics.purchases_under_way.get(),
        purchases_in_doubt: metrics.purchases_in_doubt.get(),
        purchases: metrics.purchases_by_outcome().into_iter().map(count).collect(),
        purchase_times: times.into_iter().map(time).collect(),
    }))
}
