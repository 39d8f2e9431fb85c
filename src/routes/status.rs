//! `/time` and `/health`: what clients, load balancers and the person on call can ask the server about itself.

use axum::extract::State;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::AppState;
use crate::error::Result;
use crate::http::{Uncached, uncached};
use crate::model::timestamp::Timestamp;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(time)).routes(routes!(liveness)).routes(routes!(readiness))
}

/// The time.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Time {
    /// The database's clock, which decides the sale windows; never ahead of it.
    pub now: Timestamp,
}

/// The state of the server.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Health {
    /// `live` or `ready`.
    #[schema(example = "ready")]
    pub status: &'static str,
    /// With `ready`: `live`, or `stale` while the server does not learn what other servers do. Purchases commit all
    /// the same, but what watchers see may be out of date.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "live")]
    pub feed: Option<&'static str>,
}

/// The time by which sales start and end
///
/// A countdown should follow this clock, not that of the client.
#[utoipa::path(
    get, path = "/time", tag = "status", operation_id = "time",
    responses((status = OK, description = "The time", body = Time)),
)]
async fn time(State(app): State<AppState>) -> Uncached<Time> {
    uncached(Time { now: app.heartbeat.database_time() })
}

/// Whether the process runs
///
/// Says nothing of the database: a server that cannot reach it needs no restart.
#[utoipa::path(
    get, path = "/health/live", tag = "status", operation_id = "live",
    responses((status = OK, description = "The process runs", body = Health)),
)]
async fn liveness() -> Uncached<Health> {
    uncached(Health { status: "live", feed: None })
}

/// Whether a purchase could be committed now
///
/// Every second the server commits a small write on a majority of the database's servers; ready means that the last one
/// succeeded recently, and that the server knows whose access has ended.
#[utoipa::path(
    get, path = "/health/ready", tag = "status", operation_id = "ready",
    responses((status = OK, description = "Purchases can be committed", body = Health)),
    extensions(("x-problem-codes" = json!(["database_unavailable", "overloaded"]))),
)]
async fn readiness(State(app): State<AppState>) -> Result<Uncached<Health>> {
    app.check_open()?;
    app.heartbeat.check()?;
    app.access.check_recent()?;
    let feed = if app.feed.is_synced() { "live" } else { "stale" };
    Ok(uncached(Health { status: "ready", feed: Some(feed) }))
}
