//! The metrics of one server, for the person on call.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::error::{Error, Result};

/// The metrics of one server.
pub struct Metrics {
    registry: Registry,
    /// HTTP answers, by status.
    pub answers: Family<StatusLabel, Counter>,
    /// Requested purchases, by outcome: `bought`, `replayed`, or a problem's code.
    pub purchases: Family<OutcomeLabel, Counter>,
    /// By outcome: `logged_in`, or a problem's code.
    logins: Family<OutcomeLabel, Counter>,
    /// Purchases in one batch.
    pub batch_purchases: Histogram,
    /// The time from the start of a batch to its replies, in seconds.
    pub batch_seconds: Histogram,
    /// Products in one transaction.
    pub transaction_products: Histogram,
    /// Transactions that were run again in halves, because one of their products made them fail.
    pub transactions_split: Counter,
    /// Attempts of a batch that had to be repeated, by reason.
    pub retries: Family<RetryLabel, Counter>,
    /// Commits that got no answer.
    pub commits_in_doubt: Counter,
    /// Products that have a lane.
    pub lanes: Gauge,
    /// Open client connections.
    pub connections: Gauge,
    /// 1 while the change stream delivers what other servers do, 0 otherwise.
    pub feed_synced: Gauge,
    /// How far the change stream was behind when it last answered, in seconds.
    pub feed_lag: Gauge<f64, AtomicU64>,
    /// Clients that watch products live.
    pub watchers: Gauge,
    /// Messages sent to watchers, by event.
    pub watcher_messages: Family<EventLabel, Counter>,
    /// The age of the last successful heartbeat, in seconds.
    heartbeat_age: Gauge<f64, AtomicU64>,
}

/// The label of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatusLabel {
    /// The HTTP status.
    pub status: u16,
}

/// The label of a purchase or a login.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// `bought`, `replayed`, `logged_in`, or a problem's code.
    pub outcome: &'static str,
}

/// The label of a message to a watcher.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EventLabel {
    /// The event's name.
    pub event: &'static str,
}

/// The label of a repeated attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RetryLabel {
    /// `stale`: the product had changed; `conflict`: another transaction was changing it; `duplicate`: a unique index
    /// refused the purchase; `unavailable`: the database could not be reached.
    pub reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("flash_sale"),
            answers: Family::default(),
            purchases: Family::default(),
            logins: Family::default(),
            batch_purchases: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            batch_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 14)),
            transaction_products: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            transactions_split: Counter::default(),
            retries: Family::default(),
            commits_in_doubt: Counter::default(),
            lanes: Gauge::default(),
            connections: Gauge::default(),
            feed_synced: Gauge::default(),
            feed_lag: Gauge::default(),
            watchers: Gauge::default(),
            watcher_messages: Family::default(),
            heartbeat_age: Gauge::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("http_answers", "Answers by status", self.answers.clone());
        registry.register("purchases", "Requested purchases, by outcome", self.purchases.clone());
        registry.register("logins", "Logins, by outcome", self.logins.clone());
        registry.register("batch_purchases", "Purchases in one batch", self.batch_purchases.clone());
        let what = "From the start of a batch to its replies";
        registry.register_with_unit("batch", what, Unit::Seconds, self.batch_seconds.clone());
        let what = "Products in one transaction";
        registry.register("transaction_products", what, self.transaction_products.clone());
        registry.register("batch_retries", "Batch attempts that had to be repeated", self.retries.clone());
        let what = "Transactions that were run again in halves, because one product made them fail";
        registry.register("transactions_split", what, self.transactions_split.clone());
        registry.register("commits_in_doubt", "Commits that got no answer", self.commits_in_doubt.clone());
        registry.register("lanes", "Products that have a lane", self.lanes.clone());
        registry.register("connections", "Open client connections", self.connections.clone());
        let what = "1 while the change stream delivers what other servers do";
        registry.register("feed_synced", what, self.feed_synced.clone());
        let what = "How far the change stream was behind when it last answered";
        registry.register_with_unit("feed_lag", what, Unit::Seconds, self.feed_lag.clone());
        registry.register("watchers", "Clients that watch products live", self.watchers.clone());
        registry.register("watcher_messages", "Messages sent to watchers", self.watcher_messages.clone());
        let what = "Age of the last successful heartbeat: a write that the database committed";
        registry.register_with_unit("heartbeat_age", what, Unit::Seconds, self.heartbeat_age.clone());
        self
    }

    /// All metrics as OpenMetrics text.
    ///
    /// # Errors
    /// `internal` if the text cannot be encoded.
    pub fn text(&self, heartbeat_age: Duration) -> Result<String> {
        self.heartbeat_age.set(heartbeat_age.as_secs_f64());
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|_| Error::Internal)?;
        Ok(text)
    }

    /// Counts a purchase by its outcome.
    pub fn count_purchase(&self, outcome: &'static str) {
        self.purchases.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a login by its outcome.
    pub fn count_login(&self, outcome: &'static str) {
        self.logins.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts an attempt that has to be repeated.
    pub fn count_retry(&self, reason: &'static str) {
        self.retries.get_or_create(&RetryLabel { reason }).inc();
    }
}
