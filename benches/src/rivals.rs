//! The servers that the product is compared with. They share its accept loop, allocator, tokens and answers, but sell
//! in another way, or not at all.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flash_sale::accounts::current_user::CurrentUser;
use flash_sale::accounts::tokens::Tokens;
use flash_sale::config::HttpLimits;
use flash_sale::error::{Error, PROBLEM_JSON, Problem};
use flash_sale::http::accept;
use flash_sale::http::client::Clients;
use flash_sale::http::http_runtime::HttpRuntime;
use flash_sale::model::id::Id;
use flash_sale::model::money::Money;
use flash_sale::model::purchase::PurchaseStatus;
use flash_sale::model::timestamp::Timestamp;
use flash_sale::purchases::view::PurchaseView;
use flash_sale::signals::Signals;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::{Outcome, buyers};

pub mod redis_counter;
pub mod token_only;
pub mod transaction_per_request;
pub mod unbounded;

/// The price that every rival sells at, in cents.
const UNIT_PRICE: i64 = 9_900;

/// The options of every rival.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// The port to listen on; 0 takes any free port
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The secret that signs tokens
    #[arg(long)]
    secret: String,
}

impl Common {
    fn verifier(&self) -> Verifier {
        Verifier(Arc::new(buyers::signer(&self.secret)))
    }
}

/// The product's own verification of tokens.
#[derive(Clone)]
pub struct Verifier(Arc<Tokens>);

/// The options of a rival that sells.
#[derive(Debug, Clone, clap::Args)]
pub struct Sale {
    /// The id of the product
    #[arg(long)]
    product: Id,
    /// How many units are for sale
    #[arg(long)]
    stock: i64,
    /// How many units one buyer may have
    #[arg(long, default_value_t = 1)]
    limit: i64,
}

impl Sale {
    /// The window of the sale in milliseconds since 1970: from a day ago to a day from now.
    fn window_ms(&self) -> (i64, i64) {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        let now = Timestamp::now_here().milliseconds();
        (now - DAY_MS, now + DAY_MS)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PurchaseRequest {
    product_id: Id,
    #[serde(default = "one")]
    quantity: i64,
}

fn one() -> i64 {
    1
}

/// The buyer named by the token, which is checked before the body is read, as in the product.
pub struct Buyer(CurrentUser);

impl<S: Send + Sync> FromRequestParts<S> for Buyer
where
    Verifier: FromRef<S>,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let refused =
            Error::Unauthenticated { detail: "Send `Authorization: Bearer` and a token.", has_token: false };
        let value = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer ")).ok_or(Refusal(refused))?;
        Verifier::from_ref(state).0.verify(token).map(Self).map_err(Refusal)
    }
}

/// A refusal in the product's own format.
pub struct Refusal(Error);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let request_id = format!("{:032x}", rand::random::<u128>());
        let problem = Problem { error: &self.0, instance: &request_id };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        (self.0.code().status(), [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response()
    }
}

/// The answer to a purchase in the product's format: 201 with a Location.
fn bought(
    id: Id,
    buyer: &CurrentUser,
    request: &PurchaseRequest,
    sequence: i64,
    purchased_at: Timestamp,
) -> Response {
    let price = |amount| Money { amount, currency: "USD".into() };
    let view = PurchaseView {
        id: id.to_hex(),
        product_id: request.product_id.to_hex(),
        product_name: "Bench".into(),
        user_id: buyer.id.to_hex(),
        quantity: request.quantity,
        unit_price: price(UNIT_PRICE),
        total: price(UNIT_PRICE * request.quantity),
        sequence,
        purchased_at,
        status: PurchaseStatus::Confirmed,
        expires_at: None,
        payment_reference: None,
        refund_due: false,
        status_changed_at: purchased_at,
    };
    let location = HeaderValue::from_str(&format!("/purchases/{}", view.id));
    match location {
        Ok(location) => {
            (StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(view)).into_response()
        }
        Err(_) => Refusal(Error::Internal).into_response(),
    }
}

/// Serves until Ctrl-C or SIGTERM. Prints its address on standard output.
async fn serve(port: u16, router: Router) -> Outcome {
    let listener = accept::listen("127.0.0.1", port).await?;
    announce(listener.local_addr()?);
    let mut end = Signals::listen()?;
    let shutdown = CancellationToken::new();
    let stopping = shutdown.clone();
    let limits = HttpLimits::default();
    let clients = Clients::new(Default::default(), true);
    let (_http_runtime, serving) =
        HttpRuntime::serve(listener, router, limits, clients, Default::default(), stopping)?;
    end.next().await;
    shutdown.cancel();
    serving.await?;
    Ok(())
}

fn announce(address: std::net::SocketAddr) {
    println!("{}", serde_json::json!({ "url": format!("http://{address}"), "pid": std::process::id() }));
}

/// Prints the reason of a 500 for the person who measures; the client does not see it.
fn complain(error: &dyn std::error::Error) -> Refusal {
    eprintln!("flash-sale-benches: {error} {:?}", error.source());
    Refusal(Error::Internal)
}
