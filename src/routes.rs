//! The HTTP API: one file per resource, the one list of routes, and the layers around all of them.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::{Either, ready};
use hyper::body::Incoming;
use tower::util::option_layer;
use tower::{Layer, Service, service_fn};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;

use self::parameters::BareRoutes;
use self::purchases::PURCHASE_PATH;
use self::state::AppState;
use crate::config::CorsOrigins;
use crate::error::Error;
use crate::http::{discard, request_id};

pub(crate) mod auth;
pub(crate) mod events;
pub(crate) mod extract;
pub(crate) mod leaderboard;
pub(crate) mod live;
pub(crate) mod metrics;
pub(crate) mod openapi;
mod parameters;
pub(crate) mod payments;
pub(crate) mod products;
pub(crate) mod purchases;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod storefront;

/// The whole application as one service: the routes and the layers around them. The layers are plain functions, because
/// axum's router would box and clone each layer for every request.
pub fn service(
    app: AppState,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
    let routes = quick_routes(app.clone());
    let cors = cors(&app.cors_origins);
    let discarding = {
        // Shared, because each connection keeps some copies of this service and its future.
        let limits = Arc::new(app.limits.http);
        service_fn(move |request| discard::layer(limits.clone(), request, routes.clone()))
    };
    let with_cors = option_layer(cors).layer(discarding.clone());
    let inner = service_fn(move |request: Request<Incoming>| {
        // The CORS layer would answer every OPTIONS as a preflight. Without this header it is not one, and the router
        // treats it like any other method.
        let is_preflight = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        match request.method() != Method::OPTIONS || is_preflight {
            true => Either::Left(with_cors.clone().call(request)),
            false => Either::Right(discarding.clone().call(request)),
        }
    });
    let answers = app.metrics.answers.clone();
    service_fn(move |request| request_id::layer(answers.clone(), request, inner.clone()))
}

/// All routes, with a shortcut for the purchase, which a crowd calls most: the router would search for it and box its
/// future three times.
fn quick_routes(
    app: AppState,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static {
    let purchase = purchases::purchase_service(app.clone());
    let (routes, bare_routes) = routes(app);
    let bare_routes = Arc::new(bare_routes);
    service_fn(move |request: Request| {
        if let Err(refusal) = bare_routes.check(&request) {
            return Either::Left(ready(Ok(refusal.into_response())));
        }
        let is_purchase = request.method() == Method::POST && request.uri().path() == PURCHASE_PATH;
        Either::Right(match is_purchase {
            true => Either::Left(purchase.clone().call(request)),
            false => Either::Right(routes.clone().call(request)),
        })
    })
}

fn routes(app: AppState) -> (Router, BareRoutes) {
    let (routes, document) = OpenApiRouter::with_openapi(openapi::base())
        .merge(auth::router())
        .merge(products::router())
        .merge(purchases::router())
        .merge(payments::router())
        .merge(leaderboard::router())
        .merge(events::router())
        .merge(status::router())
        .merge(metrics::router())
        .split_for_parts();
    let bare_routes = BareRoutes::of(&document);
    let routes = routes
        .merge(live::router())
        .merge(openapi::router(document))
        .merge(storefront::router())
        .fallback(|| async { Error::NO_ROUTE })
        .method_not_allowed_fallback(|| async { Error::MethodNotAllowed })
        .with_state(app);
    (routes, bare_routes)
}

/// `None` when no page of another origin may call the API: without CORS headers browsers refuse them all.
fn cors(origins: &CorsOrigins) -> Option<CorsLayer> {
    let own = |name: &'static str| HeaderName::from_static(name);
    let origins = match origins {
        CorsOrigins::List(origins) if origins.is_empty() => return None,
        CorsOrigins::Any => AllowOrigin::any(),
        CorsOrigins::List(origins) => {
            AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
        }
    };
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            own("idempotency-key"),
            own("last-event-id"),
            own("x-request-id"),
        ])
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            header::ALLOW,
            own("idempotent-replayed"),
            own("x-request-id"),
        ])
        .max_age(std::time::Duration::from_secs(600));
    Some(cors)
}
