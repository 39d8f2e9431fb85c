//! The shared state: the services that handlers call.

use std::sync::Arc;

use axum::extract::FromRef;
use tokio_util::sync::CancellationToken;

use super::metrics::ScraperToken;
use crate::accounts::known_tokens::KnownTokens;
use crate::accounts::service::Accounts;
use crate::accounts::tokens::Tokens;
use crate::config::{CorsOrigins, HttpLimits, Limits};
use crate::error::{Error, Result};
use crate::leaderboard::Leaderboard;
use crate::live::rooms::Rooms;
use crate::live::watchers::Watchers;
use crate::metrics::Metrics;
use crate::products::catalogue::Catalogue;
use crate::products::change_stream::{self, Feed, FeedTask};
use crate::products::pages::ProductPages;
use crate::purchases::service::Purchases;
use crate::store::Store;
use crate::store::heartbeat::Heartbeat;

pub type AppState = Arc<App>;

/// The services of one server, shared by all requests.
pub struct App {
    pub limits: Limits,
    pub store: Store,
    /// Whether the database commits, and its clock.
    pub heartbeat: Heartbeat,
    /// Whether the caches follow what other servers do.
    pub feed: Feed,
    /// Signs tokens.
    pub tokens: Tokens,
    /// Verifies tokens, and remembers the verified ones.
    pub known_tokens: KnownTokens,
    /// Registering and logging in.
    pub accounts: Accounts,
    /// Reading and changing products.
    pub catalogue: Arc<Catalogue>,
    /// `GET /products` and `GET /products/{id}`.
    pub product_pages: ProductPages,
    /// `GET /leaderboard`.
    pub leaderboard: Leaderboard,
    /// Buying.
    pub purchases: Purchases,
    /// What watchers are sent.
    pub rooms: Rooms,
    /// How many clients watch.
    pub watchers: Watchers,
    /// Which pages of other origins may call the API.
    pub cors_origins: CorsOrigins,
    pub metrics: Arc<Metrics>,
    /// Who may read the metrics.
    pub scraper_token: ScraperToken,
    shutdown: CancellationToken,
}

impl App {
    /// Builds the services, and the task that follows the change stream.
    ///
    /// # Errors
    /// `internal` if the operating system refuses the threads that hash passwords.
    pub fn new(
        limits: Limits,
        store: Store,
        heartbeat: Heartbeat,
        tokens: Tokens,
        cors_origins: CorsOrigins,
        scraper_token: ScraperToken,
        shutdown: CancellationToken,
    ) -> Result<(Self, FeedTask)> {
        let metrics = Arc::new(Metrics::new(&super::templates(), store.metrics.clone()));
        metrics.connections_max.set(i64::try_from(limits.http.connections_max).unwrap_or(i64::MAX));
        let catalogue = Arc::new(Catalogue::new(store.clone(), heartbeat.clone(), &limits.products));
        let (feed, feed_task) = change_stream::new(
            store.clone(),
            catalogue.clone(),
            heartbeat.clone(),
            metrics.clone(),
            &limits.products,
        );
        let app = Self {
            accounts: Accounts::new(store.clone(), &limits.accounts, metrics.clone())?,
            purchases: Purchases::new(
                store.clone(),
                catalogue.clone(),
                heartbeat.clone(),
                feed.clone(),
                metrics.clone(),
                &limits.purchases,
            ),
            rooms: Rooms::new(
                store.clone(),
                catalogue.clone(),
                heartbeat.clone(),
                feed.clone(),
                metrics.clone(),
                &limits.live,
                shutdown.clone(),
            ),
            watchers: Watchers::new(&limits.live, metrics.clone()),
            product_pages: ProductPages::new(
                store.clone(),
                catalogue.clone(),
                heartbeat.clone(),
                feed.clone(),
                &limits.store,
            ),
            leaderboard: Leaderboard::new(
                store.clone(),
                catalogue.clone(),
                heartbeat.clone(),
                feed.clone(),
                &limits.store,
            ),
            known_tokens: KnownTokens::new(&limits.accounts),
            cors_origins,
            scraper_token,
            catalogue,
            feed,
            tokens,
            metrics,
            limits,
            store,
            heartbeat,
            shutdown,
        };
        Ok((app, feed_task))
    }

    /// Resolves when the server shuts down.
    pub async fn closing(&self) {
        self.shutdown.cancelled().await;
    }

    /// Refuses once the server shuts down. For new watchers and the readiness check.
    ///
    /// # Errors
    /// `overloaded`.
    pub fn check_open(&self) -> Result<()> {
        match self.shutdown.is_cancelled() {
            true => Err(Error::SHUTTING_DOWN),
            false => Ok(()),
        }
    }
}

impl FromRef<AppState> for HttpLimits {
    fn from_ref(app: &AppState) -> Self {
        app.limits.http
    }
}
