//! Upper bounds for every queue, batch, body, page and wait, grouped by the part of the server that applies them. Names
//! say the unit, and `_max` or `_min`.

use super::clients::ClientsLimits;
use super::purchases_limits::PurchasesLimits;
use super::records_limits::RecordsLimits;

/// The limits of one server process. The defaults suit every deployment, so few of them are settings: those that
/// depend on who the customers are, and on what is in front of the server. Tests lower them to see what happens beyond.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Connections and requests.
    pub http: HttpLimits,
    /// What one client may ask for.
    pub clients: ClientsLimits,
    /// The database.
    pub store: StoreLimits,
    /// Passwords, logins and tokens.
    pub accounts: AccountsLimits,
    /// The catalogue, its cache and the change stream.
    pub products: ProductsLimits,
    /// Buying.
    pub purchases: PurchasesLimits,
    /// Watchers.
    pub live: LiveLimits,
    /// What is looked into afterwards.
    pub records: RecordsLimits,
}

impl Limits {
    /// These limits after `change`.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// Connections and requests.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Open client connections; further ones wait in the listener's backlog.
    pub connections_max: usize,
    /// Open connections of one address (or one IPv6 /64): `CONNECTIONS_PER_ADDRESS_MAX`. Fewer when few are free.
    pub connections_per_address_max: usize,
    /// The time from the end of one request until a client has sent the head of the next. It is longer than load
    /// balancers keep an idle connection (a minute); otherwise they would send a request into a connection that is
    /// being closed.
    pub header_read_ms_max: u64,
    /// The same for a connection that is accepted while less than a quarter of all is free.
    pub scarce_header_read_ms_max: u64,
    /// The time a new connection has to send the head of its first request, unless it may be a proxy's, which opens some
    /// before it needs them.
    pub first_header_read_ms_max: u64,
    /// The buffer of one connection; the head of a request has to fit into it.
    pub header_bytes_max: usize,
    /// The headers of one request.
    pub headers_max: usize,
    /// The body of a request.
    pub body_bytes_max: usize,
    /// An unwanted body is read and thrown away up to this size, so that the client gets to read the answer; with a
    /// larger one the connection is cut.
    pub discarded_bytes_max: usize,
    /// The time a client has to send the whole body of a request.
    pub body_read_ms_max: u64,
    /// Items on a page of a list if the client names no size.
    pub page_items_default: usize,
    /// Items on a page of a list.
    pub page_items_max: usize,
    /// The time a client has to acknowledge what it was sent (Linux only).
    pub send_ms_max: u64,
    /// The time open requests have to finish at shutdown.
    pub shutdown_ms_max: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            connections_per_address_max: 2_000,
            header_read_ms_max: 65_000,
            scarce_header_read_ms_max: 10_000,
            first_header_read_ms_max: 10_000,
            header_bytes_max: 32 * 1024,
            headers_max: 64,
            body_bytes_max: 64 * 1024,
            discarded_bytes_max: 16 * 1024 * 1024,
            body_read_ms_max: 10_000,
            page_items_default: 50,
            page_items_max: 200,
            send_ms_max: 30_000,
            shutdown_ms_max: 10_000,
        }
    }
}

