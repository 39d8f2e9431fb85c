//! The tokens that were verified a short time ago. Who is refused comes again with the same token, and to look it up costs
//! a fraction of reading it anew, which is a sixth of such a refusal.
//!
//! What is remembered is that the signature and the claims are good. Whether the token has expired is asked each time.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::current_user::CurrentUser;
use super::tokens::{SoundToken, Tokens};
use crate::config::Limits;
use crate::error::Result;

/// What a token of the usual length takes, in bytes, about.
const USUAL_BYTES: usize = 512;
/// What a token takes besides its text, in bytes, about.
const BESIDES_BYTES: usize = 256;

/// Verifies tokens, and remembers those that were good.
pub struct KnownTokens(Cache<Box<str>, Arc<SoundToken>, Bytes>);

/// What is kept of one token.
#[derive(Clone)]
struct Bytes;

impl Weighter<Box<str>, Arc<SoundToken>> for Bytes {
    fn weight(&self, token: &Box<str>, _: &Arc<SoundToken>) -> u64 {
        (token.len() + BESIDES_BYTES) as u64
    }
}

impl KnownTokens {
    /// None is known yet.
    pub fn new(limits: &Limits) -> Self {
        let bytes_max = limits.known_tokens_bytes_max;
        Self(Cache::with_weighter(bytes_max / USUAL_BYTES, bytes_max as u64, Bytes))
    }

    /// Who the token says is asking, as `Tokens::verify` would tell.
    ///
    /// # Errors
    /// `token_expired`, and `unauthenticated` for everything else that is wrong with it.
    pub fn verify(&self, tokens: &Tokens, token: &str) -> Result<CurrentUser> {
        if let Some(known) = self.0.get(token) {
            return known.user();
        }
        let sound = tokens.read(token)?;
        let user = sound.user()?;
        self.0.insert(token.into(), Arc::new(sound));
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
        known.0.insert(token.as_str().into(), Arc::new(tokens.read(&token).unwrap()));
        assert_eq!(known.verify(&tokens, &token), Err(Error::TokenExpired));
    }
}
