//! Upper bounds for every queue, batch, body, page and wait, by the part of the server that keeps to them. Each name
//! ends in its unit and in `_max` or `_min`.

use std::time::Duration;

/// The limits of one server process. They are not settings, except for one that depends on what stands in front of the
/// server: the defaults suit every deployment, and tests lower them to see what happens beyond.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Connections and requests.
    pub http: HttpLimits,
    /// The database.
    pub store: StoreLimits,
    /// Passwords, logins and tokens.
    pub accounts: AccountsLimits,
    /// The catalogue, its memory and the change stream.
    pub products: ProductsLimits,
    /// Buying.
    pub purchases: PurchasesLimits,
    /// Watchers.
    pub live: LiveLimits,
}

impl Limits {
    /// These limits after `change`.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// A limit given in milliseconds, as a duration.
    pub fn milliseconds(value: u64) -> Duration {
        Duration::from_millis(value)
    }
}

/// Connections and requests.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// Open client connections; beyond it new ones wait in the listener's backlog.
    pub connections_max: usize,
    /// The time a client has for sending the head of a request, from the end of the one before: longer than load balancers keep
    /// an idle connection (a minute), or they would send a request into one that is being closed.
    pub header_read_ms_max: u64,
    /// The buffer of one connection, in which a request's head has to fit.
    pub header_bytes_max: usize,
    /// The headers of one request.
    pub headers_max: usize,
    /// The body of a request.
    pub body_bytes_max: usize,
    /// What is read and thrown away of a body that nobody wants, so that its client comes to read the answer; beyond it
    /// the connection is cut.
    pub discarded_bytes_max: usize,
    /// The time that a request's whole body may take.
    pub body_read_ms_max: u64,
    /// A page of a list when the client names no size.
    pub page_items_default: usize,
    /// A page of a list.
    pub page_items_max: usize,
    /// The time that a client may take to acknowledge what it was sent (Linux).
    pub send_ms_max: u64,
    /// The time that open requests get to finish at shutdown.
    pub shutdown_ms_max: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            header_read_ms_max: 65_000,
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
    /// Reads in flight at once.
    pub reads_in_flight_max: usize,
    /// Reads of lanes in flight at once; nobody else takes their turns.
    pub sale_reads_in_flight_max: usize,
    /// Single writes (an account, a product) in flight at once.
    pub writes_in_flight_max: usize,
    /// Single writes of lanes in flight at once.
    pub sale_writes_in_flight_max: usize,
    /// The time a read or a single write waits for its turn before it is refused as overload.
    pub permit_wait_ms_max: u64,
    /// The time a read takes before the database counts as unavailable.
    pub read_ms_max: u64,
    /// The time a single write takes before its outcome counts as unknown.
    pub write_ms_max: u64,
    /// Different questions (a product, a page) whose last answer is remembered, of each kind.
    pub remembered_reads_max: usize,
    /// What the remembered answers of one kind take, in bytes: a page of long descriptions may have megabytes.
    pub remembered_reads_bytes_max: usize,
    /// The time without anybody asking it again after which an answer is forgotten.
    pub remembered_read_idle_seconds_max: u64,
    /// The times at once that the same question reaches the database before memory may answer it.
    pub database_reads_burst: u32,
    /// How often the same question reaches the database under a crowd.
    pub database_reads_per_second: u32,
    /// Log lines at once about requests that share a fault with others, one for each request.
    pub failure_lines_burst: u32,
    /// Such lines a second: an outage must not fill the disk.
    pub failure_lines_per_second: u32,
    /// How often the server makes sure that a write would be committed now, and reads the database's clock.
    pub heartbeat_interval_ms: u64,
    /// The age of the last successful pulse at which the database counts as unavailable.
    pub heartbeat_age_ms_max: u64,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            database_connections_max: 64,
            database_connections_min: 4,
            server_selection_ms_max: 2_000,
            reads_in_flight_max: 20,
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
    /// What the tokens that were verified a short time ago may take, in bytes.
    pub known_tokens_bytes_max: usize,
    /// How long a token is valid.
    pub token_lifetime_seconds: u64,
    /// Passwords hashed at once; each takes 19 MiB and some 20 ms of one core.
    pub password_hashes_in_flight_max: usize,
    /// Requests that wait for their password to be hashed; beyond it they are refused as overload.
    pub password_hashes_waiting_max: usize,
    /// The time that a request waits for its password to be hashed; it is refused as overload after it, or at once when
    /// those before it will take longer. As long waits at the most, before that, who has to know first whether other logins to
    /// the same account were wrong.
    pub password_hash_wait_ms_max: u64,
    /// Wrong passwords for one account from one address (or one IPv6 /64) within the window; beyond it that address's logins
    /// to that account are refused. Behind a proxy all clients have its address, and anybody can have an account refused for
    /// the rest of the window: there, the proxy has to bound what each client asks of `/auth/login`.
    pub login_failures_max: u32,
    /// Wrong passwords for one account within the window, from all addresses; beyond it that account's logins are refused.
    pub login_failures_of_account_max: u32,
    /// The window in which wrong passwords are counted.
    pub login_failure_window_seconds: u64,
    /// Accounts whose wrong passwords are remembered at once, and pairs of an address and an account.
    pub login_failure_accounts_max: usize,
}

