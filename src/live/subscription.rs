//! One watcher of one product: what it has been sent, and what comes next.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::ws::Utf8Bytes;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::message::Message;
use super::room::{End, News, Room, Seat};
use super::rooms::RoomContext;
use super::tail::{self, READ_RETRY};
use crate::error::{Error, Result};
use crate::model::id::Id;

/// Purchases that one watcher is sent at once before others are served.
const PURCHASES_AT_ONCE_MAX: usize = 200;

pub struct Subscription {
    seat: Seat,
    context: Arc<RoomContext>,
    news: watch::Receiver<Arc<News>>,
    /// The number of the last purchase that was sent; `None` if the watcher wants no purchases.
    sequence: Option<i64>,
    /// Up to where the watcher was told which purchases were given back; `None` if it wants no purchases.
    releases: Option<Told>,
    has_begun: bool,
    /// This and the next three describe what was sent last.
    edition: u64,
    version: i64,
    is_stale: bool,
    keepalive: u64,
    /// The read of purchases that the room no longer keeps. It goes on when the future of `next` is dropped: a client
    /// that watches many products drops it again and again, and a read inside it would never finish.
    late: Option<AbortOnDropHandle<Vec<Message>>>,
    /// The same for which of them were given back, and up to which version.
    late_releases: Option<AbortOnDropHandle<Option<Releases>>>,
}

/// Messages about purchases that were given back, and the version of the product up to which these are all.
type Releases = (Vec<Message>, i64);

/// Up to where a watcher was told which purchases were given back.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// Up to this version of the product.
    Version(i64),
    /// It comes back after the purchase with this number: what was given back since that was made it may have missed.
    Purchase(i64),
}

/// What to send next.
pub enum Next {
    /// In this order.
    Messages(Vec<Outgoing>),
    Keepalive,
    /// Nothing more comes.
    End(End),
}

/// A message to one watcher.
pub struct Outgoing {
    /// Shared by all watchers.
    pub message: Message,
    /// The message counts purchases that this watcher has not been sent yet.
    is_early: bool,
    /// The number of the last purchase that the watcher was sent, if it wants them.
    sequence: Option<i64>,
}

impl Outgoing {
    /// The Server-Sent Event.
    pub fn sse(&self) -> Bytes {
        if self.is_early { self.message.sse_without_id() } else { self.message.sse() }
    }

    /// The WebSocket message. Its id never counts a purchase that the watcher has not been sent.
    pub fn text(&self) -> Utf8Bytes {
        match self.sequence.filter(|_| self.is_early) {
            Some(sequence) => self.message.text_with_id(sequence),
            None => self.message.text.clone(),
        }
    }
}

/// What news a watcher gets.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    Stock,
    Whole,
}

/// Compares what a watcher was told with what is new: each an edition and a version of the product. The first message may
/// have been newer than the news that the room was just making. Then the room's next news has everything.
fn due(told: (u64, i64), new: (u64, i64)) -> Due {
    match (new.0 != told.0, new.1.cmp(&told.1)) {
        (_, Ordering::Less) | (false, Ordering::Equal) => Due::Nothing,
        (false, Ordering::Greater) => Due::Stock,
        (true, _) => Due::Whole,
    }
}

impl Subscription {
    /// Takes a seat in the room.
    ///
    /// # Errors
    /// `validation_failed` when too many purchases were missed.
    pub fn new(room: Arc<Room>, context: Arc<RoomContext>, purchases: Option<Option<i64>>) -> Result<Self> {
        let (seat, news) = room.sit(purchases.is_some());
        let count = news.borrow().product.purchase_count;
        let sequence = purchases.map(|after| after.unwrap_or(count));
        let version = news.borrow().product.purchases_changed_version.unwrap_or(0);
        let releases = purchases.map(|after| after.map_or(Told::Version(version), Told::Purchase));
        let missed_max = context.limits.missed_purchases_max;
        if sequence.is_some_and(|after| count - after > missed_max) {
            return Err(Error::invalid(
                "after",
                format!(
                    "is more than {missed_max} purchases ago: read them with GET /leaderboard, and watch without it"
                ),
            ));
        }
        Ok(Self {
            seat,
            context,
            news,
            sequence,
            releases,
            has_begun: false,
            edition: 0,
            version: 0,
            is_stale: false,
            keepalive: 0,
            late: None,
            late_releases: None,
        })
    }

