//! What each buyer has of each product: units that are numbered without gaps, and not more than the limit.

use std::collections::HashMap;

use mongodb::bson::{Document, RawDocument};

use super::VerifyError;
use super::books::{Books, is_too_old, number};
use super::findings::Findings;
use super::history::History;
use super::steps::status_of;
use crate::model::id::Id;

/// The progress is shown after this many purchases.
const PROGRESS_PURCHASES: u64 = 1_000;

/// The purchase limits of the products that were read.
#[derive(Default)]
pub struct Limits(HashMap<Id, Limit>);

#[derive(Clone, Copy)]
struct Limit {
    now: i64,
    /// The largest that there ever was. `None` if nobody knows.
    ever: Option<i64>,
}

impl Limits {
    /// Notes what was read of a product.
    pub fn learn(&mut self, product: Id, document: &Document, history: &History) {
        let now = document.get_i64("purchaseLimit").unwrap_or(i64::MAX);
        self.0.insert(product, Limit { now, ever: history.limit_max });
    }

    /// Reads a product's limit again, at the snapshot of now.
    async fn read(&mut self, books: &mut Books, product: Id) -> Result<Option<Limit>, mongodb::error::Error> {
        if let Some(document) = books.product(product).await? {
            let history = History::read(books, product).await?;
            self.learn(product, &document, &history);
            return Ok(self.0.get(&product).copied());
        }
        Ok(None)
    }
}

/// Checks all buyers, or those of one product. Those that are left when the snapshot is too old are read at the next one.
///
/// # Errors
/// When they cannot be read.
pub async fn check(
    books: &mut Books,
    product: Option<Id>,
    findings: &mut Findings,
    limits: &mut Limits,
) -> Result<(), VerifyError> {
    let mut walk = Walk { product, ..Walk::default() };
    let mut is_fresh = false;
    loop {
        let count = walk.count;
        match walk.read(books, findings, limits).await {
            Ok(()) => break,
            // The first snapshot may be old already; a fresh one has to bring something.
            Err(error) if is_too_old(&error) && (!is_fresh || walk.count > count) => {
                books.renew().await?;
                is_fresh = true;
                walk.current = None;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if walk.above_limit > 0 {
        findings.note(format!(
            "{} times a buyer has more of a product than its limit is now; it may have been lowered before the audit log began",
            walk.above_limit
        ));
    }
    Ok(())
}

#[derive(Default)]
struct Walk {
    product: Option<Id>,
    /// The buyer and the product that are being read: where the next snapshot goes on.
    place: Option<(Id, Id)>,
    current: Option<Units>,
    /// Products that do not exist, and are named already.
    missing: Vec<Id>,
    above_limit: u64,
    count: u64,
}

/// The purchases of one buyer of one product so far.
struct Units {
    user: Id,
    product: Id,
    /// The number that the next unit has to have.
    next: i64,
    /// Units that count towards the limit.
    active: i64,
    findings: Findings,
}

impl Walk {
    async fn read(
        &mut self,
        books: &mut Books,
        findings: &mut Findings,
        limits: &mut Limits,
    ) -> Result<(), mongodb::error::Error> {
        let mut found = books.purchases_by_buyer(self.product, self.place).await?;
        while let Some(purchase) = books.next(&mut found).await? {
            self.count += 1;
            if self.count.is_multiple_of(PROGRESS_PURCHASES) {
                books.progress.inc(PROGRESS_PURCHASES);
            }
            let place = purchase.get_object_id("userId").ok().zip(purchase.get_object_id("productId").ok());
            let Some((user, product)) = place else {
                findings.wrong("a purchase has no buyer or no product that can be read");
                continue;
            };
            if self.current.as_ref().is_none_or(|units| (units.user, units.product) != (user, product)) {
                self.finish(books, findings, limits).await?;
                self.place = Some((user, product));
                self.current = Some(Units::new(user, product));
            }
            if let Some(units) = &mut self.current {
                units.take(&purchase);
            }
        }
        self.finish(books, findings, limits).await
    }

    /// Judges the buyer who was read to the end.
    async fn finish(
        &mut self,
        books: &mut Books,
        findings: &mut Findings,
        limits: &mut Limits,
    ) -> Result<(), mongodb::error::Error> {
        let Some(units) = &self.current else { return Ok(()) };
        let (user, product, active) = (units.user, units.product, units.active);
        let known = limits.0.get(&product).copied();
        // What was read of the product before may be older than this snapshot.
        let limit = match known.filter(|limit| active <= limit.now) {
            Some(limit) => Some(limit),
            None if self.missing.contains(&product) => None,
            None => limits.read(books, product).await?,
        };
        // From here on nothing can fail, and nobody is judged twice.
        let Some(units) = self.current.take() else { return Ok(()) };
        findings.append(units.findings);
        findings.buyers += 1;
        match limit {
            None if !self.missing.contains(&product) => {
                findings.wrong(format!("there are purchases of product {product}, which does not exist"));
                self.missing.push(product);
            }
            Some(Limit { now, ever }) if active > now => match ever {
                None => self.above_limit += 1,
                Some(ever) if active > ever => findings.wrong(format!(
                    "product {product}: buyer {user} has {active} units, and the limit was never above {ever}"
                )),
                Some(_) => {}
            },
            _ => {}
        }
        Ok(())
    }
}

impl Units {
    fn new(user: Id, product: Id) -> Self {
        Self { user, product, next: 1, active: 0, findings: Findings::default() }
    }

    /// Takes the buyer's next purchase in the order of units.
    fn take(&mut self, purchase: &RawDocument) {
        let (user, product) = (self.user, self.product);
        let Some((first, quantity)) = number(purchase, "firstUnit").zip(number(purchase, "quantity")) else {
            self.findings.wrong(format!(
                "product {product}: a purchase of buyer {user} has no units that can be read"
            ));
            return;
        };
        // Units that were given back count no more, and keep their numbers.
        if !status_of(purchase).unwrap_or_default().is_released() {
            self.active += quantity;
        }
        if first < self.next {
            let line = format!("product {product}: buyer {user} has unit {first} twice");
            self.findings.wrong(line);
        } else if first > self.next {
            let line =
                format!("product {product}: buyer {user} has unit {first}, but not unit {}", self.next);
            self.findings.wrong(line);
        }
        self.next = self.next.max(first + quantity);
    }
}
