//! The products that this process keeps in memory, each at the newest version that it has heard of: from its own purchases
//! and changes, from what it has read, and from the change stream (`live::feed`), which tells what other servers do.
//!
//! RememberedCount alone never sells anything. It answers a crowd's reads, refuses what cannot be had, and feeds the watchers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use mongodb::bson::DateTime;
use tokio::sync::watch;

use crate::config::ProductsLimits;
use crate::error::Result;
use crate::http::rendered::Rendered;
use crate::model::id::Id;
use crate::model::product::{Product, Status};
use crate::store::token_bucket::TokenBucket;

/// The products in memory.
pub struct ProductCache {
    entries: RwLock<HashMap<Id, Arc<Entry>>>,
    products_max: usize,
    refusals_checked: (u32, u32),
    /// Counts every change of any product here.
    generation: AtomicU64,
    /// Counts the changes that may move a product from one list to another: all but purchases that leave some.
    list_generation: AtomicU64,
}

/// One product in memory.
pub struct Entry {
    /// What is known of it; watchers wait for its changes.
    known: watch::Sender<Known>,
    /// The newest version that anybody has told of.
    version_told: AtomicI64,
    times: Mutex<Times>,
    /// Somebody reads it already.
    is_being_read: AtomicBool,
    rendered: Mutex<Option<(Arc<Product>, Status, Rendered)>>,
    /// Refusals that go to the lane all the same, so that they are judged by the database.
    pub refusals: TokenBucket,
}

struct Times {
    /// What was read before this moment may lack a change that nobody noted here.
    since: Instant,
    /// When it was last asked for.
    used: Instant,
}

/// What is known of a product.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The newest version that was seen whole.
    pub product: Option<Arc<Product>>,
    /// It was deleted.
    pub is_deleted: bool,
    /// The last sale that was told of.
    pub last_sale: Option<LastSale>,
}

/// Who sold a product last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastSale {
    /// The server, this one or another.
    pub server: Id,
    /// The version that the sale made.
    pub version: i64,
    /// When it was told of.
    pub told: Instant,
}

/// What a purchase or a restock changes of a product.
#[derive(Debug, Clone, Copy)]
pub struct StockChange {
    /// The version that the change made.
    pub version: i64,
    /// Units left.
    pub stock: i64,
    /// Units there ever were; as before without it.
    pub total_stock: Option<i64>,
    /// Purchases so far; as before without it.
    pub purchase_count: Option<i64>,
    /// When; at the moment of the change before without it.
    pub updated_at: Option<DateTime>,
    /// The server that sold it, this one or another; none of a restock.
    pub seller: Option<Id>,
}

impl ProductCache {
    /// Nothing in memory yet.
    pub fn new(limits: &ProductsLimits) -> Self {
        Self {
            entries: RwLock::default(),
            products_max: limits.cached_products_max,
            refusals_checked: (limits.refusals_checked_burst, limits.refusals_checked_per_second),
            generation: AtomicU64::new(0),
            list_generation: AtomicU64::new(0),
        }
    }

