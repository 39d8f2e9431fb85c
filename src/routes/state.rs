//! The shared state: the services that handlers call.

use std::sync::Arc;

use axum::extract::FromRef;
use tokio_util::sync::CancellationToken;

use super::limits::ClientLimits;
use super::metrics::ScraperToken;
use crate::accounts::access::Access;
use crate::accounts::known_tokens::KnownTokens;
use crate::accounts::service::Accounts;
use crate::accounts::tokens::Tokens;
use crate::config::{Config, CorsOrigins, HttpLimits, Limits, Registration};
use crate::error::{Error, Result};
use crate::leaderboard::Leaderboard;
use crate::live::rooms::Rooms;
use crate::live::watchers::Watchers;
use crate::metrics::Metrics;
use crate::model::name::NameRules;
use crate::products::catalogue::Catalogue;
use crate::products::change_stream::{self, Feed, FeedTask};
use crate::products::pages::ProductPages;
use crate::purchases::export::Exports;
use crate::purchases::lanes::Lanes;
use crate::purchases::service::Purchases;
use crate::report::Reports;
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
    /// Whether a verified token still counts.
    pub access: Access,
    /// Registering, logging in and out, and what admins do with accounts.
    pub accounts: Accounts,
    /// Reading and changing products.
    pub catalogue: Arc<Catalogue>,
    /// `GET /products` and `GET /products/{id}`.
    pub product_pages: ProductPages,
    /// `GET /leaderboard`.
    pub leaderboard: Leaderboard,
    /// Buying.
    pub purchases: Purchases,
    /// Purchases as CSV.
    pub exports: Exports,
    /// What was sold when, and to whom.
    pub reports: Reports,
    /// What watchers are sent.
    pub rooms: Rooms,
    /// What each client has left of its quotas.
    pub client_limits: Arc<ClientLimits>,
    /// How many clients watch.
    pub watchers: Watchers,
    /// Which pages of other origins may call the API.
    pub cors_origins: CorsOrigins,
    /// Whether anybody may register.
    pub registration: Registration,
    /// Which names people may have.
    pub names: Arc<NameRules>,
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
        config: &Config,
        store: Store,
        heartbeat: Heartbeat,
        tokens: Tokens,
        access: Access,
        shutdown: CancellationToken,
    ) -> Result<(Self, FeedTask)> {
        let limits = config.limits.clone();
        let names = Arc::new(config.names.clone());
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
        let lanes =
            Lanes::new(store.clone(), &limits.purchases, catalogue.clone(), access.clone(), metrics.clone());
        let app = Self {
            accounts: Accounts::new(
                store.clone(),
                heartbeat.clone(),
                access.clone(),
                &limits.accounts,
                metrics.clone(),
            )?,
            purchases: Purchases::new(
                lanes,
                store.clone(),
                catalogue.clone(),
                heartbeat.clone(),
                feed.clone(),
                names.clone(),
                limits.records.network_days > 0,
            ),
            reports: Reports::new(store.clone(), heartbeat.clone(), &limits.records),
            exports: Exports::new(store.clone(), catalogue.clone(), &limits.records),
            rooms: Rooms::new(
                store.clone(),
                catalogue.clone(),
                heartbeat.clone(),
                feed.clone(),
                metrics.clone(),
                &limits.live,
                shutdown.clone(),
            ),
            client_limits: Arc::new(ClientLimits::new(&limits.clients, metrics.clone())),
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
            access,
            cors_origins: config.cors_origins.clone(),
            registration: config.registration,
            names,
            scraper_token: ScraperToken::new(config.metrics_token.as_ref()),
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
