//! The HTTP API: one file per resource, the one list of routes, and the layers around all of them.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use futures_util::future::Either;
use hyper::body::Incoming;
use tower::util::option_layer;
use tower::{Layer, Service, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;

use self::parameters::BareRoutes;
use self::purchases::PURCHASE_PATH;
use self::state::AppState;
use crate::config::{CorsOrigins, Shop};
use crate::error::Error;
use crate::http::accept::OneTooMany;
use crate::http::rate_limit::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::http::{discard, request_id};
use crate::metrics::http::RouteTemplate;

pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod events;
pub(crate) mod extract;
pub(crate) mod leaderboard;
pub(crate) mod limits;
pub(crate) mod live;
pub(crate) mod metrics;
pub(crate) mod openapi;
mod parameters;
pub(crate) mod payments;
pub(crate) mod products;
pub(crate) mod purchase_list;
pub(crate) mod purchases;
pub(crate) mod report;
pub(crate) mod server_figures;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod storefront;
pub(crate) mod users;

/// How long a browser may reuse the answer to a preflight: as long as Chromium does at most.
const PREFLIGHT_AGE_MAX: Duration = Duration::from_secs(7_200);

/// The whole application as one service: the routes and the layers around them. The layers are plain functions, because
/// axum's router would box and clone each layer for every request.
pub fn service(
    app: AppState,
    shop: &Shop,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
    let routes = quick_routes(app.clone(), shop);
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
    let metrics = app.metrics.http.clone();
    service_fn(move |request| request_id::layer(metrics.clone(), request, inner.clone()))
}

/// All routes, with a shortcut for the purchase, which a crowd calls most: the router would search for it and box its
/// future three times.
fn quick_routes(
    app: AppState,
    shop: &Shop,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static {
    let purchase = purchases::purchase_service(app.clone());
    let client_limits = app.client_limits.clone();
    let (routes, bare_routes) = routes(app, shop);
    // Shared as one, because this service is copied several times for each request.
    let shared = Arc::new((purchase, client_limits, routes, bare_routes));
    service_fn(move |request: Request| {
        let (purchase, client_limits, routes, bare_routes) = &*shared;
        let refusal = match request.extensions().get::<OneTooMany>() {
            Some(_) => Some(limits::one_too_many()),
            None => bare_routes.check(&request).err().map(IntoResponse::into_response),
        };
        if let Some(refusal) = refusal {
            return Either::Left(Either::Left(ready(Ok(refusal))));
        }
        let is_purchase = request.method() == Method::POST && request.uri().path() == PURCHASE_PATH;
        match is_purchase {
            true => Either::Left(Either::Right(purchase.clone().call(request))),
            false => Either::Right(limits::layer(client_limits, request, routes.clone())),
        }
    })
}

fn routes(app: AppState, shop: &Shop) -> (Router, BareRoutes) {
    let (routes, document) = documented().split_for_parts();
    let bare_routes = BareRoutes::of(&document);
    let routes = routes
        .merge(live::router())
        .merge(openapi::router(document))
        .merge(storefront::router(shop, app.registration))
        .fallback(unknown_path)
        .method_not_allowed_fallback(|| async { Error::MethodNotAllowed })
        .with_state(app);
    (routes, bare_routes)
}

/// A path with a slash at its end is redirected to the one without, with the same method and body.
async fn unknown_path(uri: Uri) -> Result<Response, Error> {
    let path = uri.path().trim_end_matches('/');
    // A browser would take `//name` for another host.
    if path.len() == uri.path().len() || path.is_empty() || path.starts_with("//") {
        return Err(Error::NO_ROUTE);
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Ok(Redirect::permanent(&format!("{path}{query}")).into_response())
}

/// The routes that the OpenAPI document describes.
fn documented() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(auth::router())
        .merge(users::router())
        .merge(products::router())
        .merge(purchases::router())
        .merge(purchase_list::router())
        .merge(payments::router())
        .merge(audit::router())
        .merge(report::router())
        .merge(leaderboard::router())
        .merge(events::router())
        .merge(status::router())
        .merge(server_figures::router())
        .merge(metrics::router())
}

/// The paths that no document describes, besides the storefront's views, as the metrics name them: files share one.
const UNDOCUMENTED: [&str; 5] = ["/sales/{id}", "/assets/{*file}", "/docs/", "/docs/{*file}", "/live"];

/// All routes, for the metrics, which name them.
fn templates() -> Vec<RouteTemplate> {
    let document = documented().into_openapi();
    let documented = document.paths.paths.into_iter().map(|(path, item)| {
        let methods = [
            (Method::GET, item.get),
            (Method::POST, item.post),
            (Method::PATCH, item.patch),
            (Method::PUT, item.put),
            (Method::DELETE, item.delete),
        ];
        let methods = methods.into_iter().filter_map(|(method, operation)| {
            Some((method, operation?.responses.responses.into_keys().collect()))
        });
        RouteTemplate { path, methods: methods.collect() }
    });
    let others = storefront::VIEWS.into_iter().chain(UNDOCUMENTED);
    let others = others.map(|path| RouteTemplate { path: path.to_owned(), methods: Vec::new() });
    documented.chain(others).collect()
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
        // Whatever a page sends, tracing headers included: which headers come decides nothing, only the token does.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            header::ALLOW,
            own("idempotent-replayed"),
            RATE_LIMIT,
            RATE_LIMIT_POLICY,
            own("x-request-id"),
        ])
        .max_age(PREFLIGHT_AGE_MAX);
    Some(cors)
}
