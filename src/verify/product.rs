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

/// Checks one product at one snapshot.
///
/// # Errors
/// When it cannot be read at one snapshot.
pub async fn check(
    books: &mut Books,
    id: Id,
    findings: &mut Findings,
    limits: &mut Limits,
) -> Result<(), VerifyError> {
    match read(books, id, limits).await {
        Ok(found) => findings.append(found),
        Err(error) if is_too_old(&error) => {
            // Its first try may have begun when the snapshot was old already.
            books.renew().await?;
            let found = read(books, id, limits).await.map_err(|error| match is_too_old(&error) {
                true => VerifyError::NotRead(format!(
                    "product {id} takes longer to read than MongoDB keeps its history: raise its parameter \
                     minSnapshotHistoryWindowInSeconds for this"
                )),
                false => error.into(),
            })?;
            findings.append(found);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn read(books: &mut Books, id: Id, limits: &mut Limits) -> Result<Findings, mongodb::error::Error> {
    let mut found = Findings::default();
    // Deleted since the products were listed.
    let Some(product) = books.product(id).await? else { return Ok(found) };
    let history = History::read(books, id).await?;
    limits.learn(id, &product, &history);
    let mut sale = Sale::new(id, &history);
    let mut purchases = books.purchases(id).await?;
    while let Some(purchase) = books.next(&mut purchases).await? {
        sale.take(&purchase, &mut found);
        if sale.count.is_multiple_of(PROGRESS_PURCHASES) {
            books.progress.inc(PROGRESS_PURCHASES);
        }
    }
    books.progress.inc(sale.count % PROGRESS_PURCHASES);
    found.products = 1;
    found.purchases = sale.count;
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
        }
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
        match purchase.get_str("status") {
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
            found.wrong(format!("product {id}: held is {held}, but its pending purchases have {} units", self.pending));
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
