//! Selects the products of a list, and turns the selection into a MongoDB query.

use mongodb::bson::{DateTime, Document, RawDocument, doc, oid::ObjectId};
use serde::{Deserialize, Serialize};

use crate::config::ProductsLimits;
use crate::model::product::Status;
use crate::model::text::{folded, literal_pattern};
use crate::model::timestamp::Timestamp;

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ProductFilter {
    /// Only products with this status.
    pub status: Option<Status>,
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

/// The different words of a search, as `folded` makes them.
///
/// # Errors
/// Says what is wrong with `text`.
pub fn search_words(text: &str, limits: &ProductsLimits) -> Result<Vec<String>, String> {
    if text.chars().count() > limits.search_characters_max {
        return Err(format!("must have at most {} characters", limits.search_characters_max));
    }
    if text.chars().any(char::is_control) {
        return Err("must have no control characters".into());
    }
    let mut words: Vec<_> = folded(text).split_whitespace().map(str::to_owned).collect();
    words.sort_unstable();
    words.dedup();
    if words.len() > limits.search_words_max {
        return Err(format!("must have at most {} different words", limits.search_words_max));
    }
    Ok(words)
}

impl ProductFilter {
    /// The query for the products after `after`, by start of the sale and then by id. `now` decides the status.
    pub fn query(&self, after: Option<&ProductCursor>, now: Timestamp) -> Document {
        let mut conditions: Vec<Document> = Vec::new();
        conditions.extend(self.status.map(|status| status_condition(status, now)));
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