    /// The product's entry, if there is one.
    pub fn find(&self, id: Id) -> Option<Arc<Entry>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(&id).cloned()
    }

    /// The product's entry, made if there is none; none when the memory is full of products that are in use.
    pub fn entry(&self, id: Id) -> Option<Arc<Entry>> {
        if let Some(entry) = self.find(id) {
            lock(&entry.times).used = Instant::now();
            return Some(entry);
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.products_max {
            make_room(&mut entries);
        }
        if entries.len() >= self.products_max {
            return None;
        }
        let (burst, per_second) = self.refusals_checked;
        Some(entries.entry(id).or_insert_with(|| Arc::new(Entry::new(burst, per_second))).clone())
    }

    /// The product's entry, which stays in memory for as long as the receiver lives; none when the memory is full.
    pub fn watch(&self, id: Id) -> Option<(Arc<Entry>, watch::Receiver<Known>)> {
        loop {
            let entry = self.entry(id)?;
            let receiver = entry.watch();
            // It may have been dropped in between, and nobody would tell it anything.
            if self.find(id).is_some_and(|found| Arc::ptr_eq(&found, &entry)) {
                return Some((entry, receiver));
            }
        }
    }

    /// The newest version of the product, if it is in memory whole.
    pub fn current(&self, id: Id) -> Option<Arc<Product>> {
        self.find(id)?.current()
    }

    /// The newest version of the product that anybody has told of; 0 when nobody has.
    pub fn version_told(&self, id: Id) -> i64 {
        self.find(id).map_or(0, |entry| entry.version_told.load(Ordering::Relaxed))
    }

    /// Takes a product as it was read or written by an operation that began at `began`, and gives the newest version.
    pub fn insert_if_newer(&self, product: Product, began: Instant) -> Arc<Product> {
        let product = Arc::new(product);
        let Some(entry) = self.entry(product.id) else { return product };
        entry.version_told.fetch_max(product.version, Ordering::Relaxed);
        self.modify(&entry, |known| {
            // What was deleted stays so, however late a read of it comes.
            let is_good = !known.is_deleted && lock(&entry.times).since <= began;
            let is_new = known.product.as_ref().is_none_or(|known| known.version < product.version);
            if is_good && is_new {
                known.product = Some(product.clone());
            }
            is_good && is_new
        });
        entry.current().filter(|known| known.version > product.version).unwrap_or(product)
    }

    /// Takes a change of the stock. True when something before it is missing, or the product was not
    /// read yet.
    pub fn advance(&self, id: Id, change: StockChange) -> bool {
        if change.stock == 0 || change.total_stock.is_some() {
            // Sold out, or perhaps on sale again.
            self.bump_lists();
        }
        let Some(entry) = self.find(id) else { return false };
        entry.version_told.fetch_max(change.version, Ordering::Relaxed);
        let mut has_gap = true;
        self.modify(&entry, |known| {
            let is_last_sale =
                change.seller.is_some() && known.last_sale.is_none_or(|last| last.version < change.version);
            if let Some(server) = change.seller.filter(|_| is_last_sale) {
                known.last_sale = Some(LastSale { server, version: change.version, told: Instant::now() });
            }
            let Some(product) = known.product.clone() else { return is_last_sale };
            has_gap = product.version + 1 < change.version;
            if product.version + 1 == change.version {
                known.product = Some(Arc::new(change.of(&product)));
            }
            // Watchers are woken by a gap, too: they see to it that the product is read.
            is_last_sale || product.version < change.version
        });
        has_gap
    }

    /// Notes that a product has changed in a way that only reading it can tell. True when it is in memory.
    pub fn mark(&self, id: Id, version: i64) -> bool {
        self.bump_lists();
        let Some(entry) = self.find(id) else { return false };
        entry.version_told.fetch_max(version, Ordering::Relaxed);
        let is_missing = entry.current().is_none();
        // Watchers see to it that it is read, even if the first read fails.
        self.modify(&entry, |_| is_missing);
        is_missing
    }

    /// Notes that a product may belong to other lists than before: it was made, or has more stock, or has changed.
    pub fn bump_lists(&self) {
        self.list_generation.fetch_add(1, Ordering::Release);
    }

    /// Notes that a product was deleted.
    pub fn deleted(&self, id: Id) {
        self.bump_lists();
        self.forget(id);
    }

    /// Forgets a product that is not there.
    pub fn forget(&self, id: Id) {
        let entry = self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(entry) = entry {
            self.modify(&entry, |known| {
                *known = Known { product: None, is_deleted: true, last_sale: None };
                true
            });
        }
    }

    /// Trusts nothing any more: changes may have been missed. Who watches a product has it read again.
    pub fn invalidate(&self) {
        self.bump_lists();
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| entry.known.receiver_count() > 0);
        for entry in entries.values() {
            self.clear(entry);
        }
    }

    /// The same for one product. False when it is not in memory.
    pub fn invalidate_one(&self, id: Id) -> bool {
        self.bump_lists();
        let entry = self.find(id);
        entry.inspect(|entry| self.clear(entry)).is_some()
    }

    fn clear(&self, entry: &Entry) {
        self.modify(entry, |known| {
            lock(&entry.times).since = Instant::now();
            entry.version_told.store(0, Ordering::Relaxed);
            known.product.take().is_some()
        });
    }

    /// Counts every change of any product here.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Counts the changes that may move a product from one list to another.
    pub fn list_generation(&self) -> u64 {
        self.list_generation.load(Ordering::Acquire)
    }

    fn modify(&self, entry: &Entry, change: impl FnOnce(&mut Known) -> bool) {
        if entry.known.send_if_modified(change) {
            self.generation.fetch_add(1, Ordering::Release);
        }
    }
}

