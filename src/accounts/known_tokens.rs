//! A cache of verified tokens. A refused buyer retries with the same token: verifying it again is a sixth of the
//! refusal's cost, and looking it up here costs a fraction of that.
//!
//! Most buyers come only once, and caching their tokens would cost more than it saves. So a token that comes for the
//! first time leaves only a fingerprint.
//!
//! The cache remembers that signature and claims are good. Whether the token has expired is checked each time.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::current_user::CurrentUser;
use super::tokens::{SoundToken, Tokens};
use crate::config::AccountsLimits;
use crate::error::Result;

/// The memory of a usual token, in bytes, roughly.
const USUAL_BYTES: usize = 512;
/// The memory of a token besides its text, in bytes, roughly.
const BESIDES_BYTES: usize = 256;

/// Fingerprints in one set. Another one replaces the one that has not come for longest.
const FINGERPRINTS_PER_SET: usize = 4;
/// The part of the cache reserved for tokens that were found in it again. By default the cache reserves nearly all, and
/// yesterday's crowd would keep today's crowd out.
const KEPT_SHARE: f64 = 0.25;

/// Verifies tokens, and caches those that come more than once.
pub struct KnownTokens {
    /// The fingerprints of the last tokens: as many sets as the cache has room for tokens, the newest first in each.
    seen: Box<[[AtomicU64; FINGERPRINTS_PER_SET]]>,
    fingerprints: DefaultHashBuilder,
    known: Cache<Box<str>, Arc<SoundToken>, Bytes>,
}

/// Weighs a cached token, in bytes.
#[derive(Clone)]
struct Bytes;

impl Weighter<Box<str>, Arc<SoundToken>> for Bytes {
    fn weight(&self, token: &Box<str>, _: &Arc<SoundToken>) -> u64 {
        (token.len() + BESIDES_BYTES) as u64
    }
}

impl KnownTokens {
    pub fn new(limits: &AccountsLimits) -> Self {
        let bytes_max = limits.known_tokens_bytes_max;
        let tokens_max = (bytes_max / USUAL_BYTES).max(1);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(tokens_max)
            .weight_capacity(bytes_max as u64)
            .hot_allocation(KEPT_SHARE)
            .build();
        Self {
            seen: (0..tokens_max).map(|_| Default::default()).collect(),
            fingerprints: DefaultHashBuilder::default(),
            known: Cache::with_options(
                options.expect("both capacities are given"),
                Bytes,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
        }
    }

    /// Notes the token's fingerprint; true when it was there already.
    fn comes_again(&self, token: &str) -> bool {
        let fingerprint = self.fingerprints.hash_one(token);
        // The remainder is less than the length.
        let set = &self.seen[(fingerprint % self.seen.len() as u64) as usize];
        // The fingerprint moves to the front; the others move back by one, up to its old place. Two threads at once
        // may lose a third fingerprint; its token is then only verified once more.
        let mut carried = fingerprint;
        set.iter().any(|place| {
            carried = place.swap(carried, Ordering::Relaxed);
            carried == fingerprint
        })
    }

    /// Like `Tokens::verify`, from the cache if possible.
    ///
    /// # Errors
    /// Those of `Tokens::verify`.
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
    use mongodb::bson::DateTime;

    use super::*;
    use crate::config::Secret;
    use crate::error::Error;
    use crate::model::user::{Role, User};

    const SECRET: &str = "kZ3v9Qm1xY7pL0tR5wB8nC2dF6gH4jS1";

    fn signer(lifetime_seconds: u64) -> Tokens {
        let limits = AccountsLimits { token_lifetime_seconds: lifetime_seconds, ..AccountsLimits::default() };
        Tokens::new(&Secret::new(SECRET), &limits)
    }

    /// A new user's token.
    fn token(tokens: &Tokens) -> String {
        let name = "Ada Lovelace".to_owned();
        let user = User::new(name, String::new(), String::new(), Role::Customer, DateTime::now());
        tokens.sign(&user).unwrap().token
    }

    #[test]
    fn a_token_is_known_from_its_third_time_on() {
        let tokens = signer(60);
        let token = token(&tokens);
        let known = KnownTokens::new(&AccountsLimits::default());
        let user = known.verify(&tokens, &token).unwrap();
        assert_eq!((known.known.len(), known.verify(&tokens, &token)), (0, Ok(user.clone())));
        assert_eq!(known.known.len(), 1);
        let strangers =
            Tokens::new(&Secret::new("another secret of at least 32 bytes"), &AccountsLimits::default());
        assert_eq!(known.verify(&strangers, &token), Ok(user));
        // A known token counts only unchanged.
        let changed = format!("{token}A");
        assert!(known.verify(&tokens, &changed).is_err());
    }

    #[test]
    fn a_known_token_expires() {
        let tokens = signer(0);
        let token = token(&tokens);
        let known = KnownTokens::new(&AccountsLimits::default());
        known.known.insert(token.as_str().into(), Arc::new(tokens.read(&token).unwrap()));
        assert!(!known.comes_again(&token));
        assert_eq!(known.verify(&tokens, &token), Err(Error::TokenExpired));
    }

    #[test]
    fn tokens_that_share_a_set_are_all_seen_until_it_is_full() {
        let known = KnownTokens::new(&AccountsLimits {
            known_tokens_bytes_max: USUAL_BYTES,
            ..AccountsLimits::default()
        });
        assert_eq!(known.seen.len(), 1);
        let come = |names: [&str; FINGERPRINTS_PER_SET]| names.map(|name| known.comes_again(name));
        assert_eq!(come(["a", "b", "c", "d"]), [false; 4]);
        assert_eq!(come(["b", "d", "a", "c"]), [true; 4]);
        // Of b, d, a and c, b has not come for longest: e replaces it.
        assert!(!known.comes_again("e"));
        assert_eq!(come(["d", "a", "c", "b"]), [true, true, true, false]);
    }

    #[test]
    fn the_next_crowd_is_known_as_well_as_the_one_before() {
        const BUYERS: usize = 500;
        let limits =
            AccountsLimits { known_tokens_bytes_max: 2 * BUYERS * USUAL_BYTES, ..AccountsLimits::default() };
        let (tokens, known) = (signer(60), KnownTokens::new(&limits));
        for crowd in 0..5 {
            let buyers: Vec<_> = (0..BUYERS).map(|_| token(&tokens)).collect();
            for _ in 0..8 {
                buyers.iter().for_each(|token| drop(known.verify(&tokens, token).unwrap()));
            }
            let count = buyers.iter().filter(|token| known.known.peek(token.as_str()).is_some()).count();
            assert!(count > BUYERS * 3 / 4, "{count} of crowd {crowd}");
        }
    }
}
