//! What the audit log tells of a purchase: the steps that it took since it was made.

use std::collections::HashMap;

use mongodb::bson::RawDocument;

use super::books::Books;
use crate::model::id::Id;
use crate::model::purchase::PurchaseStatus;

/// The steps of one purchase. Its size does not depend on how many the log has.
#[derive(Debug, Default)]
pub struct Steps {
    /// By the place of each status in `PurchaseStatus::ALL`: the one that followed it.
    next: [Option<PurchaseStatus>; PurchaseStatus::ALL.len()],
    /// Steps that no purchase can take, or that were taken before.
    has_odd: bool,
    /// It was refunded, and its units stayed sold.
    pub is_kept: bool,
    unfillable: u32,
    returned: u32,
}

impl Steps {
    /// Reads the steps of these purchases.
    ///
    /// # Errors
    /// The driver's.
    pub async fn read(
        books: &mut Books,
        purchases: Vec<Id>,
    ) -> Result<HashMap<Id, Self>, mongodb::error::Error> {
        let mut steps: HashMap<Id, Self> = HashMap::new();
        if purchases.is_empty() {
            return Ok(steps);
        }
        let mut entries = books.audit_of_purchases(purchases).await?;
        while let Some(entry) = books.next(&mut entries).await? {
            if let Ok(purchase) = entry.get_object_id("target") {
                steps.entry(purchase).or_default().take(&entry);
            }
        }
        Ok(steps)
    }

    fn take(&mut self, entry: &RawDocument) {
        let (Ok(before), Ok(after)) = (entry.get_document("before"), entry.get_document("after")) else {
            return;
        };
        match entry.get_str("action").unwrap_or_default() {
            "payment_unfillable" => self.unfillable += 1,
            "payment_returned" => self.returned += 1,
            action if action.starts_with("purchase_") => {
                let (Some(from), Some(to)) = (status_of(before), status_of(after)) else {
                    self.has_odd = true;
                    return;
                };
                self.has_odd |= self.next[place(from)].replace(to).is_some();
                self.is_kept |=
                    to == PurchaseStatus::Refunded && after.get_bool("restock").is_ok_and(|back| !back);
            }
            _ => {}
        }
    }

    /// Where the log's one way from the first status ends. `None` if it is no single way.
    pub fn last(&self, first: PurchaseStatus) -> Option<PurchaseStatus> {
        let (mut status, mut taken) = (first, 0);
        let steps = self.next.iter().flatten().count();
        while let Some(next) = self.next[place(status)].filter(|_| taken < steps) {
            (status, taken) = (next, taken + 1);
        }
        (taken == steps && !self.has_odd).then_some(status)
    }

    /// Whether money has come that has to go back.
    pub fn is_refund_due(&self) -> bool {
        self.unfillable > self.returned
    }
}

/// The status in a purchase or in a part of an entry.
pub fn status_of(document: &RawDocument) -> Option<PurchaseStatus> {
    let name = document.get_str("status").ok()?;
    PurchaseStatus::ALL.into_iter().find(|status| status.name() == name)
}

fn place(status: PurchaseStatus) -> usize {
    PurchaseStatus::ALL.iter().position(|known| *known == status).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{RawDocumentBuf, doc};

    use super::*;

    fn steps(of: &[(&str, &str)]) -> Steps {
        let mut steps = Steps::default();
        for (from, to) in of {
            let entry = doc! {
                "action": format!("purchase_{to}"), "before": { "status": *from }, "after": { "status": *to, "restock": false },
            };
            steps.take(&RawDocumentBuf::try_from(&entry).unwrap());
        }
        steps
    }

    #[test]
    fn the_log_leads_one_way() {
        use PurchaseStatus::{Confirmed, Expired, Pending, Refunded};
        // The log is read in no order.
        let late = [("expired", "confirmed"), ("confirmed", "refunded"), ("pending", "expired")];
        assert_eq!(steps(&late).last(Pending), Some(Refunded));
        assert!(steps(&late).is_kept && !steps(&late[..1]).is_kept);
        assert_eq!(steps(&late[2..]).last(Pending), Some(Expired));
        assert_eq!(steps(&[]).last(Confirmed), Some(Confirmed));
        // A step is missing, or there is one too many.
        assert_eq!(steps(&late[..2]).last(Pending), None);
        assert_eq!(steps(&[late[2], late[2]]).last(Pending), None);
        assert_eq!(steps(&[late[2], ("pending", "canceled")]).last(Pending), None);
        assert_eq!(steps(&[("pending", "lost")]).last(Pending), None);
    }
}
