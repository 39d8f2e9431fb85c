//! Tasks that work with the database. Shutdown waits for them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::token_bucket::TokenBucket;
use crate::config::StoreLimits;
use crate::http::request_context::{RequestContext, in_current_request};

/// Starts tasks; clones share everything.
#[derive(Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    runtime: Handle,
    failure_lines: Arc<TokenBucket>,
}

impl Tasks {
    /// On the runtime of the caller.
    pub fn new(limits: &StoreLimits) -> Self {
        let failure_lines = TokenBucket::new(limits.failure_lines_burst, limits.failure_lines_per_second);
        Self {
            tracker: TaskTracker::new(),
            runtime: Handle::current(),
            failure_lines: Arc::new(failure_lines),
        }
    }

    /// Runs a task. What it logs names the request or the batch that it works for.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let task = in_current_request(RequestContext::current(), task.in_current_span());
        self.tracker.spawn_on(task, &self.runtime)
    }

    /// The same for work that many requests share: what it logs names none of them by itself.
    pub fn spawn_for_all<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tracker.spawn_on(task, &self.runtime)
    }

    /// Where the tasks run.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Whether one more request may have a log line of its own about a fault that it shares with others.
    pub fn may_log_failure(&self) -> bool {
        self.failure_lines.take()
    }

    /// Waits until every task has ended, for at most `patience`.
    pub async fn close(&self, patience: Duration) {
        self.tracker.close();
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_err() {
            tracing::warn!("{} writes had not ended at shutdown", self.tracker.len());
        }
    }
}
