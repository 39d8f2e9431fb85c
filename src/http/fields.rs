//! Reads the members of a JSON object one by one, and reports *every* field that is wrong.
//!
//! serde stops at the first mistake, but a form with three mistakes should not take three tries. So bodies are parsed
//! to a `Value` first, and each rule takes its member out here. Members left at the end are unknown.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::page;
use crate::error::{Error, FieldError, Result};
use crate::model::email;
use crate::model::id::Id;
use crate::model::number::whole;
use crate::model::text::is_hidden;
use crate::model::timestamp::Timestamp;

/// The longest link to a picture, in characters.
pub const URL_CHARACTERS_MAX: usize = 2_048;

/// The most mistakes that one answer names: a body full of them must not cause an answer many times its size.
const ERRORS_MAX: usize = 100;
/// The name of an unknown member is cut to this in the answer, in characters.
const UNKNOWN_NAME_CHARACTERS_MAX: usize = 100;

/// The value that a rule has read, or what the value must be.
pub type Rule<T> = Result<T, String>;

/// The unread members of one object, and the mistakes found so far.
#[derive(Default)]
pub struct Fields {
    prefix: String,
    members: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// # Errors
    /// `validation_failed` when `value` is not an object.
    pub fn of(value: Value) -> Result<Self> {
        match value {
            Value::Object(members) => Ok(Self { prefix: String::new(), members, errors: Vec::new() }),
            _ => Err(Error::invalid("", "the body must be a JSON object")),
        }
    }

    /// A digest of all members that are not taken yet: the same for the same values, however they are written.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (name, value) in self.members.iter().collect::<BTreeMap<_, _>>() {
            hash.update(format!("{}:{}\n", Value::from(name.as_str()), canonical(value)));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A required member. `None` when it is missing or wrong; `finish` reports that.
    pub fn required<T>(&mut self, name: &str, rule: impl FnOnce(Value) -> Rule<T>) -> Option<T> {
        match self.members.remove(name) {
            Some(value) => self.read(name, value, rule),
            None => {
                self.wrong(name, "is required");
                None
            }
        }
    }

    /// An optional member; null counts as missing.
    pub fn optional<T>(&mut self, name: &str, rule: impl FnOnce(Value) -> Rule<T>) -> Option<T> {
        match self.members.remove(name) {
            None | Some(Value::Null) => None,
            Some(value) => self.read(name, value, rule),
        }
    }

    /// A member of a change: if missing, the old value stays; null clears it.
    pub fn clearable<T>(&mut self, name: &str, rule: impl FnOnce(Value) -> Rule<T>) -> Option<Option<T>> {
        match self.members.remove(name) {
            None => None,
            Some(Value::Null) => Some(None),
            Some(value) => self.read(name, value, rule).map(Some),
        }
    }

    /// A member of a change that cannot be cleared: if missing, the old value stays.
    pub fn changed<T>(&mut self, name: &str, rule: impl FnOnce(Value) -> Rule<T>) -> Option<T> {
        let value = self.members.remove(name)?;
        self.read(name, value, rule)
    }

