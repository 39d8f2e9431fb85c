//! What a lane knows about its product's buyers: how many units each one has, and the purchases made with a key.
//!
//! What is recorded is true, but may be incomplete. Nothing has to be read for buyers who are known completely. These
//! are either all (the lane has existed since the first purchase, so a user without a record has bought nothing) or
//! those whose purchases were read.

use std::collections::HashMap;

use crate::model::id::Id;
use crate::model::money::Price;
use crate::model::purchase::Purchase;

/// The buyers of one product, as of the `sequence` up to which the lane has followed the sale.
#[derive(Debug, Default)]
pub struct Buyers {
    known: HashMap<Id, Buyer>,
    complete: bool,
    /// Purchases with a key, over all buyers in `known`.
    keyed_count: usize,
}

#[derive(Debug, Default)]
struct Buyer {
    /// A lower bound; exact if the buyer is known completely.
    units: i64,
    /// All purchases were recorded.
    is_whole: bool,
    /// Only purchases with a key: a repeated request is answered with one of them.
    keyed: Vec<KeyedPurchase>,
}

/// The purchase that answers a repeated request, and what the request must ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedPurchase {
    pub id: Id,
    pub quantity: i64,
    pub unit_price: Price,
    key: Box<str>,
}

impl Buyers {
    /// For a product that nobody has bought yet: all its buyers are known.
    pub fn all_of_none() -> Self {
        Self { complete: true, ..Self::default() }
    }

    pub fn unknown() -> Self {
        Self::default()
    }

    /// How much is remembered: buyers plus purchases with a key.
    pub fn count(&self) -> usize {
        self.known.len() + self.keyed_count
    }

    /// Whether all of this user's purchases were recorded.
    pub fn knows(&self, user: Id) -> bool {
        self.complete || self.known.get(&user).is_some_and(|buyer| buyer.is_whole)
    }

    /// The units that this user has; a lower bound unless the user is known.
    pub fn units(&self, user: Id) -> i64 {
        self.known.get(&user).map_or(0, |buyer| buyer.units)
    }

    /// The purchase that this user made with `key`, if it was recorded.
    pub fn purchase_with_key(&self, user: Id, key: &str) -> Option<&KeyedPurchase> {
        self.known.get(&user)?.keyed.iter().find(|purchase| *purchase.key == *key)
    }

    /// Marks these users as known: all their purchases were recorded.
    pub fn introduce(&mut self, users: impl IntoIterator<Item = Id>) {
        for user in users {
            self.known.entry(user).or_default().is_whole = true;
        }
    }

    /// Records a purchase; recording it again changes nothing. A buyer's units are numbered without gaps, so the last
    /// number is their count.
    pub fn record(&mut self, purchase: &Purchase) {
        let buyer = self.known.entry(purchase.user_id).or_default();
        buyer.units = buyer.units.max(purchase.first_unit - 1 + purchase.quantity);
        if let Some(key) = purchase.idempotency_key.as_deref()
            && buyer.keyed.iter().all(|keyed| keyed.id != purchase.id)
        {
            buyer.keyed.push(KeyedPurchase {
                id: purchase.id,
                quantity: purchase.quantity,
                unit_price: Price::from(&purchase.unit_price),
                key: key.into(),
            });
            self.keyed_count += 1;
        }
    }
}