/// Drops the half of the products that was not used for the longest time, but for those that somebody watches.
fn make_room(entries: &mut HashMap<Id, Arc<Entry>>) {
    let mut used: Vec<Instant> = entries.values().map(|entry| lock(&entry.times).used).collect();
    used.sort_unstable();
    let Some(median) = used.get(used.len() / 2).copied() else { return };
    entries.retain(|_, entry| entry.known.receiver_count() > 0 || lock(&entry.times).used > median);
}

impl Entry {
    fn new(refusals_burst: u32, refusals_per_second: u32) -> Self {
        let now = Instant::now();
        Self {
            known: watch::Sender::default(),
            version_told: AtomicI64::new(0),
            times: Mutex::new(Times { since: now, used: now }),
            is_being_read: AtomicBool::new(false),
            rendered: Mutex::default(),
            refusals: TokenBucket::new(refusals_burst, refusals_per_second),
        }
    }

    /// The newest version, if it is here whole.
    pub fn current(&self) -> Option<Arc<Product>> {
        let known = self.known.borrow();
        let product = known.product.as_ref()?;
        (product.version >= self.version_told.load(Ordering::Relaxed)).then(|| product.clone())
    }

    /// Whether any version of it is here.
    pub fn is_read(&self) -> bool {
        self.known.borrow().product.is_some()
    }

    /// Whether it was deleted.
    pub fn is_deleted(&self) -> bool {
        self.known.borrow().is_deleted
    }

    /// What is known of the product, and every change of that from now on.
    pub fn watch(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// Whether the caller is the one to read the product now; it has to say when it has ended.
    pub fn begin_reading(&self) -> bool {
        !self.is_being_read.swap(true, Ordering::AcqRel)
    }

    /// Lets the next one read.
    pub fn end_reading(&self) {
        self.is_being_read.store(false, Ordering::Release);
    }

    /// The product as the API shows it, written once for each version and status.
    ///
    /// # Errors
    /// Those of `render`.
    pub fn rendered(
        &self,
        product: &Arc<Product>,
        status: Status,
        render: impl FnOnce() -> Result<Rendered>,
    ) -> Result<Rendered> {
        let mut rendered = lock(&self.rendered);
        if let Some((of_product, of_status, rendered)) = &*rendered
            && Arc::ptr_eq(of_product, product)
            && *of_status == status
        {
            return Ok(rendered.clone());
        }
        let new = render()?;
        *rendered = Some((product.clone(), status, new.clone()));
        Ok(new)
    }
}

impl StockChange {
    /// The product after this change of it.
    fn of(&self, product: &Product) -> Product {
        let total_stock = self.total_stock.unwrap_or(product.total_stock);
        Product {
            stock: self.stock,
            sold: total_stock - self.stock,
            total_stock,
            purchase_count: self.purchase_count.unwrap_or(product.purchase_count),
            version: self.version,
            // It never goes back: a change that would have it do so is told in two events, and the second has no version.
            updated_at: self.updated_at.map_or(product.updated_at, |at| at.max(product.updated_at)),
            ..product.clone()
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
