//! `/metrics`: the metrics for the person on call, as OpenMetrics text for Prometheus.

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::AppState;
use crate::error::Result;

const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// The server's metrics, for Prometheus
///
/// Each server counts for itself.
#[utoipa::path(
    get, path = "/metrics", tag = "status", operation_id = "metrics",
    responses((status = OK, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text")),
)]
async fn metrics(State(app): State<AppState>) -> Result<([(HeaderName, HeaderValue); 1], String)> {
    let text = app.metrics.text(app.heartbeat.age())?;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text))
}
