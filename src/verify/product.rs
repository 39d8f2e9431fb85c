//! The books of one product: its stock, and its purchases in their order.

use mongodb::bson::{DateTime, Document, RawDocument};

use super::VerifyError;
use super::books::{Books, is_too_old, number};
use super::buyers::Limits;
use super::findings::Findings;
use super::history::History;
use crate::model::id::Id;

/// The progress is shown after this many purchases.
const PROGRESS_PURCHASES: u64 = 1_000;

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
    /// Units that are sold for sure, and those that were refunded: they are sold still, or for sale again.
    confirmed: i64,
    refunded: i64,
    pending: i64,
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
            confirmed: 0,
            refunded: 0,
            pending: 0,
            outside: 0,
            has_changing: false,
            until: None,
        }
    }

    /// Reads on to the end.
    async fn read(&mut self, books: &mut Books, found: &mut Findings) -> Result<(), mongodb::error::Error> {
        let after = (self.count > 0).then_some(self.sequence);
        let mut purchases = books.purchases(self.id, (after, self.until)).await?;
        while let Some(purchase) = books.next(&mut purchases).await? {
            self.take(&purchase, found);
            if self.count.is_multiple_of(PROGRESS_PURCHASES) {
                books.progress.inc(PROGRESS_PURCHASES);
            }
        }
        books.progress.inc(self.count % PROGRESS_PURCHASES);
        Ok(())
    }

    /// Takes the next purchase in the order of the sequence.
    fn take(&mut self, purchase: &RawDocument, found: &mut Findings) {
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
        let status = purchase.get_str("status");
        self.has_changing |= status.is_ok();
        match status {
            Ok("pending") => self.pending += quantity,
            Ok("refunded") => self.refunded += quantity,
            Ok("expired" | "canceled") => {}
            // Without a payment window a purchase may have none.
            _ => self.confirmed += quantity,
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
        let sold_max = self.confirmed + self.refunded;
        if !(self.confirmed..=sold_max).contains(&sold) {
            let units = match self.refunded {
                0 => self.confirmed.to_string(),
                _ => format!("{} to {sold_max}", self.confirmed),
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
