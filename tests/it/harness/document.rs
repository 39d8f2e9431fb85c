//! Checks every answer against the OpenAPI document: its status, its code, its members.

use std::sync::OnceLock;

use reqwest::Method;
use serde_json::{Map, Value};

use super::answer::Answer;

static DOCUMENT: OnceLock<Value> = OnceLock::new();

/// The committed document. A test of its own compares it with the server's.
pub fn document() -> &'static Value {
    DOCUMENT.get_or_init(|| {
        serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("docs/openapi.json")
    })
}

/// Panics when the answer is not one that the document promises. Paths and methods that it does not know are left out.
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
    } else if let Some(schema) = response["content"]["application/json"].get("schema") {
        check_members(schema, &answer.json, &format!("{method} {path}"));
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

/// Every required member is there, and none that the document does not have.
fn check_members(schema: &Value, value: &Value, place: &str) {
    if value.is_null() {
        return;
    }
    let schema = resolve(schema);
    if let Some(items) = schema.get("items") {
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            check_members(items, item, &format!("{place}[{index}]"));
        }
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let value = value.as_object().unwrap_or_else(|| panic!("{place} is no object: {value}"));
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(value.contains_key(name), "{place}.{name} is missing");
    }
    check_properties(properties, value, place);
}

fn check_properties(properties: &Map<String, Value>, value: &Map<String, Value>, place: &str) {
    for (name, member) in value {
        let schema = properties.get(name).unwrap_or_else(|| panic!("{place}.{name} is not documented"));
        check_members(schema, member, &format!("{place}.{name}"));
    }
}

/// The schema behind a reference, or behind "null or a reference".
fn resolve(schema: &Value) -> &Value {
    if let Some(name) = schema["$ref"].as_str() {
        return document().pointer(name.trim_start_matches('#')).expect("a reference that leads somewhere");
    }
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    choices.map(resolve).find(|choice| choice["type"] != "null").unwrap_or(schema)
}
