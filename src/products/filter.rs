//! Selects the products of a list, and turns the selection into a MongoDB query.

use mongodb::bson::{DateTime, Document, RawDocument, doc, oid::ObjectId};
use serde::{Deserialize, Serialize};

use crate::config::ProductsLimits;
use crate::model::id::Id;
use crate::model::product::Status;
use crate::model::text::{self, folded, literal_pattern};
use crate::model::timestamp::Timestamp;

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ProductFilter {
    /// Only products with one of these statuses, without duplicates; all if it is empty.
    pub statuses: Vec<Status>,
    /// Only these products, without duplicates.
    pub ids: Option<Vec<Id>>,
    /// Only products whose name contains each of these words, compared after `folded`.
    pub words: Vec<String>,
}

/// A page of the catalogue begins after the product with this sort key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProductCursor {
    start: i64,
    id: ObjectId,
}

impl ProductCursor {
    /// The place after this document of `products`.
    pub fn after(product: &RawDocument) -> Self {
        let start = product.get_datetime("saleStartTime").map_or(0, |start| start.timestamp_millis());
        Self { start, id: product.get_object_id("_id").unwrap_or_default() }
    }
}

/// The statuses that a list with commas names.
///
/// # Errors
/// Says which statuses there are.
pub fn statuses(text: &str) -> Result<Vec<Status>, String> {
    let mut statuses = text.split(',').map(Status::named).collect::<Result<Vec<_>, _>>()?;
    statuses.sort_unstable();
    statuses.dedup();
    Ok(statuses)
}

/// The ids in a list with commas.
///
/// # Errors
/// Says what the list must be.
pub fn ids(text: &str, limits: &ProductsLimits) -> Result<Vec<Id>, String> {
    let ids_max = limits.listed_ids_max;
    let refused =
        || format!("must be at most {ids_max} ids of 24 hexadecimal digits, with commas between them");
    // Looked at one more, so that a long list is not parsed to its end.
    let ids = text.split(',').take(ids_max + 1).map(str::parse).collect::<Result<Vec<Id>, _>>();
    let mut ids = ids.ok().filter(|ids| ids.len() <= ids_max).ok_or_else(refused)?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The different words of a search, as `folded` makes them.
///
/// # Errors
/// Says what is wrong with `text`.
pub fn search_words(text: &str, limits: &ProductsLimits) -> Result<Vec<String>, String> {
    text::search_words(text, limits.search_characters_max, limits.search_words_max, folded)
}

impl ProductFilter {
    /// The query for the products after `after`, by start of the sale and then by id. `now` decides the status.
    pub fn query(&self, after: Option<&ProductCursor>, now: Timestamp) -> Document {
        let mut conditions: Vec<Document> = Vec::new();
        if !self.statuses.is_empty() {
            let any: Vec<_> = self.statuses.iter().map(|status| status_condition(*status, now)).collect();
            conditions.push(doc! { "$or": any });
        }
        conditions.extend(self.ids.as_ref().map(|ids| doc! { "_id": { "$in": ids } }));
        conditions
            .extend(self.words.iter().map(|word| doc! { "nameFolded": { "$regex": literal_pattern(word) } }));
        if let Some(after) = after {
            let start = DateTime::from_millis(after.start);
            conditions.push(doc! { "$or": [
                { "saleStartTime": { "$gt": start } },
                { "saleStartTime": start, "_id": { "$gt": after.id } },
            ] });
        }
        match conditions.is_empty() {
            true => doc! {},
            false => doc! { "$and": conditions },
        }
    }
}

/// `Product::status` as a query.
fn status_condition(status: Status, now: Timestamp) -> Document {
    let now = DateTime::from(now);
    let within = doc! { "saleStartTime": { "$lte": now }, "saleEndTime": { "$gt": now } };
    match status {
        Status::Upcoming => doc! { "saleStartTime": { "$gt": now } },
        Status::Ended => doc! { "saleEndTime": { "$lte": now } },
        Status::Live => doc! { "$and": [within, { "stock": { "$gt": 0 } }] },
        Status::SoldOut => doc! { "$and": [within, { "stock": 0 }] },
    }
}
