//! The audit log as admins read it. Entries are written where things change, and no code changes or removes one.

use mongodb::bson::{Bson, DateTime, Document, RawDocumentBuf, doc, serialize_to_bson};
use serde::de::IntoDeserializer;
use serde::de::value::{Error as NameError, StrDeserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;
use crate::http::page::{Page, PageRequest};
use crate::model::audit::{Action, AuditEntry};
use crate::model::id::Id;
use crate::model::timestamp::Timestamp;
use crate::store::document::parse;
use crate::store::{BATCH_ITEMS, Store, collect};

/// One entry of the audit log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEntry)]
pub struct AuditEntryView {
    /// 24 hexadecimal digits.
    #[schema(example = "65f1c0ffee65f1c0ffee65f5")]
    pub id: String,
    /// When it was done, by the database's clock.
    pub at: Timestamp,
    /// The user who did it; null for the server itself and for its command line.
    #[schema(required, example = "65f1c0ffee65f1c0ffee65f2")]
    pub actor: Option<String>,
    /// What was done.
    #[schema(example = "product_restocked")]
    pub action: Action,
    /// The user, product or purchase that it was done to.
    #[schema(required, example = "65f1c0ffee65f1c0ffee65f1")]
    pub target: Option<String>,
    /// The changed fields as they were; null for what is new.
    #[schema(required, value_type = Option<Object>, example = json!({ "stock": 0, "totalStock": 100 }))]
    pub before: Option<Value>,
    /// The same fields after the change; null for what was deleted.
    #[schema(required, value_type = Option<Object>, example = json!({ "stock": 50, "totalStock": 150 }))]
    pub after: Option<Value>,
    /// The `X-Request-Id` of the request that asked for it.
    #[schema(required, example = "5f0c3b1a9d8e4f7c8b6a5d4e3f2a1b0c")]
    pub request_id: Option<String>,
    /// The address that the request came from.
    #[schema(required, example = "203.0.113.7")]
    pub address: Option<String>,
}

impl From<AuditEntry> for AuditEntryView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id.to_hex(),
            at: entry.at.into(),
            actor: entry.actor.map(Id::to_hex),
            action: entry.action,
            target: entry.target.map(Id::to_hex),
            before: entry.before.map(|before| json(before.into())),
            after: entry.after.map(|after| json(after.into())),
            request_id: entry.request_id,
            address: entry.address,
        }
    }
}

/// A value of the database as the API writes it.
fn json(value: Bson) -> Value {
    match value {
        Bson::Document(members) => members.into_iter().map(|(name, value)| (name, json(value))).collect(),
        Bson::Array(items) => items.into_iter().map(json).collect(),
        Bson::ObjectId(id) => id.to_hex().into(),
        Bson::DateTime(moment) => Timestamp::from(moment).to_string().into(),
        Bson::String(text) => text.into(),
        Bson::Boolean(value) => value.into(),
        Bson::Int32(number) => number.into(),
        Bson::Int64(number) => number.into(),
        Bson::Null => Value::Null,
        // Nothing that is audited has another type.
        other => other.to_string().into(),
    }
}

/// Which entries to list; what is `None` does not matter.
#[derive(Debug, Default)]
pub struct AuditFilter {
    /// Of this user.
    pub actor: Option<Id>,
    /// About this user, product or purchase.
    pub target: Option<Id>,
    /// Of this kind.
    pub action: Option<Action>,
    /// Later than this.
    pub after: Option<Timestamp>,
    /// Earlier than this.
    pub before: Option<Timestamp>,
}

/// A position in the log: right after one entry, on the way back in time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditCursor {
    at: i64,
    id: Id,
}

/// Reads the name of an action.
///
/// # Errors
/// Says what it must be.
pub fn action_named(name: &str) -> Result<Action, String> {
    let name: StrDeserializer<'_, NameError> = name.into_deserializer();
    Action::deserialize(name).map_err(|_| "must be the name of an action, like product_restocked".into())
}

impl AuditFilter {
    fn query(&self, after: Option<&AuditCursor>) -> Document {
        let mut query = doc! {};
        if let Some(actor) = self.actor {
            query.insert("actor", actor);
        }
        if let Some(target) = self.target {
            query.insert("target", target);
        }
        if let Some(action) = self.action {
            query.insert("action", serialize_to_bson(&action).unwrap_or_default());
        }
        let mut at = doc! {};
        if let Some(after) = self.after {
            at.insert("$gt", DateTime::from(after));
        }
        if let Some(before) = self.before {
            at.insert("$lt", DateTime::from(before));
        }
        if let Some(cursor) = after {
            let moment = DateTime::from_millis(cursor.at);
            // The bound of the index; the rest looks at the entries of one moment.
            at.insert("$lte", moment);
            query.insert("$or", vec![doc! { "at": { "$lt": moment } }, doc! { "_id": { "$lt": cursor.id } }]);
        }
        if !at.is_empty() {
            query.insert("at", at);
        }
        query
    }
}

/// A page of the log, newest first. It costs the same at any depth.
///
/// # Errors
/// Those of [`Store::read`].
pub async fn list(
    store: &Store,
    filter: &AuditFilter,
    page: &PageRequest<AuditCursor>,
) -> Result<Page<AuditEntryView>> {
    let audit = store.audit.clone_with_type::<RawDocumentBuf>();
    let find = audit
        .find(filter.query(page.after.as_ref()))
        .projection(doc! { "replay": 0, "changeKey": 0 })
        .sort(doc! { "at": -1, "_id": -1 })
        .limit(page.query_limit())
        // The page in one batch: a second round trip might reach another primary.
        .batch_size(BATCH_ITEMS)
        .max_time(store.read_max());
    let found = store.read_history(|session| collect(find, session)).await?;
    let page = Page::of(found, page.limit, |last| AuditCursor {
        at: last.get_datetime("at").map_or(0, |at| at.timestamp_millis()),
        id: last.get_object_id("_id").unwrap_or_default(),
    });
    Ok(page.filter_map(|entry| parse::<AuditEntry>(&entry).map(AuditEntryView::from)))
}
