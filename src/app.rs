//! The application: everything that handlers share, built once, and the one list of routes.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::Response;
use futures_util::future::Either;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tower::util::option_layer;
use tower::{Layer, Service, service_fn};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;

use crate::auth::known_tokens::KnownTokens;
use crate::auth::service::Accounts;
use crate::auth::tokens::Tokens;
use crate::config::{CorsOrigins, Limits};
use crate::error::{Error, Result};
use crate::http::page::PageRequest;
use crate::http::{discard, request_id};
use crate::id::Id;
use crate::live::feed::{self, Feed, FeedTask};
use crate::live::rooms::Rooms;
use crate::live::watchers::Watchers;
use crate::metrics::Metrics;
use crate::products::filter::{ProductCursor, ProductFilter};
use crate::products::service::Catalogue;
use crate::purchases::lanes::Lanes;
use crate::purchases::routes::PURCHASE_PATH;
use crate::purchases::service::PurchaseCursor;
use crate::store::Store;
use crate::store::crowd_read::CrowdReads;
use crate::store::pulse::Pulse;
use crate::{auth, leaderboard, live, metrics, openapi, products, purchases, status, storefront};

/// What every handler gets.
pub type AppState = Arc<App>;

/// The parts of the application. Each is shared by all requests.
pub struct App {
    limits: Limits,
    store: Store,
    pulse: Pulse,
    tokens: Tokens,
    known_tokens: KnownTokens,
    accounts: Accounts,
    catalogue: Arc<Catalogue>,
    feed: Feed,
    rooms: Rooms,
    watchers: Watchers,
    cors_origins: CorsOrigins,
    lanes: Lanes,
    metrics: Arc<Metrics>,
    product_reads: CrowdReads<Id, ()>,
    list_reads: CrowdReads<(ProductFilter, PageRequest<ProductCursor>), products::reads::PageBasis>,
    leaderboard_reads: CrowdReads<(Option<Id>, PageRequest<PurchaseCursor>), leaderboard::PageBasis>,
    shutdown: CancellationToken,
}

impl App {
    /// Puts the parts together.
    ///
    /// # Errors
    /// `internal`, when the system gives no threads for passwords.
    pub fn new(
        limits: Limits,
        store: Store,
        pulse: Pulse,
        tokens: Tokens,
        cors_origins: CorsOrigins,
        shutdown: CancellationToken,
    ) -> Result<(Self, FeedTask)> {
        let metrics = Arc::new(Metrics::default());
        let catalogue = Arc::new(Catalogue::new(store.clone(), &limits));
        let (feed, feed_task) =
            feed::new(store.clone(), catalogue.clone(), pulse.clone(), metrics.clone(), &limits);
        let app = Self {
            accounts: Accounts::new(store.clone(), &limits)?,
            lanes: Lanes::new(store.clone(), &limits, catalogue.clone(), metrics.clone()),
            rooms: Rooms::new(
                store.clone(),
                catalogue.clone(),
                pulse.clone(),
                feed.clone(),
                metrics.clone(),
                &limits,
                shutdown.clone(),
            ),
            watchers: Watchers::new(&limits, metrics.clone()),
            cors_origins,
            known_tokens: KnownTokens::new(&limits),
            catalogue,
            feed,
            metrics,
            product_reads: CrowdReads::new(store.clone(), &limits),
            list_reads: CrowdReads::new(store.clone(), &limits),
            leaderboard_reads: CrowdReads::new(store.clone(), &limits),
            limits,
            store,
            pulse,
            tokens,
            shutdown,
        };
        Ok((app, feed_task))
    }

    /// What the server takes at the most.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether the database commits, and its clock.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Those that were verified a short time ago.
    pub fn known_tokens(&self) -> &KnownTokens {
        &self.known_tokens
    }

    /// Signs and verifies tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The accounts.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The products.
    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// What other servers do.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Where purchases are made.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// The counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// `GET /products/{id}`, by its id.
    pub fn product_reads(&self) -> &CrowdReads<Id, ()> {
        &self.product_reads
    }

    /// `GET /products`, by what is asked for.
    pub fn list_reads(
        &self,
    ) -> &CrowdReads<(ProductFilter, PageRequest<ProductCursor>), products::reads::PageBasis> {
        &self.list_reads
    }

    /// `GET /leaderboard`, by the product and the page.
    pub fn leaderboard_reads(
        &self,
    ) -> &CrowdReads<(Option<Id>, PageRequest<PurchaseCursor>), leaderboard::PageBasis> {
        &self.leaderboard_reads
    }

    /// What is told to watchers.
    pub fn rooms(&self) -> &Rooms {
        &self.rooms
    }

    /// Who watches.
    pub fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// Which pages of other origins may call.
    pub fn cors_origins(&self) -> &CorsOrigins {
        &self.cors_origins
    }

    /// Resolves when the server shuts down.
    pub async fn closing(&self) {
        self.shutdown.cancelled().await;
    }

    /// Whether new requests are welcome.
    ///
    /// # Errors
    /// `overloaded` once the server shuts down.
    pub fn check_open(&self) -> Result<()> {
        match self.shutdown.is_cancelled() {
            true => Err(Error::Overloaded { detail: "The server is shutting down." }),
            false => Ok(()),
        }
    }
}

/// The whole application as one service: the routes, and what stands around all of them. The layers are plain functions
/// rather than layers of the router, which would box and clone each of them for every request.
pub fn service(
    app: AppState,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
    let routes = quick_routes(app.clone());
    let cors = cors(app.cors_origins());
    let discarding = {
        let app = app.clone();
        service_fn(move |request| discard::layer(app.clone(), request, routes.clone()))
    };
    let with_cors = option_layer(cors).layer(discarding.clone());
    let inner = service_fn(move |request: Request<Incoming>| {
        // The CORS layer takes every OPTIONS for a browser's question; without it, it is a method like any other.
        let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        match request.method() != Method::OPTIONS || asks {
            true => Either::Left(with_cors.clone().call(request)),
            false => Either::Right(discarding.clone().call(request)),
        }
    });
    service_fn(move |request| request_id::layer(app.clone(), request, inner.clone()))
}

/// All routes, and the one that a crowd takes before all others: the router would look for it among them, and box it three
/// times.
fn quick_routes(
    app: AppState,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static {
    let purchase = purchases::routes::purchase_service(app.clone());
    let routes = routes(app);
    service_fn(move |request: Request| {
        let is_purchase = request.method() == Method::POST && request.uri().path() == PURCHASE_PATH;
        match is_purchase {
            true => Either::Left(purchase.clone().call(request)),
            false => Either::Right(routes.clone().call(request)),
        }
    })
}

fn routes(app: AppState) -> Router {
    let (routes, document) = OpenApiRouter::with_openapi(openapi::base())
        .merge(auth::routes::router())
        .merge(products::routes::router())
        .merge(purchases::routes::router())
        .merge(leaderboard::router())
        .merge(live::events::router())
        .merge(status::router())
        .merge(metrics::router())
        .split_for_parts();
    routes
        .merge(live::socket::router())
        .merge(openapi::router(document))
        .merge(storefront::router())
        .fallback(|| async { Error::NO_ROUTE })
        .method_not_allowed_fallback(|| async { Error::MethodNotAllowed })
        .with_state(app)
}

/// None when no page of another origin may call: then there is nothing to tell a browser.
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
