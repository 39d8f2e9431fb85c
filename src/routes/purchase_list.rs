//! `GET /purchases`: pages of purchases, or all of them as CSV.

use std::io;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::AppState;
use crate::accounts::current_user::CurrentUser;
use crate::error::Result;
use crate::http::negotiation::prefers;
use crate::http::page::{Page, Query, id, truth};
use crate::http::uncached;
use crate::model::purchase::PurchaseStatus;
use crate::purchases::history::{Order, PurchaseCursor};
use crate::purchases::listing::{PurchaseFilter, status_named};
use crate::purchases::view::PurchaseView;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_purchases))
}

/// Own purchases, newest first; admins and payment services see everybody's
///
/// A purchase is in the list as soon as it was answered 201.
///
/// With `Accept: text/csv` the answer is not a page but all purchases that match, `limit` and `cursor` aside: one line for each,
/// after a header, with the members of a purchase as columns (`unitPrice.amount`). A text that a spreadsheet would take for a
/// formula begins with an apostrophe. An answer that is not complete ends with an error of the connection.
#[utoipa::path(
    get, path = "/purchases", tag = "purchases", operation_id = "listPurchases",
    params(
        ("productId" = Option<String>, Query, description = "Only purchases of this product", example = "65f1c0ffee65f1c0ffee65f1"),
        ("status" = inline(Option<PurchaseStatus>), Query, description = "Only purchases that are this now", example = "confirmed"),
        ("refundDue" = Option<bool>, Query, description = "`true`: only purchases whose money has to go back", example = true),
        ("userId" = Option<String>, Query, description = "Only purchases of this user. Only for admins and payment services: for others it is an unknown parameter, `validation_failed`", example = "65f1c0ffee65f1c0ffee65f2"),
        ("order" = inline(Option<ListOrder>), Query, description = "`asc`: oldest first", example = "asc"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "Items on the page: 1 to 200, 50 without it", example = 50),
        ("cursor" = Option<String>, Query, min_length = 1, max_length = 500, description = "The `nextCursor` of the page before"),
    ),
    responses((status = OK, description = "A page of purchases, or all of them as CSV", content(
        (Page<PurchaseView> = "application/json"), (String = "text/csv"),
    ))),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!(["overloaded", "database_unavailable"]))),
)]
async fn list_purchases(
    State(app): State<AppState>,
    user: CurrentUser,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response> {
    let filter = PurchaseFilter {
        product: query.parameter("productId", id),
        status: query.parameter("status", status_named),
        refund_due: query.parameter("refundDue", truth),
        user: match user.role.is_staff() {
            true => query.parameter("userId", id),
            false => Some(user.id),
        },
    };
    let order = query.parameter("order", Order::named).unwrap_or(Order::NewestFirst);
    let page = query.page(|cursor: &PurchaseCursor| cursor.is_of_history(filter.product));
    query.finish()?;
    let mut response = match prefers(&headers, "text/csv", "application/json") {
        true => csv(app.exports.stream(filter, order).await?),
        false => {
            let purchases = app.purchases.list(&filter, order, &page).await?;
            uncached(purchases).into_response()
        }
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

fn csv(rows: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"purchases.csv\"")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Body::from_stream(rows)).into_response()
}

/// The order of a list.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "it only describes the parameter `order`")]
pub enum ListOrder {
    Asc,
    Desc,
}
