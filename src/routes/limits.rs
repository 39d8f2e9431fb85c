//! The bounds for one client: which route has which, and what a client hears of them.
//!
//! A bound by network leaves a proxy alone that nobody named (`Client::bounded_network`). A request that is refused for
//! another reason has cost its token all the same; only a replayed purchase gives it back.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::Either;
use tower::Service;

use crate::config::{ClientsLimits, Quota};
use crate::error::Error;
use crate::http::client::{Client, warn_of_unnamed_proxy};
use crate::http::rate_limit::{RateLimit, Share};
use crate::metrics::{Limit, Metrics};
use crate::model::id::Id;
use crate::model::network::Network;

/// What is read of the API, by the first part of its path. Health, metrics, documents and the storefront have no bound.
const READ: [&str; 7] = ["/products", "/purchases", "/leaderboard", "/time", "/auth/me", "/users", "/audit"];

/// When a client that has too many connections may open another, in seconds. Short, because others end all the time.
const ONE_TOO_MANY_RETRY_SECONDS: u64 = 5;

/// A bound by network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Registrations,
    Logins,
    Reads,
}

impl Bound {
    /// How the metrics call it.
    fn limit(self) -> Limit {
        match self {
            Self::Registrations => Limit::RegistrationsPerNetwork,
            Self::Logins => Limit::LoginsPerNetwork,
            Self::Reads => Limit::ReadsPerNetwork,
        }
    }
}

/// The bound by network that a route has, if any: the one list of them. The purchase, which is bounded by account, is not
/// in it.
fn bound_of(method: &Method, path: &str) -> Option<Bound> {
    match (method, path) {
        (&Method::POST, "/auth/register") => Some(Bound::Registrations),
        // A password is hashed in both.
        (&Method::POST, "/auth/login" | "/auth/password") => Some(Bound::Logins),
        // Each gives out a token.
        (&Method::PATCH, "/auth/me") => Some(Bound::Logins),
        // A purchase is read for each.
        (&Method::POST, path) if is_below(path, "/purchases") && path.ends_with("/cancel") => {
            Some(Bound::Reads)
        }
        (&Method::GET | &Method::HEAD, path) if READ.iter().any(|part| is_below(path, part)) => {
            Some(Bound::Reads)
        }
        _ => None,
    }
}

