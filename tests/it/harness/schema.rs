//! JSON Schema checks of what clients and watchers receive, against the two committed documents.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::document;

/// The events, each with the OpenAPI schema of its data.
const EVENTS: [(&str, &str); 5] = [
    ("product", "Product"),
    ("stock", "StockEvent"),
    ("purchase", "LeaderboardItem"),
    ("released", "ReleasedEvent"),
    ("stale", "StaleEvent"),
];

pub fn asyncapi() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        serde_norway::from_str(include_str!("../../../docs/asyncapi.yaml")).expect("docs/asyncapi.yaml")
    })
}

/// Panics when an answer does not match this schema of the OpenAPI document.
pub fn check_answer(schema: &Value, answer: &Value) {
    static VALIDATORS: OnceLock<Mutex<HashMap<String, Arc<Validator>>>> = OnceLock::new();
    let name = schema.to_string();
    let mut validators = VALIDATORS.get_or_init(Mutex::default).lock().unwrap();
    let validator = validators.entry(name.clone()).or_insert_with(|| Arc::new(validator(closed(), schema)));
    let validator = validator.clone();
    drop(validators);
    check(&validator, &name, answer);
}

/// Panics when the data of a Server-Sent Event does not match its schema in the OpenAPI document.
pub fn check_event(event: &str, data: &Value) {
    let Some((_, name)) = EVENTS.iter().find(|(name, _)| *name == event) else {
        panic!("{event} is not documented: {data}")
    };
    check_answer(&reference(name), data);
}

/// The OpenAPI document with `additionalProperties: false` everywhere: an undocumented member fails the test.
fn closed() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let mut document = document().clone();
        for schema in document["components"]["schemas"].as_object_mut().unwrap().values_mut() {
            if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
                schema["additionalProperties"] = json!(false);
            }
        }
        document
    })
}

/// Panics when a WebSocket message does not match the AsyncAPI document. `name` is `request` for messages to the
/// server.
pub fn check_message(name: &str, message: &Value) {
    static VALIDATORS: OnceLock<HashMap<String, Validator>> = OnceLock::new();
    let validators = VALIDATORS.get_or_init(|| {
        let document = asyncapi();
        let messages = document["components"]["messages"].as_object().unwrap();
        let named = messages.iter().map(|(name, message)| {
            let schema = message["payload"]["$ref"].as_str().unwrap();
            (name.clone(), validator(document, &reference(schema.rsplit('/').next().unwrap())))
        });
        named.collect()
    });
    let validator = validators.get(name).unwrap_or_else(|| panic!("{name} is not documented: {message}"));
    check(validator, name, message);
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn validator(document: &Value, schema: &Value) -> Validator {
    let mut schema = schema.clone();
    schema["components"] = json!({ "schemas": document["components"]["schemas"] });
    let options =
        jsonschema::options().with_draft(jsonschema::Draft::Draft202012).should_validate_formats(true);
    options.build(&schema).unwrap_or_else(|error| panic!("{schema}: {error}"))
}

fn check(validator: &Validator, name: &str, value: &Value) {
    let errors: Vec<_> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{name} is not as documented: {errors:#?}\n{value:#}");
}
