//! What a lane knows of its product's buyers: how many units each one has, and the purchases made with a key.
//!
//! It is exact, never a guess: either *all* buyers of the product are known (the lane has been there since the first
//! purchase), so that who is missing has bought nothing, or only some are, and the others are read when they ask.

use std::collections::HashMap;

use super::model::Purchase;
use crate::id::Id;

/// The buyers of one product, as of the `sequence` up to which its lane has followed the sale.
#[derive(Debug, Default)]
pub struct Buyers {
    known: HashMap<Id, Buyer>,
    complete: bool,
    /// The purchases with a key among the known.
    keyed_count: usize,
}

/// What one buyer has of the product.
#[derive(Debug, Default)]
struct Buyer {
    units: i64,
    /// Only purchases with a key: they are what a repetition answers.
    keyed: Vec<KeyedPurchase>,
}

/// What a repetition is compared with, and the purchase that answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedPurchase {
    /// The purchase.
    pub id: Id,
    /// The units that were asked for.
    pub quantity: i64,
    key: Box<str>,
}

impl Buyers {
    /// The buyers of a product that nobody has bought yet: all are known.
    pub fn all_of_none() -> Self {
        Self { complete: true, ..Self::default() }
    }

    /// Nothing is known yet.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// How much is remembered: buyers, and purchases with a key.
    pub fn count(&self) -> usize {
        self.known.len() + self.keyed_count
    }

    /// Whether this user's purchases are known.
    pub fn knows(&self, user: Id) -> bool {
        self.complete || self.known.contains_key(&user)
    }

    /// The units that this known user has.
    pub fn units(&self, user: Id) -> i64 {
        debug_assert!(self.knows(user), "the lane has to read a buyer before it settles");
        self.known.get(&user).map_or(0, |buyer| buyer.units)
    }

    /// The purchase that this known user made with `key`.
    pub fn purchase_with_key(&self, user: Id, key: &str) -> Option<&KeyedPurchase> {
        self.known.get(&user)?.keyed.iter().find(|purchase| *purchase.key == *key)
    }

    /// Makes these users known, with no purchases yet: their history follows through `record`.
    pub fn introduce(&mut self, users: impl IntoIterator<Item = Id>) {
        for user in users {
            self.known.entry(user).or_default();
        }
    }

    /// Adds a purchase of the sale. One of a user who is not known says nothing about that user's others, so it is
    /// left to be read when the user asks.
    pub fn record(&mut self, purchase: &Purchase) {
        if !self.knows(purchase.user_id) {
            return;
        }
        let buyer = self.known.entry(purchase.user_id).or_default();
        buyer.units += purchase.quantity;
        if let Some(key) = purchase.idempotency_key.as_deref() {
            buyer.keyed.push(KeyedPurchase { id: purchase.id, quantity: purchase.quantity, key: key.into() });
            self.keyed_count += 1;
        }
    }
}
