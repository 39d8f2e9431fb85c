//! `/leaderboard`: who bought, in chronological order.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::purchase_list::ListOrder;
use super::state::AppState;
use crate::error::Result;
use crate::http::page::{Page, Query, id};
use crate::model::leaderboard_item::LeaderboardItem;
use crate::purchases::history::{Order, PurchaseCursor};

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(leaderboard))
}

/// Who bought, oldest purchase first unless `order` says otherwise
///
/// Buyers have a first name and an initial; nothing here tells who they are beyond that.
#[utoipa::path(
    get, path = "/leaderboard", tag = "leaderboard", operation_id = "leaderboard",
    params(
        ("productId" = Option<String>, Query, description = "Only purchases of this product", example = "65f1c0ffee65f1c0ffee65f1"),
        ("order" = inline(Option<ListOrder>), Query, description = "`asc`: oldest first, as without it; `desc`: newest first"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "Items on the page: 1 to 200, 50 without it", example = 50),
        ("cursor" = Option<String>, Query, min_length = 1, max_length = 500, description = "The `nextCursor` of the page before"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the page that you have"),
    ),
    responses(
        (status = OK, description = "A page of the leaderboard", body = Page<LeaderboardItem>, headers(("ETag" = String, description = "For If-None-Match"))),
        (status = NOT_MODIFIED, description = "The page is the one that you have"),
    ),
    extensions(("x-problem-codes" = json!(["overloaded", "database_unavailable"]))),
)]
async fn leaderboard(State(app): State<AppState>, headers: HeaderMap, mut query: Query) -> Result<Response> {
    let product = query.parameter("productId", id);
    let order = query.parameter("order", Order::named).unwrap_or(Order::OldestFirst);
    let page = query.page(|cursor: &PurchaseCursor| cursor.is_of_leaderboard(product, order));
    query.finish()?;
    Ok(app.leaderboard.page(product, order, page).await?.answer(&headers))
}
