//! The books of one product: its stock, and its purchases in their order.

use mongodb::bson::{DateTime, Document, RawDocument};

use super::VerifyError;
use super::books::{Books, is_too_old, number};
use super::buyers::Limits;
use super::findings::Findings;
use super::history::History;
use super::steps::{Steps, status_of};
use crate::model::id::Id;
use crate::model::purchase::PurchaseStatus;

/// Purchases that are compared with the audit log at once. In memory are no more than these, and what the database sends.
const CHUNK_PURCHASES: usize = 500;

/// Checks one product, at one snapshot if it can be read in the time of one.
///
/// # Errors
/// When it cannot be read.
pub async fn check(
    books: &mut Books,
    id: Id,
    findings: &mut Findings,
    limits: &mut Limits,
) -> Result<(), VerifyError> {
    let found = match read(books, id, limits, false).await {
        Err(error) if is_too_old(&error) => {
            // The snapshot may have been old when this product began.
            books.renew().await?;
            read(books, id, limits, true).await
        }
        result => result,
    };
    findings.append(found?);
    Ok(())
}

/// With `in_parts`, a product of very many purchases is read at several snapshots.
async fn read(
    books: &mut Books,
    id: Id,
    limits: &mut Limits,
    in_parts: bool,
) -> Result<Findings, mongodb::error::Error> {
    let mut found = Findings::default();
    // Deleted since the products were listed.
    let Some(product) = books.product(id).await? else { return Ok(found) };
    let history = History::read(books, id).await?;
    limits.learn(id, &product, &history);
    let mut sale = Sale::new(id, &history);
    loop {
        let count = sale.count;
        match sale.read(books, &mut found).await {
            Ok(()) => break,
            Err(error) if in_parts && sale.count > count && is_too_old(&error) => {
                books.renew().await?;
                // What has been sold since is not the product's that was read.
                sale.until = Some(product.get_i64("purchaseCount").unwrap_or(i64::MAX));
            }
            Err(error) => return Err(error),
        }
    }
    found.products = 1;
    found.purchases = sale.count;
    if sale.until.is_some() && sale.has_changing {
        let now = books.product(id).await?;
        if now.and_then(|now| now.get_i64("version").ok()) != product.get_i64("version").ok() {
            found.note(format!(
                "product {id} takes more than one snapshot to read and has changed meanwhile, so its figures are not compared \
                 with its purchases: verify it again when it is not being sold"
            ));
            return Ok(found);
        }
    }
    sale.compare(&product, &mut found);
    Ok(found)
}

/// What the purchases add up to so far.
struct Sale<'a> {
    id: Id,
    history: &'a History,
    count: u64,
    sequence: i64,
    last: DateTime,
    /// Units that are sold: those of confirmed purchases, and those that were refunded and did not come back.
    sold: i64,
    /// Units of refunded purchases of which the audit log does not tell whether they came back.
    unclear: i64,
    pending: i64,
    /// Purchases whose units their buyers have no more.
    released: u64,
    outside: u64,
    /// There are purchases that may have become something else since they were read.
    has_changing: bool,
    /// The last sequence number that counts, where the purchases are read at several snapshots.
    until: Option<i64>,
}

impl<'a> Sale<'a> {
    fn new(id: Id, history: &'a History) -> Self {
        Self {
            id,
            history,
            count: 0,
            sequence: 0,
            last: DateTime::MIN,
            sold: 0,
            unclear: 0,
            pending: 0,
            released: 0,
            outside: 0,
            has_changing: false,
            until: None,
        }
    }

    /// Reads on to the end. After an error, all that was taken was compared with the log at the same snapshot.
    async fn read(&mut self, books: &mut Books, found: &mut Findings) -> Result<(), mongodb::error::Error> {
        let after = (self.count > 0).then_some(self.sequence);
        let mut purchases = books.purchases(self.id, (after, self.until)).await?;
        let mut chunk = Vec::with_capacity(CHUNK_PURCHASES);
        loop {
            let next = books.next(&mut purchases).await?;
            let is_last = next.is_none();
            chunk.extend(next);
            if chunk.len() < CHUNK_PURCHASES && !is_last {
                continue;
            }
            let changed = chunk.iter().filter(|purchase| has_changed(purchase));
            let changed = changed.filter_map(|purchase| purchase.get_object_id("_id").ok()).collect();
            let steps = Steps::read(books, changed).await?;
            for purchase in &chunk {
                let steps = purchase.get_object_id("_id").ok().and_then(|id| steps.get(&id));
                self.take(purchase, steps, found);
            }
            books.progress.inc(chunk.len() as u64);
            chunk.clear();
            if is_last {
                return Ok(());
            }
        }
    }

