//! `/products`: the catalogue for everybody; admins create, change, restock and delete products.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Admin;
use super::purchases::{IDEMPOTENT_REPLAYED, IdempotencyKey};
use super::state::AppState;
use crate::accounts::current_user::CurrentUser;
use crate::error::{Error, Result};
use crate::http::body::{Body, Digested};
use crate::http::conditional::if_match;
use crate::http::page::{Page, Query};
use crate::http::path::PathId;
use crate::http::request_context::RequestContext;
use crate::http::uncached;
use crate::model::audit::{Actor, Asked};
use crate::model::id::Id;
use crate::products::changes::Answer;
use crate::products::filter::{self, ProductCursor, ProductFilter};
use crate::products::pages;
use crate::products::request::{ChangeProductRequest, CreateProductRequest, RestockRequest};
use crate::products::view::ProductView;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_products, create_product))
        .routes(routes!(get_product, change_product, delete_product))
        .routes(routes!(restock_product))
}

/// All products, by the start of their sale
///
/// Products whose sales start at the same moment come in the order of their ids.
#[utoipa::path(
    get, path = "/products", tag = "products", operation_id = "listProducts",
    params(
        ("status" = Option<String>, Query, pattern = "^(upcoming|live|sold_out|ended)(,(upcoming|live|sold_out|ended))*$", description = "Only products whose sale has this status: `upcoming`, `live`, `sold_out` or `ended`, or several of them with commas", example = "live,upcoming"),
        ("ids" = Option<String>, Query, max_length = 1249, pattern = "^[0-9a-fA-F]{24}(,[0-9a-fA-F]{24}){0,49}$", description = "Only these products: up to 50 ids with commas between them", example = "65f1c0ffee65f1c0ffee65f1,65f1c0ffee65f1c0ffee65f2"),
        ("search" = Option<String>, Query, max_length = 200, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$", description = "Only products whose name contains all of these words, ignoring case, width and Unicode form; at most 200 characters and 10 different words", example = "sneaker"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "Items on the page: 1 to 200, 50 without it", example = 50),
        ("cursor" = Option<String>, Query, min_length = 1, max_length = 500, description = "The `nextCursor` of the page before"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the list that you have"),
    ),
    responses(
        (status = OK, description = "A page of products", body = Page<ProductView>, headers(("ETag" = String, description = "For If-None-Match"))),
        (status = NOT_MODIFIED, description = "The list is the one that you have"),
    ),
    extensions(("x-problem-codes" = json!(["overloaded", "database_unavailable"]))),
)]
async fn list_products(
    State(app): State<AppState>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response> {
    let statuses = query.parameter("status", filter::statuses);
    let ids = query.parameter("ids", |value| filter::ids(value, &app.limits.products));
    let words = query.parameter("search", |value| filter::search_words(value, &app.limits.products));
    let page = query.page(|_: &ProductCursor| true);
    query.finish()?;
    let filter =
        ProductFilter { statuses: statuses.unwrap_or_default(), ids, words: words.unwrap_or_default() };
    Ok(app.product_pages.list(filter, page).await?.answer(&headers))
}

/// Put a product on sale
///
/// It can be bought from `saleStartTime` on, and before `saleEndTime`, by the database's clock.
#[utoipa::path(
    post, path = "/products", tag = "products", operation_id = "createProduct",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "1 to 255 visible ASCII characters, such as a random UUID. A repeated request with it is answered as the first one was, and changes nothing")),
    request_body = CreateProductRequest,
    responses((status = CREATED, description = "The product", body = ProductView, headers(
        ("Location" = String, description = "Where the product is"), ("ETag" = String, description = "For If-Match"),
        ("Idempotent-Replayed" = String, description = "`true` if the key was used before and this is what was answered then"),
    ))),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!([
        "forbidden", "idempotency_key_reused", "overloaded", "database_unavailable", "outcome_unknown",
    ]))),
)]
async fn create_product(
    State(app): State<AppState>,
    Admin(admin): Admin,
    actor: Actor,
    key: Result<IdempotencyKey>,
    body: Result<Body<Digested<CreateProductRequest>>>,
) -> Result<Response> {
    let (key, Body(Digested { body, digest })) = Error::both(key, body)?;
    let asked = key.asked(actor.of(admin.id), &format!("POST /products {digest}"));
    let answer = app.catalogue.create(body, asked).await?;
    let id = answer.product.id;
    let location = HeaderValue::from_str(&format!("/products/{}", id.to_hex()));
    log_change(admin.id, "created", &answer);
    let mut response = whole(StatusCode::CREATED, &answer)?;
    response.headers_mut().insert(header::LOCATION, location.map_err(|_| Error::Internal)?);
    Ok(response)
}

/// One product
///
/// As it is now: its stock, and the state of its sale. With a token also `yours`, what you have of it and may still buy;
/// such an answer is for you alone and always whole, so its ETag is for `If-Match` only.
#[utoipa::path(
    get, path = "/products/{id}", tag = "products", operation_id = "getProduct",
    params(
        ("id" = String, Path, description = "The product's id", example = "65f1c0ffee65f1c0ffee65f1"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the product that you have"),
    ),
    responses(
        (status = OK, description = "The product", body = ProductView, headers(("ETag" = String, description = "For If-Match and If-None-Match"))),
        (status = NOT_MODIFIED, description = "The product is the one that you have"),
    ),
    security((), ("bearer" = [])),
    extensions(("x-problem-codes" = json!(["product_not_found", "overloaded", "database_unavailable"]))),
)]
async fn get_product(
    State(app): State<AppState>,
    user: Option<CurrentUser>,
    id: PathId,
    headers: HeaderMap,
) -> Result<Response> {
    let id = id.or(Error::ProductNotFound)?;
    let Some(user) = user else { return Ok(app.product_pages.product(id).await?.answer(&headers)) };
    let (product, yours) = tokio::try_join!(app.product_pages.product(id), app.purchases.yours(id, user.id))?;
    let tag = [(header::ETAG, product.tag().clone())];
    let mut product = product.value()?;
    // By the rules that stand beside it.
    let limit = product["purchaseLimit"].as_i64().unwrap_or_default();
    let has_payment_window = !product["paymentWindowSeconds"].is_null();
    product["yours"] = json!(yours.view(limit, has_payment_window));
    Ok((tag, uncached(product)).into_response())
}

