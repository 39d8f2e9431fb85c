//! What must always hold of a product, read from the database itself.

use std::collections::HashMap;

use flash_sale::model::id::Id;
use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, doc};

use super::shop::Shop;

/// The statuses of purchases whose units their buyers have.
const STANDING: [&str; 2] = ["pending", "confirmed"];

/// Those that were confirmed at once have none.
fn status_of(purchase: &Document) -> &str {
    purchase.get_str("status").unwrap_or("confirmed")
}

impl Shop {
    /// Checks in the database what must always hold for a product: nothing oversold, a sequence without gaps, times
    /// that follow it, no buyer over `limit`, the figures those of the purchases, and of each change of a purchase one
    /// entry in the audit log. Returns the units that are held or sold.
    pub async fn check_invariants(&self, product: &str, limit: i64) -> i64 {
        let database = self.database().await;
        let id: Id = product.parse().unwrap();
        let stored =
            database.collection::<Document>("products").find_one(doc! { "_id": id }).await.unwrap().unwrap();
        let purchases = database.collection::<Document>("purchases");
        let purchases = purchases.find(doc! { "productId": id }).sort(doc! { "sequence": 1 }).await.unwrap();
        let purchases: Vec<Document> = purchases.try_collect().await.unwrap();
        let sequences: Vec<_> =
            purchases.iter().map(|purchase| purchase.get_i64("sequence").unwrap()).collect();
        assert_eq!(sequences, (1..=i64::try_from(purchases.len()).unwrap()).collect::<Vec<_>>());
        let times: Vec<_> =
            purchases.iter().map(|purchase| *purchase.get_datetime("purchasedAt").unwrap()).collect();
        assert!(times.is_sorted(), "purchasedAt goes back");
        let (mut last_units, mut standing) = (HashMap::<Id, i64>::new(), HashMap::<Id, i64>::new());
        let mut units_by_status = HashMap::<String, i64>::new();
        let mut kept = 0;
        for purchase in &purchases {
            let (user, quantity) =
                (purchase.get_object_id("userId").unwrap(), purchase.get_i64("quantity").unwrap());
            let last = last_units.entry(user).or_default();
            assert_eq!(purchase.get_i64("firstUnit").unwrap(), *last + 1);
            *last += quantity;
            let status = status_of(purchase);
            if STANDING.contains(&status) {
                *standing.entry(user).or_default() += quantity;
            }
            *units_by_status.entry(status.to_owned()).or_default() += quantity;
            if self.check_audit(purchase).await {
                kept += quantity;
            }
        }
        assert!(standing.values().all(|units| *units <= limit), "somebody has more than {limit}");
        let field = |name: &str| stored.get_i64(name).unwrap_or_default();
        let of_status = |status: &str| units_by_status.get(status).copied().unwrap_or_default();
        assert_eq!(field("held"), of_status("pending"), "held");
        assert_eq!(field("sold"), of_status("confirmed") + kept, "sold");
        assert!(field("stock") >= 0);
        assert_eq!(field("stock") + field("held") + field("sold"), field("totalStock"));
        assert_eq!(field("purchaseCount"), i64::try_from(purchases.len()).unwrap());
        let is_released = |purchase: &&Document| !STANDING.contains(&status_of(purchase));
        let released = purchases.iter().filter(is_released).count();
        assert_eq!(field("releasedCount"), i64::try_from(released).unwrap());
        field("held") + field("sold")
    }

    /// Checks that the audit log tells one way from the first status of a purchase to its last. Returns whether it was
    /// refunded without its units being for sale again.
    async fn check_audit(&self, purchase: &Document) -> bool {
        let status = status_of(purchase);
        let Ok(_) = purchase.get_i64("changedInVersion") else {
            let first = if purchase.contains_key("expiresAt") { "pending" } else { "confirmed" };
            assert_eq!(status, first, "{purchase}");
            return false;
        };
        let audit = self.database().await.collection::<Document>("audit");
        let id = purchase.get_object_id("_id").unwrap();
        let entries: Vec<Document> =
            audit.find(doc! { "target": id }).await.unwrap().try_collect().await.unwrap();
        let steps = entries.iter().filter_map(|entry| {
            let before = entry.get_document("before").unwrap().get_str("status").ok()?;
            Some((before, entry.get_document("after").unwrap().get_str("status").unwrap()))
        });
        let steps: HashMap<_, _> = steps.collect();
        let mut at = if purchase.contains_key("expiresAt") { "pending" } else { "confirmed" };
        let mut count = 0;
        while let Some(next) = steps.get(at) {
            (at, count) = (next, count + 1);
        }
        let of_status =
            entries.iter().filter(|entry| !entry.get_str("action").unwrap().starts_with("payment_"));
        assert_eq!((at, count), (status, of_status.count()), "{purchase}: {entries:#?}");
        let is_kept = |entry: &Document| {
            entry.get_document("after").unwrap().get_bool("restock").is_ok_and(|restock| !restock)
        };
        entries.iter().any(is_kept)
    }

    /// Lets the payment windows of these purchases end now, as if their time had passed.
    pub async fn let_expire(&self, purchases: &[String]) {
        let ids: Vec<Id> = purchases.iter().map(|id| id.parse().unwrap()).collect();
        let documents = self.database().await.collection::<Document>("purchases");
        let past = doc! { "$set": { "expiresAt": DateTime::from_millis(1) } };
        documents.update_many(doc! { "_id": { "$in": ids } }, past).await.unwrap();
    }
}
