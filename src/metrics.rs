//! The metrics of one server, for the person on call. docs/ON-CALL.md says what they mean.
//!
//! Series whose labels are known exist from the start, at 0: Prometheus' `increase` misses the first event of a series that
//! appears with it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use self::database::DatabaseMetrics;
use self::http::{HttpMetrics, RouteTemplate};
pub use self::limits_hit::Limit;
use self::payments::PaymentMetrics;
use self::process::ProcessMetrics;
pub use self::text_format::TextFormat;
use crate::error::{Code, Error, Result};

pub mod database;
pub mod http;
mod limits_hit;
pub mod payments;
mod process;
mod text_format;

/// What buyers are usually answered besides `bought` and `replayed`. Other codes appear with their first purchase.
const PURCHASE_REFUSALS: [Code; 21] = [
    Code::MalformedJson,
    Code::UnsupportedMediaType,
    Code::PayloadTooLarge,
    Code::ValidationFailed,
    Code::AccountTooNew,
    Code::AccountDisabled,
    Code::ProductNotFound,
    Code::SaleNotStarted,
    Code::SaleEnded,
    Code::SalePaused,
    Code::SoldOut,
    Code::InsufficientStock,
    Code::PurchaseLimitReached,
    Code::TooManyLapses,
    Code::PriceChanged,
    Code::IdempotencyKeyReused,
    Code::RateLimited,
    Code::Overloaded,
    Code::DatabaseUnavailable,
    Code::OutcomeUnknown,
    Code::Internal,
];
/// The same for logins, besides `logged_in`.
const LOGIN_REFUSALS: [Code; 6] = [
    Code::InvalidCredentials,
    Code::AccountDisabled,
    Code::RateLimited,
    Code::Overloaded,
    Code::DatabaseUnavailable,
    Code::Internal,
];
const RETRY_REASONS: [&str; 4] = ["stale", "conflict", "duplicate", "unavailable"];
const EVENTS: [&str; 5] = ["product", "stock", "purchase", "released", "stale"];

/// The commit that the program was built from, if the build has said so.
const COMMIT: &str = match option_env!("FLASH_SALE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The metrics of one server.
pub struct Metrics {
    registry: Registry,
    /// Answers by route, method and status.
    pub http: Arc<HttpMetrics>,
    /// Open client connections.
    pub connections: Gauge,
    /// The most that may be open.
    pub connections_max: Gauge,
    /// Requested purchases, by outcome: `bought`, `replayed`, or a problem's code.
    purchases: Family<OutcomeLabel, Counter>,
    /// Units that were bought.
    pub units_sold: Counter,
    /// What became of purchases.
    pub payments: PaymentMetrics,
    /// By outcome: `logged_in`, or a problem's code.
    logins: Family<OutcomeLabel, Counter>,
    /// Passwords that wait to be hashed.
    pub password_hashes_waiting: Gauge,
    /// The time that hashing a password took, in seconds.
    pub password_hash_seconds: Histogram,
    /// Purchases that wait in lanes or are being decided.
    pub purchases_under_way: Gauge,
    /// Purchases whose commit got no answer, until it is known what became of them.
    pub purchases_in_doubt: Gauge,
    /// The time from the arrival of a purchase to its batch, in seconds.
    pub queue_wait_seconds: Histogram,
    /// Purchases in one batch.
    pub batch_purchases: Histogram,
    /// The time from the start of a batch to its replies, in seconds.
    pub batch_seconds: Histogram,
    /// Products in one transaction.
    pub transaction_products: Histogram,
    /// Transactions that were run again in halves, because one of their products made them fail.
    pub transactions_split: Counter,
    /// Attempts of a batch that had to be repeated, by reason.
    retries: Family<RetryLabel, Counter>,
    /// Commits that got no answer.
    pub commits_in_doubt: Counter,
    /// Products that have a lane.
    pub lanes: Gauge,
    /// 1 while the change stream delivers what other servers do, 0 otherwise.
    pub feed_synced: Gauge,
    /// How far the change stream was behind when it last answered, in seconds.
    pub feed_lag: Gauge<f64, AtomicU64>,
    /// Clients that watch products live.
    pub watchers: Gauge,
    /// Messages sent to watchers, by event.
    watcher_messages: Family<EventLabel, Counter>,
    /// The age of the last successful heartbeat, in seconds.
    pub heartbeat_age: Gauge<f64, AtomicU64>,
    database: Arc<DatabaseMetrics>,
}

/// The label of a purchase or a login.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    /// `bought`, `replayed`, `logged_in`, or a problem's code.
    outcome: &'static str,
}

