//! `/metrics`: the metrics for the person on call, as text for Prometheus.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::bearer_token;
use super::state::AppState;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::negotiation::quality;
use crate::metrics::TextFormat;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// What a scraper has to send, as a digest: digests have the same length, so comparing them tells nothing of the token.
pub struct ScraperToken(Option<[u8; 32]>);

impl ScraperToken {
    /// Without a token everybody may read the metrics.
    pub fn new(token: Option<&Secret>) -> Self {
        Self(token.map(|token| Sha256::digest(token.reveal()).into()))
    }

    /// # Errors
    /// `unauthenticated`.
    fn check(&self, headers: &HeaderMap) -> Result<()> {
        let Some(expected) = &self.0 else { return Ok(()) };
        let sent: [u8; 32] = Sha256::digest(bearer_token(headers)?).into();
        match sent.ct_eq(expected).into() {
            true => Ok(()),
            false => {
                Err(Error::Unauthenticated { detail: "The token is not METRICS_TOKEN.", has_token: true })
            }
        }
    }
}

/// The server's metrics, for Prometheus
///
/// Each server counts for itself. The text is in the format 0.0.4, unless `Accept` prefers OpenMetrics, as Prometheus does. If
/// the server has a METRICS_TOKEN, the scraper has to send it.
#[utoipa::path(
    get, path = "/metrics", tag = "status", operation_id = "metrics",
    responses((status = OK, description = "The metrics", content(
        (String = "text/plain"),
        (String = "application/openmetrics-text"),
    ))),
    security((), ("metricsToken" = [])),
    extensions(("x-problem-codes" = json!(["unauthenticated"]))),
)]
async fn metrics(
    State(app): State<AppState>,
    headers: HeaderMap,
) -> Result<([(HeaderName, HeaderValue); 3], String)> {
    app.scraper_token.check(&headers)?;
    app.metrics.heartbeat_age.set(app.heartbeat.age().as_secs_f64());
    app.purchases.measure();
    let format = preferred(&headers);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(format.content_type())),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::VARY, HeaderValue::from_static("Accept")),
    ];
    Ok((headers, app.metrics.text(format)?))
}

/// The older format, unless the client wants OpenMetrics more: everybody understands it, so it is never refused.
fn preferred(headers: &HeaderMap) -> TextFormat {
    let open_metrics = quality(headers, "application/openmetrics-text", &[("version", "1.0.0")]);
    let prometheus = quality(headers, "text/plain", &[("version", "0.0.4")]);
    if open_metrics > prometheus { TextFormat::OpenMetrics } else { TextFormat::Prometheus }
}
