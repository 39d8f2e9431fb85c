//! What a server keeps in memory of ended access, and what it says about a token.
//!
//! Kept are: ended tokens until they expire; accounts that are disabled or belong to the shop's staff, as long as they are;
//! other accounts and users whose tokens were ended or whose role changed, for as long as a token of our own lives. A token
//! of another provider may be older than that: then memory does not know.

use std::collections::HashMap;

use mongodb::bson::Timestamp as OperationTime;
use serde::Deserialize;

use super::ENDED;
use crate::accounts::current_user::{CurrentUser, Fingerprint};
use crate::error::{Error, Result};
use crate::model::ended_token::EndedToken;
use crate::model::id::Id;
use crate::model::user::{Role, User};

/// What memory says about a token that it does not refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts, and its user has this role.
    Role(Role),
    /// Only the database knows.
    Unknown,
}

/// What an account says about its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountWord {
    role: Role,
    disabled: bool,
    generation: i64,
    valid_from_ms: Option<i64>,
    changed_at: OperationTime,
}

/// The fields of an account that decide about its tokens.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountRow {
    #[serde(rename = "_id")]
    pub id: Id,
    role: Role,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    token_generation: i64,
    tokens_valid_from: Option<mongodb::bson::DateTime>,
    access_changed_at: Option<OperationTime>,
}

/// Everything that is kept.
pub struct Table {
    /// Ended tokens, and when they expire, in milliseconds.
    tokens: HashMap<Fingerprint, i64>,
    accounts: HashMap<Id, AccountWord>,
    /// Users without an account: tokens that were made before this moment, in milliseconds, are ended.
    users: HashMap<Id, i64>,
    entries_max: usize,
    /// Nothing was left out for lack of room.
    is_complete: bool,
}

impl AccountWord {
    pub fn of(account: &User) -> Self {
        Self {
            role: account.role,
            disabled: account.disabled,
            generation: account.token_generation,
            valid_from_ms: account.tokens_valid_from.map(|from| from.timestamp_millis()),
            changed_at: account.access_changed_at.unwrap_or(NEVER),
        }
    }

    /// The user's role, if the token counts.
    ///
    /// # Errors
    /// `unauthenticated` for an ended token, `account_disabled`.
    pub fn judge(&self, user: &CurrentUser) -> Result<Role> {
        let is_ended = match user.token.generation {
            // Not `!=`: a token may be newer than what memory knows.
            Some(generation) => generation < self.generation,
            None => self.valid_from_ms.is_some_and(|from_ms| user.token.issued_at_ms < from_ms),
        };
        match (is_ended, self.disabled) {
            (true, _) => Err(ENDED),
            (false, true) => Err(Error::AccountDisabled),
            (false, false) => Ok(self.role),
        }
    }

    fn is_kept_from(&self, moment_ms: i64) -> bool {
        self.disabled || self.role.is_staff() || i64::from(self.changed_at.time) * 1000 >= moment_ms
    }
}

/// Before every change.
const NEVER: OperationTime = OperationTime { time: 0, increment: 0 };

impl From<&AccountRow> for AccountWord {
    fn from(row: &AccountRow) -> Self {
        Self {
            role: row.role,
            disabled: row.disabled,
            generation: row.token_generation,
            valid_from_ms: row.tokens_valid_from.map(|from| from.timestamp_millis()),
            changed_at: row.access_changed_at.unwrap_or(NEVER),
        }
    }
}

impl Table {
    pub fn new(entries_max: usize) -> Self {
        Self {
            tokens: HashMap::new(),
            accounts: HashMap::new(),
            users: HashMap::new(),
            entries_max,
            is_complete: true,
        }
    }

    /// What is known about the token. A token of another provider has to be made after `covered_from_ms`.
    ///
    /// # Errors
    /// `unauthenticated` for an ended token, `account_disabled`.
    pub fn judge(&self, user: &CurrentUser, covered_from_ms: i64) -> Result<Verdict> {
        let token = &user.token;
        if self.tokens.contains_key(&token.fingerprint) {
            return Err(ENDED);
        }
        if token.generation.is_none()
            && self.users.get(&user.id).is_some_and(|from_ms| token.issued_at_ms < *from_ms)
        {
            return Err(ENDED);
        }
        let account = self.accounts.get(&user.id).map(|account| account.judge(user)).transpose()?;
        if !self.is_complete || (token.generation.is_none() && token.issued_at_ms < covered_from_ms) {
            return Ok(Verdict::Unknown);
        }
        Ok(Verdict::Role(account.unwrap_or(user.role)))
    }

