//! What one watcher of one product was told, and what it is to be told next.

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
use crate::metrics::EventLabel;
use crate::model::id::Id;

/// Purchases that one watcher is sent at once, before others have their turn.
const PURCHASES_AT_ONCE_MAX: usize = 200;

/// One watcher of one product.
pub struct Subscription {
    seat: Seat,
    context: Arc<RoomContext>,
    news: watch::Receiver<Arc<News>>,
    /// The number of the last purchase that the watcher was told of; none when it wants no purchases.
    sequence: Option<i64>,
    has_begun: bool,
    /// What it was told last.
    edition: u64,
    version: i64,
    is_stale: bool,
    keepalive: u64,
    /// The read of purchases that the room does not keep any more. It goes on while `next` is dropped and called again: a
    /// client that watches many products would never see the end of it.
    late: Option<AbortOnDropHandle<Vec<Message>>>,
}

/// What comes next.
pub enum Next {
    /// These messages, in order.
    Messages(Vec<Outgoing>),
    /// A sign of life.
    Keepalive,
    /// Nothing more.
    End(End),
}

/// A message to one watcher.
pub struct Outgoing {
    /// What everybody gets.
    pub message: Message,
    /// Purchases before it are still to come.
    is_early: bool,
    /// The number of the last purchase that the watcher was told of, if it wants them.
    sequence: Option<i64>,
}

impl Outgoing {
    /// The frame of a Server-Sent Event.
    pub fn sse(&self) -> Bytes {
        if self.is_early { self.message.sse_without_id() } else { self.message.sse() }
    }

    /// The WebSocket message. Its id never counts a purchase that is still to come.
    pub fn text(&self) -> Utf8Bytes {
        match self.sequence.filter(|_| self.is_early) {
            Some(sequence) => self.message.text_with_id(sequence),
            None => self.message.text.clone(),
        }
    }
}

impl Subscription {
    /// Takes a seat.
    ///
    /// # Errors
    /// `validation_failed` when too many purchases were missed.
    pub fn new(room: Arc<Room>, context: Arc<RoomContext>, purchases: Option<Option<i64>>) -> Result<Self> {
        let (seat, news) = room.sit(purchases.is_some());
        let count = news.borrow().product.purchase_count;
        let sequence = purchases.map(|after| after.unwrap_or(count));
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
            has_begun: false,
            edition: 0,
            version: 0,
            is_stale: false,
            keepalive: 0,
            late: None,
        })
    }

    /// The product.
    pub fn product_id(&self) -> Id {
        self.seat.room.product_id
    }

    /// What the watcher is to be told next. Dropping this future loses nothing.
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
                // A read that takes long is no reason to give no sign of life.
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
            if self.sequence.is_some_and(|sequence| sequence < news.purchases_through) {
                // A read has failed, and paused.
                continue;
            }
            if self.news.changed().await.is_err() {
                return Next::End(End::Shutdown);
            }
        }
    }

    /// The first message: the product as it is at this moment.
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
        // From here on nothing waits, so that what is noted as told is told.
        let mut messages = Vec::new();
        if news.stale.is_some() != self.is_stale {
            self.is_stale = news.stale.is_some();
            messages.extend(news.stale.clone().map(|stale| self.count(stale, true)));
        }
        let is_behind = purchases.len() == PURCHASES_AT_ONCE_MAX;
        if let Some(sequence) = &mut self.sequence {
            *sequence += i64::try_from(purchases.len()).unwrap_or_default();
        }
        messages.extend(purchases.into_iter().map(|purchase| self.count(purchase, false)));
        if is_behind {
            // The stock comes after the purchases that it counts.
            return messages;
        }
        let is_early = self.sequence.is_some_and(|sequence| sequence != news.product.purchase_count);
        if news.edition != self.edition {
            messages.push(self.count(news.whole.clone(), is_early));
        } else if news.product.version > self.version {
            messages.push(self.count(news.stock.clone(), is_early));
        }
        self.edition = news.edition;
        self.version = self.version.max(news.product.version);
        messages
    }

    /// The next purchases: from the room's tail, or, for one who has fallen behind that, from the database.
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
                let Ok(_turn) = context.late_reads.acquire().await else { return Vec::new() };
                let purchases = tail::read(&context.store, &product, after, PURCHASES_AT_ONCE_MAX).await;
                let purchases = purchases.unwrap_or_default();
                if purchases.is_empty() {
                    // A failure is logged where it happens.
                    sleep(READ_RETRY).await;
                }
                purchases
            }))
        });
        let purchases = late.await.unwrap_or_default();
        self.late = None;
        purchases
    }

    fn count(&self, message: Message, is_early: bool) -> Outgoing {
        let label = EventLabel { event: message.event };
        self.context.metrics.watcher_messages.get_or_create(&label).inc();
        Outgoing { message, is_early, sequence: self.sequence }
    }
}
