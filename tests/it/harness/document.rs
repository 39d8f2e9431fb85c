//! Checks every answer against the OpenAPI document: its status, its code, its members.

use std::sync::OnceLock;

use reqwest::Method;
use serde_json::Value;

use super::answer::Answer;
use super::schema::check_answer;

static DOCUMENT: OnceLock<Value> = OnceLock::new();

/// The committed document. Another test compares it with the one that the server serves.
pub fn document() -> &'static Value {
    DOCUMENT.get_or_init(|| {
        serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("docs/openapi.json")
    })
}

/// Panics when the document does not allow the answer. Paths and methods that it does not list are not checked.
pub fn check(method: &Method, path: &str, answer: &Answer) {
    let path = path.split('?').next().unwrap_or_default();
    let Some(operation) = operation(path, method) else { return };
    let response = &operation["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{method} {path}: the status is not documented: {answer:#?}");
    if answer.status >= 400 {
        let examples = &response["content"]["application/problem+json"]["examples"];
        assert!(
            examples[answer.code()].is_object(),
            "{method} {path}: the code is not documented: {answer:#?}"
        );
    }
    let sent = answer.header("content-type").unwrap_or_default();
    for (media_type, content) in response["content"].as_object().into_iter().flatten() {
        // Only JSON has a schema; events and metrics have none.
        if !sent.starts_with(media_type) {
            continue;
        }
        if content["schema"].is_object() && !answer.json.is_null() {
            check_answer(&content["schema"], &answer.json);
        }
    }
}

fn operation(path: &str, method: &Method) -> Option<&'static Value> {
    let paths = document()["paths"].as_object()?;
    let literal = paths.get(path);
    let item = literal
        .or_else(|| paths.iter().find(|(template, _)| matches(template, path)).map(|(_, item)| item))?;
    item.get(method.as_str().to_lowercase())
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    template.len() == path.len()
        && template
            .iter()
            .zip(path)
            .all(|(expected, found)| (expected.starts_with('{') && !found.is_empty()) || *expected == found)
}
