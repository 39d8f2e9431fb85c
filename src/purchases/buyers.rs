//! What a lane knows of its product's buyers: how many units each one has, and the purchases made with a key.
//!
//! What is noted is true, and may be less than all. Of whom it is known to be all, nothing has to be read: either of
//! everybody (the lane has been there since the first purchase), so that who is missing has bought nothing, or of those whose
//! purchases were read.

use std::collections::HashMap;

use crate::model::id::Id;
use crate::model::purchase::Purchase;

/// The buyers of one product. Whom they know, they know as of the `sequence` up to which the lane has followed the sale.
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
    /// At least so many.
    units: i64,
    /// All purchases were noted.
    is_whole: bool,
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

    /// Whether all of this user's purchases were noted.
    pub fn knows(&self, user: Id) -> bool {
        self.complete || self.known.get(&user).is_some_and(|buyer| buyer.is_whole)
    }

    /// The units that this user has: all of a known one's, of another at least so many.
    pub fn units(&self, user: Id) -> i64 {
        self.known.get(&user).map_or(0, |buyer| buyer.units)
    }

    /// The purchase that this user made with `key`, if it was noted.
    pub fn purchase_with_key(&self, user: Id, key: &str) -> Option<&KeyedPurchase> {
        self.known.get(&user)?.keyed.iter().find(|purchase| *purchase.key == *key)
    }

    /// Makes these users known: all their purchases were noted.
    pub fn introduce(&mut self, users: impl IntoIterator<Item = Id>) {
        for user in users {
            self.known.entry(user).or_default().is_whole = true;
        }
    }

    /// Notes a purchase; one that was noted before changes nothing. A buyer's units are numbered without gaps, so the last
    /// one tells how many there are.
    pub fn record(&mut self, purchase: &Purchase) {
        let buyer = self.known.entry(purchase.user_id).or_default();
        buyer.units = buyer.units.max(purchase.first_unit - 1 + purchase.quantity);
        if let Some(key) = purchase.idempotency_key.as_deref()
            && buyer.keyed.iter().all(|keyed| keyed.id != purchase.id)
        {
            buyer.keyed.push(KeyedPurchase { id: purchase.id, quantity: purchase.quantity, key: key.into() });
            self.keyed_count += 1;
        }
    }
}
