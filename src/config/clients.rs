//! How much one client may ask for: an account, or a network.

use std::str::FromStr;

/// The largest quota, in requests. The window is at most a day, which is also the most that `Retry-After` says.
const REQUESTS_MAX: u32 = 1_000_000_000;
const WINDOW_SECONDS_MAX: u32 = 24 * 60 * 60;

/// A token bucket: so many requests at once, and as many again, evenly, in each window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The size of the bucket: requests.
    pub requests: u32,
    /// The time in which an empty bucket becomes full, in seconds.
    pub window_seconds: u32,
}

impl Quota {
    /// `requests` at once, and as many in each window.
    pub const fn new(requests: u32, window_seconds: u32) -> Self {
        Self { requests, window_seconds }
    }
}

impl FromStr for Quota {
    type Err = ();

    /// Reads `20/60`: 20 requests in 60 seconds.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (requests, seconds) = text.split_once('/').ok_or(())?;
        let quota = Self {
            requests: requests.trim().parse().map_err(|_| ())?,
            window_seconds: seconds.trim().parse().map_err(|_| ())?,
        };
        let is_sane = (1..=REQUESTS_MAX).contains(&quota.requests)
            && (1..=WINDOW_SECONDS_MAX).contains(&quota.window_seconds);
        is_sane.then_some(quota).ok_or(())
    }
}

/// The bounds for one client; `docs/SECURITY.md` says whom they fit. `None` sets no bound. A network is an IPv4 address
/// or an IPv6 /64; all networks of an IPv6 /48 together have `site_factor` times its quota.
#[derive(Debug, Clone, Copy)]
pub struct ClientsLimits {
    /// `POST /auth/register`, by network: `REGISTRATIONS_PER_NETWORK`.
    pub registrations: Option<Quota>,
    /// `POST /auth/login`, by network: `LOGINS_PER_NETWORK`.
    pub logins: Option<Quota>,
    /// What is read of the API, by network: `READS_PER_NETWORK`.
    pub reads: Option<Quota>,
    /// `POST /products/purchase`, by account: `PURCHASES_PER_ACCOUNT`. A replay costs nothing.
    pub purchases: Option<Quota>,
    /// `POST /products/purchase`, by network: `PURCHASES_PER_NETWORK`.
    pub purchases_of_network: Option<Quota>,
    /// Keys of one account that are looked up in the database although it has used up its quota: they may be those of
    /// purchases that were made.
    pub key_lookups: Quota,
    /// Whether bounds by network, those of connections and watchers included, leave private addresses alone that are no
    /// trusted proxy: most likely such a one is a proxy that nobody named.
    pub leaves_private_alone: bool,
    /// How many times a network's quota all networks of its IPv6 /48 have together.
    pub site_factor: u32,
    /// Clients that each bound remembers at once, 18 bytes each. Only those that have used some of their quota need to be.
    pub clients_max: usize,
}

impl Default for ClientsLimits {
    fn default() -> Self {
        Self {
            registrations: Some(Quota::new(20, 20 * 60)),
            logins: Some(Quota::new(300, 5 * 60)),
            reads: Some(Quota::new(5_000, 10)),
            purchases: Some(Quota::new(30, 6)),
            purchases_of_network: None,
            key_lookups: Quota::new(30, 30),
            leaves_private_alone: true,
            site_factor: 16,
            clients_max: 65_536,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_read() {
        let check = |text: &str, quota| assert_eq!(text.parse::<Quota>().ok(), quota, "{text}");
        check("20/60", Some(Quota::new(20, 60)));
        check("1 / 86400", Some(Quota::new(1, 86_400)));
        for bad in ["", "20", "0/1", "1/0", "1/86401", "-1/1", "1/2/3", "a/b", "4294967296/1", "2000000000/1"]
        {
            check(bad, None);
        }
    }
}
