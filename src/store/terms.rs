//! The terms of the replica set's primaries, as this server has seen them begin, and which of them have proved that they know
//! all that was confirmed before.
//!
//! A new primary has all that a majority has; but until its own first entry is on a majority, it does not know so, and what it
//! reads for a majority may be older than what the one before has confirmed. MongoDB bridges that for reads of one session alone.
//! So reads wait until a write that was begun in the new term is durable on a majority: the heartbeat, which comes at once.

use tokio::sync::watch;

/// Counted from 1; 0 where there is no replica set to be seen, as behind a sharded cluster's routers.
pub struct Terms {
    newest: watch::Receiver<u64>,
    /// 0 until the first heartbeat: before it, this server has confirmed nothing.
    confirmed: watch::Sender<u64>,
}

impl Terms {
    /// `newest` counts those that begin.
    pub fn new(newest: watch::Receiver<u64>) -> Self {
        Self { newest, confirmed: watch::Sender::new(0) }
    }

    /// The newest one, and every change of that.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    /// Notes that a write is durable on a majority that was begun when `term` was the newest.
    pub fn confirm(&self, term: u64) {
        self.confirmed.send_if_modified(|confirmed| {
            let is_newer = term > *confirmed;
            *confirmed = term.max(*confirmed);
            is_newer
        });
    }

    /// Waits until what the newest primary reads is all that was confirmed.
    pub async fn settled(&self) {
        let mut confirmed = self.confirmed.subscribe();
        let is_settled = |confirmed: &u64| *confirmed == 0 || *confirmed >= *self.newest.borrow();
        // Its sender is this one's own.
        drop(confirmed.wait_for(is_settled).await);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn who_reads_in_a_new_term_waits_for_its_first_write() {
        let newest = watch::Sender::new(0);
        let terms = Terms::new(newest.subscribe());
        let is_settled = || terms.settled().now_or_never().is_some();
        assert!(is_settled(), "no replica set");
        newest.send_replace(1);
        assert!(is_settled(), "nothing was confirmed by then");
        terms.confirm(1);
        assert!(is_settled());
        newest.send_replace(3);
        assert!(!is_settled());
        terms.confirm(2);
        assert!(!is_settled(), "that was the primary before");
        terms.confirm(3);
        terms.confirm(2);
        assert!(is_settled());
    }
}