    /// Takes note of what an account says, unless something newer is known.
    pub fn note_account(&mut self, id: Id, word: AccountWord) {
        let known_at = self.accounts.get(&id).map(|known| known.changed_at);
        let is_newer = known_at.is_none_or(|known_at| known_at <= word.changed_at);
        if is_newer && (known_at.is_some() || self.has_room()) {
            self.accounts.insert(id, word);
        }
    }

    pub fn note_ended(&mut self, ended: &EndedToken) {
        let fingerprint = ended.key.strip_prefix("token:").and_then(|hex| u128::from_str_radix(hex, 16).ok());
        let expires_at_ms = ended.expires_at.map_or(i64::MAX, |at| at.timestamp_millis());
        let from_ms = ended.tokens_valid_from.map(|from| from.timestamp_millis());
        match (fingerprint.map(Fingerprint), from_ms) {
            (Some(token), _) if self.tokens.contains_key(&token) || self.has_room() => {
                self.tokens.insert(token, expires_at_ms);
            }
            (None, Some(from_ms)) if self.users.contains_key(&ended.user_id) || self.has_room() => {
                let known_ms = self.users.entry(ended.user_id).or_insert(from_ms);
                *known_ms = from_ms.max(*known_ms);
            }
            _ => {}
        }
    }

    /// Whether another entry may be kept. From the first one that may not on, the table is incomplete.
    fn has_room(&mut self) -> bool {
        let has_room = self.tokens.len() + self.accounts.len() + self.users.len() < self.entries_max;
        self.is_complete &= has_room;
        has_room
    }

    /// The most entries.
    pub fn entries_max(&self) -> usize {
        self.entries_max
    }

