//! Bodies of every kind are read or refused, and what is read keeps the bounds.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::*;
use crate::error::Code;
use crate::http::arbitrary::{any_json, object};
use crate::http::body::parse_fields;

fn price() -> BoxedStrategy<Value> {
    let amount = select(vec![json!(0), json!(1999), json!(5.0), json!(AMOUNT_MAX), json!(AMOUNT_MAX + 1)]);
    let currency = select(vec![json!("USD"), json!("EUR"), json!("JPY"), json!("usd")]);
    object(vec![("amount", amount.boxed()), ("currency", currency.boxed())]).boxed()
}

fn time(texts: [&'static str; 3]) -> BoxedStrategy<Value> {
    select(texts.to_vec()).prop_map(Value::from).boxed()
}

fn body() -> impl Strategy<Value = Value> {
    // Long texts are repeated, because drawing each character takes long.
    let long = |count: std::ops::Range<usize>| count.prop_map(|count| "é".repeat(count));
    let name = prop_oneof!["[ a-zé]{0,3}|\u{200b}", long(199..202)].prop_map(Value::from);
    let description = prop_oneof![".{0,20}", long(4_999..5_002)].prop_map(Value::from);
    let url = "(https?|ftp|HTTP)://?[a-z.:0-9/ ]{0,8}".prop_map(Value::from);
    object(vec![
        ("name", name.boxed()),
        ("description", description.boxed()),
        ("imageUrl", prop_oneof![Just(Value::Null), url].boxed()),
        ("price", price()),
        ("originalPrice", prop_oneof![Just(Value::Null), price()].boxed()),
        ("stock", select(vec![json!(0), json!(5.0), json!(STOCK_MAX), json!(STOCK_MAX + 1)]).boxed()),
        (
            "saleStartTime",
            time(["2030-11-29T09:00:00Z", "2030-11-29T10:00:00+01:00", "0000-01-01T00:00:00Z"]),
        ),
        (
            "saleEndTime",
            time(["2030-11-29T09:00:00.001Z", "9999-12-31T23:59:59.999Z", "2030-11-29T09:00:00Z"]),
        ),
        (
            "registeredBefore",
            prop_oneof![Just(Value::Null), time(["2030-11-29T09:00:00Z", "soon", ""])].boxed(),
        ),
        ("purchaseLimit", select(vec![json!(null), json!(1), json!(1000), json!(1001)]).boxed()),
    ])
}

fn is_within(text: &str, characters: std::ops::RangeInclusive<usize>) -> bool {
    characters.contains(&text.chars().count())
}

fn is_money(money: &Money) -> bool {
    (0..=AMOUNT_MAX).contains(&money.amount)
        && money.currency.len() == 3
        && money.currency.bytes().all(|byte| byte.is_ascii_uppercase())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn any_body_is_read_or_refused(bytes in vec(any::<u8>(), 0..50), json in any_json()) {
        for bytes in [bytes, json.to_string().into_bytes()] {
            let code = parse_fields::<CreateProductRequest>(&bytes).err().map(|error| error.code());
            prop_assert!(matches!(code, Some(Code::MalformedJson | Code::ValidationFailed)));
        }
    }

    #[test]
    fn a_product_that_is_read_keeps_the_bounds(body in body()) {
        let Ok(product) = parse_fields::<CreateProductRequest>(body.to_string().as_bytes()) else {
            return Ok(());
        };
        prop_assert!(is_within(&product.name, 1..=200) && product.name.trim() == product.name);
        prop_assert!(product.description.is_none_or(|text| is_within(&text, 0..=5_000)));
        let url = product.image_url.unwrap_or_else(|| "https://shop.example".into());
        prop_assert!(is_within(&url, 1..=2_048) && url.to_ascii_lowercase().starts_with("http"));
        prop_assert!(is_money(&product.price) && product.original_price.as_ref().is_none_or(is_money));
        prop_assert!(product.original_price.is_none_or(|money| money.currency == product.price.currency));
        prop_assert!((0..=1_000_000_000).contains(&product.stock));
        prop_assert!((1..=1_000).contains(&product.purchase_limit));
        prop_assert!(product.sale_start_time < product.sale_end_time);
    }

    #[test]
    fn a_change_that_is_read_keeps_the_bounds(body in body()) {
        // The stock is no member of a change.
        let mut body = body;
        body.as_object_mut().map(|members| members.remove("stock"));
        let Ok(change) = parse_fields::<ChangeProductRequest>(body.to_string().as_bytes()) else {
            return Ok(());
        };
        prop_assert!(change.name.is_none_or(|name| is_within(&name, 1..=200)));
        prop_assert!(change.price.as_ref().is_none_or(is_money));
        prop_assert!(change.purchase_limit.is_none_or(|limit| (1..=1_000).contains(&limit)));
        prop_assert!(change.sale_start_time.zip(change.sale_end_time).is_none_or(|(start, end)| start < end));
    }
}
