//! The bodies that an admin sends: a new product, a change of a product, a restock.

use iso_currency::Currency;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde_json::Value;

use crate::http::body::FromFields;
use crate::http::fields::{Fields, boolean, http_url, integer, line, timestamp, verbatim};
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
/// How long a purchase may hold its units until it is paid for, in seconds.
pub const PAYMENT_WINDOW_SECONDS: std::ops::RangeInclusive<i64> = 60..=86_400;
/// The longest name of a product, in characters.
pub const NAME_CHARACTERS_MAX: usize = 200;
/// The longest description, in characters.
pub const DESCRIPTION_CHARACTERS_MAX: usize = 5_000;
/// Refuses a `saleEndTime` that is not after the start.
pub const END_BEFORE_START: &str = "must be later than saleStartTime";
/// Refuses a new `saleStartTime` that is not before the end.
pub const START_AFTER_END: &str = "must be earlier than saleEndTime";
/// Refuses a price and an original price in different currencies.
pub const OTHER_CURRENCY: &str = "must be the same for price and originalPrice";

/// The price of one unit, at most 10^12 minor units.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "only a schema: the `Money` of a request, which has an upper bound")]
pub struct Price {
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
    /// How long a purchase holds its units until it is paid for, in seconds; without it a purchase is final at once.
    #[schema(value_type = Option<i64>, minimum = 60, maximum = 86_400, example = 900)]
    pub payment_window_seconds: Option<i64>,
    /// Accounts that were made later may not buy.
    pub registered_before: Option<Timestamp>,
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
        let payment_window_seconds = fields.optional("paymentWindowSeconds", integer(PAYMENT_WINDOW_SECONDS));
        let registered_before = fields.optional("registeredBefore", timestamp);
        check_currencies(fields, price.as_ref(), original_price.as_ref());
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
            payment_window_seconds,
            registered_before,
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
            payment_window_seconds: self.payment_window_seconds,
            registered_before: self.registered_before.map(DateTime::from),
            ..Product::new(self.name, self.price, self.stock, sale, now.into())
        }
    }
}

/// A change of a product: missing members stay as they are. `description`, `imageUrl`, `originalPrice`,
/// `paymentWindowSeconds` and `registeredBefore` can be cleared with null. The stock has a route of its own.
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
    /// How long a purchase holds its units until it is paid for, in seconds; of purchases from now on.
    #[schema(value_type = Option<i64>, minimum = 60, maximum = 86_400, example = 900)]
    pub payment_window_seconds: Option<Option<i64>>,
    /// Accounts that were made later may not buy.
    #[schema(value_type = Option<Timestamp>)]
    pub registered_before: Option<Option<Timestamp>>,
    /// True refuses every purchase with `sale_paused`, until it is false again.
    #[schema(value_type = bool, required = false, example = true)]
    pub paused: Option<bool>,
}

impl FromFields for ChangeProductRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let sale_start_time = fields.changed("saleStartTime", timestamp);
        let sale_end_time = fields.changed("saleEndTime", timestamp);
        if sale_start_time.zip(sale_end_time).is_some_and(|(start, end)| end <= start) {
            fields.wrong("saleEndTime", END_BEFORE_START);
        }
        let name = fields.changed("name", line(1..=NAME_CHARACTERS_MAX));
        let description = fields.clearable("description", verbatim(0..=DESCRIPTION_CHARACTERS_MAX));
        let image_url = fields.clearable("imageUrl", http_url);
        let price = fields.take("price").and_then(|value| money(fields, "price", value));
        let original_price = match fields.take("originalPrice") {
            None => None,
            Some(Value::Null) => Some(None),
            Some(value) => money(fields, "originalPrice", value).map(Some),
        };
        check_currencies(fields, price.as_ref(), original_price.as_ref().and_then(Option::as_ref));
        Some(Self {
            name,
            description,
            image_url,
            price,
            original_price,
            sale_start_time,
            sale_end_time,
            purchase_limit: fields.changed("purchaseLimit", integer(1..=QUANTITY_MAX)),
            payment_window_seconds: fields.clearable("paymentWindowSeconds", integer(PAYMENT_WINDOW_SECONDS)),
            registered_before: fields.clearable("registeredBefore", timestamp),
            paused: fields.changed("paused", boolean),
        })
    }
}

impl ChangeProductRequest {
    /// Whether a purchase that was refused before may be allowed after this change.
    fn reopens(&self) -> bool {
        self.price.is_some()
            || self.purchase_limit.is_some()
            || self.payment_window_seconds.is_some()
            || self.registered_before.is_some()
            || self.paused == Some(false)
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
        if let Some(window) = self.payment_window_seconds {
            set.insert("paymentWindowSeconds", window);
        }
        if let Some(registered_before) = self.registered_before {
            set.insert("registeredBefore", registered_before.map(DateTime::from));
        }
        if let Some(paused) = self.paused {
            set.insert("paused", paused);
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

/// Reports an original price that is in another currency than the price.
fn check_currencies(fields: &mut Fields, price: Option<&Money>, original_price: Option<&Money>) {
    if price.zip(original_price).is_some_and(|(price, original)| price.currency != original.currency) {
        fields.wrong("originalPrice.currency", OTHER_CURRENCY);
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

/// A price as a client sends it.
pub fn money(fields: &mut Fields, name: &str, value: Value) -> Option<Money> {
    money_up_to(AMOUNT_MAX, fields, name, value)
}

/// An amount of money as a client sends it, at most `amount_max` minor units.
pub fn money_up_to(amount_max: i64, fields: &mut Fields, name: &str, value: Value) -> Option<Money> {
    fields.nested(name, value, |fields| {
        let amount = fields.required("amount", integer(0..=amount_max));
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
mod tests;
