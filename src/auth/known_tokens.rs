//! The tokens that come again and again. Who is refused comes back with the same token, and to look it up costs a fraction
//! of reading it anew, which is a sixth of such a refusal.
//!
//! Most buyers come once, and for them to be remembered would cost more than it saves: the first time, a token leaves no
//! more than a fingerprint behind.
//!
//! What is remembered is that the signature and the claims are good. Whether the token has expired is asked each time.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Weighter};

use super::current_user::CurrentUser;
use super::tokens::{SoundToken, Tokens};
use crate::config::Limits;
use crate::error::Result;

/// What a token of the usual length takes, in bytes, about.
const USUAL_BYTES: usize = 512;
/// What a token takes besides its text, in bytes, about.
const BESIDES_BYTES: usize = 256;

/// Places for fingerprints, for each token that may be known: two tokens that share one take it from each other.
const FINGERPRINTS_PER_TOKEN: usize = 4;

/// Verifies tokens, and remembers those that were good more than once.
pub struct KnownTokens {
    /// The fingerprint of the token that came last of those that share the place.
    seen: Box<[AtomicU64]>,
    fingerprints: DefaultHashBuilder,
    known: Cache<Box<str>, Arc<SoundToken>, Bytes>,
}

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
        let tokens_max = (bytes_max / USUAL_BYTES).max(1);
        Self {
            seen: (0..tokens_max * FINGERPRINTS_PER_TOKEN).map(|_| AtomicU64::default()).collect(),
            fingerprints: DefaultHashBuilder::default(),
            known: Cache::with_weighter(tokens_max, bytes_max as u64, Bytes),
        }
    }

    /// Whether the token was seen a short time ago.
    fn comes_again(&self, token: &str) -> bool {
        let fingerprint = self.fingerprints.hash_one(token);
        // The remainder is less than the length.
        let place = &self.seen[(fingerprint % self.seen.len() as u64) as usize];
        place.swap(fingerprint, Ordering::Relaxed) == fingerprint
    }

    /// Who the token says is asking, as `Tokens::verify` would tell.
    ///
    /// # Errors
    /// `token_expired`, and `unauthenticated` for everything else that is wrong with it.
    pub fn verify(&self, tokens: &Tokens, token: &str) -> Result<CurrentUser> {
        let comes_again = self.comes_again(token);
        if comes_again && let Some(known) = self.known.get(token) {
            return known.user();
        }
        let sound = tokens.read(token)?;
        let user = sound.user()?;
        if comes_again {
            self.known.insert(token.into(), Arc::new(sound));
        }
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
    fn a_token_is_known_from_its_third_time_on() {
        let (tokens, token) = signed(60);
        let known = KnownTokens::new(&Limits::default());
        let user = known.verify(&tokens, &token).unwrap();
        assert_eq!((known.known.len(), known.verify(&tokens, &token)), (0, Ok(user.clone())));
        assert_eq!(known.known.len(), 1);
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
        assert!(!known.comes_again(&token));
        assert_eq!(known.verify(&tokens, &token), Err(Error::TokenExpired));
    }
}