impl Default for AccountsLimits {
    fn default() -> Self {
        Self {
            known_tokens_bytes_max: 16 * 1024 * 1024,
            token_lifetime_seconds: 24 * 60 * 60,
            // At most half of the machine: the other half sells.
            password_hashes_in_flight_max: cores().div_ceil(2),
            password_hashes_waiting_max: 200,
            password_hash_wait_ms_max: 10_000,
            login_failures_max: 10,
            login_failures_of_account_max: 100,
            login_failure_window_seconds: 60,
            login_failure_accounts_max: 50_000,
        }
    }
}

/// The catalogue, its memory and the change stream.
#[derive(Debug, Clone, Copy)]
pub struct ProductsLimits {
    /// The text that `GET /products?search=` takes.
    pub search_characters_max: usize,
    /// The different words of a search.
    pub search_words_max: usize,
    /// Searches of the catalogue in flight at once: each looks at every product.
    pub searches_in_flight_max: usize,
    /// Products that are kept in memory.
    pub cached_products_max: usize,
    /// Refusals of one product at once that are judged by the database before memory may refuse.
    pub refusals_checked_burst: u32,
    /// Refusals of one product that are judged by the database under a crowd.
    pub refusals_checked_per_second: u32,
    /// How often the change stream answers at least, if only that nothing has changed.
    pub feed_answer_ms_max: u64,
    /// The silence of the change stream after which it counts as lost.
    pub feed_silence_ms_max: u64,
    /// How far behind the change stream may be before it counts as lost.
    pub feed_lag_ms_max: u64,
    /// The pause before a lost change stream is opened again.
    pub feed_retry_ms: u64,
}