    pub fn product_id(&self) -> Id {
        self.seat.room.product_id
    }

    /// Waits for what to send next. Dropping this future loses nothing.
    pub async fn next(&mut self) -> Next {
        loop {
            let news = self.news.borrow_and_update().clone();
            if !self.has_begun {
                return self.begin(&news);
            }
            if let Some(end) = news.end {
                return Next::End(end);
            }
            let (mut later, keepalive) = (self.news.clone(), self.keepalive);
            let is_keepalive = later.wait_for(|later| later.keepalive != keepalive);
            let messages = tokio::select! {
                biased;
                messages = self.messages(&news) => messages,
                // A slow read must not delay the keepalive.
                _ = is_keepalive => Vec::new(),
            };
            let news = self.news.borrow().clone();
            if !messages.is_empty() {
                return Next::Messages(messages);
            }
            if news.keepalive != self.keepalive {
                self.keepalive = news.keepalive;
                return Next::Keepalive;
            }
            let is_behind = self.sequence.is_some_and(|sequence| sequence < news.purchases_through);
            let has_all = self.sequence.is_some_and(|sequence| sequence >= news.product.purchase_count);
            if is_behind || (has_all && self.misses(&news)) {
                // A read has failed, and has already paused.
                continue;
            }
            if self.news.changed().await.is_err() {
                return Next::End(End::Shutdown);
            }
        }
    }

    /// The first message: the whole product as it is now.
    fn begin(&mut self, news: &News) -> Next {
        self.has_begun = true;
        let newest = self.seat.room.entry.current().filter(|product| product.version > news.product.version);
        let (product, message) = match newest {
            Some(product) => {
                let news = News::first(product.clone(), &self.context);
                (product, news.whole)
            }
            None => (news.product.clone(), news.whole.clone()),
        };
        self.edition = news.edition;
        self.version = product.version;
        self.keepalive = news.keepalive;
        let is_early = self.sequence.is_some_and(|sequence| sequence != product.purchase_count);
        let mut messages = vec![self.count(message, is_early)];
        if let Some(stale) = &news.stale {
            self.is_stale = true;
            messages.push(self.count(stale.clone(), true));
        }
        Next::Messages(messages)
    }

    async fn messages(&mut self, news: &News) -> Vec<Outgoing> {
        let purchases = self.purchases(news).await;
        let is_behind = purchases.len() == PURCHASES_AT_ONCE_MAX;
        let count = i64::try_from(purchases.len()).unwrap_or_default();
        // A purchase comes before what has become of it.
        let has_all = self.sequence.is_some_and(|sequence| sequence + count >= news.product.purchase_count);
        let releases = if has_all && !is_behind { self.released(news).await } else { None };
        // No `await` from here on: what is recorded as sent must be returned, even if this future is dropped.
        let mut messages = Vec::new();
        if news.stale.is_some() != self.is_stale {
            self.is_stale = news.stale.is_some();
            messages.extend(news.stale.clone().map(|stale| self.count(stale, true)));
        }
        if let Some(sequence) = &mut self.sequence {
            *sequence += count;
        }
        messages.extend(purchases.into_iter().map(|purchase| self.count(purchase, false)));
        if is_behind {
            // The stock comes after the purchases that it counts.
            return messages;
        }
        if let Some((released, through)) = releases {
            self.releases = Some(Told::Version(through));
            messages.extend(released.into_iter().map(|released| self.count(released, true)));
        }
        let is_early = self.sequence.is_some_and(|sequence| sequence != news.product.purchase_count);
        let (told, new) = ((self.edition, self.version), (news.edition, news.product.version));
        match due(told, new) {
            Due::Nothing => return messages,
            Due::Whole => messages.push(self.count(news.whole.clone(), is_early)),
            Due::Stock => messages.push(self.count(news.stock.clone(), is_early)),
        }
        (self.edition, self.version) = new;
        messages
    }

