//! All purchases that match as CSV (RFC 4180), in bounded memory: a page is read when the client has taken the one before.
//! So a client that reads slowly holds no cursor of the database, and a failover between two pages is not noticed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use csv::{Terminator, WriterBuilder};
use futures_util::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::sleep;

use super::history::{Order, PurchaseCursor};
use super::listing::{self, PurchaseFilter};
use super::view::PurchaseView;
use crate::config::RecordsLimits;
use crate::error::{Error, Result};
use crate::http::page::{self, Page, PageRequest};
use crate::metrics::Limit;
use crate::products::catalogue::Catalogue;
use crate::store::Store;

/// A column: its name, and what it has of a purchase.
type Column = (&'static str, fn(&PurchaseView) -> String);

/// The columns: the members of a purchase, those of money with a dot.
const COLUMNS: [Column; 16] = [
    ("id", |purchase| purchase.id.clone()),
    ("productId", |purchase| purchase.product_id.clone()),
    ("productName", |purchase| purchase.product_name.clone()),
    ("userId", |purchase| purchase.user_id.clone()),
    ("quantity", |purchase| purchase.quantity.to_string()),
    ("unitPrice.amount", |purchase| purchase.unit_price.amount.to_string()),
    ("unitPrice.currency", |purchase| purchase.unit_price.currency.clone()),
    ("total.amount", |purchase| purchase.total.amount.to_string()),
    ("total.currency", |purchase| purchase.total.currency.clone()),
    ("sequence", |purchase| purchase.sequence.to_string()),
    ("purchasedAt", |purchase| purchase.purchased_at.to_string()),
    ("status", |purchase| purchase.status.name().to_owned()),
    ("expiresAt", |purchase| purchase.expires_at.map_or_else(String::new, |at| at.to_string())),
    ("paymentReference", |purchase| purchase.payment_reference.clone().unwrap_or_default()),
    ("refundDue", |purchase| purchase.refund_due.to_string()),
    ("statusChangedAt", |purchase| purchase.status_changed_at.to_string()),
];
/// Spreadsheets take a cell that begins with one of these for a formula.
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];
/// How often a page is tried: the database may have a new primary meanwhile.
const PAGE_TRIES_MAX: u32 = 5;
/// The pause before a page is tried again.
const PAGE_RETRY_MS: u64 = 1_000;

/// Streams purchases as CSV.
#[derive(Clone)]
pub struct Exports {
    store: Store,
    catalogue: Arc<Catalogue>,
    streams: Arc<Semaphore>,
    chunk_wait_max: Duration,
    page_purchases_max: usize,
}

/// What the reading task hands to the client's connection.
enum Piece {
    Rows(Bytes),
    /// That was all. Without it the client is shown an error.
    End,
}

impl Exports {
    pub fn new(store: Store, catalogue: Arc<Catalogue>, limits: &RecordsLimits) -> Self {
        Self {
            store,
            catalogue,
            streams: Arc::new(Semaphore::new(limits.csv_streams_in_flight_max)),
            chunk_wait_max: Duration::from_millis(limits.csv_chunk_wait_ms_max),
            page_purchases_max: limits.csv_page_purchases_max,
        }
    }

    /// All purchases that match, as they are when their page is read. A failure after the first page is an error in the
    /// stream, so that the client does not take what it got for everything.
    ///
    /// # Errors
    /// `overloaded` when too many streams run, and those of `Store::read`.
    pub async fn stream(
        &self,
        filter: PurchaseFilter,
        order: Order,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
        let first = self.read(&filter, order, None).await?;
        let next = after(&first);
        let rows = rows(&first.items, true)?;
        // Room for the one that the client is about to take.
        let (sender, receiver) = mpsc::channel(1);
        // There is room for the first piece.
        let _ = sender.try_send(Piece::Rows(rows));
        // A single page is ready: it takes nothing from others, however slow its client is.
        let permit = next.as_ref().map(|_| self.streams.clone().try_acquire_owned()).transpose();
        let permit = permit.map_err(|_| {
            self.store.metrics.limits_hit.count(Limit::CsvStreams);
            Error::Overloaded { detail: "Too many CSV streams at once." }
        })?;
        let task = Export { exports: self.clone(), filter, order, sender, _permit: permit };
        self.store.spawn(task.run(next));
        Ok(stream::unfold(Some(receiver), |receiver| async move {
            let mut receiver: mpsc::Receiver<Piece> = receiver?;
            match receiver.recv().await {
                Some(Piece::Rows(rows)) => Some((Ok(rows), Some(receiver))),
                Some(Piece::End) => None,
                None => Some((Err(io::Error::other("the purchases could not be read to the end")), None)),
            }
        }))
    }

    async fn read(
        &self,
        filter: &PurchaseFilter,
        order: Order,
        after: Option<PurchaseCursor>,
    ) -> Result<Page<PurchaseView>> {
        let page = PageRequest { limit: self.page_purchases_max, after };
        let page = listing::page(&self.store, filter, order, &page).await?;
        super::view::named(&self.catalogue, page).await
    }
}