/// Change a product
///
/// Fields that are missing stay unchanged. Every purchase changes the version too: while many people buy, send
/// `If-Match: *` to change the product whatever its version is.
#[utoipa::path(
    patch, path = "/products/{id}", tag = "products", operation_id = "changeProduct",
    params(
        ("id" = String, Path, description = "The product's id", example = "65f1c0ffee65f1c0ffee65f1"),
        ("If-Match" = String, Header, description = "The ETag of the product that you read, or its version in quotes; or `*`", example = "\"8-live\""),
    ),
    request_body = ChangeProductRequest,
    responses((status = OK, description = "The changed product", body = ProductView, headers(("ETag" = String, description = "For If-Match")))),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!([
        "forbidden", "product_not_found", "version_conflict", "precondition_required", "overloaded",
        "database_unavailable", "outcome_unknown",
    ]))),
)]
async fn change_product(
    State(app): State<AppState>,
    Admin(admin): Admin,
    actor: Actor,
    id: PathId,
    headers: HeaderMap,
    Body(request): Body<ChangeProductRequest>,
) -> Result<Response> {
    let id = id.or(Error::ProductNotFound)?;
    let asked = Asked { actor: actor.of(admin.id), key: None };
    let answer = app.catalogue.change(id, if_match(&headers), request, asked).await?;
    log_change(admin.id, "changed", &answer);
    whole(StatusCode::OK, &answer)
}

/// Delete a product of which nothing was sold
///
/// What was sold stays, so that buyers find what they bought: end its sale instead.
#[utoipa::path(
    delete, path = "/products/{id}", tag = "products", operation_id = "deleteProduct",
    params(
        ("id" = String, Path, description = "The product's id", example = "65f1c0ffee65f1c0ffee65f1"),
        ("If-Match" = Option<String>, Header, description = "Only this version", example = "\"1-upcoming\""),
    ),
    responses((status = NO_CONTENT, description = "It is gone")),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!([
        "forbidden", "product_not_found", "product_has_sales", "version_conflict", "overloaded", "database_unavailable",
        "outcome_unknown",
    ]))),
)]
async fn delete_product(
    State(app): State<AppState>,
    Admin(admin): Admin,
    actor: Actor,
    id: PathId,
    headers: HeaderMap,
) -> Result<Response> {
    let id = id.or(Error::ProductNotFound)?;
    let asked = Asked { actor: actor.of(admin.id), key: None };
    app.catalogue.delete(id, if_match(&headers), asked).await?;
    log(admin.id, "deleted", id);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Add stock
///
/// Raises `stock` and `totalStock` by the same number. A product that is sold out is for sale again.
#[utoipa::path(
    post, path = "/products/{id}/restock", tag = "products", operation_id = "restockProduct",
    params(
        ("id" = String, Path, description = "The product's id", example = "65f1c0ffee65f1c0ffee65f1"),
        ("If-Match" = Option<String>, Header, description = "Only this version", example = "\"8-live\""),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "1 to 255 visible ASCII characters, such as a random UUID. A repeated request with it is answered as the first one was, and changes nothing"),
    ),
    request_body = RestockRequest,
    responses((status = OK, description = "The product with its new stock", body = ProductView, headers(
        ("ETag" = String, description = "For If-Match"),
        ("Idempotent-Replayed" = String, description = "`true` if the key was used before and this is what was answered then"),
    ))),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!([
        "forbidden", "product_not_found", "version_conflict", "idempotency_key_reused", "overloaded",
        "database_unavailable", "outcome_unknown",
    ]))),
)]
async fn restock_product(
    State(app): State<AppState>,
    Admin(admin): Admin,
    actor: Actor,
    id: PathId,
    headers: HeaderMap,
    key: Result<IdempotencyKey>,
    body: Result<Body<Digested<RestockRequest>>>,
) -> Result<Response> {
    let id = id.or(Error::ProductNotFound)?;
    let (key, Body(Digested { body, digest })) = Error::both(key, body)?;
    let asked = key.asked(actor.of(admin.id), &format!("POST /products/{id}/restock {digest}"));
    let answer = app.catalogue.restock(id, if_match(&headers), body.quantity, asked).await?;
    log_change(admin.id, "restocked", &answer);
    whole(StatusCode::OK, &answer)
}

/// Answers with the whole product after a change.
fn whole(status: StatusCode, answer: &Answer) -> Result<Response> {
    let mut response = pages::rendered(&answer.product, answer.at)?.answer(&HeaderMap::new());
    *response.status_mut() = status;
    if answer.replayed {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn log_change(admin: Id, done: &'static str, answer: &Answer) {
    if !answer.replayed {
        log(admin, done, answer.product.id);
    }
}

fn log(admin: Id, done: &'static str, product: Id) {
    let request = RequestContext::current();
    let request_id = request.as_ref().map_or("", RequestContext::id);
    let (user_id, product_id) = (admin.to_hex(), product.to_hex());
    tracing::info!(
        request_id,
        user_id,
        product_id,
        "product {product_id} was {done} by admin {user_id}, request {request_id}"
    );
}
