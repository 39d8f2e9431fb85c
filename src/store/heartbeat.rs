//! The heartbeat: one small majority write a second. It proves that a purchase could commit now, which readiness
//! promises, and it reads the database's clock, which decides when a sale starts and ends.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::ReturnDocument;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::{Store, schema};
use crate::config::StoreLimits;
use crate::error::Error;
use crate::model::timestamp::Timestamp;

/// A heartbeat is late after this many intervals: one that is only slow under load arrives earlier.
const LATE_AFTER_INTERVALS: u32 = 2;

/// The result of the last successful heartbeat; clones share it.
#[derive(Clone)]
pub struct Heartbeat {
    sample: Arc<RwLock<Sample>>,
    age_max: Duration,
    late_after: Duration,
}

#[derive(Clone, Copy)]
struct Sample {
    clock: Clock,
    received: Instant,
}

struct Beat {
    database_time: Timestamp,
    sent: Instant,
    received: Instant,
}

impl Heartbeat {
    /// Waits for the first heartbeat.
    ///
    /// # Errors
    /// Those of its write, when the database does not commit.
    pub async fn start(store: &Store, limits: &StoreLimits) -> Result<(Self, HeartbeatTask), Error> {
        let write_max = Duration::from_millis(limits.write_ms_max);
        let term = *store.terms.watch().borrow();
        let beat = beat(store, write_max).await?;
        store.terms.confirm(term);
        let interval = Duration::from_millis(limits.heartbeat_interval_ms);
        let clock = Clock::new(beat.database_time, beat.received);
        let heartbeat = Self {
            sample: Arc::new(RwLock::new(Sample { clock, received: beat.received })),
            age_max: Duration::from_millis(limits.heartbeat_age_ms_max),
            late_after: interval * LATE_AFTER_INTERVALS,
        };
        Ok((heartbeat.clone(), HeartbeatTask { heartbeat, store: store.clone(), interval, write_max }))
    }

    /// The database's time as estimated here: never ahead of it, and behind by at most what the quickest answer took.
    pub fn database_time(&self) -> Timestamp {
        self.sample().clock.time_at(Instant::now())
    }

    /// The time since the last successful heartbeat.
    pub fn age(&self) -> Duration {
        self.sample().received.elapsed()
    }

    /// # Errors
    /// `database_unavailable` when the last successful heartbeat is too old.
    pub fn check(&self) -> Result<(), Error> {
        if self.age() <= self.age_max { Ok(()) } else { Err(Error::DatabaseUnavailable) }
    }

    /// Whether a heartbeat is overdue: the database is slow or away.
    pub fn is_late(&self) -> bool {
        self.age() > self.late_after
    }

    fn sample(&self) -> Sample {
        *self.sample.read().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct HeartbeatTask {
    heartbeat: Heartbeat,
    store: Store,
    interval: Duration,
    write_max: Duration,
}

impl HeartbeatTask {
    /// Beats until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut terms = self.store.terms.watch();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
                // Reads wait for the first heartbeat of a new term. The store outlives this task.
                _ = terms.changed() => {}
            }
            let term = *terms.borrow_and_update();
            // A failure is logged where it happens; `check` sees that no sample came.
            let beat = tokio::select! {
                // The write ends by itself.
                () = shutdown.cancelled() => return,
                beat = beat(&self.store, self.write_max) => beat,
                // This heartbeat may have gone to a member that hangs: send another.
                _ = terms.changed() => {
                    terms.mark_changed();
                    continue;
                }
            };
            if let Ok(beat) = beat {
                self.store.terms.confirm(term);
                let mut sample = self.heartbeat.sample.write().unwrap_or_else(PoisonError::into_inner);
                sample.clock.learn(beat.database_time, beat.sent, beat.received);
                sample.received = beat.received;
            }
        }
    }
}

/// Sends one heartbeat. It does not use `Store::write`: it would wait for a permit behind the writes that it reports
/// on.
async fn beat(store: &Store, write_max: Duration) -> Result<Beat, Error> {
    let server = store.server;
    let servers = store.database.collection::<Document>(schema::SERVERS);
    let touch = store.spawn(async move {
        servers
            // `$$NOW`, not `$currentDate`: sale windows are decided by the same clock.
            .find_one_and_update(doc! { "_id": server }, vec![doc! { "$set": { "seenAt": "$$NOW" } }])
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await
            .map_err(|error| super::failure::of_read(&error))
    });
    let sent = Instant::now();
    let touched = match tokio::time::timeout(write_max, touch).await {
        Ok(Ok(touched)) => touched?,
        Ok(Err(_)) | Err(_) => return Err(super::failure::too_slow("the heartbeat")),
    };
    let seen_at: DateTime =
        touched.and_then(|server| server.get_datetime("seenAt").ok().copied()).ok_or(Error::Internal)?;
    Ok(Beat { database_time: seen_at.into(), sent, received: Instant::now() })
}
