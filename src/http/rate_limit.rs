//! Token buckets by client, in bounded memory, and the headers that tell a client how its bucket stands.
//!
//! A bucket is the moment at which it will be full again (the generic cell rate algorithm), so a full bucket need not be
//! remembered, and a client that comes now and then takes no memory. The buckets stand in a table of a fixed size, in sets.
//! If a set is full of buckets that are not full, the one that is nearest to full makes room: it had least to lose. So whoever
//! comes from millions of networks fills the table with buckets of one missing token, and pushes out such ones; the bucket of
//! a client that has used up its quota stays. And a network that was forgotten has no more than one that is new.
//!
//! Keyed limiters of libraries grow until somebody sweeps them, and take no token back.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Quota;
use crate::error::Error;

/// The quotas that apply to a route (IETF draft-ietf-httpapi-ratelimit-headers).
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// What is left of them.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Buckets in one set: with their lock, two lines of the processor's cache.
const BUCKETS_PER_SET: usize = 7;

/// The buckets of all clients under one quota.
pub struct RateLimit {
    name: &'static str,
    quota: Quota,
    policy: HeaderValue,
    window_ns: u64,
    /// The time in which one token comes back.
    token_ns: u64,
    start: Instant,
    hasher: RandomState,
    sets: Box<[Set]>,
}

/// In two lines of the processor's cache, which it loads together.
#[derive(Default)]
#[repr(align(128))]
struct Set(Mutex<[Bucket; BUCKETS_PER_SET]>);

/// The bucket of the client with this fingerprint. The hash has a secret seed, so nobody can choose his neighbours.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    fingerprint: Option<NonZero<u64>>,
    /// When it will be full, in nanoseconds after `start`.
    full_at_ns: u64,
}

/// How a client's bucket stands after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// A token was taken.
    Taken {
        /// Tokens that are left.
        left: u32,
        /// Until the bucket is full.
        full_in: Duration,
    },
    /// There was none.
    Exhausted {
        /// Until there is one.
        retry_after: Duration,
        /// Until the bucket is full.
        full_in: Duration,
    },
}

impl RateLimit {
    /// `name` is what clients see. The table has room for about `clients_max` clients.
    pub fn new(name: &'static str, quota: Quota, clients_max: usize) -> Self {
        let policy = format!("\"{name}\";q={};w={}", quota.requests, quota.window_seconds);
        let window_ns = u64::from(quota.window_seconds) * 1_000_000_000;
        Self {
            name,
            quota,
            // The name is one of ours, and the rest are digits.
            policy: HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("")),
            window_ns,
            token_ns: (window_ns / u64::from(quota.requests.max(1))).max(1),
            start: Instant::now(),
            hasher: RandomState::new(),
            sets: (0..clients_max.div_ceil(BUCKETS_PER_SET).max(1)).map(|_| Set::default()).collect(),
        }
    }

    /// Takes a token from the client's bucket, if there is one.
    pub fn take(&self, client: &impl Hash) -> Share {
        self.take_at(client, self.now_ns())
    }

    /// Gives back the token of this share, which then stands as if it had not been taken.
    pub fn give_back(&self, client: &impl Hash, share: &mut Share) {
        let Share::Taken { left, full_in } = share else { return };
        *left += 1;
        *full_in = full_in.saturating_sub(Duration::from_nanos(self.token_ns));
        let (fingerprint, set) = self.find(client);
        let mut buckets = set.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.iter_mut().find(|bucket| bucket.fingerprint == Some(fingerprint)) {
            bucket.full_at_ns = bucket.full_at_ns.saturating_sub(self.token_ns);
        }
    }

    /// The share of a client that this bound leaves alone.
    pub fn untouched(&self) -> Share {
        Share::Taken { left: self.quota.requests, full_in: Duration::ZERO }
    }

    /// Adds the headers that tell the client its share.
    pub fn tell(&self, share: Share, headers: &mut HeaderMap) {
        let (left, full_in) = match share {
            Share::Taken { left, full_in } => (left, full_in),
            Share::Exhausted { full_in, .. } => (0, full_in),
        };
        let now = format!("\"{}\";r={left};t={}", self.name, seconds(full_in));
        headers.append(RATE_LIMIT_POLICY, self.policy.clone());
        if let Ok(now) = HeaderValue::try_from(now) {
            headers.append(RATE_LIMIT, now);
        }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the remainder is less than a length")]
    fn find(&self, client: &impl Hash) -> (NonZero<u64>, &Mutex<[Bucket; BUCKETS_PER_SET]>) {
        let fingerprint = self.hasher.hash_one(client);
        let set = &self.sets[(fingerprint % self.sets.len() as u64) as usize];
        (NonZero::new(fingerprint).unwrap_or(NonZero::<u64>::MAX), &set.0)
    }

    fn take_at(&self, client: &impl Hash, now_ns: u64) -> Share {
        let (fingerprint, set) = self.find(client);
        let mut buckets = set.lock().unwrap_or_else(PoisonError::into_inner);
        let own = buckets.iter().position(|bucket| bucket.fingerprint == Some(fingerprint));
        let nearest_to_full =
            || (0..BUCKETS_PER_SET).min_by_key(|index| buckets[*index].full_at_ns).unwrap_or(0);
        let index = own.unwrap_or_else(nearest_to_full);
        let full_at_ns = if own.is_some() { buckets[index].full_at_ns.max(now_ns) } else { now_ns };
        let after_ns = full_at_ns.saturating_add(self.token_ns);
        let missing_ns = after_ns - now_ns;
        if missing_ns > self.window_ns {
            return Share::Exhausted {
                retry_after: Duration::from_nanos(missing_ns - self.window_ns),
                full_in: Duration::from_nanos(full_at_ns - now_ns),
            };
        }
        buckets[index] = Bucket { fingerprint: Some(fingerprint), full_at_ns: after_ns };
        let left = (self.window_ns - missing_ns) / self.token_ns;
        Share::Taken {
            left: u32::try_from(left).unwrap_or(u32::MAX).min(self.quota.requests),
            full_in: Duration::from_nanos(missing_ns),
        }
    }
}

