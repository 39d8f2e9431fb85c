//! The heartbeat: one confirmation a second. It shows that a purchase could commit now, which is what readiness
//! promises, and brings the database's clock, which decides the sale windows.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Store;
use super::standstill::{self, Standstill};
use crate::config::StoreLimits;
use crate::error::{Error, Result};
use crate::model::timestamp::Timestamp;

/// After this many intervals without a confirmation it is late: one that is slow under load takes less.
const LATE_AFTER_INTERVALS: u32 = 2;

/// What the last confirmation brought; clones share it.
#[derive(Clone)]
pub struct Heartbeat {
    store: Store,
    age_max: Duration,
    late_after: Duration,
    standstill: Arc<Standstill>,
}

impl Heartbeat {
    /// Waits for the first confirmation.
    ///
    /// # Errors
    /// Those of `Store::confirm`.
    pub async fn start(store: &Store, limits: &StoreLimits) -> Result<(Self, HeartbeatTask)> {
        store.confirm().await?;
        let interval = Duration::from_millis(limits.heartbeat_interval_ms);
        let heartbeat = Self {
            store: store.clone(),
            age_max: Duration::from_millis(limits.heartbeat_age_ms_max),
            late_after: interval * LATE_AFTER_INTERVALS,
            standstill: Arc::new(Standstill::new(tokio::time::Instant::now())),
        };
        let standstill = heartbeat.standstill.clone();
        Ok((heartbeat, HeartbeatTask { store: store.clone(), interval, standstill }))
    }

    /// The database's clock, never ahead of it, and behind by at most what the quickest answer took.
    pub fn database_time(&self) -> Timestamp {
        self.store.confirmations.database_time()
    }

    /// The time since the start of the last successful commit.
    pub fn age(&self) -> Duration {
        self.store.confirmations.age()
    }

    /// Refuses when the database has not committed for a while.
    ///
    /// # Errors
    /// `database_unavailable`.
    pub fn check(&self) -> Result<()> {
        if self.age() <= self.age_max { Ok(()) } else { Err(Error::DatabaseUnavailable) }
    }

    /// Whether what is read from a connection now may have waited there while this process stood still.
    pub fn may_read_late(&self) -> bool {
        self.standstill.may_have_waited(tokio::time::Instant::now())
    }

    /// Whether a confirmation is overdue: the database is slow or away. From then on memory may be older than promised.
    pub fn is_late(&self) -> bool {
        self.age() > self.late_after
    }
}

/// The task that keeps the heartbeat going.
pub struct HeartbeatTask {
    store: Store,
    interval: Duration,
    standstill: Arc<Standstill>,
}

impl HeartbeatTask {
    /// Confirms once an interval until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        // What is dropped at shutdown only waits: each write has a task of its own.
        shutdown.run_until_cancelled(async { tokio::join!(self.confirm(), self.show_that_it_runs()) }).await;
    }

    async fn confirm(&self) {
        let mut ticks = ticks(self.interval);
        loop {
            ticks.tick().await;
            // A failure is logged where it happens; `check` notices that nothing came.
            drop(self.store.confirm().await);
        }
    }

    async fn show_that_it_runs(&self) {
        let mut ticks = ticks(standstill::INTERVAL);
        loop {
            ticks.tick().await;
            self.standstill.note(tokio::time::Instant::now());
        }
    }
}

fn ticks(interval: Duration) -> Interval {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
