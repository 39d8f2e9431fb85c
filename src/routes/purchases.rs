//! `/products/purchase` and `/purchases`: buying, and the purchases made.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use tower::Service;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::limits::PurchaseShare;
use super::state::{App, AppState};
use crate::accounts::current_user::CurrentUser;
use crate::error::{Error, Result};
use crate::http::body::{Body, FromFields};
use crate::http::client::Client;
use crate::http::fields::{Fields, id, integer};
use crate::http::path::PathId;
use crate::http::{Uncached, uncached};
use crate::model::audit::{Actor, Asked, RequestKey};
use crate::model::id::Id;
use crate::model::money::Money;
use crate::model::network::Network;
use crate::products::request::{Price, QUANTITY_MAX, money};
use crate::purchases::lane::queued::Receipt;
use crate::purchases::view::PurchaseView;

/// The client's key for a purchase, which makes it safe to send the request twice.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that repeats the one to an earlier request with the same key.
pub(super) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const IDEMPOTENCY_KEY_CHARACTERS_MAX: usize = 255;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(purchase)).routes(routes!(get_purchase))
}

pub const PURCHASE_PATH: &str = "/products/purchase";

/// The handler of `PURCHASE_PATH`, for the shortcut around the router.
pub fn purchase_service(
    app: AppState,
) -> impl Service<axum::extract::Request, Response = Response, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    purchase.with_state(app)
}

/// What to buy.
#[derive(Debug, PartialEq, Eq, utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct PurchaseRequest {
    /// The product's id.
    #[schema(value_type = String, example = "65f1c0ffee65f1c0ffee65f1")]
    product_id: Id,
    /// Units; 1 if it is missing. The purchase gets all of them or none.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 1000, example = 1)]
    quantity: i64,
    /// The price of one unit that you have seen: if it is another one at the moment of the purchase, nothing is bought
    /// (`price_changed`).
    #[schema(value_type = Option<Price>)]
    expected_price: Option<Money>,
}

impl FromFields for PurchaseRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let product_id = fields.required("productId", id);
        let quantity = fields.optional("quantity", integer(1..=QUANTITY_MAX));
        let expected_price = match fields.take("expectedPrice") {
            None | Some(Value::Null) => None,
            Some(value) => money(fields, "expectedPrice", value),
        };
        Some(Self { product_id: product_id?, quantity: quantity.unwrap_or(1), expected_price })
    }

    fn from_plain(json: &[u8]) -> Option<Self> {
        // serde would also accept an array of the values.
        if json.first() != Some(&b'{') {
            return None;
        }
        let PlainPurchaseRequest { product_id, quantity } = serde_json::from_slice(json).ok()?;
        let quantity = quantity.unwrap_or(1);
        let product_id = product_id.parse().ok()?;
        (1..=QUANTITY_MAX).contains(&quantity).then_some(Self { product_id, quantity, expected_price: None })
    }
}

/// The body in its shortest form, each member at most once, no escapes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PlainPurchaseRequest<'a> {
    product_id: &'a str,
    quantity: Option<i64>,
}

/// Buy
///
/// 201 means that the purchase and the reduced stock are committed together, on a majority of the database's servers.
/// If you send an `Idempotency-Key`, you can safely repeat the request, whatever happened to the first answer. Each account has
/// a quota of requests, of which a repeated purchase costs nothing. An answer `rate_limited`, like `overloaded` and
/// `database_unavailable`, says that this request has bought nothing, and nothing about earlier ones with the same key.
#[utoipa::path(
    post, path = "/products/purchase", tag = "purchases", operation_id = "purchase",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "1 to 255 visible ASCII characters, such as a random UUID. Make a new key for each purchase that you want: with the key of an earlier one you get that one again")),
    request_body = PurchaseRequest,
    responses((status = CREATED, description = "It is yours", body = PurchaseView, headers(
        ("Location" = String, description = "Where the purchase is"),
        ("Idempotent-Replayed" = String, description = "`true` if the key was used before and this is the purchase that was made then"),
    ))),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!([
        "account_too_new", "product_not_found", "sale_not_started", "sale_ended", "sale_paused", "sold_out",
        "insufficient_stock", "purchase_limit_reached", "too_many_lapses", "price_changed", "idempotency_key_reused", "rate_limited", "overloaded",
        "database_unavailable", "outcome_unknown",
    ]))),
)]
async fn purchase(
    State(app): State<AppState>,
    _has_room: HasRoom,
    user: Result<CurrentUser>,
    client: Client,
    key: Result<IdempotencyKey>,
    body: Result<Body<PurchaseRequest>>,
) -> Result<Response> {
    let user = user.inspect_err(|refusal| {
        // The server cannot know whether the token still counts.
        if refusal.is_fault() {
            app.metrics.count_purchase(refusal.code().name());
        }
    })?;
    let mut share = app.client_limits.take_purchase(user.id, client);
    let outcome = buy(&app, user, client.network, &mut share, key, body).await;
    app.metrics.count_purchase(match &outcome {
        Ok(Receipt { replayed: true, .. }) => "replayed",
        Ok(Receipt { purchase, .. }) => {
            app.metrics.units_sold.inc_by(u64::try_from(purchase.quantity).unwrap_or(0));
            "bought"
        }
        Err(error) => error.code().name(),
    });
    let mut response = match outcome {
        Ok(receipt) => {
            let view = app.purchases.view(&receipt.purchase).await;
            created(&receipt, view).into_response()
        }
        Err(error) => error.into_response(),
    };
    app.client_limits.tell(&share, response.headers_mut());
    Ok(response)
}

