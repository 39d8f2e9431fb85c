//! `/audit`: what was changed, by whom, from where.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Admin;
use super::state::AppState;
use crate::audit::{self, AuditCursor, AuditEntryView, AuditFilter, action_named};
use crate::error::Result;
use crate::http::fields::timestamp;
use crate::http::page::{Page, Query, id};
use crate::http::{Uncached, uncached};
use crate::model::audit::Action;
use crate::model::timestamp::Timestamp;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_audit))
}

/// What was changed, newest first
///
/// Every change that an admin makes, with what it changed. An entry is written in the transaction of its change, so that there
/// is never one without the other, and nothing changes or removes it.
#[utoipa::path(
    get, path = "/audit", tag = "audit", operation_id = "listAudit",
    params(
        ("actor" = Option<String>, Query, description = "Only what this user did", example = "65f1c0ffee65f1c0ffee65f2"),
        ("target" = Option<String>, Query, description = "Only what was done to this user, product or purchase", example = "65f1c0ffee65f1c0ffee65f1"),
        ("action" = inline(Option<Action>), Query, description = "Only this", example = "product_restocked"),
        ("after" = Option<Timestamp>, Query, description = "Only what was done later than this"),
        ("before" = Option<Timestamp>, Query, description = "Only what was done earlier than this"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "Items on the page: 1 to 200, 50 without it", example = 50),
        ("cursor" = Option<String>, Query, min_length = 1, max_length = 500, description = "The `nextCursor` of the page before"),
    ),
    responses((status = OK, description = "A page of the audit log", body = Page<AuditEntryView>)),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!(["forbidden", "overloaded", "database_unavailable"]))),
)]
async fn list_audit(
    State(app): State<AppState>,
    _admin: Admin,
    mut query: Query,
) -> Result<Uncached<Page<AuditEntryView>>> {
    let moment = |text: &str| timestamp(text.into());
    let filter = AuditFilter {
        actor: query.parameter("actor", id),
        target: query.parameter("target", id),
        action: query.parameter("action", action_named),
        after: query.parameter("after", moment),
        before: query.parameter("before", moment),
    };
    let page = query.page(|_: &AuditCursor| true);
    query.finish()?;
    Ok(uncached(audit::list(&app.store, &filter, &page).await?))
}
