//! The tokens that were verified a short time ago. Who is refused comes again with the same token, and to look it up costs
//! a fraction of reading it anew, which is a sixth of such a refusal.
//!
//! What is remembered is that the signature and the claims are good. Whether the token has expired is asked each time.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use super::current_user::CurrentUser;
use super::tokens::{SoundToken, Tokens};
use crate::config::Limits;
use crate::error::Result;

/// What a token takes besides its text, in bytes, about.
const ENTRY_BYTES: usize = 512;

/// Verifies tokens, and remembers those that were good.
pub struct KnownTokens {
    known: Cache<Arc<str>, Arc<SoundToken>>,
}

impl KnownTokens {
    /// None is known yet.
    pub fn new(limits: &Limits) -> Self {
        let bytes = |token: &Arc<str>, _: &Arc<SoundToken>| {
            u32::try_from(token.len() + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        let known = Cache::builder()
            .max_capacity(limits.known_tokens_bytes_max as u64)
            .weigher(bytes)
            .time_to_live(Duration::from_secs(limits.known_token_seconds_max));
        Self { known: known.build() }
    }

    /// Who the token says is asking, as `Tokens::verify` would tell.
    ///
    /// # Errors
    /// `token_expired`, and `unauthenticated` for everything else that is wrong with it.
    pub fn verify(&self, tokens: &Tokens, token: &str) -> Result<CurrentUser> {
        if let Some(known) = self.known.get(token) {
            return known.user();
        }
        let sound = tokens.read(token)?;
        let user = sound.user()?;
        self.known.insert(token.into(), Arc::new(sound));
        Ok(user)
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, oid::ObjectId};

    use super::*;
    use crate::auth::user::{Role, User};
    use crate::config::Secret;
    use crate::error::Error;

    const SECRET: &str = "kZ3v9Qm1xY7pL0tR5wB8nC2dF6gH4jS1";

    fn signed(lifetime_seconds: u64) -> (Tokens, String) {
        let limits = Limits { token_lifetime_seconds: lifetime_seconds, ..Limits::default() };
        let tokens = Tokens::new(&Secret::new(SECRET), &limits);
        let user = User {
            id: ObjectId::new(),
            name: "Ada Lovelace".into(),
            email: "ada@shop.example".into(),
            password_hash: String::new(),
            role: Role::Customer,
            created_at: DateTime::now(),
        };
        let token = tokens.sign(&user).unwrap().token;
        (tokens, token)
    }

    #[test]
    fn a_token_is_known_from_its_second_time_on() {
        let (tokens, token) = signed(60);
        let known = KnownTokens::new(&Limits::default());
        let user = known.verify(&tokens, &token).unwrap();
        let strangers = Tokens::new(&Secret::new("another secret of at least 32 bytes"), &Limits::default());
        assert_eq!(known.verify(&strangers, &token), Ok(user));
        // Only as it was.
        let changed = format!("{token}A");
        assert!(known.verify(&tokens, &changed).is_err());
    }

    #[test]
    fn a_known_token_expires() {
        let (tokens, token) = signed(0);
        let known = KnownTokens::new(&Limits::default());
        known.known.insert(token.as_str().into(), Arc::new(tokens.read(&token).unwrap()));
        assert_eq!(known.verify(&tokens, &token), Err(Error::TokenExpired));
    }
}
