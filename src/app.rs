//! The application: everything that handlers share, built once, and the one list of routes.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;

use crate::auth::service::Accounts;
use crate::auth::tokens::Tokens;
use crate::config::{CorsOrigins, Limits};
use crate::error::{Error, Result};
use crate::http::page::PageRequest;
use crate::http::rendered::Rendered;
use crate::http::{discard, request_id};
use crate::id::Id;
use crate::metrics::Metrics;
use crate::products::service::{Catalogue, ProductCursor, ProductFilter};
use crate::purchases::lanes::Lanes;
use crate::purchases::service::PurchaseCursor;
use crate::store::Store;
use crate::store::pulse::Pulse;
use crate::store::shared_read::SharedReads;
use crate::{auth, leaderboard, metrics, openapi, products, purchases, status, storefront};

/// What every handler gets.
pub type AppState = Arc<App>;

/// The parts of the application. Each is shared by all requests.
pub struct App {
    limits: Limits,
    store: Store,
    pulse: Pulse,
    tokens: Tokens,
    accounts: Accounts,
    catalogue: Catalogue,
    lanes: Lanes,
    metrics: Arc<Metrics>,
    product_reads: SharedReads<Id, Rendered>,
    list_reads: SharedReads<(ProductFilter, PageRequest<ProductCursor>), Rendered>,
    leaderboard_reads: SharedReads<(Option<Id>, PageRequest<PurchaseCursor>), Rendered>,
    shutdown: CancellationToken,
}

impl App {
    /// Puts the parts together.
    ///
    /// # Errors
    /// `internal`, when the system has no random numbers.
    pub fn new(
        limits: Limits,
        store: Store,
        pulse: Pulse,
        tokens: Tokens,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let metrics = Arc::new(Metrics::default());
        Ok(Self {
            accounts: Accounts::new(store.clone(), &limits)?,
            catalogue: Catalogue::new(store.clone(), &limits),
            lanes: Lanes::new(store.clone(), &limits, metrics.clone()),
            metrics,
            product_reads: SharedReads::new(store.clone()),
            list_reads: SharedReads::new(store.clone()),
            leaderboard_reads: SharedReads::new(store.clone()),
            limits,
            store,
            pulse,
            tokens,
            shutdown,
        })
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

    /// Signs and verifies tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The accounts.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The products.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
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
    pub fn product_reads(&self) -> &SharedReads<Id, Rendered> {
        &self.product_reads
    }

    /// `GET /products`, by what is asked for.
    pub fn list_reads(&self) -> &SharedReads<(ProductFilter, PageRequest<ProductCursor>), Rendered> {
        &self.list_reads
    }

    /// `GET /leaderboard`, by the product and the page.
    pub fn leaderboard_reads(&self) -> &SharedReads<(Option<Id>, PageRequest<PurchaseCursor>), Rendered> {
        &self.leaderboard_reads
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

/// All routes, and what stands around each of them.
pub fn router(app: AppState, cors_origins: &CorsOrigins) -> Router {
    let (routes, document) = OpenApiRouter::with_openapi(openapi::base())
        .merge(auth::routes::router())
        .merge(products::routes::router())
        .merge(purchases::routes::router())
        .merge(leaderboard::router())
        .merge(status::router())
        .merge(metrics::router())
        .split_for_parts();
    let router = routes
        .merge(openapi::router(document))
        .merge(storefront::router())
        .fallback(|| async {
            Error::NotFound { detail: "No route has this path; GET /docs lists them all." }
        })
        .method_not_allowed_fallback(|| async { Error::MethodNotAllowed })
        .layer(middleware::from_fn_with_state(app.clone(), discard::layer));
    let router = match cors(cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.layer(middleware::from_fn_with_state(app.clone(), request_id::layer)).with_state(app)
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
            own("idempotent-replayed"),
            own("x-request-id"),
        ])
        .max_age(std::time::Duration::from_secs(600));
    Some(cors)
}
