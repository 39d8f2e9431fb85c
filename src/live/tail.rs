//! The newest purchases of a watched product, and what has become of earlier ones: read once for all watchers, and kept for
//! those who are slightly behind.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::message::{Message, Released};
use crate::error::Result;
use crate::model::id::Id;
use crate::model::leaderboard_item::LeaderboardItem;
use crate::model::product::Product;
use crate::model::purchase::Purchase;
use crate::purchases::history;
use crate::store::Store;

/// The pause before a failed read for watchers is tried again.
pub const READ_RETRY: Duration = Duration::from_millis(250);

/// The most purchases that one transaction changes of a product: more than the limit of a batch.
const BATCH_PURCHASES_MAX: usize = 2_000;

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
    /// The purchases that were given back: the version of the product that did it, and the message; in order.
    released: VecDeque<(i64, Message)>,
    /// Those of this version and of earlier ones are not kept.
    released_from: i64,
    /// Those up to this version were read.
    released_through: i64,
}

impl Tail {
    pub fn new(kept_max: usize, read_max: usize) -> Self {
        Self { kept: Mutex::default(), kept_max, read_max }
    }

    /// Forgets everything and begins after the last purchase of this product, and after its last change of purchases.
    pub fn begin(&self, product: &Product) {
        let version = product.purchases_changed_version.unwrap_or(0);
        let (through, released_from) = (product.purchase_count, version);
        *self.lock() = Kept { through, released_from, released_through: version, ..Kept::default() };
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

    /// Reads which purchases were given back since then, up to the product's last change of purchases, and returns the version
    /// up to which they are known.
    pub async fn catch_up_on_releases(&self, store: &Store, product: &Product) -> i64 {
        loop {
            let before = self.lock().released_through;
            if product.purchases_changed_version.is_none_or(|last| before >= last) {
                return before;
            }
            let Ok((released, through)) = read_released(store, product, before, self.read_max).await else {
                return before;
            };
            if through <= before {
                return before;
            }
            let mut kept = self.lock();
            kept.released_through = through;
            kept.released.extend(released);
            while kept.released.len() > self.kept_max
                && let Some((version, _)) = kept.released.pop_front()
            {
                // Those of one version are kept all, or none.
                kept.released_from = version;
            }
        }
    }

    /// What was given back after one version, up to another; `None` if some of that is no longer kept.
    pub fn released_between(&self, after: i64, through: i64) -> Option<Vec<Message>> {
        let kept = self.lock();
        let between = kept.released.iter().filter(|(version, _)| (after + 1..=through).contains(version));
        (after >= kept.released_from).then(|| between.map(|(_, message)| message.clone()).collect())
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

/// The purchases that were given back by later versions of `product` than `after`, up to the one of its last change of
/// purchases, in order; and the version up to which these are all. About `count_max` of them.
///
/// # Errors
/// Those of `history::changed_since`.
pub async fn read_released(
    store: &Store,
    product: &Product,
    after: i64,
    count_max: usize,
) -> Result<(Vec<(i64, Message)>, i64)> {
    let limit = count_max + BATCH_PURCHASES_MAX;
    let changed = history::changed_since(store, product.id, after, limit).await?;
    let last = changed.last().and_then(|purchase| purchase.changed_in_version).unwrap_or(after);
    // Of the last version some may be missing.
    let last = if changed.len() >= limit { last - 1 } else { last };
    // What is newer than the product may be of purchases that nobody was told of yet. And if there is nothing so new, the
    // answer is old, as one shortly after an election can be: the rest comes with the next one.
    let through = last.min(product.purchases_changed_version.unwrap_or(after));
    let released = changed.iter().filter(|purchase| purchase.status.is_released());
    let released =
        released.map(|purchase| (purchase.changed_in_version.unwrap_or(0), released_message(purchase)));
    Ok((released.take_while(|(version, _)| *version <= through).collect(), through))
}

/// What a watcher who comes back after the purchase with the number `after` may have missed: which purchases were given
/// back since that one was made, and the version up to which these are all: that of the product's last change of
/// purchases. `None` if the answer is older.
///
/// # Errors
/// Those of `history::released_since`.
pub async fn read_missed_releases(
    store: &Store,
    product: &Product,
    after: i64,
    count_max: i64,
) -> Result<Option<(Vec<Message>, i64)>> {
    let through = product.purchases_changed_version.unwrap_or(0);
    let released = history::released_since(store, product.id, after, through, count_max).await?;
    Ok(released.map(|released| (released.iter().map(released_message).collect(), through)))
}

fn released_message(purchase: &Purchase) -> Message {
    let released = Released {
        product_id: purchase.product_id.to_hex(),
        sequence: purchase.sequence,
        status: purchase.status,
    };
    // Sent without its id: it says nothing of which purchases a watcher was sent.
    Message::new("released", purchase.sequence, &released)
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
        tail.lock().through = 10;
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
