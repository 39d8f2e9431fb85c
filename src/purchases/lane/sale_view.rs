//! What a lane knows about its sale, and how it learns it: the product at one version, and the buyers up to some
//! sequence number. The sequence has no gaps, so what another server sold can be read exactly.
//!
//! Mostly that is not needed. If too little is known about a buyer, the purchase fails: the number of its unit is
//! already used, and a unique index refuses it. So only a refusal has to be looked up, and a lane with rivals follows
//! what they sell only once their buyers come to it.

use std::sync::Arc;

use mongodb::bson::{DateTime, doc};
use mongodb::options::Hint;

use crate::config::PurchasesLimits;
use crate::error::{Error, Result};
use crate::model::id::Id;
use crate::model::money::Price;
use crate::model::purchase::Purchase;
use crate::model::timestamp::Timestamp;
use crate::purchases::buyers::Buyers;
use crate::purchases::sale_state::{SaleReading, SaleState};
use crate::purchases::settle::{Refusal, Sale, Window};
use crate::sabotage::Mistake;
use crate::store::schema::changed_purchases;
use crate::store::{Store, collect};

/// No transaction stays open for longer, in milliseconds: MongoDB ends each after a minute
/// (`transactionLifetimeLimitSeconds`), and an operator who raises that hardly raises it tenfold.
const OPEN_TRANSACTION_MS_MAX: i64 = 10 * 60 * 1_000;

/// Up to this many missed purchases are read as soon as they are heard of: that takes hardly any time.
const CATCH_UP_AT_ONCE: usize = 100;
/// Up to this many missed purchases per request are read; with more, it is cheaper to forget all buyers.
const CATCH_UP_PER_REQUEST_MAX: usize = 8;
/// Up to this many missed purchases are read for any batch: that takes some milliseconds.
const CATCH_UP_ALWAYS: usize = 1_000;

#[derive(Debug)]
pub struct SaleView {
    product_id: Id,
    /// The product, at the version that all other fields belong to.
    pub state: SaleState,
    /// The database's clock when it was last read.
    pub now: DateTime,
    pub buyers: Buyers,
    /// `buyers` have all purchases up to this sequence number, and some of the later ones.
    followed: i64,
    /// `buyers` have what was changed of earlier purchases up to this version of the product.
    followed_changes: i64,
    /// The version on which a barrier was passed after the sale's end: no purchase can be committed on it any more.
    closed_version: Option<i64>,
}

impl SaleView {
    pub fn begin(product_id: Id, reading: SaleReading) -> Self {
        let SaleReading { state, now } = reading;
        let buyers = if state.purchase_count == 0 { Buyers::all_of_none() } else { Buyers::unknown() };
        let followed = state.purchase_count;
        let followed_changes = state.purchases_changed_version.unwrap_or(0);
        Self { product_id, state, now, buyers, followed, followed_changes, closed_version: None }
    }

    /// Updates the view to a newer reading. What others sold meanwhile is only followed if it is little.
    pub async fn advance(
        mut self,
        store: &Store,
        limits: &PurchasesLimits,
        reading: SaleReading,
    ) -> Result<Self> {
        let sold = reading.state.purchase_count - self.state.purchase_count;
        if sold < 0 {
            return Ok(Self::begin(self.product_id, reading));
        }
        if reading.now < self.now {
            // The clock was set back, or another MongoDB server's clock counts now: the sale may be open again.
            self.closed_version = None;
        }
        self.state = reading.state;
        self.now = reading.now;
        if sold > 0 && self.misses_at_most(CATCH_UP_AT_ONCE.min(limits.catch_up_purchases_max)) {
            let purchases = self.read_from(store, self.followed + 1).await?;
            self.record(purchases);
        }
        self.follow_changes(store, limits).await?;
        Ok(self)
    }

