//! The bodies that an admin sends: a new product, a change of a product, a restock.

use iso_currency::Currency;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde_json::Value;

use crate::http::body::FromFields;
use crate::http::fields::{Fields, http_url, integer, line, timestamp, verbatim};
use crate::model::money::Money;
use crate::model::product::Product;
use crate::model::text::folded;
use crate::model::timestamp::Timestamp;

/// The largest amount of a price, in minor units.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000;
/// The largest stock, in units.
pub const STOCK_MAX: i64 = 1_000_000_000;
/// The largest purchase limit, and the largest quantity of one purchase or restock, in units.
pub const QUANTITY_MAX: i64 = 1_000;
/// The longest name of a product, in characters.
pub const NAME_CHARACTERS_MAX: usize = 200;
/// The longest description, in characters.
pub const DESCRIPTION_CHARACTERS_MAX: usize = 5_000;
/// Refuses a `saleEndTime` that is not after the start.
pub const END_BEFORE_START: &str = "must be later than saleStartTime";
/// Refuses a new `saleStartTime` that is not before the end.
pub const START_AFTER_END: &str = "must be earlier than saleEndTime";

/// The price of one unit, at most 10^12 minor units.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only a schema: the `Money` of a request, which has an upper bound")]
struct Price {
    /// In the currency's minor unit (cents).
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64, example = 1999)]
    amount: i64,
    /// The ISO 4217 code.
    #[schema(example = "USD", pattern = "^[A-Z]{3}$")]
    currency: String,
}

/// A new product.
#[derive(Debug, utoipa::ToSchema)]
#[schema(rename_all = "camelCase", example = json!({
    "name": "Limited sneaker", "description": "One run, numbered.", "imageUrl": "https://shop.example/sneaker.jpg",
    "price": { "amount": 1999, "currency": "USD" }, "originalPrice": { "amount": 2999, "currency": "USD" },
    "stock": 100, "saleStartTime": "2025-01-01T00:00:00.000Z", "saleEndTime": "2099-12-31T00:00:00.000Z",
    "purchaseLimit": 2,
}))]
pub struct CreateProductRequest {
    /// The product's name.
    #[schema(min_length = 1, max_length = 200, example = "Limited sneaker")]
    pub name: String,
    /// A text about the product.
    #[schema(max_length = 5000, example = "One run, numbered.")]
    pub description: Option<String>,
    /// The http(s) URL of a picture.
    #[schema(
        max_length = 2048,
        pattern = r"^https?://[^\s/?#]",
        example = "https://shop.example/sneaker.jpg"
    )]
    pub image_url: Option<String>,
    /// The price of one unit.
    #[schema(value_type = Price)]
    pub price: Money,
    /// The price of one unit outside the sale.
    #[schema(value_type = Option<Price>)]
    pub original_price: Option<Money>,
    /// Units to sell.
    #[schema(minimum = 0, maximum = 1_000_000_000, example = 100)]
    pub stock: i64,
    /// The first moment of the sale.
    pub sale_start_time: Timestamp,
    /// The first moment after the sale; later than `saleStartTime`.
    pub sale_end_time: Timestamp,
    /// The most units that one buyer may have; 1 if missing.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 1000, example = 1)]
    pub purchase_limit: i64,
}

impl FromFields for CreateProductRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let name = fields.required("name", line(1..=NAME_CHARACTERS_MAX));
        let description = fields.optional("description", verbatim(0..=DESCRIPTION_CHARACTERS_MAX));
        let image_url = fields.optional("imageUrl", http_url);
        let price = match fields.take("price") {
            Some(value) => money(fields, "price", value),
            None => {
                fields.wrong("price", "is required");
                None
            }
        };
        let original_price = match fields.take("originalPrice") {
            None | Some(Value::Null) => None,
            Some(value) => money(fields, "originalPrice", value),
        };
        let stock = fields.required("stock", integer(0..=STOCK_MAX));
        let sale_start_time = fields.required("saleStartTime", timestamp);
        let sale_end_time = fields.required("saleEndTime", timestamp);
        if sale_start_time.zip(sale_end_time).is_some_and(|(start, end)| end <= start) {
            fields.wrong("saleEndTime", END_BEFORE_START);
        }
        let purchase_limit = fields.optional("purchaseLimit", integer(1..=QUANTITY_MAX));
        Some(Self {
            name: name?,
            description,
            image_url,
            price: price?,
            original_price,
            stock: stock?,
            sale_start_time: sale_start_time?,
            sale_end_time: sale_end_time?,
            purchase_limit: purchase_limit.unwrap_or(1),
        })
    }
}

impl CreateProductRequest {
    pub fn into_product(self, now: Timestamp) -> Product {
        let sale = (self.sale_start_time.into(), self.sale_end_time.into());
        Product {
            description: self.description,
            image_url: self.image_url,
            original_price: self.original_price,
            purchase_limit: self.purchase_limit,
            ..Product::new(self.name, self.price, self.stock, sale, now.into())
        }
    }
}