    /// Takes the next purchase in the order of the sequence.
    fn take(&mut self, purchase: &RawDocument, steps: Option<&Steps>, found: &mut Findings) {
        self.count += 1;
        let id = self.id;
        let read = number(purchase, "sequence").zip(number(purchase, "quantity"));
        let (Some((sequence, quantity)), Ok(at)) = (read, purchase.get_datetime("purchasedAt")) else {
            found.wrong(format!(
                "product {id}: a purchase after sequence {} has no sequence, quantity or time that can be read",
                self.sequence
            ));
            return;
        };
        if sequence == self.sequence {
            found.wrong(format!("product {id}: two purchases have sequence {sequence}"));
        } else if sequence != self.sequence + 1 {
            found.wrong(format!("product {id}: after sequence {} comes {sequence}", self.sequence));
        }
        if quantity < 1 {
            found.wrong(format!("product {id}: the purchase with sequence {sequence} has {quantity} units"));
        }
        if at < self.last {
            found.wrong(format!(
                "product {id}: the purchase with sequence {sequence} is dated before the one before it"
            ));
        }
        if self.history.knows_windows() && !self.history.was_open(at) {
            self.outside += 1;
            if self.outside == 1 {
                found.wrong(format!(
                    "product {id}: the purchase with sequence {sequence} was made outside the sale"
                ));
            }
        }
        self.sequence = sequence;
        self.last = self.last.max(at);
        self.has_changing |= purchase.get_str("status").is_ok();
        // Without a payment window a purchase may have none.
        let status = status_of(purchase).unwrap_or_default();
        self.released += u64::from(status.is_released());
        match status {
            PurchaseStatus::Pending => self.pending += quantity,
            PurchaseStatus::Confirmed => self.sold += quantity,
            PurchaseStatus::Refunded => match steps {
                Some(steps) => self.sold += if steps.is_kept { quantity } else { 0 },
                None => self.unclear += quantity,
            },
            PurchaseStatus::Expired | PurchaseStatus::Canceled => {}
        }
        if has_changed(purchase) {
            self.compare_with_log(purchase, status, steps, found);
        }
    }

    /// What became of the purchase is told by the audit log, step by step.
    fn compare_with_log(
        &self,
        purchase: &RawDocument,
        status: PurchaseStatus,
        steps: Option<&Steps>,
        found: &mut Findings,
    ) {
        let Self { id, sequence, .. } = self;
        let which = format!("product {id}: the purchase with sequence {sequence}");
        let is_due = purchase.get_bool("refundDue").unwrap_or_default();
        let Some(steps) = steps else {
            found.wrong(format!("{which} has changed, but the audit log does not tell how"));
            return;
        };
        match steps.last(first_status(purchase)) {
            None => found.wrong(format!(
                "{which}: the audit log does not tell one way to what it is, {}",
                status.name()
            )),
            Some(last) if last != status => found.wrong(format!(
                "{which} is {}, but by the audit log it is {}",
                status.name(),
                last.name()
            )),
            Some(_) => {}
        }
        if steps.is_refund_due() != is_due {
            let (says, logged) = if is_due { ("a", "no") } else { ("no", "a") };
            found.wrong(format!(
                "{which} has {says} refund due, but by the audit log it has {logged} refund due"
            ));
        }
    }

    /// Compares with the product's own figures.
    fn compare(&self, product: &Document, found: &mut Findings) {
        let Self { id, count, .. } = self;
        if self.outside > 1 {
            found.wrong(format!("product {id}: {} purchases were made outside the sale", self.outside));
        }
        let raw = mongodb::bson::RawDocumentBuf::try_from(product).unwrap_or_default();
        let figure = |name: &str| number(&raw, name);
        let figures = (figure("stock"), figure("sold"), figure("totalStock"), figure("purchaseCount"));
        let (Some(stock), Some(sold), Some(total), Some(purchase_count)) = figures else {
            found.wrong(format!("product {id}: its stock, sold, totalStock or purchaseCount cannot be read"));
            return;
        };
        let held = figure("held").unwrap_or(0);
        for (name, units) in [("stock", stock), ("held", held), ("sold", sold)] {
            if units < 0 {
                found.wrong(format!("product {id}: {name} is {units}"));
            }
        }
        if stock + held + sold != total {
            found.wrong(format!(
                "product {id}: stock {stock} + held {held} + sold {sold} is not totalStock {total}"
            ));
        }
        if u64::try_from(purchase_count) != Ok(*count) {
            found.wrong(format!("product {id}: it counts {purchase_count} purchases, but there are {count}"));
        }
        if held != self.pending {
            found.wrong(format!(
                "product {id}: held is {held}, but its pending purchases have {} units",
                self.pending
            ));
        }
        let released = figure("releasedCount").unwrap_or(0);
        if u64::try_from(released) != Ok(self.released) {
            found.wrong(format!(
                "product {id}: it counts {released} purchases that were given back, but there are {}",
                self.released
            ));
        }
        let sold_max = self.sold + self.unclear;
        if !(self.sold..=sold_max).contains(&sold) {
            let units = match self.unclear {
                0 => self.sold.to_string(),
                _ => format!("{} to {sold_max}", self.sold),
            };
            found.wrong(format!("product {id}: sold is {sold}, but its purchases have {units} units"));
        }
        match self.history.stock {
            None => found.note(format!(
                "product {id}: the audit log does not have its creation, so its totalStock and its windows are not checked"
            )),
            Some(known) if known != total => found.wrong(format!(
                "product {id}: totalStock is {total}, but by the audit log it was given {known}"
            )),
            Some(_) => {}
        }
    }
}

/// Whether it is not as it was made.
fn has_changed(purchase: &RawDocument) -> bool {
    let is_changed = purchase.get("changedInVersion").is_ok_and(|version| version.is_some());
    is_changed || status_of(purchase).unwrap_or_default() != first_status(purchase)
}

/// The status that it was made with.
fn first_status(purchase: &RawDocument) -> PurchaseStatus {
    match purchase.get_datetime("expiresAt") {
        Ok(_) => PurchaseStatus::Pending,
        Err(_) => PurchaseStatus::Confirmed,
    }
}