    /// Reads what others changed of earlier purchases, up to the view's version or later; or forgets the buyers, if that
    /// is too much. Unlike what others sold it is always followed: no index refuses what rests on too little of it.
    async fn follow_changes(&mut self, store: &Store, limits: &PurchasesLimits) -> Result<()> {
        let Some(last) = self.state.purchases_changed_version.filter(|last| *last > self.followed_changes)
        else {
            return Ok(());
        };
        if Mistake::FollowNoChanges.is_made() {
            return Ok(());
        }
        let changed_since =
            doc! { "productId": self.product_id, "changedInVersion": { "$gt": self.followed_changes } };
        let limit = i64::try_from(limits.catch_up_purchases_max + 1).unwrap_or(i64::MAX);
        let find = store.purchases.find(changed_since).hint(Hint::Keys(changed_purchases())).limit(limit);
        let changed: Vec<Purchase> = store.read_sale(|session| collect(find, session)).await?;
        if changed.iter().all(|purchase| purchase.changed_in_version < Some(last)) {
            let product_id = self.product_id;
            tracing::error!(
                "product {product_id}: the purchases that changed in version {last} were not read"
            );
            // For example, a new primary does not have yet what the previous one had.
            return Err(Error::DatabaseUnavailable);
        }
        match changed.len() > limits.catch_up_purchases_max {
            true => self.forget(),
            false => changed.iter().for_each(|purchase| self.buyers.record_change(purchase)),
        }
        self.followed_changes = last;
        Ok(())
    }

    /// Whether others sold what was not followed: then there may be more purchases than are recorded.
    pub fn is_behind(&self) -> bool {
        self.missed() > 0
    }

    fn missed(&self) -> i64 {
        self.state.purchase_count - self.followed
    }

