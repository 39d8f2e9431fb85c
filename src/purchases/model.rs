//! A purchase, as the database holds it and as its buyer sees it.

use mongodb::bson::DateTime;
use serde::{Deserialize, Serialize};

use crate::http::fields::is_hidden;
use crate::id::Id;
use crate::products::model::Money;
use crate::timestamp::Timestamp;

/// The document in `purchases`. It is written once and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Purchase {
    /// The id.
    #[serde(rename = "_id")]
    pub id: Id,
    /// What was bought.
    pub product_id: Id,
    /// Who bought it.
    pub user_id: Id,
    /// The buyer's name as the leaderboard shows it.
    pub buyer: String,
    /// Units.
    pub quantity: i64,
    /// What one unit cost.
    pub unit_price: Money,
    /// The number of this purchase among the product's: 1, 2, 3 ... in commit order without gaps.
    pub sequence: i64,
    /// The number of its first unit among the buyer's units of this product, from 1.
    pub first_unit: i64,
    /// The database's clock; never decreases along `sequence`.
    pub purchased_at: DateTime,
    /// The client's key, which makes a repetition answer this purchase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// A purchase as the API shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Purchase)]
pub struct PurchaseView {
    /// 24 hexadecimal digits.
    #[schema(example = "65f1c0ffee65f1c0ffee65f3")]
    pub id: String,
    /// What was bought.
    #[schema(example = "65f1c0ffee65f1c0ffee65f1")]
    pub product_id: String,
    /// Who bought it.
    #[schema(example = "65f1c0ffee65f1c0ffee65f2")]
    pub user_id: String,
    /// Units.
    #[schema(minimum = 1, maximum = 1000, example = 1)]
    pub quantity: i64,
    /// What one unit cost.
    pub unit_price: Money,
    /// What all units cost.
    pub total: Money,
    /// The number of this purchase among the product's: 1, 2, 3 ... in commit order without gaps.
    #[schema(minimum = 1, example = 17)]
    pub sequence: i64,
    /// The database's clock; never decreases along `sequence`.
    pub purchased_at: Timestamp,
}

impl From<&Purchase> for PurchaseView {
    fn from(purchase: &Purchase) -> Self {
        // At most 10^12 times 1,000: far from the end of an i64.
        let total = purchase.unit_price.amount * purchase.quantity;
        Self {
            id: purchase.id.to_hex(),
            product_id: purchase.product_id.to_hex(),
            user_id: purchase.user_id.to_hex(),
            quantity: purchase.quantity,
            unit_price: purchase.unit_price.clone(),
            total: Money { amount: total, currency: purchase.unit_price.currency.clone() },
            sequence: purchase.sequence,
            purchased_at: purchase.purchased_at.into(),
        }
    }
}

/// What stands in an address, in all its widths.
const AT_SIGNS: [char; 3] = ['@', '\u{ff20}', '\u{fe6b}'];

/// A name as everybody may see it: the first name and the initial of the last, never an e-mail address.
pub fn public_name(name: &str) -> String {
    // A token's name comes from outside: an address is none, and neither is what shows no letter or digit.
    let visible: String = name.chars().filter(|character| !is_hidden(*character)).collect();
    let is_name = |word: &&str| !word.contains(AT_SIGNS) && word.chars().any(char::is_alphanumeric);
    let mut words = visible.split_whitespace().filter(is_name);
    let Some(first) = words.next() else { return "Anonymous".into() };
    match words.next_back().and_then(|last| last.chars().find(|character| character.is_alphanumeric())) {
        Some(initial) => format!("{first} {}.", initial.to_uppercase()),
        None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_name_tells_little() {
        for (name, expected) in [
            ("Ada Lovelace", "Ada L."),
            ("Ada", "Ada"),
            ("Johann Sebastian bach", "Johann B."),
            ("  Éa   ørsted ", "Éa Ø."),
            ("ada@shop.example", "Anonymous"),
            ("Ada ada@shop.example", "Ada"),
            ("", "Anonymous"),
            ("\u{200b} \u{202e}", "Anonymous"),
            ("\u{202e}Eve\u{0} \u{200b}right", "Eve R."),
            ("Ada (admin)", "Ada A."),
            ("ada\u{ff20}shop.example Lovelace", "Lovelace"),
        ] {
            assert_eq!(public_name(name), expected);
        }
    }
}
