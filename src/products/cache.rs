//! The products in this process's memory, each at the newest version known here: from this server's own purchases and
//! changes, from its reads, and from the change stream (`change_stream`), which reports what other servers do.
//!
//! Memory alone never sells anything. It answers a crowd's reads, refuses purchases that cannot succeed, and feeds the
//! watchers.

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

pub struct ProductCache {
    entries: RwLock<HashMap<Id, Arc<Entry>>>,
    products_max: usize,
    refusals_checked: (u32, u32),
    /// Counts every change of any product in memory.
    generation: AtomicU64,
    /// Counts the changes that may move a product into another list: all except purchases that leave stock.
    list_generation: AtomicU64,
    /// Counts the changes of purchases that were made before.
    purchase_generation: AtomicU64,
}

/// One product in memory.
pub struct Entry {
    /// Watchers wait for its changes.
    known: watch::Sender<Known>,
    /// The newest version that was reported, even if the product of that version is not here yet.
    version_reported: AtomicI64,
    times: Mutex<Times>,
    /// A task is already reading the product.
    is_being_read: AtomicBool,
    rendered: Mutex<Option<(Arc<Product>, Status, Rendered)>>,
    /// Limits the refusals that go to the lane all the same, so that the database decides them.
    pub refusals: TokenBucket,
}

struct Times {
    /// A read that began before this may lack a change that was not reported here, so it is ignored.
    since: Instant,
    /// The last use; the entries unused for longest are dropped first.
    used: Instant,
}

#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The newest version that is here in full.
    pub product: Option<Arc<Product>>,
    pub is_deleted: bool,
    pub last_sale: Option<LastSale>,
}

/// The last sale of a product that was reported here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastSale {
    /// This server or another.
    pub server: Id,
    /// The version that the sale made.
    pub version: i64,
    /// When it was reported here.
    pub reported_at: Instant,
}

/// What a purchase or a restock changes. A missing field means that the product's value stays.
#[derive(Debug, Clone, Copy)]
pub struct StockChange {
    /// The version that the change made.
    pub version: i64,
    pub stock: Option<i64>,
    pub held: Option<i64>,
    pub total_stock: Option<i64>,
    pub purchase_count: Option<i64>,
    pub updated_at: Option<DateTime>,
    /// When it reopened the product; `None` if it did not.
    pub reopened_at: Option<DateTime>,
    /// The version that last changed purchases that were made before.
    pub purchases_changed_version: Option<i64>,
    /// The server that sold, this one or another; `None` for a restock.
    pub seller: Option<Id>,
}

impl ProductCache {
    pub fn new(limits: &ProductsLimits) -> Self {
        Self {
            entries: RwLock::default(),
            products_max: limits.cached_products_max,
            refusals_checked: (limits.refusals_checked_burst, limits.refusals_checked_per_second),
            generation: AtomicU64::new(0),
            list_generation: AtomicU64::new(0),
            purchase_generation: AtomicU64::new(0),
        }
    }