/// A change of a product: missing members stay as they are. `description`, `imageUrl` and `originalPrice` can be
/// cleared with null. The stock has a route of its own.
#[derive(Debug, Default, utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ChangeProductRequest {
    /// The product's name.
    #[schema(value_type = String, required = false, min_length = 1, max_length = 200, example = "Limited sneaker, second run")]
    pub name: Option<String>,
    /// A text about the product.
    #[schema(value_type = Option<String>, max_length = 5000)]
    pub description: Option<Option<String>>,
    /// The http(s) URL of a picture.
    #[schema(value_type = Option<String>, max_length = 2048, pattern = r"^https?://[^\s/?#]")]
    pub image_url: Option<Option<String>>,
    /// The price of one unit.
    #[schema(value_type = Price, required = false)]
    pub price: Option<Money>,
    /// The price of one unit outside the sale.
    #[schema(value_type = Option<Price>)]
    pub original_price: Option<Option<Money>>,
    /// The first moment of the sale.
    #[schema(value_type = Timestamp, required = false)]
    pub sale_start_time: Option<Timestamp>,
    /// The first moment after the sale; later than `saleStartTime`.
    #[schema(value_type = Timestamp, required = false)]
    pub sale_end_time: Option<Timestamp>,
    /// The most units that one buyer may have.
    #[schema(value_type = i64, required = false, minimum = 1, maximum = 1000, example = 2)]
    pub purchase_limit: Option<i64>,
}

impl FromFields for ChangeProductRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let sale_start_time = fields.changed("saleStartTime", timestamp);
        let sale_end_time = fields.changed("saleEndTime", timestamp);
        if sale_start_time.zip(sale_end_time).is_some_and(|(start, end)| end <= start) {
            fields.wrong("saleEndTime", END_BEFORE_START);
        }
        Some(Self {
            name: fields.changed("name", line(1..=NAME_CHARACTERS_MAX)),
            description: fields.clearable("description", verbatim(0..=DESCRIPTION_CHARACTERS_MAX)),
            image_url: fields.clearable("imageUrl", http_url),
            price: fields.take("price").and_then(|value| money(fields, "price", value)),
            original_price: match fields.take("originalPrice") {
                None => None,
                Some(Value::Null) => Some(None),
                Some(value) => money(fields, "originalPrice", value).map(Some),
            },
            sale_start_time,
            sale_end_time,
            purchase_limit: fields.changed("purchaseLimit", integer(1..=QUANTITY_MAX)),
        })
    }
}

impl ChangeProductRequest {
    /// Whether a purchase that was refused before may be allowed after this change.
    fn reopens(&self) -> bool {
        self.price.is_some()
            || self.purchase_limit.is_some()
            || self.sale_start_time.is_some()
            || self.sale_end_time.is_some()
    }

    /// The MongoDB update for this change; `None` if the request changes nothing. A cleared member becomes null.
    pub fn update(&self, now: Timestamp) -> Option<Document> {
        let mut set = Document::new();
        if let Some(name) = &self.name {
            set.insert("name", name);
            set.insert("nameFolded", folded(name));
        }
        if let Some(description) = &self.description {
            set.insert("description", description.clone());
        }
        if let Some(image_url) = &self.image_url {
            set.insert("imageUrl", image_url.clone());
        }
        if let Some(price) = &self.price {
            set.insert("price", price);
        }
        if let Some(original_price) = &self.original_price {
            set.insert("originalPrice", original_price.as_ref().map(Bson::from));
        }
        if let Some(start) = self.sale_start_time {
            set.insert("saleStartTime", DateTime::from(start));
        }
        if let Some(end) = self.sale_end_time {
            set.insert("saleEndTime", DateTime::from(end));
        }
        if let Some(limit) = self.purchase_limit {
            set.insert("purchaseLimit", limit);
        }
        if set.is_empty() {
            return None;
        }
        let max = doc! { "updatedAt": DateTime::from(now) };
        let mut update = doc! { "$set": set, "$inc": { "version": 1_i64 }, "$max": max };
        if self.reopens() {
            update.insert("$currentDate", doc! { "reopenedAt": true });
        }
        Some(update)
    }
}

/// More stock for a product.
#[derive(Debug, utoipa::ToSchema)]
pub struct RestockRequest {
    /// Units to add.
    #[schema(minimum = 1, maximum = 1000, example = 50)]
    pub quantity: i64,
}

impl FromFields for RestockRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        Some(Self { quantity: fields.required("quantity", integer(1..=QUANTITY_MAX))? })
    }
}

fn money(fields: &mut Fields, name: &str, value: Value) -> Option<Money> {
    fields.nested(name, value, |fields| {
        let amount = fields.required("amount", integer(0..=AMOUNT_MAX));
        let currency = fields.required("currency", currency);
        Some(Money { amount: amount?, currency: currency? })
    })
}

fn currency(value: Value) -> Result<String, String> {
    value
        .as_str()
        .and_then(Currency::from_code)
        .map(|currency| currency.code().to_owned())
        .ok_or_else(|| "must be an ISO 4217 code like USD".into())
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
    use crate::http::body::parse_fields;

    fn price() -> BoxedStrategy<Value> {
        let amount =
            select(vec![json!(0), json!(1999), json!(5.0), json!(AMOUNT_MAX), json!(AMOUNT_MAX + 1)]);
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
}
