//! JSON Schema checks of what the watchers are sent, against the two committed documents.

use std::collections::HashMap;
use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::document;

/// The events and what their data is called in the OpenAPI document.
const EVENTS: [(&str, &str); 4] = [
    ("product", "Product"),
    ("stock", "StockEvent"),
    ("purchase", "LeaderboardItem"),
    ("stale", "StaleEvent"),
];

type Validators = HashMap<String, Validator>;

/// The AsyncAPI document.
pub fn asyncapi() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        serde_norway::from_str(include_str!("../../../docs/asyncapi.yaml")).expect("docs/asyncapi.yaml")
    })
}

/// Panics when the data of a Server-Sent Event is not what the OpenAPI document promises.
pub fn check_event(event: &str, data: &Value) {
    static VALIDATORS: OnceLock<Validators> = OnceLock::new();
    let validators = VALIDATORS.get_or_init(|| {
        let mut document = document().clone();
        for schema in document["components"]["schemas"].as_object_mut().unwrap().values_mut() {
            // What is not documented is not sent.
            if schema.get("properties").is_some() {
                schema["additionalProperties"] = json!(false);
            }
        }
        EVENTS.map(|(event, name)| (event.to_owned(), validator(&document, name))).into()
    });
    check(validators, event, data);
}

/// Panics when a WebSocket message is not what the AsyncAPI document promises; `name` is `request` for one to the server.
pub fn check_message(name: &str, message: &Value) {
    static VALIDATORS: OnceLock<Validators> = OnceLock::new();
    let validators = VALIDATORS.get_or_init(|| {
        let document = asyncapi();
        let messages = document["components"]["messages"].as_object().unwrap();
        let named = messages.iter().map(|(name, message)| {
            let schema = message["payload"]["$ref"].as_str().unwrap();
            (name.clone(), validator(document, schema.rsplit('/').next().unwrap()))
        });
        named.collect()
    });
    check(validators, name, message);
}

fn validator(document: &Value, name: &str) -> Validator {
    let reference = format!("#/components/schemas/{name}");
    let schema = json!({ "$ref": reference, "components": { "schemas": document["components"]["schemas"] } });
    jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn check(validators: &Validators, name: &str, value: &Value) {
    let validator = validators.get(name).unwrap_or_else(|| panic!("{name} is not documented: {value}"));
    let errors: Vec<_> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{name} is not as documented: {errors:#?}\n{value:#}");
}
