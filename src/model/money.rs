//! Amounts of money.

use mongodb::bson::{Bson, doc};
use serde::{Deserialize, Serialize};

/// An amount of money in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Money {
    /// In the currency's minor unit (cents).
    #[schema(minimum = 0, example = 1999)]
    pub amount: i64,
    /// The ISO 4217 code.
    #[schema(example = "USD", pattern = "^[A-Z]{3}$")]
    pub currency: String,
}

impl From<&Money> for Bson {
    fn from(money: &Money) -> Self {
        doc! { "amount": money.amount, "currency": &money.currency }.into()
    }
}
