//! Brings memory up to date: asks the database twice a second what has changed.
//!
//! Each change carries the database's logical clock, which never goes back, not even when the primary changes. A change
//! is seen when its transaction commits, which may be later than its time says, but no more than a minute later: MongoDB
//! ends older transactions. So each question goes back to the time of a question that was asked more than a minute ago by
//! this process's own clock. Nothing is missed, whatever the wall clocks do; what comes again changes nothing.
//!
//! This is not a second change stream: that would read every purchase in the oplog on every server, would have to prove
//! that it is not cut off, and would have to be read anew when it loses its history.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, RawDocumentBuf, Timestamp as OperationTime, doc};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::table::{AccountRow, AccountWord, Table};
use super::{Access, CLOCK_SLACK_MS};
use crate::error::Result;
use crate::model::ended_token::EndedToken;
use crate::model::timestamp::Timestamp;
use crate::model::user::Role;
use crate::store::BATCH_ITEMS;
use crate::store::document::parse;

/// Longer than a transaction lives (MongoDB's `transactionLifetimeLimitSeconds`).
const OVERLAP: Duration = Duration::from_secs(75);
/// The time between two questions that are remembered.
const POSITIONS_INTERVAL: Duration = Duration::from_secs(5);
/// How often what has expired is forgotten.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);
/// How often a table that was too small is read anew.
const RELOAD_INTERVAL: Duration = Duration::from_secs(600);

pub struct Follower {
    access: Access,
    /// When questions were asked, and the database's logical time at which, the oldest first. The first one may be asked
    /// again.
    positions: VecDeque<(Instant, OperationTime)>,
    pruned: Instant,
    loaded: Instant,
}

/// What the database answers.
struct Answer {
    position: OperationTime,
    accounts: Vec<RawDocumentBuf>,
    ended: Vec<RawDocumentBuf>,
}

impl Follower {
    pub fn new(access: Access) -> Self {
        let now = Instant::now();
        Self { access, positions: VecDeque::new(), pruned: now, loaded: now }
    }

    /// Reads everything that counts.
    ///
    /// # Errors
    /// Those of `Store::read`.
    pub async fn load(&mut self) -> Result<()> {
        let asked = Instant::now();
        let now_ms = Timestamp::now_here().milliseconds();
        let kept_from = OperationTime { time: seconds(now_ms - self.access.0.kept_ms), increment: 0 };
        let staff: Vec<_> = Role::ALL.into_iter().filter(|role| role.is_staff()).map(Role::name).collect();
        let accounts = doc! { "$or": [
            { "disabled": true }, { "role": { "$in": staff } }, { "accessChangedAt": { "$gte": kept_from } },
        ] };
        let unexpired = DateTime::from_millis(now_ms - CLOCK_SLACK_MS);
        let ended =
            doc! { "$or": [{ "expiresAt": { "$gte": unexpired } }, { "endedAt": { "$gte": kept_from } }] };
        let entries_max = self.access.table().entries_max();
        let answer = self.read(accounts, ended, entries_max.saturating_add(1)).await?;
        let mut table = Table::new(entries_max);
        note(&mut table, &answer);
        if !table.is_complete() {
            tracing::warn!(
                "more than {entries_max} tokens and accounts were ended: every request with a token reads the database"
            );
        }
        *self.access.table_mut() = table;
        // What was changed shortly before and is committed only now was not there yet.
        let overlap = u32::try_from(OVERLAP.as_secs()).unwrap_or(u32::MAX);
        let before = OperationTime { time: answer.position.time.saturating_sub(overlap), increment: 0 };
        self.positions = VecDeque::from([(asked, before)]);
        self.loaded = asked;
        self.access.answered(asked);
        Ok(())
    }

    /// Asks again and again.
    pub async fn follow(&mut self) {
        let mut ticks = interval(self.access.0.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let must_load = !self.access.table().is_complete() && self.loaded.elapsed() >= RELOAD_INTERVAL;
            // A failure is logged where it happens; requests notice that memory is not recent.
            let _ = if must_load { self.load().await } else { self.ask().await };
            if self.pruned.elapsed() >= PRUNE_INTERVAL {
                self.pruned = Instant::now();
                let now_ms = Timestamp::now_here().milliseconds();
                self.access.table_mut().prune(now_ms - CLOCK_SLACK_MS, now_ms - self.access.0.kept_ms);
            }
        }
    }

    /// Asks once what has changed.
    async fn ask(&mut self) -> Result<()> {
        let asked = Instant::now();
        let since = self.since(asked);
        let accounts = doc! { "accessChangedAt": { "$gte": since } };
        let ended = doc! { "endedAt": { "$gte": since } };
        let answer = self.read(accounts, ended, usize::MAX).await?;
        if !answer.accounts.is_empty() || !answer.ended.is_empty() {
            note(&mut self.access.table_mut(), &answer);
        }
        if self.positions.back().is_none_or(|(last, _)| asked.duration_since(*last) >= POSITIONS_INTERVAL) {
            self.positions.push_back((asked, answer.position));
        }
        self.access.answered(asked);
        Ok(())
    }

    /// The newest position that is older than any open transaction.
    fn since(&mut self, now: Instant) -> OperationTime {
        while self.positions.get(1).is_some_and(|(asked, _)| now.duration_since(*asked) > OVERLAP) {
            self.positions.pop_front();
        }
        self.positions.front().map_or(OperationTime { time: 0, increment: 0 }, |(_, position)| *position)
    }

    async fn read(&self, accounts: Document, ended: Document, limit: usize) -> Result<Answer> {
        let store = &self.access.0.store;
        let limit = i64::try_from(limit).unwrap_or(0);
        let fields = doc! {
            "role": 1, "disabled": 1, "tokenGeneration": 1, "tokensValidFrom": 1, "accessChangedAt": 1,
        };
        let users = store.users.clone_with_type::<RawDocumentBuf>();
        let tokens = store.ended_tokens.clone_with_type::<RawDocumentBuf>();
        let accounts = users.find(accounts).projection(fields).limit(limit).batch_size(BATCH_ITEMS);
        let ended = tokens.find(ended).limit(limit).batch_size(BATCH_ITEMS);
        let read = |mut session: mongodb::ClientSession| async move {
            // Of the confirmation: a majority has everything up to it, and whatever begins later is dated later.
            let position = session.operation_time().unwrap_or(OperationTime { time: 0, increment: 0 });
            let mut found = accounts.session(&mut session).await?;
            let accounts = found.stream(&mut session).try_collect().await?;
            let mut found = ended.session(&mut session).await?;
            let ended = found.stream(&mut session).try_collect().await?;
            Ok(Answer { position, accounts, ended })
        };
        store.follow_access(read).await
    }
}

fn note(table: &mut Table, answer: &Answer) {
    for row in answer.accounts.iter().filter_map(|document| parse::<AccountRow>(document)) {
        table.note_account(row.id, AccountWord::from(&row));
    }
    for ended in answer.ended.iter().filter_map(|document| parse::<EndedToken>(document)) {
        table.note_ended(&ended);
    }
}

fn seconds(milliseconds: i64) -> u32 {
    u32::try_from(milliseconds / 1000).unwrap_or(0)
}