async fn buy(
    app: &App,
    user: CurrentUser,
    network: Network,
    share: &mut PurchaseShare,
    key: Result<IdempotencyKey>,
    body: Result<Body<PurchaseRequest>>,
) -> Result<Receipt> {
    if let Err(refusal) = share.check() {
        let may_be_replay = match &key {
            // Boxed, or every purchase would carry the room for this question.
            Ok(IdempotencyKey(Some(key))) => Box::pin(is_used(app, user.id, key)).await?,
            _ => false,
        };
        if !may_be_replay {
            app.client_limits.count_refusal(share);
            return Err(refusal);
        }
    }
    let (IdempotencyKey(key), Body(body)) = Error::both(key, body)?;
    let _permit = app.purchases.admit()?;
    let expected_price = body.expected_price.as_ref().map(Into::into);
    let receipt =
        app.purchases.purchase(body.product_id, body.quantity, expected_price, key, user, network).await?;
    if receipt.replayed {
        app.client_limits.give_back(share);
    }
    Ok(receipt)
}

/// Whether the key is that of a purchase that was made. This server remembers those that it has sold lately; for others it
/// asks the database, a bounded number of times.
async fn is_used(app: &App, user: Id, key: &str) -> Result<bool> {
    if app.purchases.remembers_key(user, key) {
        return Ok(true);
    }
    Ok(app.client_limits.may_look_up_key(user) && app.purchases.finds_key(user, key).await?)
}

