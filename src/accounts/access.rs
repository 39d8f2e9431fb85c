//! Whether a verified token still counts, and what its user may do.
//!
//! A token counts until it expires, unless somebody ended it (one token, or all of the user), or the account is disabled.
//! Where there is an account, its role is the user's; otherwise the token's. Who decides:
//!
//! - For admins and payment services, the database: a confirmed read for each request.
//! - For everybody else, memory (`table`), which a task brings up to date twice a second (`follow`). If the last answer of
//!   the database is too old, the request waits for the next one.
//!
//! So an end of access counts at once on routes for admins, and within two seconds everywhere else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use mongodb::bson::doc;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use self::follow::Follower;
use self::table::{AccountWord, Table, Verdict};
use super::current_user::{CurrentUser, Fingerprint};
use crate::config::AccountsLimits;
use crate::error::{Error, Result};
use crate::model::ended_token::EndedToken;
use crate::model::id::Id;
use crate::model::timestamp::Timestamp;
use crate::model::user::{Role, User};
use crate::store::{Store, collect};

mod follow;
mod table;

/// Tokens are kept in mind for this much longer than they are valid, in milliseconds: clocks may differ, or be set back.
const CLOCK_SLACK_MS: i64 = 60 * 60 * 1000;

/// How often a starting server tries to read what was ended: a slow database must not keep it from starting.
const LOAD_TRIES_MAX: usize = 5;

/// The answer to a token that was ended.
pub(super) const ENDED: Error = Error::Unauthenticated {
    detail: "This token was ended by a logout or a new password. Log in again.",
    has_token: true,
};
/// The answer to a token whose account is gone.
const GONE: Error =
    Error::Unauthenticated { detail: "The account of this token no longer exists.", has_token: true };

/// What this server knows of ended access; clones share it.
#[derive(Clone)]
pub struct Access(Arc<Shared>);

struct Shared {
    store: Store,
    table: RwLock<Table>,
    started: Instant,
    /// When the newest answer that the table has was asked for, in milliseconds after `started`.
    asked_ms: AtomicU64,
    /// Notified of each answer.
    answers: watch::Sender<()>,
    interval: Duration,
    age_max: Duration,
    /// How long before now an account's tokens may have been ended and still be in memory, in milliseconds.
    kept_ms: i64,
}

/// The key of an ended token among `endedTokens`.
pub fn token_key(token: Fingerprint) -> String {
    format!("token:{token}")
}

/// The key of all tokens of a user who has no account here.
pub fn user_key(user: Id) -> String {
    format!("user:{user}")
}

impl Access {
    /// Reads what has to be known, so that the first request is judged like any other.
    ///
    /// # Errors
    /// Those of `Store::read`.
    pub async fn start(store: &Store, limits: &AccountsLimits) -> Result<(Self, AccessTask)> {
        let lifetime_ms = i64::try_from(limits.token_lifetime_seconds).unwrap_or(i64::MAX / 4_000) * 1000;
        let access = Self(Arc::new(Shared {
            store: store.clone(),
            table: RwLock::new(Table::new(limits.access_entries_max)),
            started: Instant::now(),
            asked_ms: AtomicU64::new(0),
            answers: watch::Sender::new(()),
            interval: Duration::from_millis(limits.access_interval_ms),
            age_max: Duration::from_millis(limits.access_age_ms_max),
            kept_ms: lifetime_ms + CLOCK_SLACK_MS,
        }));
        let mut follower = Follower::new(access.clone());
        for _ in 1..LOAD_TRIES_MAX {
            if follower.load().await.is_ok() {
                return Ok((access, AccessTask(follower)));
            }
        }
        follower.load().await?;
        Ok((access, AccessTask(follower)))
    }

    /// The user, if the token counts; with the role of the account, if there is one. From memory for customers.
    ///
    /// # Errors
    /// `unauthenticated` for an ended token, `account_disabled`; `database_unavailable` or `overloaded` if the server
    /// cannot know.
    pub async fn check(&self, user: CurrentUser) -> Result<CurrentUser> {
        self.await_recent(Instant::now()).await?;
        match self.judge(&user)? {
            Verdict::Role(role @ Role::Customer) => Ok(CurrentUser { role, ..user }),
            // Boxed, or the request of every customer would carry the room for these statements.
            Verdict::Role(_) | Verdict::Unknown => Box::pin(self.look(user)).await,
        }
    }

