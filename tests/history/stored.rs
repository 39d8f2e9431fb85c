//! What the database holds at the end.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};

use crate::cluster::soon;
use crate::record::{Entry, Figures, Noted, Purchase, Status, Stored, StoredPurchase};
use crate::shop::{Shop, payment};

impl Shop {
    /// Reads what the database holds. The servers have ended.
    pub async fn read_stored(&self, database: &Database) {
        let numbers: HashMap<ObjectId, u8> = self
            .products
            .iter()
            .zip(0..)
            .filter_map(|(id, number)| Some((id.parse().ok()?, number)))
            .collect();
        let peace = self.write().stored.peace;
        let mut stored = Stored { peace, ..Stored::default() };
        let products: Vec<Document> = all(database, "products").await;
        for document in &products {
            let number = |name: &str| document.get_i64(name).unwrap_or(0);
            let Some(product) = document.get_object_id("_id").ok().and_then(|id| numbers.get(&id)) else {
                continue;
            };
            let (version, stock, sold) = (number("version"), number("stock"), number("sold"));
            let (held, total) = (number("held"), number("totalStock"));
            stored.products.push(Figures { product: *product, version, stock, held, sold, total });
        }
        stored.products.sort_by_key(|figures| figures.product);
        let purchases: Vec<Document> = all(database, "purchases").await;
        stored.purchases =
            purchases.iter().filter_map(|document| stored_purchase(document, &numbers)).collect();
        assert_eq!(stored.purchases.len(), purchases.len(), "a purchase that is none of this run");
        let known: HashSet<ObjectId> = stored.purchases.iter().map(|stored| stored.purchase.id).collect();
        for document in all(database, "audit").await {
            stored.entries.extend(entry(&document).filter(|entry| known.contains(&entry.purchase)));
            stored.restocks.extend(restock(&document, &numbers));
        }
        self.write().stored = stored;
    }
}

async fn all(database: &Database, collection: &str) -> Vec<Document> {
    let read = async {
        loop {
            let found = database.collection::<Document>(collection).find(doc! {}).await;
            if let Ok(cursor) = found
                && let Ok(documents) = cursor.try_collect().await
            {
                return documents;
            }
        }
    };
    soon("the end state", read).await
}

fn stored_purchase(document: &Document, numbers: &HashMap<ObjectId, u8>) -> Option<StoredPurchase> {
    let price = document.get_document("unitPrice").ok()?.get_i64("amount").ok()?;
    let key = document.get_str("idempotencyKey").ok().and_then(|key| key.strip_prefix("key-")?.parse().ok());
    // Those that were confirmed at once have no status.
    let status = Status::named(document.get_str("status").unwrap_or("confirmed"))?;
    Some(StoredPurchase {
        user: user_number(document.get_object_id("userId").ok()?),
        product: *numbers.get(&document.get_object_id("productId").ok()?)?,
        key,
        purchase: Purchase {
            id: document.get_object_id("_id").ok()?,
            sequence: document.get_i64("sequence").ok()?,
            quantity: document.get_i64("quantity").ok()?,
            price,
            purchased_at: document.get_datetime("purchasedAt").ok()?.timestamp_millis(),
        },
        status,
        payment: document.get_str("paymentReference").ok().and_then(payment),
        refund_due: document.get_bool("refundDue").unwrap_or_default(),
        expires_at: document.get_datetime("expiresAt").ok().map(|at| at.timestamp_millis()),
    })
}

/// What an entry of the audit log tells of a purchase.
fn entry(document: &Document) -> Option<Entry> {
    let (before, after) = (document.get_document("before").ok()?, document.get_document("after").ok()?);
    let status = |of: &Document| of.get_str("status").ok().and_then(Status::named);
    let payment = after.get_str("paymentReference").ok().and_then(payment);
    let what = match document.get_str("action").ok()? {
        "payment_unfillable" => Noted::Unfillable { payment },
        "payment_returned" => Noted::Returned,
        action if action.starts_with("purchase_") => Noted::Move {
            from: status(before)?,
            to: status(after)?,
            payment,
            restock: after.get_bool("restock").unwrap_or_default(),
        },
        _ => return None,
    };
    Some(Entry {
        purchase: document.get_object_id("target").ok()?,
        at: document.get_datetime("at").ok()?.timestamp_millis(),
        actor: document.get_object_id("actor").ok(),
        what,
    })
}

fn restock(document: &Document, numbers: &HashMap<ObjectId, u8>) -> Option<(u8, i64, i64)> {
    document.get_str("action").ok().filter(|action| *action == "product_restocked")?;
    let total = |of: &str| document.get_document(of).ok()?.get_i64("totalStock").ok();
    let product = *numbers.get(&document.get_object_id("target").ok()?)?;
    let at = document.get_datetime("at").ok()?.timestamp_millis();
    Some((product, at, total("after")? - total("before")?))
}

fn user_number(id: ObjectId) -> u32 {
    id.bytes().last_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