    /// Whether nothing was left out.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Forgets tokens that expired before `expired_ms`, and what was ended before `kept_from_ms`.
    pub fn prune(&mut self, expired_ms: i64, kept_from_ms: i64) {
        self.tokens.retain(|_, expires_at_ms| *expires_at_ms >= expired_ms);
        self.accounts.retain(|_, account| account.is_kept_from(kept_from_ms));
        self.users.retain(|_, from_ms| *from_ms >= kept_from_ms);
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::DateTime;

    use super::*;
    use crate::accounts::current_user::TokenFacts;

    const HOUR_MS: i64 = 3_600_000;

    fn user(generation: Option<i64>, issued_at_ms: i64) -> CurrentUser {
        CurrentUser {
            id: Id::from_bytes([7; 12]),
            name: "Ada".into(),
            role: Role::Customer,
            registered_at: None,
            token: TokenFacts {
                fingerprint: Fingerprint(7),
                issued_at_ms,
                expires_at_ms: HOUR_MS,
                generation,
            },
        }
    }

    fn word(seconds: u32) -> AccountWord {
        AccountWord {
            role: Role::Customer,
            disabled: false,
            generation: 0,
            valid_from_ms: None,
            changed_at: OperationTime { time: seconds, increment: 1 },
        }
    }

    fn ended(key: &str) -> EndedToken {
        EndedToken {
            key: key.into(),
            user_id: Id::from_bytes([7; 12]),
            ended_at: NEVER,
            expires_at: Some(DateTime::from_millis(HOUR_MS)),
            tokens_valid_from: None,
        }
    }

    /// What a table with this account says.
    fn judge(word: AccountWord, user: &CurrentUser) -> Result<Verdict> {
        let mut table = Table::new(10);
        table.note_account(user.id, word);
        table.judge(user, 0)
    }

    #[test]
    fn a_new_generation_ends_our_own_tokens_exactly() {
        let account = AccountWord { generation: 2, valid_from_ms: Some(5_500), ..word(1) };
        assert_eq!(judge(account, &user(Some(1), 5_999)), Err(ENDED));
        // Made in the same second, or known here before the account's change is.
        assert_eq!(judge(account, &user(Some(2), 5_000)), Ok(Verdict::Role(Role::Customer)));
        assert_eq!(judge(account, &user(Some(3), 5_000)), Ok(Verdict::Role(Role::Customer)));
    }

    #[test]
    fn tokens_of_others_end_by_the_second() {
        let account = AccountWord { generation: 2, valid_from_ms: Some(5_500), ..word(1) };
        assert_eq!(judge(account, &user(None, 5_000)), Err(ENDED), "perhaps made before: it counts as such");
        assert_eq!(judge(account, &user(None, 6_000)), Ok(Verdict::Role(Role::Customer)));
    }

    #[test]
    fn the_account_has_the_last_word() {
        let admin = AccountWord { role: Role::Admin, ..word(1) };
        assert_eq!(judge(admin, &user(None, 0)), Ok(Verdict::Role(Role::Admin)));
        let disabled = AccountWord { disabled: true, ..admin };
        assert_eq!(judge(disabled, &user(None, 0)), Err(Error::AccountDisabled));
        let ended = AccountWord { generation: 1, ..disabled };
        assert_eq!(judge(ended, &user(Some(0), 0)), Err(ENDED));
    }

    #[test]
    fn an_older_word_changes_nothing() {
        let mut table = Table::new(10);
        let user = user(Some(0), 0);
        table.note_account(user.id, AccountWord { disabled: true, ..word(2) });
        table.note_account(user.id, word(1));
        assert_eq!(table.judge(&user, 0), Err(Error::AccountDisabled));
        table.note_account(user.id, word(3));
        assert_eq!(table.judge(&user, 0), Ok(Verdict::Role(Role::Customer)));
    }

    #[test]
    fn an_ended_token_is_refused_until_it_has_expired() {
        let mut table = Table::new(10);
        table.note_ended(&ended("token:00000000000000000000000000000007"));
        assert_eq!(table.judge(&user(Some(0), 0), 0), Err(ENDED));
        table.prune(HOUR_MS, 0);
        assert_eq!(table.judge(&user(Some(0), 0), 0), Err(ENDED));
        table.prune(HOUR_MS + 1, 0);
        assert_eq!(table.judge(&user(Some(0), 0), 0), Ok(Verdict::Role(Role::Customer)));
    }

    #[test]
    fn a_user_without_an_account_can_end_all_tokens() {
        let mut table = Table::new(10);
        let all = |from_ms| EndedToken {
            expires_at: None,
            tokens_valid_from: Some(DateTime::from_millis(from_ms)),
            ..ended("user:070707070707070707070707")
        };
        table.note_ended(&all(5_500));
        table.note_ended(&all(4_000));
        assert_eq!(table.judge(&user(None, 5_000), 0), Err(ENDED));
        assert_eq!(table.judge(&user(None, 6_000), 0), Ok(Verdict::Role(Role::Customer)));
        assert_eq!(table.judge(&user(Some(0), 5_000), 0), Ok(Verdict::Role(Role::Customer)));
    }

    #[test]
    fn memory_is_bounded_by_a_tokens_life_and_knows_its_bounds() {
        let mut table = Table::new(10);
        let changed = user(None, 9_000);
        table.note_account(changed.id, AccountWord { valid_from_ms: Some(20_000), ..word(20) });
        table.note_account(Id::from_bytes([8; 12]), AccountWord { disabled: true, ..word(1) });
        table.note_account(Id::from_bytes([9; 12]), AccountWord { role: Role::Payments, ..word(1) });
        table.prune(0, 20_001);
        assert_eq!(table.accounts.len(), 2, "the staff and the disabled stay");
        // A token that is older than what memory covers has to be looked up.
        assert_eq!(table.judge(&changed, 20_001), Ok(Verdict::Unknown));
        assert_eq!(table.judge(&user(Some(0), 9_000), 20_001), Ok(Verdict::Role(Role::Customer)));
    }

    #[test]
    fn a_full_table_knows_that_it_does_not_know() {
        let mut table = Table::new(1);
        table.note_ended(&ended("token:00000000000000000000000000000007"));
        assert!(table.is_complete());
        table.note_account(Id::from_bytes([8; 12]), word(1));
        let other = CurrentUser {
            token: TokenFacts { fingerprint: Fingerprint(8), ..user(Some(0), 0).token },
            ..user(Some(0), 0)
        };
        assert_eq!(table.judge(&other, 0), Ok(Verdict::Unknown));
        assert_eq!(table.judge(&user(Some(0), 0), 0), Err(ENDED));
    }
}