    /// The same, from the database: for routes on which an end of access counts at once.
    ///
    /// # Errors
    /// Those of `check`.
    pub async fn look(&self, user: CurrentUser) -> Result<CurrentUser> {
        let store = &self.0.store;
        let account = store.users.find_one(doc! { "_id": user.id });
        let keys = vec![token_key(user.token.fingerprint), user_key(user.id)];
        let ended = store.ended_tokens.find(doc! { "_id": { "$in": keys } });
        let read = |mut session| async move {
            let account = account.session(&mut session).await?;
            Ok((account, collect(ended, session).await?))
        };
        let (account, ended) = store.read_access(read).await?;
        let mut table = Table::new(usize::MAX);
        ended.iter().for_each(|ended| table.note_ended(ended));
        match &account {
            Some(account) => table.note_account(account.id, AccountWord::of(account)),
            None if user.token.generation.is_some() => return Err(GONE),
            None => {}
        }
        match table.judge(&user, i64::MIN)? {
            Verdict::Role(role) => Ok(CurrentUser { role, ..user }),
            Verdict::Unknown => Err(Error::Internal),
        }
    }

    /// Waits until memory is recent. For those who judge again after a wait.
    ///
    /// # Errors
    /// `database_unavailable`.
    pub async fn await_recent(&self, now: Instant) -> Result<()> {
        if self.is_recent(now) {
            return Ok(());
        }
        // The database has been away for a while: the next answer is not worth waiting for.
        if now.checked_sub(self.0.store.read_max()).is_some_and(|earlier| !self.is_recent(earlier)) {
            return Err(Error::DatabaseUnavailable);
        }
        let mut answers = self.0.answers.subscribe();
        let recent = async {
            while !self.is_recent(now) {
                // The sender lives as long as `self`.
                let _ = answers.changed().await;
            }
        };
        timeout(self.0.store.read_max(), recent).await.map_err(|_| {
            if self.0.store.may_log_failure() {
                tracing::warn!("the database did not say in time whose access has ended");
            }
            Error::DatabaseUnavailable
        })
    }

    /// Refuses while memory is too old to judge a token: until the next answer every request with one waits or fails.
    ///
    /// # Errors
    /// `database_unavailable`.
    pub fn check_recent(&self) -> Result<()> {
        if self.is_recent(Instant::now()) { Ok(()) } else { Err(Error::DatabaseUnavailable) }
    }

    /// Judges these users again, from memory, which may know more by now. `None` for each whose token still counts.
    pub fn recheck<'a>(&self, users: impl Iterator<Item = &'a CurrentUser>) -> Vec<Option<Error>> {
        let (table, covered_from_ms) = (self.table(), self.covered_from_ms());
        users.map(|user| table.judge(user, covered_from_ms).err()).collect()
    }

    /// Resolves when the token of `user` no longer counts, or has expired, or when the server cannot know any more. Never,
    /// for somebody without a token.
    pub async fn ended(&self, user: Option<CurrentUser>) {
        let Some(user) = user else { return std::future::pending().await };
        loop {
            let now = Instant::now();
            let has_expired = user.token.expires_at_ms <= Timestamp::now_here().milliseconds();
            if has_expired || !self.is_recent(now) {
                return;
            }
            match self.judge(&user) {
                Ok(Verdict::Role(_)) => {}
                Ok(Verdict::Unknown) if self.look(user.clone()).await.is_ok() => {}
                Ok(Verdict::Unknown) | Err(_) => return,
            }
            sleep(self.0.interval).await;
        }
    }

    /// Takes note of an account whose access this server has changed.
    pub fn note_account(&self, account: &User) {
        self.table_mut().note_account(account.id, AccountWord::of(account));
    }

    /// Takes note of what this server has ended.
    pub fn note_ended(&self, ended: &EndedToken) {
        self.table_mut().note_ended(ended);
    }

    fn judge(&self, user: &CurrentUser) -> Result<Verdict> {
        self.table().judge(user, self.covered_from_ms())
    }

    /// What was ended later than this is in memory.
    fn covered_from_ms(&self) -> i64 {
        Timestamp::now_here().milliseconds() - self.0.kept_ms + CLOCK_SLACK_MS
    }

    /// Whether memory has everything that had happened `age_max` before `now`.
    fn is_recent(&self, now: Instant) -> bool {
        let asked = self.0.started + Duration::from_millis(self.0.asked_ms.load(Ordering::Acquire));
        now.saturating_duration_since(asked) <= self.0.age_max
    }

    /// Memory has the answer to a question that was asked at `asked`.
    fn answered(&self, asked: Instant) {
        let asked = asked.saturating_duration_since(self.0.started).as_millis();
        self.0.asked_ms.store(u64::try_from(asked).unwrap_or(u64::MAX), Ordering::Release);
        self.0.answers.send_replace(());
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.0.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table_mut(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that brings memory up to date.
pub struct AccessTask(Follower);

impl AccessTask {
    /// Follows the database until `shutdown`.
    pub async fn run(mut self, shutdown: tokio_util::sync::CancellationToken) {
        // What is dropped at shutdown only reads.
        shutdown.run_until_cancelled(self.0.follow()).await;
    }
}

/// Judges a token by the account that was just read.
///
/// # Errors
/// `unauthenticated` for an ended token, `account_disabled`.
pub fn check_account(account: &User, user: &CurrentUser) -> Result<()> {
    AccountWord::of(account).judge(user).map(drop)
}