    /// Reports `name` as wrong; for rules over several fields.
    pub fn wrong(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError { field: format!("{}{name}", self.prefix), message: message.into() });
    }

    /// Returns `request` if every field is right and none is unknown.
    ///
    /// # Errors
    /// `validation_failed` with all mistakes.
    pub fn finish<T>(mut self, request: Option<T>) -> Result<T> {
        self.refuse_unknown();
        match request {
            Some(request) if self.errors.is_empty() => Ok(request),
            _ => Err(Error::ValidationFailed { errors: self.errors }),
        }
    }

    fn refuse_unknown(&mut self) {
        // Sorted, so that the same body always gets the same answer.
        for name in std::mem::take(&mut self.members).into_iter().collect::<BTreeMap<_, _>>().into_keys() {
            if self.errors.len() >= ERRORS_MAX {
                return;
            }
            let name: String = name.chars().take(UNKNOWN_NAME_CHARACTERS_MAX).collect();
            self.wrong(&name, "is not a known member");
        }
    }

    fn read<T>(&mut self, name: &str, value: Value, rule: impl FnOnce(Value) -> Rule<T>) -> Option<T> {
        match rule(value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.wrong(name, message);
                None
            }
        }
    }

    /// An object inside the object: `read` takes its members, and mistakes are reported as `name.member`.
    pub fn nested<T>(
        &mut self,
        name: &str,
        value: Value,
        read: impl FnOnce(&mut Fields) -> Option<T>,
    ) -> Option<T> {
        let Value::Object(members) = value else {
            self.wrong(name, "must be an object");
            return None;
        };
        let mut fields = Fields { prefix: format!("{}{name}.", self.prefix), members, errors: Vec::new() };
        let result = read(&mut fields);
        fields.refuse_unknown();
        let clean = fields.errors.is_empty();
        self.errors.append(&mut fields.errors);
        result.filter(|_| clean)
    }

    /// A value that was taken out with `take`.
    pub fn given<T>(&mut self, name: &str, value: Value, rule: impl FnOnce(Value) -> Rule<T>) -> Option<T> {
        self.read(name, value, rule)
    }

    /// Takes a member out unread; for `nested` and `given`.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name)
    }
}

/// The value with the members of its objects in order, and whole numbers without a fraction.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> =
                members.iter().map(|(name, value)| (name.clone(), canonical(value))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Number(number) => number.as_f64().and_then(whole).map_or_else(|| value.clone(), Value::from),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

/// A text of this length after trimming, without control or invisible characters.
pub fn line(characters: RangeInclusive<usize>) -> impl FnOnce(Value) -> Rule<String> {
    move |value| {
        let text = text(value)?.trim().to_owned();
        check_length(&text, &characters)?;
        if text.chars().any(is_hidden) {
            return Err("must have no control or invisible characters".into());
        }
        Ok(text)
    }
}

/// A text of this length, exactly as sent.
pub fn verbatim(characters: RangeInclusive<usize>) -> impl FnOnce(Value) -> Rule<String> {
    move |value| {
        let text = text(value)?;
        check_length(&text, &characters)?;
        Ok(text)
    }
}

/// A text that another rule reads.
pub fn text_that<T>(rule: impl FnOnce(&str) -> Rule<T>) -> impl FnOnce(Value) -> Rule<T> {
    move |value| rule(&text(value)?)
}

/// A whole number within these bounds. `5.0` is the same number as `5`: JSON knows only one kind, and some clients write
/// all of theirs with a fraction.
pub fn integer(bounds: RangeInclusive<i64>) -> impl FnOnce(Value) -> Rule<i64> {
    move |value| match value.as_i64().or_else(|| whole(value.as_f64()?)) {
        Some(number) if bounds.contains(&number) => Ok(number),
        _ => Err(format!("must be a whole number from {} to {}", bounds.start(), bounds.end())),
    }
}

/// The e-mail address of a new account, turned into lower case. Stricter than that of an old one.
pub fn new_email_address(value: Value) -> Rule<String> {
    let address = email_address(value)?;
    match email::canonical(&address) {
        Some(_) => Ok(address),
        None => Err("must be an e-mail address on the internet, like ada@shop.example".into()),
    }
}

/// The e-mail address of an account, in lower case and NFC: addresses are compared without case.
pub fn email_address(value: Value) -> Rule<String> {
    let text = text(value)?.trim().nfc().collect::<String>().to_lowercase();
    if email::is_address(&text) {
        Ok(text)
    } else {
        let characters_max = email::CHARACTERS_MAX;
        Err(format!("must be an e-mail address, without a name, of at most {characters_max} characters"))
    }
}

/// An absolute http or https URL, after trimming.
pub fn http_url(value: Value) -> Rule<String> {
    let text = text(value)?.trim().to_owned();
    // The parser also repairs malformed input, like `https:shop.example`, so check the text first.
    let has_scheme =
        |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let is_written_out = ["http://", "https://"].into_iter().any(has_scheme)
        && !text.chars().any(|character| character.is_whitespace() || character.is_control());
    let valid = is_written_out
        && text.chars().count() <= URL_CHARACTERS_MAX
        && url::Url::parse(&text).is_ok_and(|url| url.has_host());
    if valid {
        Ok(text)
    } else {
        Err(format!("must be an http(s) URL of at most {URL_CHARACTERS_MAX} characters"))
    }
}

pub fn boolean(value: Value) -> Rule<bool> {
    value.as_bool().ok_or_else(|| "must be true or false".to_owned())
}

pub fn id(value: Value) -> Rule<Id> {
    page::id(&text(value)?)
}

pub fn timestamp(value: Value) -> Rule<Timestamp> {
    Timestamp::parse(&text(value)?)
        .ok_or_else(|| "must be an RFC 3339 date and time, like 2030-11-29T09:00:00Z".to_owned())
}

fn text(value: Value) -> Rule<String> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err("must be a string".into()),
    }
}