/// The database.
#[derive(Debug, Clone, Copy)]
pub struct StoreLimits {
    /// Connections to each database server.
    pub database_connections_max: u32,
    /// Connections kept warm to each database server.
    pub database_connections_min: u32,
    /// The time to find a writable database server.
    pub server_selection_ms_max: u64,
    /// How long the start waits for a primary: `MONGO_WAIT_SECONDS`.
    pub start_wait_seconds_max: u64,
    /// Reads in flight at once, lists of purchases and what the lanes read not counted.
    pub reads_in_flight_max: usize,
    /// Reads of whether a token still counts in flight at once.
    pub access_reads_in_flight_max: usize,
    /// Reads of lists of purchases in flight at once.
    pub history_reads_in_flight_max: usize,
    /// Reads of lanes in flight at once; these permits are reserved for lanes.
    pub sale_reads_in_flight_max: usize,
    /// Single writes (an account, a product) in flight at once.
    pub writes_in_flight_max: usize,
    /// Single writes of lanes in flight at once.
    pub sale_writes_in_flight_max: usize,
    /// The time a read or a single write waits for a permit before it is refused as overload.
    pub permit_wait_ms_max: u64,
    /// The time a read takes before the database counts as unavailable.
    pub read_ms_max: u64,
    /// The time a single write takes before its outcome counts as unknown.
    pub write_ms_max: u64,
    /// Different reads (of a product, a page) whose last result is remembered, for each kind of read.
    pub remembered_reads_max: usize,
    /// The memory for the remembered results of one kind, in bytes: a page of long descriptions may take megabytes.
    pub remembered_reads_bytes_max: usize,
    /// A remembered result is forgotten after this time without a request for it.
    pub remembered_read_idle_seconds_max: u64,
    /// How many of the same read reach the database at once before memory may answer it.
    pub database_reads_burst: u32,
    /// How often the same read reaches the database under load.
    pub database_reads_per_second: u32,
    /// Log lines at once about failed requests, one line each, when many requests share one fault.
    pub failure_lines_burst: u32,
    /// These lines per second: an outage must not fill the disk.
    pub failure_lines_per_second: u32,
    /// The time between two heartbeats: small writes that check whether the database commits, and read its clock.
    pub heartbeat_interval_ms: u64,
    /// The age of the last successful heartbeat at which the database counts as unavailable.
    pub heartbeat_age_ms_max: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            database_connections_max: 64,
            database_connections_min: 4,
            server_selection_ms_max: 2_000,
            start_wait_seconds_max: 60,
            reads_in_flight_max: 20,
            access_reads_in_flight_max: 8,
            history_reads_in_flight_max: 6,
            sale_reads_in_flight_max: 8,
            writes_in_flight_max: 12,
            sale_writes_in_flight_max: 8,
            permit_wait_ms_max: 1_000,
            read_ms_max: 3_000,
            write_ms_max: 5_000,
            remembered_reads_max: 256,
            remembered_reads_bytes_max: 16 * 1024 * 1024,
            remembered_read_idle_seconds_max: 60,
            database_reads_burst: 100,
            database_reads_per_second: 4,
            failure_lines_burst: 100,
            failure_lines_per_second: 100,
            heartbeat_interval_ms: 1_000,
            heartbeat_age_ms_max: 3_500,
        }
    }
}

/// Passwords, logins and tokens.
#[derive(Debug, Clone, Copy)]
pub struct AccountsLimits {
    /// The memory for recently verified tokens, in bytes.
    pub known_tokens_bytes_max: usize,
    /// How long a token is valid.
    pub token_lifetime_seconds: u64,
    /// How often a server asks the database whose access has ended.
    pub access_interval_ms: u64,
    /// The age of the last answer from which on it counts no more: then a request waits for the next one. Together with the
    /// time in which a request is served it stays below the two seconds that are promised.
    pub access_age_ms_max: u64,
    /// Ended tokens and accounts with another word than their tokens that are kept in memory, some 60 bytes each; with more,
    /// every request with a token reads the database.
    pub access_entries_max: usize,
    /// The length of `GET /users?search=`.
    pub user_search_characters_max: usize,
    /// Different words in one such search.
    pub user_search_words_max: usize,
    /// Searches for users in flight at once: each looks at every account.
    pub user_searches_in_flight_max: usize,
    /// Passwords hashed at once; each takes 19 MiB and some 20 ms of one core.
    pub password_hashes_in_flight_max: usize,
    /// The priority of the threads that hash, from 0 (as any other thread's) to 19 (only time that is left over; Linux).
    pub password_hash_niceness: i32,
    /// Requests that wait for their password to be hashed; further ones are refused as overload.
    pub password_hashes_waiting_max: usize,
    /// The time a request waits for its password to be hashed before it is refused as overload; it is refused at once
    /// if the requests ahead of it will take longer. A login waits at most as long before that, if it first has to
    /// know whether other logins to the same account are wrong.
    pub password_hash_wait_ms_max: u64,
    /// Wrong passwords for one account from one network within the window; after that, logins to the account from that
    /// network are refused.
    pub login_failures_max: u32,
    /// Wrong passwords from one network within the window, for all accounts; after that, logins from there are refused, but
    /// for accounts that have logged in from there before.
    pub login_failures_of_network_max: u32,
    /// Wrong passwords for one account within the window, from all networks; after that, a network from which the account
    /// has not logged in before may send one wrong password. The account is never closed to its owner.
    pub login_failures_of_account_max: u32,
    /// The window in which wrong passwords are counted.
    pub login_failure_window_seconds: u64,
    /// Accounts, networks, and pairs of them whose wrong passwords are counted at once; also pairs that have logged in.
    pub login_failure_accounts_max: usize,
}

