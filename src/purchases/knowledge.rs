//! What a lane knows of its sale, and how it comes to know it: the product at one version, and the buyers up to some
//! sequence number. As the sequence has no gaps, what another server sold can be read exactly.
//!
//! Mostly it need not be. A purchase by somebody of whom too little is known fails: his next unit has its number already,
//! and a unique index refuses it. So only a refusal has to be looked up, and a lane that has rivals follows what they
//! sell when buyers of theirs come to it, not before.

use std::sync::Arc;

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde::Deserialize;

use super::buyers::Buyers;
use super::model::Purchase;
use super::settle::{Sale, Window};
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::products::cache::StockChange;
use crate::products::model::{Money, Product};
use crate::store::Store;
use crate::timestamp::Timestamp;

/// No transaction is open for longer, in milliseconds: MongoDB ends each after a minute (`transactionLifetimeLimitSeconds`),
/// and who has raised that has hardly raised it tenfold.
const OPEN_TRANSACTION_MS_MAX: i64 = 10 * 60 * 1_000;

/// The part of a product that decides purchases.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SaleState {
    /// Units left.
    pub stock: i64,
    /// The last sequence number that was given.
    pub purchase_count: i64,
    /// Units that one buyer may have.
    pub purchase_limit: i64,
    /// What one unit costs.
    pub price: Money,
    /// The first moment of the sale.
    pub sale_start_time: DateTime,
    /// The first moment after the sale.
    pub sale_end_time: DateTime,
    /// Counts every change of the product.
    pub version: i64,
    /// When it last changed.
    pub updated_at: DateTime,
}

impl SaleState {
    /// What they are called in the product.
    const FIELDS: [&str; 8] = [
        "stock",
        "purchaseCount",
        "purchaseLimit",
        "price",
        "saleStartTime",
        "saleEndTime",
        "version",
        "updatedAt",
    ];

    /// The part of a product in memory.
    pub fn of(product: &Product) -> Self {
        Self {
            stock: product.stock,
            purchase_count: product.purchase_count,
            purchase_limit: product.purchase_limit,
            price: product.price.clone(),
            sale_start_time: product.sale_start_time,
            sale_end_time: product.sale_end_time,
            version: product.version,
            updated_at: product.updated_at,
        }
    }

    /// The fields to read.
    pub fn projection() -> Document {
        let mut fields = doc! { "_id": 0 };
        fields.extend(Self::FIELDS.map(|field| (field.to_owned(), Bson::Int32(1))));
        fields
    }

    /// What a purchase has changed, for the products in memory.
    pub fn stock_change(&self, seller: Id) -> StockChange {
        StockChange {
            version: self.version,
            stock: self.stock,
            total_stock: None,
            purchase_count: Some(self.purchase_count),
            updated_at: Some(self.updated_at),
            seller: Some(seller),
        }
    }

    /// Where `now`, a moment of the database's clock, stands in the sale.
    pub fn window(&self, now: DateTime) -> Window {
        if now < self.sale_start_time {
            Window::NotStarted
        } else if now < self.sale_end_time {
            Window::Open
        } else {
            Window::Ended
        }
    }
}

/// A reading of the product, and the database's clock at that moment.
#[derive(Debug, Deserialize)]
pub struct Reading {
    /// The product.
    pub state: SaleState,
    /// The database's clock.
    pub now: DateTime,
}

/// Reads the product. None when there is no such product.
///
/// # Errors
/// Those of a read.
pub async fn read_sale(store: &Store, product_id: Id) -> Result<Option<Reading>> {
    // Computed by a `find`, which costs MongoDB less than an aggregation of one document.
    let state: Document = SaleState::FIELDS
        .map(|field| (field.to_owned(), Bson::String(format!("${field}"))))
        .into_iter()
        .collect();
    let reading = doc! { "_id": 0, "state": state, "now": "$$NOW" };
    let products = store.products.clone_with_type::<Reading>();
    store.read_sale(async { products.find_one(doc! { "_id": product_id }).projection(reading).await }).await
}

/// So many missed purchases are read as soon as they are heard of: that takes hardly any time.
const CATCH_UP_AT_ONCE: usize = 100;
/// The missed purchases that are read for each request rather than forgotten with all buyers.
const CATCH_UP_PER_REQUEST_MAX: usize = 8;
/// So many missed purchases are read for any request: they take some milliseconds.
const CATCH_UP_ALWAYS: usize = 1_000;

/// What a lane knows.
#[derive(Debug)]
pub struct Knowledge {
    product_id: Id,
    /// The product at the version that everything else here belongs to.
    pub state: SaleState,
    /// The database's clock when it was last read.
    pub now: DateTime,
    /// The buyers.
    pub buyers: Buyers,
    /// All purchases up to this number are noted there, and some of the later ones.
    followed: i64,
    /// The version on which the barrier was passed after the sale's end: nothing can be bought on that version any more.
    closed_version: Option<i64>,
}

impl Knowledge {
    /// Starts to know a sale from a reading.
    pub fn begin(product_id: Id, reading: Reading) -> Self {
        let Reading { state, now } = reading;
        let buyers = if state.purchase_count == 0 { Buyers::all_of_none() } else { Buyers::unknown() };
        let followed = state.purchase_count;
        Self { product_id, state, now, buyers, followed, closed_version: None }
    }

