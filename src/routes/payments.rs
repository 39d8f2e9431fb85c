//! What becomes of a purchase: the payment service confirms it, its buyer cancels it, an admin refunds it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Admin, Staff};
use super::purchases::{IDEMPOTENT_REPLAYED, IdempotencyKey};
use super::state::{App, AppState};
use crate::accounts::current_user::CurrentUser;
use crate::error::{Error, Result};
use crate::http::body::{Body, Digested, FromFields, parse_fields};
use crate::http::fields::{Fields, boolean, integer, line};
use crate::http::path::PathId;
use crate::http::uncached;
use crate::model::audit::{Actor, Asked};
use crate::model::id::Id;
use crate::model::money::Price;
use crate::products::request::money_up_to;
use crate::purchases::settle::transitions::{Paid, Wish};
use crate::purchases::view::PurchaseView;

/// The characters of what a payment service calls a payment.
const REFERENCE_CHARACTERS_MAX: usize = 255;
/// The characters of the reason of a refund.
const REASON_CHARACTERS_MAX: usize = 500;
/// The most that a purchase may cost: 1,000 units of the highest price.
const TOTAL_MAX: i64 = 1_000_000_000_000_000;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(confirm_purchase))
        .routes(routes!(cancel_purchase))
        .routes(routes!(refund_purchase))
}

/// A payment.
#[derive(Debug, utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ConfirmPurchaseRequest {
    /// What the payment service calls the payment.
    #[schema(value_type = String, min_length = 1, max_length = 255, example = "pi_3PZk2eKZ")]
    payment_reference: Arc<str>,
    /// What was paid, in the currency's minor unit, or with the currency: it has to be the purchase's total.
    #[schema(value_type = Option<AmountPaid>)]
    amount: Option<Paid>,
}

/// Minor units, or money.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it only describes the member `amount`")]
enum AmountPaid {
    MinorUnits(MinorUnits),
    Money(PaidMoney),
}

/// What was paid, in the minor unit (cents) of the purchase's currency.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64, example = 1999)]
struct MinorUnits(i64);

/// What was paid, with its currency.
#[derive(Serialize, utoipa::ToSchema)]
struct PaidMoney {
    /// In the currency's minor unit (cents).
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64, example = 1999)]
    amount: i64,
    /// The ISO 4217 code.
    #[schema(example = "USD", pattern = "^[A-Z]{3}$")]
    currency: String,
}

impl FromFields for ConfirmPurchaseRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let reference = fields.required("paymentReference", line(1..=REFERENCE_CHARACTERS_MAX));
        let amount = match fields.take("amount") {
            None | Some(Value::Null) => None,
            Some(value @ Value::Object(_)) => {
                money_up_to(TOTAL_MAX, fields, "amount", value).map(|money| Paid::Money(Price::from(&money)))
            }
            Some(value) => fields.given("amount", value, integer(0..=TOTAL_MAX)).map(Paid::Amount),
        };
        Some(Self { payment_reference: reference?.into(), amount })
    }
}

/// A refund.
#[derive(Debug, utoipa::ToSchema)]
pub struct RefundPurchaseRequest {
    /// Whether the units are for sale again; true if it is missing.
    #[schema(value_type = Option<bool>, example = true)]
    restock: bool,
    /// Why, for the audit log.
    #[schema(min_length = 1, max_length = 500, example = "Arrived broken")]
    reason: Option<String>,
}

impl FromFields for RefundPurchaseRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let restock = fields.optional("restock", boolean);
        let reason = fields.optional("reason", line(1..=REASON_CHARACTERS_MAX));
        Some(Self { restock: restock.unwrap_or(true), reason })
    }
}

/// A body that says nothing.
struct NoMembers;

impl FromFields for NoMembers {
    fn from_fields(_: &mut Fields) -> Option<Self> {
        Some(Self)
    }
}

