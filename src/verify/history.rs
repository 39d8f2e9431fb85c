//! What the audit log knows of a product: the stock that it got, and the windows and limits that it had.

use mongodb::bson::{DateTime, RawDocument};
use mongodb::error::Error;

use super::books::{Books, number};
use crate::model::id::Id;

/// A change is logged with a moment that is earlier than its commit, by at most the time that a change may take.
const COMMIT_MS_MAX: i64 = 10_000;

/// A product's history.
#[derive(Debug, Default)]
pub struct History {
    /// The stock that it was created with, and what was restocked since. `None` if it is older than the audit log.
    pub stock: Option<i64>,
    /// The largest limit that it ever had. `None` if it is older than the audit log.
    pub limit_max: Option<i64>,
    windows: Vec<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    /// When it was decided; the one before it held until shortly after that.
    since: DateTime,
    start: DateTime,
    end: DateTime,
}

impl History {
    /// Reads a product's history.
    ///
    /// # Errors
    /// The driver's.
    pub async fn read(books: &mut Books, product: Id) -> Result<Self, Error> {
        let mut history = Self::default();
        let mut entries = books.audit(product).await?;
        while let Some(entry) = books.next(&mut entries).await? {
            history.take(&entry);
        }
        Ok(history)
    }

    fn take(&mut self, entry: &RawDocument) {
        let Ok(after) = entry.get_document("after") else { return };
        let Ok(at) = entry.get_datetime("at") else { return };
        match entry.get_str("action").unwrap_or_default() {
            "product_created" => {
                self.stock = number(after, "totalStock");
                self.limit_max = number(after, "purchaseLimit");
                let window =
                    after.get_datetime("saleStartTime").ok().zip(after.get_datetime("saleEndTime").ok());
                self.windows.extend(window.map(|(start, end)| Window { since: at, start, end }));
            }
            "product_restocked" => {
                let before =
                    entry.get_document("before").ok().and_then(|before| number(before, "totalStock"));
                let added = number(after, "totalStock").zip(before).map(|(after, before)| after - before);
                self.stock = self.stock.zip(added).map(|(stock, added)| stock + added);
            }
            "product_changed" => {
                let limit = number(after, "purchaseLimit");
                self.limit_max = self.limit_max.map(|known| known.max(limit.unwrap_or(known)));
                let start = after.get_datetime("saleStartTime").ok();
                let end = after.get_datetime("saleEndTime").ok();
                if let Some(last) = self.windows.last().copied().filter(|_| start.is_some() || end.is_some())
                {
                    let (start, end) = (start.unwrap_or(last.start), end.unwrap_or(last.end));
                    self.windows.push(Window { since: at, start, end });
                }
            }
            _ => {}
        }
    }

    /// Whether the product's windows are known.
    pub fn knows_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    /// Whether the sale may have been open at this moment.
    pub fn was_open(&self, moment: DateTime) -> bool {
        let untils =
            self.windows.iter().skip(1).map(|next| {
                DateTime::from_millis(next.since.timestamp_millis().saturating_add(COMMIT_MS_MAX))
            });
        let windows = self.windows.iter().zip(untils.chain([DateTime::MAX]));
        windows.into_iter().any(|(window, until)| {
            window.since <= moment && moment < until && window.start <= moment && moment < window.end
        })
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{RawDocumentBuf, doc, rawdoc};

    use super::*;

    fn at(seconds: i64) -> DateTime {
        DateTime::from_millis(seconds * 1_000)
    }

    fn history(entries: &[mongodb::bson::Document]) -> History {
        let mut history = History::default();
        for entry in entries {
            history.take(&RawDocumentBuf::try_from(entry).unwrap());
        }
        history
    }

    #[test]
    fn the_log_tells_stock_limit_and_windows() {
        let created = doc! { "at": at(0), "action": "product_created", "after": {
            "totalStock": 5_i64, "purchaseLimit": 3_i64, "saleStartTime": at(100), "saleEndTime": at(200),
        } };
        let restocked = doc! {
            "at": at(50), "action": "product_restocked", "before": { "totalStock": 5_i64 }, "after": { "totalStock": 7_i64 },
        };
        let lowered = doc! { "at": at(60), "action": "product_changed", "after": { "purchaseLimit": 1_i64 } };
        let shortened =
            doc! { "at": at(150), "action": "product_changed", "after": { "saleEndTime": at(160) } };
        let known = history(&[created, restocked, lowered, shortened.clone()]);
        assert_eq!((known.stock, known.limit_max), (Some(7), Some(3)));
        for (seconds, open) in
            [(99, false), (100, true), (149, true), (155, true), (160, false), (170, false)]
        {
            assert_eq!(known.was_open(at(seconds)), open, "{seconds}");
        }
        let older = history(&[shortened]);
        assert_eq!((older.stock, older.limit_max, older.knows_windows()), (None, None, false));
        assert!(history(&[doc! { "action": "product_created" }]).stock.is_none());
        assert!(number(&rawdoc! { "n": 5 }, "n") == Some(5) && number(&rawdoc! { "n": "5" }, "n").is_none());
    }
}
