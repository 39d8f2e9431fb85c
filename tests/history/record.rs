//! What is written down of a run: each try before it is sent, each answer, each event, each fault; and what the database
//! holds at the end. The checker reads nothing else.

use std::sync::LazyLock;
use std::time::Instant;

use mongodb::bson::oid::ObjectId;

pub use paying::{Ask, Entry, Noted, Standing, Status, Step};

mod paying;

/// A moment of the run, in microseconds since its begin, on the one clock of this process.
pub type Micros = u64;

/// One second.
pub const SECOND: Micros = 1_000_000;

/// The moment of this call.
pub fn now() -> Micros {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    Micros::try_from(BEGIN.elapsed().as_micros()).unwrap_or(Micros::MAX)
}

/// Everything that was written down.
#[derive(Debug, Default)]
pub struct History {
    pub products: Vec<ProductPlan>,
    pub tries: Vec<Try>,
    pub steps: Vec<Step>,
    pub reads: Vec<Read>,
    pub changes: Vec<Change>,
    pub events: Vec<Event>,
    pub spans: Vec<Span>,
    pub sightings: Sightings,
    pub stored: Stored,
}

/// A product as the run planned it. Its number is its place in `History::products`.
#[derive(Debug, Clone)]
pub struct ProductPlan {
    /// Units at the beginning.
    pub stock: i64,
    /// Asked for more than four times a second, so that memory may answer.
    pub has_crowd: bool,
    /// Purchases have to be paid for within so many seconds.
    pub payment_window_seconds: Option<i64>,
    /// Each is written down before it is sent, and known by its price, which none shares with another.
    pub terms: Vec<Terms>,
}

/// What a product is sold under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub price: i64,
    pub limit: i64,
    /// Milliseconds since 1970.
    pub start: i64,
    pub end: i64,
}

/// How a request and its answer went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    pub server: u8,
    pub sent: Micros,
    /// When the answer was there, or the client knew that there is none.
    pub ended: Micros,
    pub reply: Reply,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// There was no connection: nothing was sent.
    NotSent,
    /// The connection ended without an answer.
    Cut,
    /// The client did not want to wait any longer.
    GaveUp,
    Answer {
        status: u16,
        code: Code,
        has_retry_after: bool,
    },
}

