//! What is counted for the person on call.

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

/// The counts of one server.
pub struct Metrics {
    registry: Registry,
    /// Answers by status.
    pub answers: Family<StatusLabel, Counter>,
    /// Purchases that were asked for, by what became of them: `bought`, `replayed`, or a problem's code.
    pub purchases: Family<OutcomeLabel, Counter>,
    /// Logins, by what became of them: `logged_in`, or a problem's code.
    logins: Family<OutcomeLabel, Counter>,
    /// Purchases in one batch.
    pub batch_purchases: Histogram,
    /// The time from a batch's first look to its replies, in seconds.
    pub batch_seconds: Histogram,
    /// Products in one transaction.
    pub transaction_products: Histogram,
    /// Transactions that were run again in halves, since one of their products was in the way of the others.
    pub transactions_split: Counter,
    /// Tries of a batch that had to be repeated, by what was in the way.
    pub retries: Family<RetryLabel, Counter>,
    /// Commits that got no answer.
    pub commits_in_doubt: Counter,
    /// Products that have a lane.
    pub lanes: Gauge,
    /// Connections of clients that are open.
    pub connections: Gauge,
    /// 1 while the change stream tells what other servers do.
    pub feed_synced: Gauge,
    /// How far the change stream was behind when it last answered, in seconds.
    pub feed_lag: Gauge<f64, AtomicU64>,
    /// Clients that watch.
    pub watchers: Gauge,
    /// Messages sent to watchers, by their event.
    pub watcher_messages: Family<EventLabel, Counter>,
    /// The age of the last proof that the database commits, in seconds.
    heartbeat_age: Gauge<f64, AtomicU64>,
}

/// Of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatusLabel {
    /// The HTTP status.
    pub status: u16,
}

/// Of a purchase or a login.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// `bought`, `replayed`, `logged_in`, or a problem's code.
    pub outcome: &'static str,
}

/// Of a message to a watcher.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EventLabel {
    /// The event's name.
    pub event: &'static str,
}

/// Of a try.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RetryLabel {
    /// `stale`: the product had changed; `conflict`: another transaction had it; `duplicate`: a unique index refused;
    /// `unavailable`: the database was lost.
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
        registry.register("purchases", "Purchases asked for, by what became of them", self.purchases.clone());
        registry.register("logins", "Logins, by what became of them", self.logins.clone());
        registry.register("batch_purchases", "Purchases in one batch", self.batch_purchases.clone());
        let what = "From a batch's first look to its replies";
        registry.register_with_unit("batch", what, Unit::Seconds, self.batch_seconds.clone());
        let what = "Products in one transaction";
        registry.register("transaction_products", what, self.transaction_products.clone());
        registry.register("batch_retries", "Tries of a batch that had to be repeated", self.retries.clone());
        let what = "Transactions that were run again in halves, as one product was in the way of the others";
        registry.register("transactions_split", what, self.transactions_split.clone());
        registry.register("commits_in_doubt", "Commits that got no answer", self.commits_in_doubt.clone());
        registry.register("lanes", "Products that have a lane", self.lanes.clone());
        let what = "Connections of clients that are open";
        registry.register("connections", what, self.connections.clone());
        let what = "1 while the change stream tells what other servers do";
        registry.register("feed_synced", what, self.feed_synced.clone());
        let what = "How far the change stream was behind when it last answered";
        registry.register_with_unit("feed_lag", what, Unit::Seconds, self.feed_lag.clone());
        registry.register("watchers", "Clients that watch", self.watchers.clone());
        registry.register("watcher_messages", "Messages sent to watchers", self.watcher_messages.clone());
        let what = "Age of the last proof that the database commits";
        registry.register_with_unit("heartbeat_age", what, Unit::Seconds, self.heartbeat_age.clone());
        self
    }

    /// All counts as OpenMetrics text. `heartbeat_age` is the age of the last proof that the database commits.
    ///
    /// # Errors
    /// `internal` when the text cannot be written.
    pub fn text(&self, heartbeat_age: Duration) -> Result<String> {
        self.heartbeat_age.set(heartbeat_age.as_secs_f64());
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|_| Error::Internal)?;
        Ok(text)
    }

    /// Counts what became of a purchase.
    pub fn count_purchase(&self, outcome: &'static str) {
        self.purchases.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts what became of a login.
    pub fn count_login(&self, outcome: &'static str) {
        self.logins.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a try that has to be repeated.
    pub fn count_retry(&self, reason: &'static str) {
        self.retries.get_or_create(&RetryLabel { reason }).inc();
    }
}
