//! Bodies and messages from outside as property tests make them: nearly right, or anything at all.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// Any JSON, of any shape, a few levels deep.
pub fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        select(vec![
            json!(0),
            json!(1.0),
            json!(-1),
            json!(u64::MAX),
            json!(""),
            json!("65f1c0ffee65f1c0ffee65f1"),
            json!("2030-11-29T09:00:00Z"),
            json!({"$gt": ""}),
        ]),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((any::<String>(), inner), 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// An object with these members. Now and then one is missing, or is something else, or there is one more.
pub fn object(members: Vec<(&'static str, BoxedStrategy<Value>)>) -> impl Strategy<Value = Value> {
    let members: Vec<_> = members
        .into_iter()
        .map(|(name, right)| {
            let value = prop_oneof![
                30 => right.prop_map(Some),
                1 => Just(None),
                1 => any_json().prop_map(Some),
            ];
            value.prop_map(move |value| value.map(|value| (name.to_owned(), value)))
        })
        .collect();
    let further = prop_oneof![9 => Just(None), 1 => (any::<String>(), any_json()).prop_map(Some)];
    (members, further).prop_map(|(members, further)| {
        Value::Object(members.into_iter().chain([further]).flatten().collect::<Map<_, _>>())
    })
}

/// The bytes of a header's value.
pub fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..100), vec(b'!'..=b'~', 0..300), vec(b'0'..=b'9', 0..25)]
}
