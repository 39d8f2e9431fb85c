//! Query parameters, and lists in pages: `?limit=` and an opaque `?cursor=`. The cursor holds the sort key of the
//! last item, so a page costs the same at any depth.

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::HttpLimits;
use crate::error::{Error, FieldError, Result};
use crate::model::id::Id;

/// A longer cursor is refused unread; ours are far shorter. In characters.
const CURSOR_CHARACTERS_MAX: usize = 500;
/// The most unknown parameters that one answer names.
const UNKNOWN_MAX: usize = 100;
/// The name of an unknown parameter is cut to this in the answer, in characters.
const UNKNOWN_NAME_CHARACTERS_MAX: usize = 100;

/// The decoded query string. Each parameter that is read is known; `finish` refuses the others. An empty parameter means
/// none.
pub struct Query {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
    page_items_default: usize,
    page_items_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PageRequest<C> {
    /// The most items on the page.
    pub limit: usize,
    /// The sort key after which the page begins.
    pub after: Option<C>,
}

impl<C> PageRequest<C> {
    /// How many items to query: one more than the page has shows whether there is a next page, see [`Page::of`].
    pub fn query_limit(&self) -> i64 {
        i64::try_from(self.limit + 1).unwrap_or(i64::MAX)
    }
}

/// One page of a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// What to send as `cursor` for the next page; null on the last one.
    #[schema(required, example = json!(null))]
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// `items` were queried with `query_limit`: the extra item, if there, shows that there is a next page.
    pub fn of<C: Serialize>(mut items: Vec<T>, limit: usize, cursor: impl FnOnce(&T) -> C) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| more).map(|last| encode(&cursor(last)));
        Self { items, next_cursor }
    }

    pub fn map<U>(self, view: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(view).collect(), next_cursor: self.next_cursor }
    }

    /// The page without the items that `view` leaves out.
    pub fn filter_map<U>(self, view: impl FnMut(T) -> Option<U>) -> Page<U> {
        Page { items: self.items.into_iter().filter_map(view).collect(), next_cursor: self.next_cursor }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query
where
    HttpLimits: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let limits = HttpLimits::from_ref(state);
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self {
            pairs: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            known: Vec::new(),
            errors: Vec::new(),
            page_items_default: limits.page_items_default,
            page_items_max: limits.page_items_max,
        })
    }
}

impl Query {
    /// Reads one parameter by `rule`, whose error says what the value must be. Giving it twice is an error.
    pub fn parameter<T>(
        &mut self,
        name: &'static str,
        rule: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(name);
        let mut values = self.pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next()?;
        if value.is_empty() && values.clone().all(str::is_empty) {
            return None;
        }
        let result = if values.next().is_some() { Err("must be given once".into()) } else { rule(value) };
        result.map_err(|message| self.errors.push(FieldError { field: name.into(), message })).ok()
    }

    /// Reads `limit` and `cursor`. `belongs` says whether a cursor is from this list.
    pub fn page<C: DeserializeOwned>(&mut self, belongs: impl Fn(&C) -> bool) -> PageRequest<C> {
        let (default, max) = (self.page_items_default, self.page_items_max);
        let limit = self.parameter("limit", |value| match value.parse() {
            Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
            _ => Err(format!("must be a whole number from 1 to {max}")),
        });
        let after = self.parameter("cursor", |value| {
            decode(value)
                .filter(belongs)
                .ok_or_else(|| "must be the nextCursor of a page of this list".into())
        });
        PageRequest { limit: limit.unwrap_or(default), after }
    }

    /// # Errors
    /// `validation_failed` with every wrong parameter.
    pub fn finish(mut self) -> Result<()> {
        let names: Vec<_> = self.pairs.iter().map(|(name, _)| name.as_str()).collect();
        self.errors.extend(unknown(&names, &self.known));
        if self.errors.is_empty() { Ok(()) } else { Err(Error::ValidationFailed { errors: self.errors }) }
    }
}

/// Refuses every parameter of a query string, for routes that know none.
///
/// # Errors
/// `validation_failed` with every parameter.
pub fn refuse_parameters(query: &str) -> Result<()> {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let names: Vec<_> = pairs.iter().map(|(name, _)| &**name).collect();
    let errors: Vec<_> = unknown(&names, &[]).collect();
    if errors.is_empty() { Ok(()) } else { Err(Error::ValidationFailed { errors }) }
}

/// The mistakes for the names that are not known, each once.
fn unknown<'a>(names: &'a [&'a str], known: &[&str]) -> impl Iterator<Item = FieldError> + use<'a> {
    let mut unknown: Vec<_> = names.iter().filter(|name| !known.contains(*name)).collect();
    // Sorted, so that the same query always gets the same answer.
    unknown.sort_unstable();
    unknown.dedup();
    unknown.into_iter().take(UNKNOWN_MAX).map(|name| FieldError {
        field: name.chars().take(UNKNOWN_NAME_CHARACTERS_MAX).collect(),
        message: "is not a known parameter".into(),
    })
}

fn encode(cursor: &impl Serialize) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(cursor).unwrap_or_default())
}

/// A parameter's rule: an id.
///
/// # Errors
/// Says what it must be.
pub fn id(text: &str) -> Result<Id, String> {
    text.parse().map_err(|_| "must be an id of 24 hexadecimal digits".into())
}

/// A parameter's rule: true or false.
///
/// # Errors
/// Says what it must be.
pub fn truth(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".into())
}

/// Reads a `next_cursor`; `None` for anything else.
pub fn decode<C: DeserializeOwned>(text: &str) -> Option<C> {
    if text.len() > CURSOR_CHARACTERS_MAX {
        return None;
    }
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::http::arbitrary::any_json;

    /// A cursor with members of every kind.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    struct Cursor {
        text: String,
        number: i64,
        list: Option<Vec<u8>>,
    }

    #[test]
    fn a_page_names_the_next_only_when_there_is_one() {
        let last = Page::of(vec![1, 2], 2, |item| *item);
        assert_eq!((last.items, last.next_cursor), (vec![1, 2], None));
        let first = Page::of(vec![1, 2, 3], 2, |item| *item);
        assert_eq!(first.items, [1, 2]);
        assert_eq!(decode::<i32>(&first.next_cursor.unwrap()), Some(2));
    }

    #[test]
    fn a_foreign_cursor_is_refused() {
        for text in ["", "???", "bnVsbA", &"a".repeat(501)] {
            assert_eq!(decode::<(i64, i64)>(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

        #[test]
        fn any_cursor_is_read_or_refused(text: String, bytes in vec(any::<u8>(), 0..100), json in any_json()) {
            for text in [text, BASE64_URL_SAFE_NO_PAD.encode(bytes), encode(&json)] {
                let read = decode::<Cursor>(&text);
                if let Some(cursor) = read {
                    prop_assert_eq!(decode(&encode(&cursor)), Some(cursor));
                }
            }
        }

        #[test]
        fn our_cursors_come_back(text in ".{0,20}", number: i64, list: Option<[u8; 12]>) {
            let cursor = Cursor { text, number, list: list.map(Vec::from) };
            prop_assert_eq!(decode(&encode(&cursor)), Some(cursor));
        }
    }
}