impl Reply {
    /// The code, if there was an answer.
    pub fn code(self) -> Option<Code> {
        match self {
            Self::Answer { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// A problem's code. `None` goes with what is no problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    None,
    SoldOut,
    InsufficientStock,
    LimitReached,
    SaleEnded,
    SaleNotStarted,
    KeyReused,
    VersionConflict,
    PurchaseNotFound,
    ProductNotFound,
    Overloaded,
    Unavailable,
    Unknown,
    RateLimited,
    TooManyLapses,
    NotPending,
    Unfillable,
    AmountMismatch,
    /// Any other one; none of the run's requests should get it.
    Strange,
}

impl Code {
    /// By its name in the API.
    pub fn named(name: &str) -> Self {
        match name {
            "sold_out" => Self::SoldOut,
            "insufficient_stock" => Self::InsufficientStock,
            "purchase_limit_reached" => Self::LimitReached,
            "sale_ended" => Self::SaleEnded,
            "sale_not_started" => Self::SaleNotStarted,
            "idempotency_key_reused" => Self::KeyReused,
            "version_conflict" => Self::VersionConflict,
            "purchase_not_found" => Self::PurchaseNotFound,
            "product_not_found" => Self::ProductNotFound,
            "overloaded" => Self::Overloaded,
            "database_unavailable" => Self::Unavailable,
            "outcome_unknown" => Self::Unknown,
            "rate_limited" => Self::RateLimited,
            "too_many_lapses" => Self::TooManyLapses,
            "purchase_not_pending" => Self::NotPending,
            "payment_unfillable" => Self::Unfillable,
            "amount_mismatch" => Self::AmountMismatch,
            _ => Self::Strange,
        }
    }

    /// Whether it says that the rules of the sale refuse the purchase.
    pub fn is_refusal(self) -> bool {
        matches!(
            self,
            Self::SoldOut
                | Self::InsufficientStock
                | Self::LimitReached
                | Self::SaleEnded
                | Self::SaleNotStarted
                | Self::TooManyLapses
        )
    }
}

/// One try to buy.
#[derive(Debug, Clone)]
pub struct Try {
    pub user: u32,
    pub product: u8,
    /// The number of the key, which is its user's own.
    pub key: Option<u32>,
    pub quantity: i64,
    /// The key was answered with a purchase before, and this is another body.
    pub reuses_key: bool,
    pub exchange: Exchange,
    pub told: Option<Purchase>,
    pub is_replay: bool,
    /// What the purchase is called, if it happened, when nobody could tell whether.
    pub promised_id: Option<ObjectId>,
}

impl Try {
    /// Whether this try may have made a purchase that nobody was told of.
    pub fn is_open(&self) -> bool {
        match self.exchange.reply {
            Reply::Cut | Reply::GaveUp => true,
            // An answer that no server should give promises nothing.
            Reply::Answer { code, .. } => matches!(code, Code::Unknown | Code::Strange),
            Reply::NotSent => false,
        }
    }

    /// When the client was told that it is bought.
    pub fn told_at(&self) -> Option<Micros> {
        self.told.map(|_| self.exchange.ended)
    }
}

/// A purchase, as a client was told or as the database holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purchase {
    pub id: ObjectId,
    pub sequence: i64,
    pub quantity: i64,
    pub price: i64,
    /// Milliseconds since 1970.
    pub purchased_at: i64,
}

/// What a product's stock was said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    pub product: u8,
    pub version: i64,
    pub stock: i64,
    pub held: i64,
    pub sold: i64,
    pub total: i64,
}

/// One read.
#[derive(Debug, Clone)]
pub struct Read {
    pub exchange: Exchange,
    pub about: About,
}

/// What was read, and what was found.
#[derive(Debug, Clone)]
pub enum About {
    Product(Option<Figures>),
    /// All products of the run that the list had.
    Catalogue(Vec<Figures>),
    /// A purchase of which the reader was told before it asked.
    Purchase {
        wanted: ObjectId,
        found: Option<Standing>,
    },
    /// Sequences of a leaderboard's first page.
    Leaderboard {
        product: u8,
        sequences: Vec<i64>,
    },
}

/// One change by an admin.
#[derive(Debug, Clone)]
pub struct Change {
    pub product: u8,
    pub what: What,
    pub exchange: Exchange,
    pub figures: Option<Figures>,
}

/// What an admin changed.
#[derive(Debug, Clone, Copy)]
pub enum What {
    Restock(i64),
    Terms,
}

/// What a watcher was told.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    pub watcher: u8,
    pub product: u8,
    pub told: Told,
}

/// An event.
#[derive(Debug, Clone, Copy)]
pub enum Told {
    /// The connection begins; purchases go on after this number, or from now on.
    Connected {
        after: Option<i64>,
    },
    Purchase {
        sequence: i64,
        quantity: i64,
        purchased_at: i64,
    },
    /// From `stock` (without a total) or `product`.
    Stock {
        version: i64,
        figures: Option<Figures>,
    },
}

/// A time in which something was broken.
#[derive(Debug, Clone)]
pub struct Span {
    pub fault: String,
    /// The server that could not answer meanwhile: it was killed, stopped or told to end.
    pub silent_server: Option<u8>,
    pub from: Micros,
    pub to: Micros,
}

/// What the run saw besides: without it, the run has proved little.
#[derive(Debug, Default, Clone)]
pub struct Sightings {
    pub failovers: u64,
    pub conflicts: u64,
    pub resyncs: u64,
}

/// What the database holds at the end.
#[derive(Debug, Default)]
pub struct Stored {
    /// By number.
    pub products: Vec<Figures>,
    pub purchases: Vec<StoredPurchase>,
    /// What the audit log tells of purchases.
    pub entries: Vec<Entry>,
    /// What it tells of units that were added: the product, when by the database's clock, how many.
    pub restocks: Vec<(u8, i64, i64)>,
    /// By the database's clock: since when nothing is broken any more, and when the servers ended.
    pub peace: Option<(i64, i64)>,
}

/// A purchase in the database.
#[derive(Debug, Clone, Copy)]
pub struct StoredPurchase {
    pub user: u32,
    pub product: u8,
    pub key: Option<u32>,
    pub purchase: Purchase,
    pub status: Status,
    pub payment: Option<u32>,
    pub refund_due: bool,
    pub expires_at: Option<i64>,
}
