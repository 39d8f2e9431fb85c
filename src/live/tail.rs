//! The newest purchases of a watched product: read once for all watchers, and kept for those who are slightly behind.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::message::Message;
use crate::error::Result;
use crate::model::id::Id;
use crate::model::leaderboard_item::LeaderboardItem;
use crate::model::product::Product;
use crate::purchases::history;
use crate::store::Store;

/// The pause before a failed read for watchers is tried again.
pub const READ_RETRY: Duration = Duration::from_millis(250);

pub struct Tail {
    kept: Mutex<Kept>,
    kept_max: usize,
    read_max: usize,
}

#[derive(Default)]
struct Kept {
    /// In the order of their numbers, without gaps.
    messages: VecDeque<Message>,
    /// The number of the last one.
    through: i64,
}

impl Tail {
    pub fn new(kept_max: usize, read_max: usize) -> Self {
        Self { kept: Mutex::default(), kept_max, read_max }
    }

    /// Forgets everything and begins after the purchase with this number.
    pub fn begin(&self, through: i64) {
        *self.lock() = Kept { messages: VecDeque::new(), through };
    }

    /// Reads the purchases since then, up to the product's last one, and returns the number of the last one kept.
    pub async fn catch_up(&self, store: &Store, product: &Product) -> i64 {
        loop {
            let through = self.lock().through;
            if through >= product.purchase_count {
                return through;
            }
            // `read` has logged the failure; the next news tries again.
            let Ok(messages) = read(store, product, through, self.read_max).await else { return through };
            if messages.is_empty() {
                return through;
            }
            let mut kept = self.lock();
            kept.through += i64::try_from(messages.len()).unwrap_or_default();
            kept.messages.extend(messages);
            let excess = kept.messages.len().saturating_sub(self.kept_max);
            kept.messages.drain(..excess);
        }
    }

    /// At most `count_max` purchases after number `after`; `None` if some of them are no longer kept.
    pub fn after(&self, after: i64, count_max: usize) -> Option<Vec<Message>> {
        let kept = self.lock();
        let behind = usize::try_from(kept.through - after).ok()?;
        let first = kept.messages.len().checked_sub(behind)?;
        Some(kept.messages.range(first..).take(count_max).cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The purchases of `product` after number `after`, in order. A gap, which should never occur, is logged and ends them.
///
/// # Errors
/// Those of `history::following`.
pub async fn read(store: &Store, product: &Product, after: i64, count_max: usize) -> Result<Vec<Message>> {
    let purchases = history::following(store, product.id, after, count_max).await?;
    let without_gaps = purchases.into_iter().zip(after + 1..).take_while(|(purchase, number)| {
        let is_next = purchase.sequence == *number;
        if !is_next {
            report_gap(product.id, *number);
        }
        is_next
    });
    let message = |(purchase, number)| {
        Message::new("purchase", number, &LeaderboardItem::of(purchase, number, product.name.clone()))
    };
    Ok(without_gaps.map(message).collect())
}

fn report_gap(product: Id, number: i64) {
    tracing::error!("product {product}: purchase {number} is missing");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kept_purchases_are_returned() {
        let tail = Tail::new(3, 10);
        tail.begin(10);
        tail.lock().messages.extend((11..=13).map(|number| Message::new("purchase", number, &number)));
        tail.lock().through = 13;
        let numbers = |after| {
            let messages = tail.after(after, 2)?;
            Some(messages.iter().map(|message| message.text.to_string()).collect::<Vec<_>>().concat())
        };
        assert_eq!(numbers(9), None);
        assert!(numbers(10).unwrap().contains("\"id\":11") && !numbers(10).unwrap().contains("\"id\":13"));
        assert!(numbers(12).unwrap().contains("\"id\":13"));
        assert_eq!(numbers(13).as_deref(), Some(""));
        assert_eq!(numbers(14), None);
    }
}