fn created(receipt: &Receipt, view: PurchaseView) -> Result<Response> {
    let location = HeaderValue::from_str(&format!("/purchases/{}", receipt.purchase.id.to_hex()));
    let location = [(header::LOCATION, location.map_err(|_| Error::Internal)?)];
    let replayed = receipt.replayed.then(|| [(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"))]);
    let view = Json(view);
    Ok(match replayed {
        Some(replayed) => (StatusCode::CREATED, location, replayed, view).into_response(),
        None => (StatusCode::CREATED, location, view).into_response(),
    })
}

/// Refuses with `overloaded` what would wait too long. It comes before the token is verified, so that a refusal costs next
/// to nothing.
struct HasRoom;

impl FromRequestParts<AppState> for HasRoom {
    type Rejection = Error;

    async fn from_request_parts(_: &mut Parts, app: &AppState) -> Result<Self> {
        let refused = |refusal: &Error| app.metrics.count_purchase(refusal.code().name());
        app.purchases.check_room().inspect_err(refused)?;
        Ok(Self)
    }
}

/// The header `Idempotency-Key`, if there is one; refuses a malformed one with `validation_failed`.
pub(super) struct IdempotencyKey(Option<Arc<str>>);

impl FromRequestParts<AppState> for IdempotencyKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self> {
        Self::of(&parts.headers)
    }
}

impl IdempotencyKey {
    /// A change that may come again under this key; `request` tells what is asked for from every other request.
    pub(super) fn asked(self, actor: Actor, request: &str) -> Asked {
        let key = self.0.map(|key| RequestKey { key: (*key).to_owned(), request: request.to_owned() });
        Asked { actor, key }
    }

    fn of(headers: &HeaderMap) -> Result<Self> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let valid = values.next().is_none()
            && (1..=IDEMPOTENCY_KEY_CHARACTERS_MAX).contains(&value.len())
            && value.as_bytes().iter().all(u8::is_ascii_graphic);
        match value.to_str() {
            Ok(key) if valid => Ok(Self(Some(key.into()))),
            _ => {
                Err(Error::invalid("Idempotency-Key", "must be one key of 1 to 255 visible ASCII characters"))
            }
        }
    }
}

/// One purchase
///
/// Another buyer's is not found, except by an admin or a payment service. A purchase whose outcome is not known yet is answered
/// `outcome_unknown`, by the server that tries to commit it.
#[utoipa::path(
    get, path = "/purchases/{id}", tag = "purchases", operation_id = "getPurchase",
    params(("id" = String, Path, description = "The purchase's id", example = "65f1c0ffee65f1c0ffee65f3")),
    responses((status = OK, description = "The purchase", body = PurchaseView)),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!(["purchase_not_found", "overloaded", "database_unavailable", "outcome_unknown"]))),
)]
async fn get_purchase(
    State(app): State<AppState>,
    user: CurrentUser,
    id: PathId,
) -> Result<Uncached<PurchaseView>> {
    Ok(uncached(app.purchases.find(id.or(Error::PurchaseNotFound)?, &user).await?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::http::arbitrary::header_bytes;
    use crate::http::body::parse_fields;

    const PLAIN: &str = r#"{"productId":"65f1c0ffee65f1c0ffee65f1","quantity":2}"#;

    /// If `from_plain` reads the body, reading it field by field must give the same.
    fn check_same(json: &[u8]) -> Option<PurchaseRequest> {
        let plain = PurchaseRequest::from_plain(json)?;
        assert_eq!(parse_fields(json).as_ref(), Ok(&plain), "{}", String::from_utf8_lossy(json));
        Some(plain)
    }

    #[test]
    fn a_usual_body_is_read_by_from_plain() {
        assert_eq!(check_same(PLAIN.as_bytes()).unwrap().quantity, 2);
        for usual in [
            r#"{"productId":"65f1c0ffee65f1c0ffee65f1"}"#,
            r#"{ "quantity" : null , "productId" : "65F1C0FFEE65F1C0FFEE65F1" }"#,
            "{\"productId\":\"65f1c0ffee65f1c0ffee65f1\",\n\"quantity\":1}\r\n",
        ] {
            assert_eq!(check_same(usual.as_bytes()).unwrap().quantity, 1);
        }
    }

    #[test]
    fn an_unusual_body_is_left_to_from_fields() {
        let id = "65f1c0ffee65f1c0ffee65f1";
        for unusual in [
            String::new(),
            " ".to_owned() + PLAIN,
            "\u{feff}".to_owned() + PLAIN,
            PLAIN.to_owned() + "x",
            PLAIN.repeat(2),
            PLAIN.replace('2', "2.0"),
            PLAIN.replace('2', "-0"),
            PLAIN.replace('2', "1001"),
            PLAIN.replace('2', "1e400"),
            PLAIN.replace('2', "NaN"),
            PLAIN.replace("65f1", "\\u0036\\u0035f1"),
            format!("[\"{id}\",1]"),
            format!("{{\"productId\":\"{id}\",\"productId\":\"{id}\"}}"),
            format!("{{\"productId\":\"{id}\",\"x\":{}{}}}", "[".repeat(200), "]".repeat(200)),
        ] {
            assert_eq!(PurchaseRequest::from_plain(unusual.as_bytes()), None, "{unusual}");
        }
    }

    fn member() -> impl Strategy<Value = String> {
        let name = select(vec![
            "productId",
            "productId",
            "quantity",
            "quantity",
            "productid",
            "expectedPrice",
            "x",
            "",
            "\\u0070roductId",
        ]);
        let value = select(vec![
            "\"65f1c0ffee65f1c0ffee65f1\"",
            "\"65F1C0FFEE65f1c0ffee65f2\"",
            "\"65f1\"",
            "\"\\u0036\"",
            "\"\"",
            "1",
            "2",
            "1000",
            "1001",
            "0",
            "-1",
            "-0",
            "1.0",
            "1e0",
            "1e400",
            "9223372036854775808",
            "01",
            "NaN",
            "null",
            "true",
            "\"1\"",
            "{}",
            "[1]",
            "{\"$gt\":\"\"}",
            "{\"amount\":1999,\"currency\":\"USD\"}",
        ]);
        (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"))
    }

    fn body() -> impl Strategy<Value = String> {
        let blank = || select(vec!["", "", "", " ", "\n", "\u{feff}", "x", ",", "{", "}"]);
        let members = proptest::collection::vec(member(), 0..4);
        (blank(), members, blank())
            .prop_map(|(before, members, after)| format!("{before}{{{}}}{after}", members.join(",")))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

        #[test]
        fn both_ways_of_reading_agree(json in body()) {
            check_same(json.as_bytes());
        }

        #[test]
        fn both_ways_of_reading_agree_on_a_broken_body(at in 0..PLAIN.len(), byte: u8) {
            let mut json = PLAIN.as_bytes().to_vec();
            json[at] = byte;
            check_same(&json);
        }

        #[test]
        fn a_key_is_read_or_refused(bytes in header_bytes(), twice: bool) {
            let is_good = !twice && (1..=255).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.append(IDEMPOTENCY_KEY, value.clone());
            if twice {
                headers.append(IDEMPOTENCY_KEY, value);
            }
            let key = IdempotencyKey::of(&headers).ok().and_then(|key| key.0);
            prop_assert_eq!(key.as_deref().map(str::as_bytes), is_good.then_some(&bytes[..]));
        }
    }
}