fn check_length(text: &str, characters: &RangeInclusive<usize>) -> Rule<()> {
    if characters.contains(&text.chars().count()) {
        Ok(())
    } else {
        Err(format!("must have {} to {} characters", characters.start(), characters.end()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors_of(value: Value) -> Vec<(String, String)> {
        let mut fields = Fields::of(value).unwrap();
        let name = fields.required("name", line(1..=5));
        let price = fields.take("price").and_then(|value| {
            fields.nested("price", value, |price| price.required("amount", integer(0..=10)))
        });
        let Err(Error::ValidationFailed { errors }) = fields.finish(name.zip(price)) else { return vec![] };
        errors.into_iter().map(|error| (error.field, error.message)).collect()
    }

    #[test]
    fn every_wrong_field_is_named() {
        let found =
            errors_of(json!({"name": {"$gt": ""}, "price": {"amount": -1, "curency": "EUR"}, "zeal": 1}));
        let fields: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["name", "price.amount", "price.curency", "zeal"]);
    }

    #[test]
    fn a_right_body_passes() {
        assert_eq!(errors_of(json!({"name": " Ada ", "price": {"amount": 10}})), []);
    }

    #[test]
    fn a_digest_is_of_the_values() {
        let digest = |value: Value| Fields::of(value).unwrap().digest();
        let body = json!({"price": {"amount": 10, "currency": "USD"}, "stock": 5});
        let same: Value =
            serde_json::from_str(r#"{ "stock": 5.0, "price": {"currency":"\u0055SD","amount":1e1} }"#)
                .unwrap();
        assert_eq!(digest(body.clone()), digest(same));
        for other in [
            json!({"price": {"amount": 10, "currency": "USD"}, "stock": 6}),
            json!({"price": {"amount": 10, "currency": "USD"}, "stock": "5"}),
            json!({"price": {"amount": 10, "currency": "USD"}}),
            json!({"stock": 5, "price": {"amount": 10}}),
        ] {
            assert_ne!(digest(body.clone()), digest(other.clone()), "{other}");
        }
    }

    #[test]
    fn a_url_is_written_out() {
        assert_eq!(http_url(json!(" https://shop.example/a ")), Ok("https://shop.example/a".into()));
        for bad in [
            "https:shop.example",
            "//shop.example",
            "ftp://shop.example",
            "http://",
            "https://shop.example/a b",
            "x",
        ] {
            assert!(http_url(json!(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_whole_and_within_bounds() {
        for value in [json!(1.5), json!("1"), json!(-1), json!(11), json!(1e300), json!(null), json!(true)] {
            assert!(integer(0..=10)(value.clone()).is_err(), "{value}");
        }
        for value in [json!(10), json!(10.0), json!(1e1)] {
            assert_eq!(integer(0..=10)(value.clone()), Ok(10), "{value}");
        }
        for value in [json!(1e16), json!(u64::MAX), json!(f64::MAX)] {
            assert!(integer(0..=i64::MAX)(value.clone()).is_err(), "{value}");
        }
    }
}
