//! The messages to watchers: each is written once, for both transports, and shared by all its receivers.

use axum::body::Bytes;
use axum::extract::ws::Utf8Bytes;
use serde::Serialize;
use serde_json::json;

use crate::error::Error;
use crate::model::id::Id;
use crate::model::purchase::PurchaseStatus;
use crate::model::timestamp::Timestamp;

/// One event.
#[derive(Debug, Clone)]
pub struct Message {
    pub event: &'static str,
    /// The Server-Sent Event; its first line is the id.
    sse: Bytes,
    /// The length of that line.
    sse_id_bytes: usize,
    /// The WebSocket message.
    pub text: Utf8Bytes,
}

/// Stands between the id and the data of a WebSocket message.
const DATA: &str = ",\"data\":";

/// How many units of a product can still be bought, are held, and were bought.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StockEvent)]
pub struct Stock {
    /// The product's id.
    #[schema(example = "65f1c0ffee65f1c0ffee65f1")]
    pub product_id: String,
    /// Units that can still be bought.
    #[schema(minimum = 0, example = 93)]
    pub stock: i64,
    /// Units that are bought and not yet paid for.
    #[schema(minimum = 0, example = 0)]
    pub held: i64,
    /// Units that were bought.
    #[schema(minimum = 0, example = 7)]
    pub sold: i64,
    /// The product's version.
    #[schema(minimum = 1, example = 8)]
    pub version: i64,
}

/// A purchase whose units its buyer has no more.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReleasedEvent)]
pub struct Released {
    /// The product's id.
    #[schema(example = "65f1c0ffee65f1c0ffee65f1")]
    pub product_id: String,
    /// The number of the purchase among those of its product.
    #[schema(minimum = 1, example = 17)]
    pub sequence: i64,
    /// What has become of it: `expired`, `canceled` or `refunded`.
    #[schema(example = "expired")]
    pub status: PurchaseStatus,
}

/// The server has lost touch with the database.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[schema(as = StaleEvent)]
pub struct Stale {
    /// Since when, by the database's clock.
    pub since: Timestamp,
}

impl Message {
    /// The `id` is the number of the product's purchases up to this event.
    pub fn new(event: &'static str, id: i64, data: &impl Serialize) -> Self {
        // Cannot fail: these are our own types, whose keys are strings.
        let data = serde_json::to_string(data).unwrap_or_default();
        let id_line = format!("id: {id}\n");
        Self {
            event,
            sse: format!("{id_line}event: {event}\ndata: {data}\n\n").into(),
            sse_id_bytes: id_line.len(),
            text: format!("{{\"event\":\"{event}\",\"id\":{id},\"data\":{data}}}").into(),
        }
    }

    /// The answer to a message that is refused, as a whole or for one product.
    pub fn error(error: &Error, about: Option<Id>) -> Utf8Bytes {
        let detail = match error {
            Error::ValidationFailed { errors } => {
                let each = errors.iter().map(|error| format!("{} {}", error.field, error.message));
                format!("{}.", each.collect::<Vec<_>>().join("; "))
            }
            _ => error.detail().into_owned(),
        };
        let detail = about.map_or(detail.clone(), |id| format!("{id}: {detail}"));
        json!({ "event": "error", "data": { "code": error.code().name(), "detail": detail } })
            .to_string()
            .into()
    }

    /// The WebSocket message with another id.
    pub fn text_with_id(&self, id: i64) -> Utf8Bytes {
        let data = self.text.find(DATA).map_or("", |start| &self.text[start..]);
        format!("{{\"event\":\"{}\",\"id\":{id}{data}", self.event).into()
    }

    pub fn sse(&self) -> Bytes {
        self.sse.clone()
    }

    /// The Server-Sent Event without its id: a client that reconnects after it sends the id of an earlier event.
    pub fn sse_without_id(&self) -> Bytes {
        self.sse.slice(self.sse_id_bytes..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_serves_both_transports() {
        let stale = Stale { since: Timestamp::from_milliseconds(0) };
        let message = Message::new("stale", 7, &stale);
        let data = "{\"since\":\"1970-01-01T00:00:00.000Z\"}";
        assert_eq!(message.sse(), format!("id: 7\nevent: stale\ndata: {data}\n\n"));
        assert_eq!(message.sse_without_id(), format!("event: stale\ndata: {data}\n\n"));
        assert_eq!(message.text.as_str(), format!("{{\"event\":\"stale\",\"id\":7,\"data\":{data}}}"));
        let earlier = format!("{{\"event\":\"stale\",\"id\":5,\"data\":{data}}}");
        assert_eq!(message.text_with_id(5).as_str(), earlier);
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        let text = Message::error(&Error::invalid("subscribe", "must be a list"), None);
        assert_eq!(
            text.as_str(),
            r#"{"data":{"code":"validation_failed","detail":"subscribe must be a list."},"event":"error"}"#
        );
    }
}
