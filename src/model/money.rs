//! Amounts of money.

use mongodb::bson::{Bson, doc};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::number::whole;

/// An amount of money in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Money {
    /// In the currency's minor unit (cents).
    #[schema(minimum = 0, example = 1999)]
    #[serde(deserialize_with = "amount")]
    pub amount: i64,
    /// The ISO 4217 code.
    #[schema(example = "USD", pattern = "^[A-Z]{3}$")]
    pub currency: String,
}

/// Money for comparing: it is copied, not cloned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    amount: i64,
    currency: [u8; 3],
}

impl From<&Money> for Price {
    fn from(money: &Money) -> Self {
        // A currency that is no ISO 4217 code, as somebody's script may have written, equals none that a client can name.
        let currency = money.currency.as_bytes().try_into().unwrap_or_default();
        Self { amount: money.amount, currency }
    }
}

impl From<&Money> for Bson {
    fn from(money: &Money) -> Self {
        doc! { "amount": money.amount, "currency": &money.currency }.into()
    }
}

/// Reads a whole number. MongoDB's older shell writes `1999` as a floating-point number.
fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Integer(i64),
        Double(f64),
    }
    match Number::deserialize(deserializer)? {
        Number::Integer(amount) => Ok(amount),
        Number::Double(amount) => whole(amount).ok_or_else(|| Error::custom("not a whole number")),
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::deserialize_from_document;

    use super::*;

    #[test]
    fn an_amount_from_the_shell_is_read_if_it_is_whole() {
        let read = |amount: f64| {
            deserialize_from_document::<Money>(doc! { "amount": amount, "currency": "EUR" })
                .map(|money| money.amount)
        };
        assert_eq!(read(1999.0).ok(), Some(1999));
        assert!(read(19.99).is_err());
        assert!(read(1e300).is_err());
    }
}