impl Default for AccountsLimits {
    fn default() -> Self {
        Self {
            known_tokens_bytes_max: 16 * 1024 * 1024,
            token_lifetime_seconds: 24 * 60 * 60,
            access_interval_ms: 500,
            access_age_ms_max: 1_800,
            access_entries_max: 500_000,
            user_search_characters_max: 200,
            user_search_words_max: 10,
            user_searches_in_flight_max: 2,
            // At most half of the cores: the other half sells.
            password_hashes_in_flight_max: cores().div_ceil(2),
            password_hash_niceness: 19,
            password_hashes_waiting_max: 200,
            password_hash_wait_ms_max: 10_000,
            login_failures_max: 10,
            login_failures_of_network_max: 50,
            login_failures_of_account_max: 100,
            login_failure_window_seconds: 60,
            login_failure_accounts_max: 50_000,
        }
    }
}

/// The catalogue, its cache and the change stream.
#[derive(Debug, Clone, Copy)]
pub struct ProductsLimits {
    /// The length of `GET /products?search=`.
    pub search_characters_max: usize,
    /// Different words in one search.
    pub search_words_max: usize,
    /// Products that `GET /products?ids=` may name.
    pub listed_ids_max: usize,
    /// Searches of the catalogue in flight at once: each looks at every product.
    pub searches_in_flight_max: usize,
    /// Products in the cache.
    pub cached_products_max: usize,
    /// Refusals of one product at once that are checked with the database before the server refuses from memory alone.
    pub refusals_checked_burst: u32,
    /// Refusals of one product per second that are checked with the database under load.
    pub refusals_checked_per_second: u32,
    /// The longest time between two answers of the change stream, which says so if nothing has changed.
    pub feed_answer_ms_max: u64,
    /// The change stream counts as lost after this time without an answer.
    pub feed_silence_ms_max: u64,
    /// The change stream counts as lost when it is further behind than this.
    pub feed_lag_ms_max: u64,
    /// The pause before a lost change stream is opened again.
    pub feed_retry_ms: u64,
}

impl Default for ProductsLimits {
    fn default() -> Self {
        Self {
            search_characters_max: 200,
            search_words_max: 10,
            listed_ids_max: 50,
            searches_in_flight_max: 3,
            cached_products_max: 10_000,
            refusals_checked_burst: 100,
            refusals_checked_per_second: 20,
            feed_answer_ms_max: 500,
            feed_silence_ms_max: 3_500,
            feed_lag_ms_max: 2_000,
            feed_retry_ms: 250,
        }
    }
}

/// Watchers.
#[derive(Debug, Clone, Copy)]
pub struct LiveLimits {
    /// Clients that watch at once, over Server-Sent Events and WebSocket together. Fewer than the connections, so that
    /// there is room for buyers.
    pub watchers_max: usize,
    /// Clients of one address (or one IPv6 /64) that watch at once: `WATCHERS_PER_ADDRESS_MAX`.
    pub watchers_per_address_max: usize,
    /// Products that one WebSocket may watch.
    pub socket_subscriptions_max: usize,
    /// The size of a message from a WebSocket client.
    pub socket_message_bytes_max: usize,
    /// Messages that a WebSocket client may send at once.
    pub socket_messages_burst: u32,
    /// Messages per second that a WebSocket client may send; a faster client is disconnected.
    pub socket_messages_per_second: u32,
    /// The time a WebSocket client has to take a message before it is disconnected.
    pub socket_send_ms_max: u64,
    /// How often a WebSocket gets a ping, and an event stream without news a keepalive.
    pub keepalive_ms: u64,
    /// The shortest time between two changes of one product as its watchers see them; of the changes in between they
    /// see only the newest state.
    pub stock_interval_ms_min: u64,
    /// Messages about stock that one server sends per second; if there are more watchers, each gets fewer.
    pub stock_messages_per_second_max: usize,
    /// The newest purchases of a watched product that are kept for watchers who are slightly behind.
    pub kept_purchases_max: usize,
    /// Purchases that a returning watcher may have missed; if it missed more, it has to read the leaderboard.
    pub missed_purchases_max: i64,
    /// Purchases that one read for watchers takes from the database.
    pub watched_purchases_read_max: usize,
    /// The shortest delay before a client connects again after a shutdown; the longest is three times that.
    pub reconnect_ms_min: u64,
}

impl Default for LiveLimits {
    fn default() -> Self {
        Self {
            watchers_max: 16_000,
            watchers_per_address_max: 1_000,
            socket_subscriptions_max: 50,
            socket_message_bytes_max: 8 * 1024,
            socket_messages_burst: 50,
            socket_messages_per_second: 10,
            socket_send_ms_max: 10_000,
            keepalive_ms: 15_000,
            stock_interval_ms_min: 50,
            stock_messages_per_second_max: 10_000,
            kept_purchases_max: 4_096,
            missed_purchases_max: 10_000,
            watched_purchases_read_max: 1_000,
            reconnect_ms_min: 1_000,
        }
    }
}

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