/// One stream. It ends when the client has everything, has gone, or takes nothing for too long.
struct Export {
    exports: Exports,
    filter: PurchaseFilter,
    order: Order,
    sender: mpsc::Sender<Piece>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Export {
    async fn run(self, mut next: Option<PurchaseCursor>) {
        while let Some(cursor) = next {
            let Ok(page) = self.read(cursor).await else { return };
            next = after(&page);
            let Ok(rows) = rows(&page.items, false) else { return };
            if !self.send(Piece::Rows(rows)).await {
                return;
            }
        }
        self.send(Piece::End).await;
    }

    async fn read(&self, after: PurchaseCursor) -> Result<Page<PurchaseView>> {
        let mut tries = 1;
        loop {
            let read = self.exports.read(&self.filter, self.order, Some(after.clone()));
            // A client that goes away ends a read that may have become pointless.
            let page = tokio::select! {
                page = read => page,
                () = self.sender.closed() => return Err(Error::Internal),
            };
            match page {
                Err(error) if tries < PAGE_TRIES_MAX => {
                    tracing::debug!("a page of a CSV stream is read again: {}", error.code().title());
                    tries += 1;
                    sleep(Duration::from_millis(PAGE_RETRY_MS)).await;
                }
                Err(error) => {
                    tracing::warn!("a CSV stream ends early: {}", error.code().title());
                    return Err(error);
                }
                page => return page,
            }
        }
    }

    async fn send(&self, piece: Piece) -> bool {
        self.sender.send_timeout(piece, self.exports.chunk_wait_max).await.is_ok()
    }
}

/// Where the next page begins; `None` after the last.
fn after(page: &Page<PurchaseView>) -> Option<PurchaseCursor> {
    page.next_cursor.as_deref().and_then(page::decode)
}

fn rows(purchases: &[PurchaseView], with_header: bool) -> Result<Bytes> {
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    let written = (|| {
        if with_header {
            writer.write_record(COLUMNS.map(|(name, _)| name))?;
        }
        for purchase in purchases {
            writer.write_record(COLUMNS.map(|(_, cell)| harmless(cell(purchase))))?;
        }
        Ok::<_, csv::Error>(())
    })();
    let rows = written.ok().and_then(|()| writer.into_inner().ok());
    rows.map(Bytes::from).ok_or_else(|| {
        tracing::error!("purchases cannot be written as CSV");
        Error::Internal
    })
}

/// The cell with an apostrophe before what a spreadsheet would take for a formula. No number here is negative.
fn harmless(cell: String) -> String {
    if cell.starts_with(FORMULA_STARTS) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mongodb::bson::DateTime;
    use serde_json::Value;

    use super::*;
    use crate::model::id::Id;
    use crate::model::money::Money;
    use crate::model::purchase::Purchase;

    fn purchase() -> PurchaseView {
        let price = Money { amount: 1_999, currency: "USD".into() };
        let (product, buyer) = (Id::from_bytes([2; 12]), Id::from_bytes([3; 12]));
        let purchase = Purchase {
            id: Id::from_bytes([1; 12]),
            quantity: 2,
            ..Purchase::new(product, buyer, 7, price, DateTime::from_millis(0))
        };
        PurchaseView::of(&purchase, "Sneaker, \"red\"".into())
    }

    fn names(prefix: &str, value: &Value) -> Vec<String> {
        let Value::Object(members) = value else { return vec![prefix.to_owned()] };
        let name = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        members.iter().flat_map(|(member, value)| names(&name(member), value)).collect()
    }

    #[test]
    fn there_is_a_column_for_each_member() {
        let view = serde_json::to_value(purchase()).unwrap();
        let columns: BTreeSet<String> = COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(columns, names("", &view).into_iter().collect());
    }

    #[test]
    fn a_row_has_the_values_in_the_order_of_the_header() {
        let text = String::from_utf8(rows(&[purchase()], true).unwrap().to_vec()).unwrap();
        let id = |byte: &str| byte.repeat(12);
        let row = format!(
            "{},{},\"Sneaker, \"\"red\"\"\",{},2,1999,USD,3998,USD,7,1970-01-01T00:00:00.000Z,confirmed,,,false,\
             1970-01-01T00:00:00.000Z\r\n",
            id("01"),
            id("02"),
            id("03")
        );
        assert!(text.starts_with("id,productId,productName,userId,quantity,unitPrice.amount,"), "{text}");
        assert!(text.ends_with(&format!(",statusChangedAt\r\n{row}")), "{text}");
        assert_eq!(rows(&[purchase()], false).unwrap(), row);
    }

    #[test]
    fn no_cell_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"] {
            assert_eq!(harmless(text.into()), format!("'{text}"));
        }
        for text in ["", "a=b", "Größe, \"42\"", "65f1"] {
            assert_eq!(harmless(text.into()), text);
        }
    }
}
