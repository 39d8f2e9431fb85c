//! Counts the terms of the replica set's primaries that this server has seen begin, and holds reads back in a new
//! term until its primary knows all confirmed writes.
//!
//! A new primary has every entry that a majority has. But until its own first entry is on a majority, it does not
//! know that, and its majority reads may be older than what the previous primary confirmed. MongoDB prevents that
//! only within one session. So reads wait until a write begun in the new term is durable on a majority: the
//! heartbeat, sent at once.

use tokio::sync::watch;

/// Terms count from 1. 0 means that no replica set is visible, as behind the routers of a sharded cluster.
pub struct Terms {
    newest: watch::Receiver<u64>,
    /// 0 until the first heartbeat: before it, this server has confirmed nothing.
    confirmed: watch::Sender<u64>,
}

impl Terms {
    /// `newest` counts the terms that begin.
    pub fn new(newest: watch::Receiver<u64>) -> Self {
        Self { newest, confirmed: watch::Sender::new(0) }
    }

    /// Watches the newest term.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    /// Notes that a write begun in `term` is durable on a majority.
    pub fn confirm(&self, term: u64) {
        self.confirmed.send_if_modified(|confirmed| {
            let is_newer = term > *confirmed;
            *confirmed = term.max(*confirmed);
            is_newer
        });
    }

    /// Waits until the newest primary's reads include all confirmed writes.
    pub async fn settled(&self) {
        let mut confirmed = self.confirmed.subscribe();
        let is_settled = |confirmed: &u64| *confirmed == 0 || *confirmed >= *self.newest.borrow();
        // Cannot fail: `self` owns the sender.
        drop(confirmed.wait_for(is_settled).await);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_read_in_a_new_term_waits_for_its_first_write() {
        let newest = watch::Sender::new(0);
        let terms = Terms::new(newest.subscribe());
        let is_settled = || terms.settled().now_or_never().is_some();
        assert!(is_settled(), "no replica set");
        newest.send_replace(1);
        assert!(is_settled(), "nothing was confirmed yet");
        terms.confirm(1);
        assert!(is_settled());
        newest.send_replace(3);
        assert!(!is_settled());
        terms.confirm(2);
        assert!(!is_settled(), "that was the previous primary");
        terms.confirm(3);
        terms.confirm(2);
        assert!(is_settled());
    }
}