    fn misses_at_most(&self, count: usize) -> bool {
        self.missed() <= i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// Whether reading what was missed pays off for this many requests. If not, as on a server with few buyers beside
    /// one with a crowd, it is cheaper to forget the buyers and read only those of the requests; but then every later
    /// batch has to read its buyers too.
    pub fn can_catch_up(&self, limits: &PurchasesLimits, requests: usize) -> bool {
        let worthwhile = (CATCH_UP_PER_REQUEST_MAX * requests).max(CATCH_UP_ALWAYS);
        self.misses_at_most(worthwhile.min(limits.catch_up_purchases_max))
    }

    /// Reads what others sold, up to the view's version; or forgets the buyers, if that is cheaper.
    pub async fn catch_up(&mut self, store: &Store, limits: &PurchasesLimits, requests: usize) -> Result<()> {
        if self.is_behind() && self.can_catch_up(limits, requests) {
            let purchases = self.read_from(store, self.followed + 1).await?;
            self.record(purchases);
        }
        if self.is_behind() {
            self.forget();
        }
        Ok(())
    }

    /// Forgets all buyers; from now on no purchase counts as missed.
    pub fn forget(&mut self) {
        self.buyers = Buyers::unknown();
        self.followed = self.state.purchase_count;
        self.followed_changes = self.state.purchases_changed_version.unwrap_or(0);
    }

    /// The purchases from sequence number `first` on, up to the view's version.
    async fn read_from(&self, store: &Store, first: i64) -> Result<Vec<Purchase>> {
        let last = self.state.purchase_count;
        let wanted = doc! { "productId": self.product_id, "sequence": { "$gte": first, "$lte": last } };
        let find = store.purchases.find(wanted).sort(doc! { "sequence": 1 });
        let purchases: Vec<_> = store.read_sale(|session| collect(find, session)).await?;
        if i64::try_from(purchases.len()) != Ok(last - first + 1) {
            let (product_id, read) = (self.product_id, purchases.len());
            tracing::error!("product {product_id}: {read} purchases were read from {first} to {last}");
            // For example, a new primary does not have yet what the previous one had.
            return Err(Error::DatabaseUnavailable);
        }
        Ok(purchases)
    }

    /// Reads the purchases of those users who are not known yet. A view that is behind reads nothing: for any user
    /// there could be more, so it uses what is recorded.
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
    pub async fn look_up(&mut self, store: &Store, users: &[Id]) -> Result<()> {
        if users.is_empty() {
            return Ok(());
        }
        let history = doc! { "productId": self.product_id, "userId": { "$in": users } };
        // With a high limit each user may have a thousand purchases, so each is recorded and dropped at once.
        let buyers = &mut self.buyers;
        let find = store.purchases.find(history);
        store
            .read_sale(|mut session| async move {
                let mut found = find.session(&mut session).await?;
                while let Some(purchase) = found.next(&mut session).await {
                    buyers.record(&purchase?);
                }
                Ok(())
            })
            .await
    }

    /// Records purchases, which must be in the order of their sequence.
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

    /// Records what this lane has changed of earlier purchases, in the version that the view is to get.
    pub fn record_changes(&mut self, changed: &[Purchase]) {
        for purchase in changed {
            self.buyers.record_change(purchase);
            self.followed_changes = self.followed_changes.max(purchase.changed_in_version.unwrap_or(0));
        }
    }

    pub fn sale(&self) -> Sale {
        // A purchase is never dated before an earlier one, so a clock that was set back does not open the sale again. Nor does
        // a change by a clock that was ahead begin the sale early.
        let window = match self.state.window(self.now) {
            Window::NotStarted => Window::NotStarted,
            Window::Open | Window::Ended => self.state.window(self.now.max(self.state.updated_at)),
        };
        Sale {
            window,
            start: self.state.sale_start_time,
            reopened_at: self.state.reopened_at.unwrap_or(DateTime::MIN),
            paused: self.state.paused,
            registered_before: self.state.registered_before,
            price: Price::from(&self.state.price),
            has_payment_window: self.state.payment_window_seconds.is_some(),
            stock: self.state.stock,
            purchase_limit: self.state.purchase_limit,
            purchase_count: self.state.purchase_count,
        }
    }

    /// Whether the sale ended so recently that a transaction from before its end may still be open.
    pub fn may_be_committed_late(&self) -> bool {
        let since_end_ms = self.now.timestamp_millis() - self.state.sale_end_time.timestamp_millis();
        self.closed_version != Some(self.state.version)
            && (0..OPEN_TRANSACTION_MS_MAX).contains(&since_end_ms)
    }

    /// Records that, after the sale's end, all transactions that had changed the product are over. Later ones find
    /// the sale ended; so until the version changes there is no transaction to wait for.
    pub fn close(&mut self) {
        self.closed_version = Some(self.state.version);
    }

    pub fn error_of(&self, refusal: Refusal) -> Error {
        let start = Timestamp::from(self.state.sale_start_time);
        match refusal {
            Refusal::KeyReused => Error::IdempotencyKeyReused,
            Refusal::Paused => Error::SalePaused,
            Refusal::NotStarted => Error::SaleNotStarted {
                sale_start_time: start,
                retry_after_seconds: Timestamp::from(self.now).seconds_until(start),
            },
            Refusal::Ended => Error::SaleEnded { sale_end_time: self.state.sale_end_time.into() },
            Refusal::AccountTooNew => Error::AccountTooNew {
                registered_before: self.state.registered_before.unwrap_or(DateTime::MAX).into(),
            },
            Refusal::SoldOut => Error::SoldOut,
            Refusal::PriceChanged => Error::PriceChanged { price: self.state.price.clone() },
            Refusal::Reopened => Error::Overloaded {
                detail: "The sale began or changed while this request waited; nothing was bought.",
            },
            Refusal::LimitReached { limit, purchased } => Error::PurchaseLimitReached { limit, purchased },
            Refusal::TooManyLapses { lapses } => Error::TooManyLapses { lapses },
            Refusal::InsufficientStock { remaining } => Error::InsufficientStock { remaining },
        }
    }
}
