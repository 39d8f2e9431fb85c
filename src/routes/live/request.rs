//! The messages that WebSocket clients send.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::http::fields::{Fields, Rule, id, integer};
use crate::model::id::Id;

/// `{"subscribe": [...], "unsubscribe": [...], "include": ["purchases"], "after": 17}`, all of them optional.
#[derive(Debug, PartialEq, Eq)]
pub struct SocketRequest {
    /// The products to watch from now on, without duplicates.
    pub subscribe: Vec<Id>,
    /// The products to stop watching.
    pub unsubscribe: Vec<Id>,
    /// Also send every purchase of the products in `subscribe`.
    pub wants_purchases: bool,
    /// Start with the purchase after this number; if `None`, with the next one.
    pub after: Option<i64>,
}

impl SocketRequest {
    /// Reads a message that names at most `products_max` products in each list.
    ///
    /// # Errors
    /// `malformed_json`, `validation_failed`.
    pub fn parse(text: &str, products_max: usize) -> Result<Self> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| Error::MalformedJson { detail: format!("The message is not JSON: {error}.") })?;
        let has = |name| value.get(name).is_some_and(|value| !value.is_null());
        let (is_empty, has_after) = (!has("subscribe") && !has("unsubscribe"), has("after"));
        let no_object = |_| Error::invalid("message", "must be a JSON object");
        let mut fields = Fields::of(value).map_err(no_object)?;
        let subscribe = fields.optional("subscribe", ids(products_max));
        let unsubscribe = fields.optional("unsubscribe", ids(products_max));
        let wants_purchases = fields.optional("include", includes_purchases);
        let after = fields.optional("after", integer(0..=i64::MAX));
        if is_empty {
            fields.wrong("message", "must have subscribe or unsubscribe");
        }
        if has_after && wants_purchases != Some(true) {
            fields.wrong("after", r#"needs "include": ["purchases"]"#);
        }
        fields.finish(Some(Self {
            subscribe: subscribe.unwrap_or_default(),
            unsubscribe: unsubscribe.unwrap_or_default(),
            wants_purchases: wants_purchases.unwrap_or_default(),
            after,
        }))
    }
}

/// Ids, without duplicates.
fn ids(products_max: usize) -> impl FnOnce(Value) -> Rule<Vec<Id>> {
    move |value| {
        let Value::Array(values) = value else { return Err("must be a list of ids".into()) };
        if values.len() > products_max {
            return Err(format!("must have at most {products_max} ids"));
        }
        let mut ids = values.into_iter().map(id).collect::<Rule<Vec<Id>>>()?;
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}

fn includes_purchases(value: Value) -> Rule<bool> {
    match value {
        Value::Array(names) if names.iter().all(|name| name == "purchases") => Ok(!names.is_empty()),
        _ => Err(r#"must be ["purchases"]"#.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::json;

    use super::*;
    use crate::error::Code;
    use crate::http::arbitrary::{any_json, object};

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
    fn an_invalid_request_is_refused() {
        refused("{", Code::MalformedJson);
        for text in [
            "[]",
            r#"[["65f1c0ffee65f1c0ffee65f1"],null,null,null]"#,
            "5",
            "{}",
            r#"{"subscribe":null}"#,
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

    fn message() -> impl Strategy<Value = Value> {
        let id =
            select(vec![json!(ID), json!("65f1c0ffee65f1c0ffee65f2"), json!("65F1C0FFEE65F1C0FFEE65F0")]);
        object(vec![
            ("subscribe", vec(id.clone(), 0..4).prop_map(Value::from).boxed()),
            ("unsubscribe", vec(id, 0..4).prop_map(Value::from).boxed()),
            ("include", select(vec![json!(["purchases"]), json!([]), json!(null)]).boxed()),
            ("after", select(vec![json!(null), json!(0), json!(17), json!(i64::MAX), json!(1e300)]).boxed()),
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3_000) })]

        #[test]
        fn any_text_is_read_or_refused(text: String, json in any_json()) {
            for text in [text, json.to_string()] {
                let code = SocketRequest::parse(&text, 3).err().map(|error| error.code());
                prop_assert!(matches!(code, None | Some(Code::MalformedJson | Code::ValidationFailed)));
            }
        }

        #[test]
        fn what_is_read_keeps_the_bounds(message in message()) {
            let Ok(request) = SocketRequest::parse(&message.to_string(), 3) else { return Ok(()) };
            for ids in [&request.subscribe, &request.unsubscribe] {
                prop_assert!(ids.len() <= 3 && ids.is_sorted_by(|one, next| one < next));
            }
            prop_assert!(request.after.is_none_or(|after| after >= 0 && request.wants_purchases));
        }
    }
}