/// The label of a message to a watcher.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabel {
    /// The event's name.
    event: &'static str,
}

/// The label of a repeated attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabel {
    /// `stale`: the product had changed; `conflict`: another transaction was changing it; `duplicate`: a unique index
    /// refused the purchase; `unavailable`: the database could not be reached.
    reason: &'static str,
}

/// Of a server without routes.
impl Default for Metrics {
    fn default() -> Self {
        Self::new(&[], Arc::default())
    }
}

impl Metrics {
    /// Nothing was counted yet, except by `database`.
    pub fn new(routes: &[RouteTemplate], database: Arc<DatabaseMetrics>) -> Self {
        let metrics = Self {
            registry: Registry::default(),
            http: Arc::new(HttpMetrics::new(routes)),
            connections: Gauge::default(),
            connections_max: Gauge::default(),
            purchases: Family::default(),
            units_sold: Counter::default(),
            payments: PaymentMetrics::default(),
            logins: Family::default(),
            password_hashes_waiting: Gauge::default(),
            password_hash_seconds: Histogram::new(exponential_buckets(0.005, 2.0, 9)),
            purchases_under_way: Gauge::default(),
            purchases_in_doubt: Gauge::default(),
            queue_wait_seconds: Histogram::new([
                0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.2, 2.5, 5.0,
            ]),
            batch_purchases: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            batch_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 14)),
            transaction_products: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            transactions_split: Counter::default(),
            retries: Family::default(),
            commits_in_doubt: Counter::default(),
            lanes: Gauge::default(),
            feed_synced: Gauge::default(),
            feed_lag: Gauge::default(),
            watchers: Gauge::default(),
            watcher_messages: Family::default(),
            heartbeat_age: Gauge::default(),
            database,
        };
        metrics.begin_at_zero();
        metrics.registered()
    }

    fn begin_at_zero(&self) {
        let names = |codes: &'static [Code]| codes.iter().map(|code| code.name());
        for outcome in ["bought", "replayed"].into_iter().chain(names(&PURCHASE_REFUSALS)) {
            drop(self.purchases.get_or_create(&OutcomeLabel { outcome }));
        }
        for outcome in ["logged_in"].into_iter().chain(names(&LOGIN_REFUSALS)) {
            drop(self.logins.get_or_create(&OutcomeLabel { outcome }));
        }
        for reason in RETRY_REASONS {
            drop(self.retries.get_or_create(&RetryLabel { reason }));
        }
        for event in EVENTS {
            drop(self.watcher_messages.get_or_create(&EventLabel { event }));
        }
    }

    fn registered(mut self) -> Self {
        let mut all = Registry::default();
        all.register_collector(Box::new(ProcessMetrics));
        let registry = all.sub_registry_with_prefix("flash_sale");
        let build = Family::<[(&str, &str); 2], Gauge>::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION")), ("commit", COMMIT)]).set(1);
        registry.register("build_info", "Which program this is; always 1", build);
        registry.register_collector(Box::new(self.http.clone()));
        registry.register("connections", "Open client connections", self.connections.clone());
        let what = "Client connections that may be open at once";
        registry.register("connections_max", what, self.connections_max.clone());
        self.register_selling(registry);
        self.payments.register(registry);
        registry.register("logins", "Logins, by outcome", self.logins.clone());
        let what = "Passwords that wait to be hashed";
        registry.register("password_hashes_waiting", what, self.password_hashes_waiting.clone());
        let (what, time) = ("Time that hashing a password took", self.password_hash_seconds.clone());
        registry.register_with_unit("password_hash_duration", what, Unit::Seconds, time);
        let what = "1 while the change stream delivers what other servers do";
        registry.register("feed_synced", what, self.feed_synced.clone());
        let what = "How far the change stream was behind when it last answered";
        registry.register_with_unit("feed_lag", what, Unit::Seconds, self.feed_lag.clone());
        registry.register("watchers", "Clients that watch products live", self.watchers.clone());
        let what = "Messages sent to watchers, by event";
        registry.register("watcher_messages", what, self.watcher_messages.clone());
        let what = "Age of the last successful heartbeat: a write that the database committed";
        registry.register_with_unit("heartbeat_age", what, Unit::Seconds, self.heartbeat_age.clone());
        self.database.register(registry);
        self.registry = all;
        self
    }

    fn register_selling(&self, registry: &mut Registry) {
        registry.register("purchases", "Requested purchases, by outcome", self.purchases.clone());
        registry.register("units_sold", "Units that were bought", self.units_sold.clone());
        let what = "Purchases that wait for their batch or are being decided";
        registry.register("purchases_under_way", what, self.purchases_under_way.clone());
        let what = "Purchases whose commit got no answer and of which nothing is known yet";
        registry.register("purchases_in_doubt", what, self.purchases_in_doubt.clone());
        let what = "Time from the arrival of a purchase to its batch";
        let wait = self.queue_wait_seconds.clone();
        registry.register_with_unit("purchase_queue_wait", what, Unit::Seconds, wait);
        registry.register("batch_purchases", "Purchases in one batch", self.batch_purchases.clone());
        let what = "Time from the start of a batch to its replies";
        registry.register_with_unit("batch_duration", what, Unit::Seconds, self.batch_seconds.clone());
        let what = "Products in one transaction";
        registry.register("transaction_products", what, self.transaction_products.clone());
        let what = "Batch attempts that had to be repeated, by reason";
        registry.register("batch_retries", what, self.retries.clone());
        let what = "Transactions that were run again in halves, because one product made them fail";
        registry.register("transactions_split", what, self.transactions_split.clone());
        registry.register("commits_in_doubt", "Commits that got no answer", self.commits_in_doubt.clone());
        registry.register("lanes", "Products that have a lane", self.lanes.clone());
    }

    /// All metrics as text.
    ///
    /// # Errors
    /// `internal` if the text cannot be encoded.
    pub fn text(&self, format: TextFormat) -> Result<String> {
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|_| Error::Internal)?;
        Ok(match format {
            TextFormat::OpenMetrics => text,
            TextFormat::Prometheus => text_format::as_prometheus(&text),
        })
    }

    /// Counts a purchase by its outcome.
    pub fn count_purchase(&self, outcome: &'static str) {
        self.purchases.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Requested purchases by outcome: those that have happened, or usually do.
    pub fn purchases_by_outcome(&self) -> Vec<(&'static str, u64)> {
        let outcomes = ["bought", "replayed"].into_iter().chain(Code::ALL.iter().map(|code| code.name()));
        let counted = outcomes
            .filter_map(|outcome| Some((outcome, self.purchases.get(&OutcomeLabel { outcome })?.get())));
        counted.collect()
    }

    /// Counts a login by its outcome.
    pub fn count_login(&self, outcome: &'static str) {
        self.logins.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts an attempt that has to be repeated.
    pub fn count_retry(&self, reason: &'static str) {
        self.retries.get_or_create(&RetryLabel { reason }).inc();
    }

    /// Counts a message to a watcher.
    pub fn count_message(&self, event: &'static str) {
        self.watcher_messages.get_or_create(&EventLabel { event }).inc();
    }

    /// Counts a request that was refused because of a limit.
    pub fn count_limit(&self, limit: Limit) {
        self.database.limits_hit.count(limit);
    }
}
