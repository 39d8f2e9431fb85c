//! `/products/{id}/report`: what was sold when, and to whom.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Admin;
use super::state::AppState;
use crate::error::{Error, Result};
use crate::http::path::PathId;
use crate::http::{Uncached, uncached};
use crate::report::view::ReportView;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(report))
}

/// The report of a sale
///
/// It reads all purchases of the product: with millions of them it takes a minute or more, and each server makes one report at
/// a time.
#[utoipa::path(
    get, path = "/products/{id}/report", tag = "audit", operation_id = "getReport",
    params(("id" = String, Path, description = "The product's id", example = "65f1c0ffee65f1c0ffee65f1")),
    responses((status = OK, description = "The report", body = ReportView)),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!(["forbidden", "product_not_found", "overloaded", "database_unavailable"]))),
)]
async fn report(State(app): State<AppState>, _admin: Admin, id: PathId) -> Result<Uncached<ReportView>> {
    Ok(uncached(app.reports.of(id.or(Error::ProductNotFound)?).await?))
}
