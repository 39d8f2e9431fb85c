//! How often requests ran into which limit.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

macro_rules! limits {
    ($($(#[$meaning:meta])* $limit:ident $name:literal,)*) => {
        /// A limit that refuses requests.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Limit { $($(#[$meaning])* $limit,)* }

        impl Limit {
            /// All of them.
            pub const ALL: &[Limit] = &[$(Limit::$limit,)*];

            /// The label's value.
            pub fn name(self) -> &'static str {
                match self { $(Limit::$limit => $name,)* }
            }
        }
    };
}

limits! {
    /// Purchases under way on the server.
    Purchases "purchases",
    /// Purchases under way of one product, or products that are sold at once.
    ProductPurchases "product_purchases",
    /// The time that a purchase waits for its batch.
    QueueWait "queue_wait",
    /// Purchases that one account asks for.
    PurchasesPerAccount "purchases_per_account",
    /// Purchases that one network asks for.
    PurchasesPerNetwork "purchases_per_network",
    /// Registrations from one network.
    RegistrationsPerNetwork "registrations_per_network",
    /// Logins from one network.
    LoginsPerNetwork "logins_per_network",
    /// Reads of the API by one network.
    ReadsPerNetwork "reads_per_network",
    /// Connections of one address; those are counted, not the requests on them.
    ConnectionsPerAddress "connections_per_address",
    /// Clients that watch.
    Watchers "watchers",
    /// Clients of one address that watch.
    WatchersPerAddress "watchers_per_address",
    /// Wrong passwords from one network, for one account or for all.
    LoginFailures "login_failures",
    /// Passwords that wait to be hashed.
    PasswordHashes "password_hashes",
    /// Reads and writes that wait for a permit.
    DatabasePermits "database_permits",
    /// Searches for words, which look at every document.
    Searches "searches",
    /// CSV streams at once.
    CsvStreams "csv_streams",
    /// Reports at once.
    Reports "reports",
}

/// A counter for each limit; clones share them.
#[derive(Debug, Clone)]
pub struct LimitsHit(Family<LimitLabel, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabel {
    limit: &'static str,
}

impl Default for LimitsHit {
    fn default() -> Self {
        let counters = Self(Family::default());
        for limit in Limit::ALL {
            drop(counters.0.get_or_create(&LimitLabel { limit: limit.name() }));
        }
        counters
    }
}

impl LimitsHit {
    /// Counts a request that was refused because of this limit.
    pub fn count(&self, limit: Limit) {
        self.0.get_or_create(&LimitLabel { limit: limit.name() }).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("limits_hit", "Requests that were refused because of a limit", self.0.clone());
    }
}
