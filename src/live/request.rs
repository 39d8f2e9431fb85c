//! What a WebSocket client asks for.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::id::Id;

/// `{"subscribe": [...], "unsubscribe": [...], "include": ["purchases"], "after": 17}`, all of them optional.
#[derive(Debug, PartialEq, Eq)]
pub struct SocketRequest {
    /// The products to watch from now on, each once.
    pub subscribe: Vec<Id>,
    /// The products to watch no more.
    pub unsubscribe: Vec<Id>,
    /// Also tell every purchase of the products in `subscribe`.
    pub wants_purchases: bool,
    /// Those after this number; from now on without it.
    pub after: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    subscribe: Option<Vec<String>>,
    unsubscribe: Option<Vec<String>>,
    include: Option<Vec<Include>>,
    after: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Include {
    Purchases,
}

impl SocketRequest {
    /// Reads a message that names at most `products_max` products in each list.
    ///
    /// # Errors
    /// `malformed_json`, `validation_failed`.
    pub fn parse(text: &str, products_max: usize) -> Result<Self> {
        let value: serde_json::Value = serde_json::from_str(text)
            .map_err(|error| Error::MalformedJson { detail: format!("The message is no JSON: {error}.") })?;
        let invalid = |message: String| Error::invalid("message", message);
        let fields: Fields = serde_json::from_value(value).map_err(|error| invalid(error.to_string()))?;
        if fields.subscribe.is_none() && fields.unsubscribe.is_none() {
            return Err(invalid("must have subscribe or unsubscribe".into()));
        }
        let wants_purchases = fields.include.is_some_and(|include| !include.is_empty());
        if fields.after.is_some() && !wants_purchases {
            return Err(Error::invalid("after", r#"goes with "include": ["purchases"]"#));
        }
        let after = fields.after.map(i64::try_from).transpose();
        Ok(Self {
            subscribe: ids("subscribe", fields.subscribe, products_max)?,
            unsubscribe: ids("unsubscribe", fields.unsubscribe, products_max)?,
            wants_purchases,
            after: after.map_err(|_| Error::invalid("after", "must be the number of a purchase"))?,
        })
    }
}

fn ids(field: &str, texts: Option<Vec<String>>, products_max: usize) -> Result<Vec<Id>> {
    let texts = texts.unwrap_or_default();
    if texts.len() > products_max {
        return Err(Error::invalid(field, format!("must have at most {products_max} ids")));
    }
    let ids: Result<Vec<Id>, _> = texts.iter().map(|text| text.parse()).collect();
    let mut ids = ids.map_err(|_| Error::invalid(field, "must be ids of 24 hexadecimal digits"))?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    const ID: &str = "65f1c0ffee65f1c0ffee65f1";

    fn refused(text: &str, code: Code) {
        let result = SocketRequest::parse(text, 2);
        assert_eq!(result.map_err(|error| error.code()), Err(code), "{text}");
    }

    #[test]
    fn a_request_is_read() {
        let text = format!(r#"{{"subscribe":["{ID}","{ID}"],"include":["purchases"],"after":17}}"#);
        let request = SocketRequest::parse(&text, 2).unwrap();
        assert_eq!(request.subscribe, [ID.parse().unwrap()]);
        assert!(request.wants_purchases && request.after == Some(17) && request.unsubscribe.is_empty());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        refused("{", Code::MalformedJson);
        for text in [
            "[]",
            "{}",
            r#"{"subscribe":"65f1c0ffee65f1c0ffee65f1"}"#,
            r#"{"subscribe":["x"]}"#,
            r#"{"subscribe":[{"$oid":"65f1c0ffee65f1c0ffee65f1"}]}"#,
            r#"{"subscribe":[],"extra":1}"#,
            r#"{"subscribe":[],"include":["everything"]}"#,
            r#"{"subscribe":[],"after":1}"#,
            r#"{"subscribe":[],"include":["purchases"],"after":-1}"#,
            r#"{"subscribe":[],"include":["purchases"],"after":18446744073709551615}"#,
            &format!(r#"{{"subscribe":["{ID}","{ID}","{ID}"]}}"#),
        ] {
            refused(text, Code::ValidationFailed);
        }
    }
}
