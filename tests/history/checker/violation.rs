//! Everything that the checker can find, each kind with a name, so that a test can ask for one.

use mongodb::bson::oid::ObjectId;

use crate::record::{Code, Entry, Figures, Micros, Purchase, Status, Step};

/// A promise that was broken, and the least that is needed to find it in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// More units were sold than there could have been when this purchase was confirmed.
    Oversold { product: u8, sequence: i64, units: i64, stock_at_most: i64 },
    /// `stock + held + sold = totalStock` did not hold, or one of them was negative.
    StockDoesNotAddUp { figures: Figures },
    /// The units that there ever were are not what admins have added up to.
    TotalStockWrong { product: u8, total: i64, at_least: i64, at_most: i64 },
    /// The units sold, in the product, are not those of its purchases.
    SoldIsNotPurchased { product: u8, sold: i64, purchased: i64 },
    /// The units held, in the product, are not those of its pending purchases.
    HeldIsNotPending { product: u8, held: i64, pending: i64 },
    /// At some moment more units were held or sold than there were.
    SoldTwice { product: u8, at: i64, units: i64, stock: i64 },
    /// Who had let too much lapse bought once more.
    LapsedTooOften { user: u32, product: u8, sequence: i64, lapses: usize },
    /// A purchase has left one status twice.
    ChangedTwice { id: ObjectId, from: Status },
    /// There is no way from the one status to the other.
    ForbiddenStep { id: ObjectId, from: Status, to: Status },
    /// A step is dated before the one that it follows.
    StepWentBack { id: ObjectId, to: Status },
    /// A purchase has another status than the steps in the audit log lead to.
    StandsElsewhere { id: ObjectId, stored: Status, logged: Status, steps: usize },
    /// Money is due that is not, or the other way round, or it was noted twice.
    MoneyUnclear { id: ObjectId, unfillable: usize, returned: usize },
    /// A purchase does not expire a payment window after it was made.
    WrongExpiry { id: ObjectId, expires_at: Option<i64> },
    /// It expired too early; or, without a moment, not at all although it should have.
    ExpiredAtWrongTime { id: ObjectId, expires_at: i64, at: Option<i64> },
    /// What is on record of a payment is not what was answered.
    MoneyNotAsTold { id: ObjectId, payment: u32, code: Option<Code>, status: Status },
    /// Nobody has asked for this step, or all who did were told that it was not made.
    NobodyAskedFor { entry: Entry },
    /// An answer contradicts an earlier one.
    AnswerTakenBack { first: Box<Step>, then: Box<Step> },
    /// A success shows something else than was asked for.
    TellsSomethingElse { step: Box<Step> },
    /// A read shows a purchase as it was before somebody was told that it has changed.
    StaleStatus { id: ObjectId, server: u8, sent: Micros, status: Status },
    /// A purchase was confirmed and is not in the database.
    LostPurchase { told: Purchase, confirmed: Micros },
    /// A purchase was confirmed and is another one in the database.
    PurchaseDiffers { told: Purchase, stored: Purchase },
    /// Nobody has tried to make this purchase.
    PurchaseFromNowhere { id: ObjectId, user: u32 },
    /// Fewer tries were sent than purchases are there.
    BoughtTwice { user: u32, product: u8, purchases: usize, tries: usize },
    /// Every try that may have made it was answered with something else.
    RefusedYetBought { user: u32, product: u8, purchases: usize },
    /// A try was bought although a later one with the same key was refused.
    KeyedRefusalThenBought { user: u32, key: u32, id: ObjectId, refused: Micros, code: Code },
    /// A purchase in doubt was made under another id than the one that was told.
    OtherIdThanPromised { user: u32, promised: ObjectId, stored: ObjectId },
    /// One key, more than one purchase.
    KeyBoughtTwice { user: u32, key: u32, purchases: usize },
    /// One key, told of different purchases.
    ReplayDiffers { user: u32, key: u32, first: ObjectId, second: ObjectId },
    /// Two answers say that they are the first one of this key.
    ReplayNotMarked { user: u32, key: u32 },
    /// A repetition of what was confirmed was refused.
    ReplayRefused { user: u32, key: u32, code: Code },
    /// A used key with another body was answered with something else than `idempotency_key_reused`.
    ReuseAccepted { user: u32, key: u32, status: u16 },
    /// A buyer has more than the limit that his purchase was made under.
    LimitExceeded { user: u32, product: u8, units: i64, limit: i64 },
    /// `sequence` is not 1, 2, 3 ...
    SequenceWrong { product: u8, expected: i64, found: i64 },
    /// A purchase that was asked for after another one was confirmed has the smaller number.
    OrderAgainstTime { product: u8, confirmed: i64, asked_later: i64 },
    /// `purchasedAt` decreases along `sequence`.
    TimeWentBack { product: u8, sequence: i64 },
    /// `purchasedAt` is not within the sale.
    OutsideWindow { product: u8, sequence: i64, purchased_at: i64, start: i64, end: i64 },
    /// The price is none that the product ever had, or one that it had no more.
    WrongPrice { product: u8, sequence: i64, price: i64 },
    /// A read lacks a purchase that was confirmed before it began.
    StaleRead { product: u8, server: u8, sent: Micros, sold: i64, at_least: i64 },
    /// A server told something older than it had told before.
    ReadWentBack { product: u8, server: u8, sent: Micros, version: i64, before: i64 },
    /// A confirmed purchase was not found, or was another one.
    PurchaseNotFound { id: ObjectId, server: u8, sent: Micros },
    /// A leaderboard has a gap, or lacks what was confirmed.
    LeaderboardWrong { product: u8, server: u8, sent: Micros, length: usize, at_least: i64 },
    /// A watcher was told of another purchase than the next one.
    EventsMissing { watcher: u8, product: u8, expected: i64, found: Option<i64> },
    /// A watcher was told of a purchase that the database knows differently.
    EventDiffers { watcher: u8, product: u8, sequence: i64 },
    /// Within one connection a watcher was told of an older stock.
    EventWentBack { watcher: u8, product: u8, version: i64, before: i64 },
    /// Status and code are none of those that the route may answer.
    UndocumentedAnswer { route: &'static str, server: u8, sent: Micros, status: u16, code: Code },
    /// 429 or 503 without `Retry-After`.
    NoRetryAfter { route: &'static str, server: u8, sent: Micros },
    /// An answer, or the knowledge that there is none, took too long.
    AnsweredTooLate { route: &'static str, server: u8, sent: Micros, seconds: u64 },
    /// The connection ended without an answer, and the server was well.
    NoAnswer { route: &'static str, server: u8, sent: Micros },
    /// The run never met what it has to meet to prove anything.
    NeverSaw { what: &'static str },
}

impl Violation {
    /// The user and the key that it is about, if it is about a key.
    pub fn user_and_key(&self) -> Option<(u32, u32)> {
        match self {
            Self::KeyedRefusalThenBought { user, key, .. }
            | Self::KeyBoughtTwice { user, key, .. }
            | Self::ReplayDiffers { user, key, .. }
            | Self::ReplayNotMarked { user, key }
            | Self::ReplayRefused { user, key, .. }
            | Self::ReuseAccepted { user, key, .. } => Some((*user, *key)),
            _ => None,
        }
    }

    /// The kind's name.
    pub fn name(&self) -> String {
        let text = format!("{self:?}");
        text.split([' ', '{']).next().unwrap_or_default().to_owned()
    }
}