/// Tell that a purchase is paid for
///
/// For the shop's payment service, as often as it likes: the same `paymentReference` again answers 200 with the same
/// purchase, so no idempotency key is needed. Money that comes too late buys the units
/// again if stock and limit allow it, whatever the sale's window says. If not, the reference is kept, `refundDue` is
/// true, and the answer is `payment_unfillable`, for good: give the money back.
#[utoipa::path(
    post, path = "/purchases/{id}/confirm", tag = "purchases", operation_id = "confirmPurchase",
    params(
        ("id" = String, Path, description = "The purchase's id", example = "65f1c0ffee65f1c0ffee65f3"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "1 to 255 visible ASCII characters. With the key of an earlier change of yours you get that purchase as it is now, if the request is the same"),
    ),
    request_body = ConfirmPurchaseRequest,
    responses((status = OK, description = "The purchase, confirmed", body = PurchaseView)),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!([
        "forbidden", "purchase_not_found", "idempotency_key_reused", "purchase_not_pending", "payment_unfillable", "amount_mismatch", "overloaded",
        "database_unavailable", "outcome_unknown",
    ]))),
)]
async fn confirm_purchase(
    State(app): State<AppState>,
    Staff(user): Staff,
    actor: Actor,
    id: PathId,
    key: Result<IdempotencyKey>,
    body: Result<Body<Digested<ConfirmPurchaseRequest>>>,
) -> Result<Response> {
    let (key, Body(Digested { body, digest })) = Error::both(key, body)?;
    let wish = Wish::Confirm { reference: body.payment_reference, paid: body.amount };
    let id = id.or(Error::PurchaseNotFound)?;
    let by = key.asked(actor.of(user.id), &format!("POST /purchases/{id}/confirm {digest}"));
    change(&app, id, &user, wish, by, None).await
}

/// Give up a purchase that is not paid for
///
/// Its units are for sale again, and its buyer's limit is free again. By its buyer or an admin; for its buyer it counts as
/// a lapse. Asking again makes no difference.
#[utoipa::path(
    post, path = "/purchases/{id}/cancel", tag = "purchases", operation_id = "cancelPurchase",
    params(
        ("id" = String, Path, description = "The purchase's id", example = "65f1c0ffee65f1c0ffee65f3"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "1 to 255 visible ASCII characters. With the key of an earlier change of yours you get that purchase as it is now, if the request is the same"),
    ),
    responses((status = OK, description = "The purchase, canceled", body = PurchaseView)),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!([
        "forbidden", "purchase_not_found", "idempotency_key_reused", "purchase_not_pending", "overloaded", "database_unavailable", "outcome_unknown",
    ]))),
)]
async fn cancel_purchase(
    State(app): State<AppState>,
    user: CurrentUser,
    actor: Actor,
    id: PathId,
    key: Result<IdempotencyKey>,
    body: Result<Option<Body<NoMembers>>>,
) -> Result<Response> {
    let (key, _) = Error::both(key, body)?;
    let id = id.or(Error::PurchaseNotFound)?;
    let by = key.asked(actor.of(user.id), &format!("POST /purchases/{id}/cancel"));
    change(&app, id, &user, Wish::Cancel { by_buyer: true }, by, None).await
}

/// Give the money of a purchase back
///
/// The buyer's limit is free again. With `restock` the units are for sale again, without they stay sold. The money itself
/// is the payment service's. Of an expired or canceled purchase whose payment came too late it tells that the money has gone
/// back: `refundDue` is false from then on, and nothing else changes. Asking again makes no difference.
#[utoipa::path(
    post, path = "/purchases/{id}/refund", tag = "purchases", operation_id = "refundPurchase",
    params(
        ("id" = String, Path, description = "The purchase's id", example = "65f1c0ffee65f1c0ffee65f3"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "1 to 255 visible ASCII characters. With the key of an earlier change of yours you get that purchase as it is now, if the request is the same"),
    ),
    request_body = Option<RefundPurchaseRequest>,
    responses((status = OK, description = "The purchase, `refunded`, or with no refund due any more", body = PurchaseView)),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!([
        "forbidden", "purchase_not_found", "idempotency_key_reused", "purchase_not_pending", "overloaded", "database_unavailable", "outcome_unknown",
    ]))),
)]
async fn refund_purchase(
    State(app): State<AppState>,
    Admin(user): Admin,
    actor: Actor,
    id: PathId,
    key: Result<IdempotencyKey>,
    body: Result<Option<Body<Digested<RefundPurchaseRequest>>>>,
) -> Result<Response> {
    let (key, body) = Error::both(key, body)?;
    let Digested { body, digest } = match body {
        Some(Body(body)) => body,
        None => parse_fields(b"{}")?,
    };
    let id = id.or(Error::PurchaseNotFound)?;
    let by = key.asked(actor.of(user.id), &format!("POST /purchases/{id}/refund {digest}"));
    change(&app, id, &user, Wish::Refund { restock: body.restock }, by, body.reason).await
}

async fn change(
    app: &App,
    id: Id,
    user: &CurrentUser,
    wish: Wish,
    by: Asked,
    reason: Option<String>,
) -> Result<Response> {
    let (purchase, replayed) = app.purchases.change(id, user, wish, by, reason).await?;
    let replayed = replayed.then(|| [(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"))]);
    Ok((replayed, uncached(purchase)).into_response())
}