impl Default for ProductsLimits {
    fn default() -> Self {
        Self {
            search_characters_max: 200,
            search_words_max: 10,
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

/// Buying.
#[derive(Debug, Clone, Copy)]
pub struct PurchasesLimits {
    /// Products that have a lane at once. One more takes the place of one that has nothing to do; without any it is refused as
    /// overload.
    pub lanes_max: usize,
    /// Purchase requests under way at once, whatever the product; beyond it they are refused as overload before their
    /// tokens and bodies are looked at.
    pub purchases_in_flight_max: usize,
    /// Purchases under way at once that are let in whatever wait is predicted.
    pub purchases_in_flight_min: usize,
    /// The wait predicted for one purchase more, from those under way and the recent rate, at which all are refused as
    /// overload, most of them before their tokens and bodies are looked at.
    pub estimated_wait_ms_max: u64,
    /// The same of one product: less, so that one alone cannot fill the server.
    pub lane_estimated_wait_ms_max: u64,
    /// Purchases of one product under way at once that are let in whatever wait is predicted: half of those of all products,
    /// so that one that stands still cannot refuse the others.
    pub lane_purchases_in_flight_min: usize,
    /// Purchases that wait in one lane; beyond it they are refused as overload.
    pub lane_queue_purchases_max: usize,
    /// The time a purchase waits in its lane before it is refused as overload.
    pub queue_wait_ms_max: u64,
    /// Purchases of a lane that are decided together, and purchases committed by one transaction. A thousand fit a transaction's 16 MiB many times over, and
    /// take some 20 ms, which is what the next batch waits.
    pub batch_purchases_max: usize,
    /// The time one batch may take, retries included.
    pub batch_ms_max: u64,
    /// Products that one transaction sells.
    pub transaction_products_max: usize,
    /// Transactions in flight at once, over all lanes. What waits meanwhile shares the next one, so few are enough, and
    /// fewer are larger and cheaper: as many as this machine has cores, up to 8, as the database has hardly less.
    pub commits_in_flight_max: usize,
    /// The buyers, and their purchases with a key, that one lane remembers; beyond it they are read for each batch. Some
    /// 100 bytes each, and the key.
    pub lane_buyers_max: usize,
    /// The same of all lanes together; beyond it, each forgets its own with its next batch.
    pub buyers_max: usize,
    /// The purchases of another server that a lane reads to catch up; beyond it, it forgets its buyers.
    pub catch_up_purchases_max: usize,
    /// The time without a purchase after which a lane retires.
    pub lane_idle_ms_max: u64,
}

impl Default for PurchasesLimits {
    fn default() -> Self {
        Self {
            lanes_max: 4_096,
            // What a core sells in about half a second: the memory that they take is bounded even if nothing is predicted.
            purchases_in_flight_max: 10_000,
            purchases_in_flight_min: 100,
            estimated_wait_ms_max: 600,
            lane_estimated_wait_ms_max: 500,
            lane_purchases_in_flight_min: 50,
            lane_queue_purchases_max: 10_000,
            // With the batch, an answer within two seconds even from a slow database: later, most clients have given up.
            queue_wait_ms_max: 1_200,
            batch_purchases_max: 1_000,
            batch_ms_max: 5_000,
            transaction_products_max: 500,
            commits_in_flight_max: cores().clamp(2, 8),
            lane_buyers_max: 200_000,
            buyers_max: 2_000_000,
            catch_up_purchases_max: 10_000,
            lane_idle_ms_max: 60_000,
        }
    }
}

/// Watchers.
#[derive(Debug, Clone, Copy)]
pub struct LiveLimits {
    /// Clients that watch at once, over Server-Sent Events and WebSocket together.
    pub watchers_max: usize,
    /// Clients of one address (or one IPv6 /64) that watch at once: `WATCHERS_PER_ADDRESS_MAX`.
    pub watchers_per_address_max: usize,
    /// Products that one WebSocket may watch.
    pub socket_subscriptions_max: usize,
    /// A message from a WebSocket client.
    pub socket_message_bytes_max: usize,
    /// Messages at once from a WebSocket client.
    pub socket_messages_burst: u32,
    /// Messages a second from a WebSocket client; one that sends more is cut off.
    pub socket_messages_per_second: u32,
    /// The time that a WebSocket client may take to receive a message before it is cut off.
    pub socket_send_ms_max: u64,
    /// How often a WebSocket is pinged, and a stream without news gets a sign of life.
    pub keepalive_ms: u64,
    /// The shortest time between two changes of the same product as a watcher sees it; what happens between is
    /// coalesced to the newest.
    pub stock_interval_ms_min: u64,
    /// Messages about stock that one server sends in a second; with more watchers than that allows, each gets fewer.
    pub stock_messages_per_second_max: usize,
    /// Purchases of one watched product that are kept for those who fall behind a little.
    pub kept_purchases_max: usize,
    /// Purchases that a returning watcher may have missed; beyond it, it has to read the leaderboard.
    pub missed_purchases_max: i64,
    /// Purchases that are read from the database at once for watchers.
    pub watched_purchases_read_max: usize,
    /// The shortest delay before a client connects again after a shutdown; the longest is three times that.
    pub reconnect_ms_min: u64,
}

impl Default for LiveLimits {
    fn default() -> Self {
        Self {
            watchers_max: 20_000,
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

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