impl Share {
    /// The refusal, if there was no token.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn check(self) -> Result<(), Error> {
        match self {
            Self::Taken { .. } => Ok(()),
            Self::Exhausted { retry_after, .. } => {
                Err(Error::RateLimited { retry_after_seconds: seconds(retry_after).max(1) })
            }
        }
    }
}

/// Rounded up, so that nobody comes back too early.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn left(share: Share) -> Option<u32> {
        match share {
            Share::Taken { left, .. } => Some(left),
            Share::Exhausted { .. } => None,
        }
    }

    #[test]
    fn a_bucket_is_emptied_and_refilled_evenly() {
        let limit = RateLimit::new("purchases", Quota::new(3, 6), 100);
        let take = |at_ns| limit.take_at(&"ada", at_ns);
        assert_eq!([0; 3].map(|at| left(take(at))), [Some(2), Some(1), Some(0)]);
        let wait = |retry_after, full_in| Share::Exhausted {
            retry_after: Duration::from_secs(retry_after),
            full_in: Duration::from_secs(full_in),
        };
        assert_eq!(take(0), wait(2, 6));
        assert_eq!(take(SECOND_NS), wait(1, 5), "a refusal costs nothing");
        assert_eq!(left(limit.take_at(&"bob", SECOND_NS)), Some(2), "each has a bucket of his own");
        assert_eq!(left(take(2 * SECOND_NS)), Some(0));
        assert_eq!(left(take(60 * SECOND_NS)), Some(2), "never more than full");
    }

    #[test]
    fn a_token_comes_back() {
        let limit = RateLimit::new("purchases", Quota::new(2, 6), 100);
        for _ in 0..10 {
            let mut share = limit.take_at(&"ada", 0);
            assert_eq!(left(share), Some(1));
            limit.give_back(&"ada", &mut share);
            assert_eq!(share, limit.untouched());
        }
        assert_eq!([0; 3].map(|at| left(limit.take_at(&"ada", at))), [Some(1), Some(0), None]);
        // There is nothing to give back.
        limit.give_back(&"ada", &mut limit.take_at(&"ada", 0));
        limit.give_back(&"nobody", &mut limit.untouched());
        assert_eq!(left(limit.take_at(&"ada", 0)), None);
    }

    #[test]
    fn the_headers_are_structured_fields() {
        let limit = RateLimit::new("logins", Quota::new(3, 6), 100);
        let told = |share| {
            let mut headers = HeaderMap::new();
            limit.tell(share, &mut headers);
            assert_eq!(headers[RATE_LIMIT_POLICY], "\"logins\";q=3;w=6");
            headers[RATE_LIMIT].to_str().unwrap().to_owned()
        };
        assert_eq!(told(limit.untouched()), "\"logins\";r=3;t=0");
        assert_eq!(told(limit.take_at(&1, 0)), "\"logins\";r=2;t=2");
        for _ in 0..3 {
            limit.take_at(&1, 0);
        }
        let exhausted = limit.take_at(&1, SECOND_NS / 2);
        assert_eq!(told(exhausted), "\"logins\";r=0;t=6");
        assert_eq!(exhausted.check(), Err(Error::RateLimited { retry_after_seconds: 2 }));
    }

    /// Whoever has millions of networks cannot make the table forget who has used up his quota.
    #[test]
    fn a_flood_of_others_frees_nobody() {
        let limit = RateLimit::new("logins", Quota::new(10, 60), 1_000);
        let exhaust = |client: u32| while left(limit.take_at(&client, 0)).is_some() {};
        (0..50).for_each(exhaust);
        let memory = limit.sets.len();
        for network in 1_000..200_000_u32 {
            limit.take_at(&network, SECOND_NS);
        }
        assert_eq!((limit.sets.len(), memory), (memory, 143));
        let freed = (0..50).filter(|client: &u32| left(limit.take_at(client, SECOND_NS)).is_some()).count();
        assert_eq!(freed, 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        /// In any time, no more than the quota and what has come back.
        #[test]
        fn nobody_gets_more_than_the_quota(
            requests in 1..50_u32,
            window_seconds in 1..100_u32,
            steps_ms in proptest::collection::vec(0..2_000_u64, 1..200),
        ) {
            let limit = RateLimit::new("reads", Quota::new(requests, window_seconds), 100);
            let (mut now_ns, mut taken) = (0, 0_u64);
            for step_ms in steps_ms {
                now_ns += step_ms * 1_000_000;
                taken += u64::from(left(limit.take_at(&"ada", now_ns)).is_some());
                let allowed = u64::from(requests) + now_ns / limit.token_ns;
                prop_assert!(taken <= allowed, "{taken} of {allowed}");
            }
        }
    }
}