    pub fn find(&self, id: Id) -> Option<Arc<Entry>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(&id).cloned()
    }

    /// The product's entry, created if missing. `None` when memory is full of products in use.
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

    /// The product's entry, kept in memory while the receiver lives. `None` when memory is full.
    pub fn watch(&self, id: Id) -> Option<(Arc<Entry>, watch::Receiver<Known>)> {
        loop {
            let entry = self.entry(id)?;
            let receiver = entry.watch();
            // The entry may have been dropped in between; then it would get no more changes.
            if self.find(id).is_some_and(|found| Arc::ptr_eq(&found, &entry)) {
                return Some((entry, receiver));
            }
        }
    }

    /// The product, if memory has its newest reported version in full.
    pub fn current(&self, id: Id) -> Option<Arc<Product>> {
        self.find(id)?.current()
    }

    /// The newest version that was reported; 0 when none was.
    pub fn version_reported(&self, id: Id) -> i64 {
        self.find(id).map_or(0, |entry| entry.version_reported.load(Ordering::Relaxed))
    }

    /// Takes a product from a read or write that began at `began`, and returns the newest version known.
    pub fn insert_if_newer(&self, product: Product, began: Instant) -> Arc<Product> {
        let product = Arc::new(product);
        let Some(entry) = self.entry(product.id) else { return product };
        entry.version_reported.fetch_max(product.version, Ordering::Relaxed);
        self.modify(&entry, |known| {
            // A deleted product stays deleted, however late a read of it ends.
            let is_good = !known.is_deleted && lock(&entry.times).since <= began;
            let is_new = known.product.as_ref().is_none_or(|known| known.version < product.version);
            if is_good && is_new {
                known.product = Some(product.clone());
            }
            is_good && is_new
        });
        entry.current().filter(|known| known.version > product.version).unwrap_or(product)
    }

    /// Takes a change of the stock. True when the product has to be read: it was not read yet, or an earlier change is
    /// missing.
    pub fn advance(&self, id: Id, change: StockChange) -> bool {
        let changes_purchases = change.purchases_changed_version == Some(change.version);
        if change.stock == Some(0) || change.total_stock.is_some() || changes_purchases {
            // Sold out, or perhaps on sale again.
            self.bump_lists();
        }
        if changes_purchases {
            self.purchase_generation.fetch_add(1, Ordering::Release);
        }
        let Some(entry) = self.find(id) else { return false };
        entry.version_reported.fetch_max(change.version, Ordering::Relaxed);
        let mut has_gap = true;
        self.modify(&entry, |known| {
            let is_last_sale =
                change.seller.is_some() && known.last_sale.is_none_or(|last| last.version < change.version);
            if let Some(server) = change.seller.filter(|_| is_last_sale) {
                known.last_sale =
                    Some(LastSale { server, version: change.version, reported_at: Instant::now() });
            }
            let Some(product) = known.product.clone() else { return is_last_sale };
            has_gap = product.version + 1 < change.version;
            if product.version + 1 == change.version {
                known.product = Some(Arc::new(change.of(&product)));
            }
            // A gap wakes the watchers too: they have the product read.
            is_last_sale || product.version < change.version
        });
        has_gap
    }

    /// Notes a change that only a read can show in full. True when the product is in memory and has to be read.
    pub fn mark(&self, id: Id, version: i64) -> bool {
        self.bump_lists();
        let Some(entry) = self.find(id) else { return false };
        entry.version_reported.fetch_max(version, Ordering::Relaxed);
        let is_missing = entry.current().is_none();
        // Watchers have it read again if the first read fails.
        self.modify(&entry, |_| is_missing);
        is_missing
    }

    /// Notes that a product may belong to other lists now: it was created, restocked, sold out or changed.
    pub fn bump_lists(&self) {
        self.list_generation.fetch_add(1, Ordering::Release);
    }

    pub fn deleted(&self, id: Id) {
        self.bump_lists();
        self.forget(id);
    }

    /// Drops a product that does not exist, and tells its watchers.
    pub fn forget(&self, id: Id) {
        let entry = self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(entry) = entry {
            self.modify(&entry, |known| {
                *known = Known { product: None, is_deleted: true, last_sale: None };
                true
            });
        }
    }

    /// Drops everything, because changes may have been missed. Watchers have their products read again.
    pub fn invalidate(&self) {
        self.bump_lists();
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| entry.known.receiver_count() > 0);
        for entry in entries.values() {
            self.clear(entry);
        }
    }

    /// Like `invalidate`, for one product. False when it is not in memory.
    pub fn invalidate_one(&self, id: Id) -> bool {
        self.bump_lists();
        let entry = self.find(id);
        entry.inspect(|entry| self.clear(entry)).is_some()
    }

    fn clear(&self, entry: &Entry) {
        self.modify(entry, |known| {
            lock(&entry.times).since = Instant::now();
            entry.version_reported.store(0, Ordering::Relaxed);
            known.product.take().is_some()
        });
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn list_generation(&self) -> u64 {
        self.list_generation.load(Ordering::Acquire)
    }

    pub fn purchase_generation(&self) -> u64 {
        self.purchase_generation.load(Ordering::Acquire)
    }

    fn modify(&self, entry: &Entry, change: impl FnOnce(&mut Known) -> bool) {
        if entry.known.send_if_modified(change) {
            self.generation.fetch_add(1, Ordering::Release);
        }
    }
}

/// Drops the half of the products that was unused for longest, except watched ones.
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
            version_reported: AtomicI64::new(0),
            times: Mutex::new(Times { since: now, used: now }),
            is_being_read: AtomicBool::new(false),
            rendered: Mutex::default(),
            refusals: TokenBucket::new(refusals_burst, refusals_per_second),
        }
    }

    /// The product, if its newest reported version is here in full.
    pub fn current(&self) -> Option<Arc<Product>> {
        let known = self.known.borrow();
        let product = known.product.as_ref()?;
        (product.version >= self.version_reported.load(Ordering::Relaxed)).then(|| product.clone())
    }

    /// The name of the newest version that is here.
    pub fn name(&self) -> Option<String> {
        self.known.borrow().product.as_ref().map(|product| product.name.clone())
    }

    /// Whether any version of the product is here.
    pub fn is_read(&self) -> bool {
        self.known.borrow().product.is_some()
    }

    pub fn is_deleted(&self) -> bool {
        self.known.borrow().is_deleted
    }

    pub fn watch(&self) -> watch::Receiver<Known> {
        self.known.subscribe()
    }

    /// True when the caller must read the product now, and then call `end_reading`; false when another task reads it.
    pub fn begin_reading(&self) -> bool {
        !self.is_being_read.swap(true, Ordering::AcqRel)
    }

    pub fn end_reading(&self) {
        self.is_being_read.store(false, Ordering::Release);
    }

    /// The product as the API shows it, rendered once for each version and status.
    ///
    /// # Errors
    /// Those of the given `render`.
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
    fn of(&self, product: &Product) -> Product {
        let total_stock = self.total_stock.unwrap_or(product.total_stock);
        let (stock, held) = (self.stock.unwrap_or(product.stock), self.held.unwrap_or(product.held));
        Product {
            stock,
            held,
            sold: total_stock - stock - held,
            total_stock,
            purchase_count: self.purchase_count.unwrap_or(product.purchase_count),
            version: self.version,
            // It never goes back. After the database's clock was set back, a purchase's event has the earlier time,
            // and the correction comes in a second event without a version, which is ignored.
            updated_at: self.updated_at.map_or(product.updated_at, |at| at.max(product.updated_at)),
            reopened_at: self.reopened_at.or(product.reopened_at),
            purchases_changed_version: self.purchases_changed_version.or(product.purchases_changed_version),
            ..product.clone()
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