    /// Brings the knowledge up to a newer reading. What others sold meanwhile is not followed where it is much.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn advance(mut self, store: &Store, limits: &Limits, reading: Reading) -> Result<Self> {
        let sold = reading.state.purchase_count - self.state.purchase_count;
        if sold < 0 {
            return Ok(Self::begin(self.product_id, reading));
        }
        if reading.now < self.now {
            // The clock was set back, or another server's counts now: the sale may be open once more.
            self.closed_version = None;
        }
        self.state = reading.state;
        self.now = reading.now;
        if sold > 0 && self.misses_at_most(CATCH_UP_AT_ONCE.min(limits.catch_up_purchases_max)) {
            let purchases = self.read_from(store, self.followed + 1).await?;
            self.record(purchases);
        }
        Ok(self)
    }

    /// Whether others sold what was not followed: then there may be more purchases than are noted.
    pub fn is_behind(&self) -> bool {
        self.missed() > 0
    }

    fn missed(&self) -> i64 {
        self.state.purchase_count - self.followed
    }

    fn misses_at_most(&self, count: usize) -> bool {
        self.missed() <= i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// Whether it is worth while to read what was missed, for so many requests. If it is not, as on a server with few buyers
    /// beside one with a crowd, it is cheaper to forget the buyers and to ask for those of the requests; but then those of
    /// each batch have to be asked for from now on.
    pub fn can_catch_up(&self, limits: &Limits, requests: usize) -> bool {
        let worthwhile = (CATCH_UP_PER_REQUEST_MAX * requests).max(CATCH_UP_ALWAYS);
        self.misses_at_most(worthwhile.min(limits.catch_up_purchases_max))
    }

    /// Follows what others sold, up to the known version; or forgets the buyers.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn catch_up(&mut self, store: &Store, limits: &Limits, requests: usize) -> Result<()> {
        if self.is_behind() && self.can_catch_up(limits, requests) {
            let purchases = self.read_from(store, self.followed + 1).await?;
            self.record(purchases);
        }
        if self.is_behind() {
            self.forget();
        }
        Ok(())
    }

    /// Knows the buyers no more, as of now.
    pub fn forget(&mut self) {
        self.buyers = Buyers::unknown();
        self.followed = self.state.purchase_count;
    }

    /// The purchases from that number on, up to the known version.
    async fn read_from(&self, store: &Store, first: i64) -> Result<Vec<Purchase>> {
        let last = self.state.purchase_count;
        let wanted = doc! { "productId": self.product_id, "sequence": { "$gte": first, "$lte": last } };
        let purchases: Vec<_> = store
            .read_sale(async {
                let purchases = store.purchases.find(wanted).sort(doc! { "sequence": 1 }).await?;
                purchases.try_collect().await
            })
            .await?;
        if i64::try_from(purchases.len()) != Ok(last - first + 1) {
            let (product_id, read) = (self.product_id, purchases.len());
            tracing::error!("product {product_id}: {read} purchases were read from {first} to {last}");
            // As from a new primary that does not know yet what the one before knew.
            return Err(Error::DatabaseUnavailable);
        }
        Ok(purchases)
    }

    /// Reads the purchases of those users who are not known yet. Who is behind does not know of anybody whether there are
    /// more, and makes do with what is noted.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn learn(&mut self, store: &Store, users: impl Iterator<Item = Id> + Clone) -> Result<()> {
        if self.is_behind() {
            return Ok(());
        }
        let mut unknown: Vec<_> = users.filter(|user| !self.buyers.knows(*user)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        self.look_up(store, &unknown).await?;
        self.buyers.introduce(unknown);
        Ok(())
    }

    /// Reads the purchases of these users.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn look_up(&mut self, store: &Store, users: &[Id]) -> Result<()> {
        if users.is_empty() {
            return Ok(());
        }
        let history = doc! { "productId": self.product_id, "userId": { "$in": users } };
        // Where the limit is high they may have a thousand each: none is kept for longer than it takes to note it.
        let buyers = &mut self.buyers;
        store
            .read_sale(async {
                let mut purchases = store.purchases.find(history).await?;
                while let Some(purchase) = purchases.try_next().await? {
                    buyers.record(&purchase);
                }
                Ok(())
            })
            .await
    }

    /// Notes purchases, in the order of their sequence.
    pub fn record(&mut self, purchases: impl IntoIterator<Item = Purchase>) -> Vec<Arc<Purchase>> {
        let purchases: Vec<_> = purchases.into_iter().map(Arc::new).collect();
        for purchase in &purchases {
            self.buyers.record(purchase);
            if purchase.sequence == self.followed + 1 {
                self.followed = purchase.sequence;
            }
        }
        purchases
    }

    /// The sale as the settlement sees it.
    pub fn sale(&self) -> Sale {
        Sale {
            window: self.state.window(self.now),
            stock: self.state.stock,
            purchase_limit: self.state.purchase_limit,
            purchase_count: self.state.purchase_count,
        }
    }

    /// Whether the sale has ended so short a time ago that a transaction from before its end may still be open.
    pub fn may_be_committed_late(&self) -> bool {
        let since_end_ms = self.now.timestamp_millis() - self.state.sale_end_time.timestamp_millis();
        self.closed_version != Some(self.state.version)
            && (0..OPEN_TRANSACTION_MS_MAX).contains(&since_end_ms)
    }

    /// Notes that, after the sale's end, every transaction that had changed the product was waited for. Those that began
    /// later found it over; so until the version changes there is none to wait for.
    pub fn close(&mut self) {
        self.closed_version = Some(self.state.version);
    }

    /// The whole seconds until the sale starts, by the clock that was read, for `Retry-After`.
    pub fn seconds_until_start(&self) -> u64 {
        Timestamp::from(self.now).seconds_until(self.state.sale_start_time.into())
    }
}