fn is_below(path: &str, part: &str) -> bool {
    path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether the route's answers have the headers. For the OpenAPI document.
pub fn is_limited(method: &Method, path: &str) -> bool {
    bound_of(method, path).is_some() || (method, path) == (&Method::POST, super::purchases::PURCHASE_PATH)
}

/// The buckets of all clients.
pub struct ClientLimits {
    registrations: Option<ByNetwork>,
    logins: Option<ByNetwork>,
    reads: Option<ByNetwork>,
    purchases: Option<RateLimit>,
    purchases_of_network: Option<ByNetwork>,
    key_lookups: RateLimit,
    metrics: Arc<Metrics>,
}

/// A bound for each network, and for all of an IPv6 /48 together: a server for rent comes with 65,536 networks.
struct ByNetwork {
    networks: RateLimit,
    sites: RateLimit,
}

/// What a purchase has taken of its account's quota, and of its network's.
pub struct PurchaseShare {
    user: Id,
    network: Option<Network>,
    of_account: Option<Share>,
    of_network: Option<Share>,
}

impl ClientLimits {
    pub fn new(limits: &ClientsLimits, metrics: Arc<Metrics>) -> Self {
        let by_network = |name, quota: Option<Quota>| Some(ByNetwork::new(name, quota?, limits));
        Self {
            registrations: by_network("registrations", limits.registrations),
            logins: by_network("logins", limits.logins),
            reads: by_network("reads", limits.reads),
            purchases: limits.purchases.map(|quota| RateLimit::new("purchases", quota, limits.clients_max)),
            purchases_of_network: by_network("purchases-of-network", limits.purchases_of_network),
            key_lookups: RateLimit::new("key-lookups", limits.key_lookups, limits.clients_max),
            metrics,
        }
    }

    fn get(&self, bound: Bound) -> Option<&ByNetwork> {
        match bound {
            Bound::Registrations => self.registrations.as_ref(),
            Bound::Logins => self.logins.as_ref(),
            Bound::Reads => self.reads.as_ref(),
        }
    }

    /// Notices a proxy that nobody named by how many register or log in from there.
    fn notice(&self, bound: Bound, client: Client) {
        if let (Bound::Registrations | Bound::Logins, Some(limit)) = (bound, self.get(bound))
            && limit.networks.take(&client.network).check().is_err()
        {
            warn_of_unnamed_proxy(client.address, "sends more than one client would");
        }
    }

    /// Takes a purchase's share. The caller refuses it when `PurchaseShare::check` says so.
    pub fn take_purchase(&self, user: Id, client: Client) -> PurchaseShare {
        let network = client.bounded_network();
        let of_account = self.purchases.as_ref().map(|limit| limit.take(&user));
        let of_network = self.purchases_of_network.as_ref().map(|limit| limit.take(network));
        PurchaseShare { user, network, of_account, of_network }
    }

    /// Gives a replayed purchase's share back.
    pub fn give_back(&self, share: &mut PurchaseShare) {
        if let (Some(limit), Some(of_account)) = (&self.purchases, &mut share.of_account) {
            limit.give_back(&share.user, of_account);
        }
        if let (Some(limit), Some(of_network), Some(network)) =
            (&self.purchases_of_network, &mut share.of_network, share.network)
        {
            limit.give_back(network, of_network);
        }
    }

    /// Counts a purchase that was refused because of its share.
    pub fn count_refusal(&self, share: &PurchaseShare) {
        let is_exhausted = |share: Option<Share>| matches!(share, Some(Share::Exhausted { .. }));
        for (share, limit) in
            [(share.of_account, Limit::PurchasesPerAccount), (share.of_network, Limit::PurchasesPerNetwork)]
        {
            if is_exhausted(share) {
                self.metrics.count_limit(limit);
            }
        }
    }

    /// Whether one more key of the user may be looked up in the database.
    pub fn may_look_up_key(&self, user: Id) -> bool {
        self.key_lookups.take(&user).check().is_ok()
    }

    /// Adds the headers.
    pub fn tell(&self, share: &PurchaseShare, headers: &mut HeaderMap) {
        if let (Some(limit), Some(share)) = (&self.purchases, share.of_account) {
            limit.tell(share, headers);
        }
        if let (Some(limit), Some(share)) = (&self.purchases_of_network, share.of_network) {
            limit.networks.tell(share, headers);
        }
    }
}

impl PurchaseShare {
    /// # Errors
    /// `rate_limited` when the account or the network has used up its quota.
    pub fn check(&self) -> Result<(), Error> {
        // The longer wait of the two is the one that helps.
        let refusals =
            [self.of_account, self.of_network].into_iter().flatten().filter_map(|share| share.check().err());
        match refusals.max_by_key(Error::retry_after_seconds) {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }
}

impl ByNetwork {
    fn new(name: &'static str, quota: Quota, limits: &ClientsLimits) -> Self {
        let of_site = Quota { requests: quota.requests.saturating_mul(limits.site_factor), ..quota };
        Self {
            networks: RateLimit::new(name, quota, limits.clients_max),
            sites: RateLimit::new(name, of_site, limits.clients_max),
        }
    }

    /// `None` is a client that bounds by network leave alone.
    fn take(&self, network: Option<Network>) -> Share {
        let Some(network) = network else { return self.networks.untouched() };
        let mut of_network = self.networks.take(&network);
        let (Share::Taken { .. }, Some(site)) = (of_network, network.site()) else { return of_network };
        match self.sites.take(&site) {
            Share::Taken { .. } => of_network,
            of_site @ Share::Exhausted { .. } => {
                self.networks.give_back(&network, &mut of_network);
                of_site
            }
        }
    }

    fn give_back(&self, network: Network, share: &mut Share) {
        if let (Share::Taken { .. }, Some(site)) = (*share, network.site()) {
            self.sites.give_back(&site, &mut share.clone());
        }
        self.networks.give_back(&network, share);
    }
}

/// The refusal of every request on a connection that is one too many of its network.
pub fn one_too_many() -> Response {
    let refusal = Error::RateLimited { retry_after_seconds: ONE_TOO_MANY_RETRY_SECONDS };
    ([(header::CONNECTION, HeaderValue::from_static("close"))], refusal).into_response()
}

/// Refuses a request whose network has used up its quota of the route, and tells each client its share.
pub fn layer<S>(
    limits: &Arc<ClientLimits>,
    request: Request,
    mut routes: S,
) -> impl Future<Output = Result<Response, Infallible>> + use<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let bound = bound_of(request.method(), request.uri().path()).filter(|bound| limits.get(*bound).is_some());
    let Some(bound) = bound else { return Either::Left(routes.call(request)) };
    let client = request.extensions().get::<Client>();
    let network = client.and_then(Client::bounded_network);
    if let (None, Some(client)) = (network, client) {
        limits.notice(bound, *client);
    }
    let share = limits.get(bound).map(|limit| limit.take(network));
    let answer = match share.map_or(Ok(()), Share::check) {
        Ok(()) => Either::Left(routes.call(request)),
        Err(refusal) => {
            limits.metrics.count_limit(bound.limit());
            Either::Right(ready(Ok(refusal.into_response())))
        }
    };
    let limits = limits.clone();
    Either::Right(answer.map(move |answer| {
        answer.map(|mut response: Response| {
            if let (Some(limit), Some(share)) = (limits.get(bound), share) {
                limit.networks.tell(share, response.headers_mut());
            }
            response
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_has_its_bound() {
        let check = |method, path: &str, bound| assert_eq!(bound_of(&method, path), bound, "{path}");
        check(Method::POST, "/auth/register", Some(Bound::Registrations));
        check(Method::POST, "/auth/login", Some(Bound::Logins));
        for path in [
            "/products",
            "/products/1",
            "/products/1/events",
            "/purchases",
            "/leaderboard",
            "/auth/me",
            "/time",
        ] {
            check(Method::GET, path, Some(Bound::Reads));
            check(Method::HEAD, path, Some(Bound::Reads));
            check(Method::POST, path, None);
        }
        for path in
            ["/", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json", "/live", "/timely"]
        {
            check(Method::GET, path, None);
        }
        assert!(is_limited(&Method::POST, "/products/purchase"));
        assert!(!is_limited(&Method::POST, "/products"));
    }

    fn limits(change: impl FnOnce(&mut ClientsLimits)) -> ClientLimits {
        let mut limits = ClientsLimits { site_factor: 2, ..ClientsLimits::default() };
        change(&mut limits);
        ClientLimits::new(&limits, Arc::default())
    }

    fn is_taken(share: Share) -> bool {
        share.check().is_ok()
    }

    #[test]
    fn a_48_has_a_bucket_of_its_own() {
        let limits = limits(|limits| limits.logins = Some(Quota::new(2, 600)));
        let take = |network: &str| is_taken(limits.get(Bound::Logins).unwrap().take(network.parse().ok()));
        assert_eq!([0; 3].map(|_| take("2001:db8:1:1::/64")), [true, true, false]);
        assert_eq!([0; 3].map(|_| take("2001:db8:1:2::/64")), [true, true, false]);
        // The /48 has no more, though this /64 has.
        assert!(!take("2001:db8:1:3::/64"));
        assert!(take("2001:db8:2:1::/64"));
        assert_eq!([0; 3].map(|_| take("192.0.2.1")), [true, true, false]);
        assert!((0..100).all(|_| is_taken(limits.get(Bound::Logins).unwrap().take(None))));
    }

    #[test]
    fn a_purchase_is_bounded_by_account_and_by_network_where_that_is_set() {
        let [ada, eve] = [1, 2].map(|number| Id::from_bytes([number; 12]));
        let buy = |limits: &ClientLimits, user, client: &str| {
            let share = limits.take_purchase(user, Client::from(client));
            (share.check().is_ok(), share)
        };
        let by_account = limits(|limits| limits.purchases = Some(Quota::new(2, 600)));
        assert_eq!([0; 3].map(|_| buy(&by_account, ada, "192.0.2.1").0), [true, true, false]);
        assert!(!buy(&by_account, ada, "192.0.2.2").0, "an account has one bucket wherever it is");
        let (_, mut share) = buy(&by_account, eve, "192.0.2.1");
        by_account.give_back(&mut share);
        assert_eq!([0; 3].map(|_| buy(&by_account, eve, "192.0.2.1").0), [true, true, false]);

        let by_network = limits(|limits| {
            limits.purchases = None;
            limits.purchases_of_network = Some(Quota::new(1, 600));
        });
        let (is_taken, mut share) = buy(&by_network, ada, "192.0.2.1");
        assert!(is_taken && !buy(&by_network, eve, "192.0.2.1").0);
        by_network.give_back(&mut share);
        assert!(buy(&by_network, eve, "192.0.2.1").0);
        assert!((0..10).all(|_| buy(&by_network, eve, "127.0.0.1").0));
    }
}