    /// The next purchases: from the room's tail, or from the database if the tail no longer has them.
    async fn purchases(&mut self, news: &News) -> Vec<Message> {
        let Some(after) = self.sequence.filter(|after| *after < news.purchases_through) else {
            return Vec::new();
        };
        let room = &self.seat.room;
        if self.late.is_none()
            && let Some(purchases) = room.tail.after(after, PURCHASES_AT_ONCE_MAX)
        {
            return purchases;
        }
        let late = self.late.get_or_insert_with(|| {
            let (context, product) = (self.context.clone(), news.product.clone());
            AbortOnDropHandle::new(tokio::spawn(async move {
                let Ok(_permit) = context.late_reads.acquire().await else { return Vec::new() };
                let purchases = tail::read(&context.store, &product, after, PURCHASES_AT_ONCE_MAX).await;
                let purchases = purchases.unwrap_or_default();
                if purchases.is_empty() {
                    // `tail::read` has logged the failure.
                    sleep(READ_RETRY).await;
                }
                purchases
            }))
        });
        let purchases = late.await.unwrap_or_default();
        self.late = None;
        purchases
    }

    /// Whether there may be purchases that were given back without the watcher being told.
    fn misses(&self, news: &News) -> bool {
        match self.releases {
            // The room has read something since the watcher sat down, or there was nothing to read.
            Some(Told::Purchase(_)) => news.product.purchases_changed_version.is_some(),
            Some(Told::Version(version)) => version < news.releases_through,
            None => false,
        }
    }

    /// The purchases that were given back, and up to which version these are all. `None` if there is nothing to tell.
    async fn released(&mut self, news: &News) -> Option<Releases> {
        let told = self.releases.filter(|_| self.misses(news))?;
        if let Told::Version(version) = told
            && let Some(kept) = self.seat.room.tail.released_between(version, news.releases_through)
        {
            return Some((kept, news.releases_through));
        }
        let late = self.late_releases.get_or_insert_with(|| {
            let (context, product) = (self.context.clone(), news.product.clone());
            AbortOnDropHandle::new(tokio::spawn(async move {
                let _permit = context.late_reads.acquire().await.ok()?;
                let missed_max = context.limits.missed_purchases_max;
                let read = match told {
                    Told::Purchase(number) => {
                        tail::read_missed_releases(&context.store, &product, number, missed_max).await
                    }
                    Told::Version(version) => {
                        let read =
                            tail::read_released(&context.store, &product, version, PURCHASES_AT_ONCE_MAX);
                        read.await.map(|(released, through)| {
                            let messages = released.into_iter().map(|(_, message)| message).collect();
                            (through > version).then_some((messages, through))
                        })
                    }
                };
                let read = read.ok().flatten();
                if read.is_none() {
                    // A failure is logged.
                    sleep(READ_RETRY).await;
                }
                read
            }))
        });
        let read = late.await.ok().flatten();
        self.late_releases = None;
        read
    }

    fn count(&self, message: Message, is_early: bool) -> Outgoing {
        self.context.metrics.count_message(message.event);
        Outgoing { message, is_early, sequence: self.sequence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_is_never_told_of_an_older_version() {
        assert_eq!(due((1, 7), (1, 7)), Due::Nothing);
        assert_eq!(due((1, 7), (1, 8)), Due::Stock);
        assert_eq!(due((1, 7), (2, 7)), Due::Whole);
        assert_eq!(due((1, 7), (2, 8)), Due::Whole);
        assert_eq!(due((1, 7), (1, 6)), Due::Nothing);
        assert_eq!(due((1, 7), (2, 6)), Due::Nothing);
    }
}
