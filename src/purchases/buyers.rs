//! What a lane knows about its product's buyers: how many units each one has, what they let lapse, and the purchases made
//! with a key.
//!
//! What is recorded is true, but may be incomplete. Nothing has to be read for buyers who are known completely. These
//! are either all (the lane has existed since the first purchase, so a user without a record has bought nothing) or
//! those whose purchases were read.
//!
//! A buyer's units are numbered, those too that were given back, so a unique index refuses a purchase of a buyer of whom
//! too little is known. No index knows what was given back, so changes of purchases are always followed
//! (`lane::sale_view`).

use std::collections::HashMap;

use mongodb::bson::DateTime;

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
    /// The number of their last unit: a lower bound; exact if the buyer is known completely.
    last_unit: i64,
    /// All purchases were recorded.
    is_whole: bool,
    /// Only purchases with a key: a repeated request is answered with one of them.
    keyed: Vec<KeyedPurchase>,
    /// Only of buyers of whom a purchase has changed since it was made.
    changes: Option<Box<Changes>>,
}

/// What has changed of a buyer's purchases.
#[derive(Debug)]
struct Changes {
    /// The purchases whose units they have no more.
    released: Vec<Released>,
    /// When one of them last changed.
    at: DateTime,
}

#[derive(Debug)]
struct Released {
    purchase: Id,
    units: i64,
    is_lapse: bool,
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

    /// The number of this user's last unit, those counted that were given back; a lower bound unless the user is known.
    pub fn last_unit(&self, user: Id) -> i64 {
        self.known.get(&user).map_or(0, |buyer| buyer.last_unit)
    }

    /// The units that this user has; exact if the user is known.
    pub fn units(&self, user: Id) -> i64 {
        let given_back =
            |changes: &Changes| changes.released.iter().map(|released| released.units).sum::<i64>();
        self.last_unit(user) - self.changes_of(user).map_or(0, given_back)
    }

    /// The purchases that this user let lapse; exact if the user is known.
    pub fn lapses(&self, user: Id) -> i64 {
        let lapses = |changes: &Changes| changes.released.iter().filter(|released| released.is_lapse).count();
        i64::try_from(self.changes_of(user).map_or(0, lapses)).unwrap_or(i64::MAX)
    }

    /// When a purchase of this user last changed: since then a purchase may be allowed that was refused before.
    pub fn changed_at(&self, user: Id) -> DateTime {
        self.changes_of(user).map_or(DateTime::MIN, |changes| changes.at)
    }

    fn changes_of(&self, user: Id) -> Option<&Changes> {
        self.known.get(&user)?.changes.as_deref()
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

    /// Records a purchase as it is now; recording it again changes nothing. A buyer's units are numbered without gaps, so
    /// the last number is their count.
    pub fn record(&mut self, purchase: &Purchase) {
        let buyer = self.known.entry(purchase.user_id).or_default();
        buyer.last_unit = buyer.last_unit.max(purchase.first_unit - 1 + purchase.quantity);
        if purchase.changed_in_version.is_some() {
            buyer.changes.get_or_insert_with(Box::default).record(purchase);
        }
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

    /// Records what has become of a purchase. Of a buyer who is not known everything is forgotten: a part of their changes
    /// would say too little.
    pub fn record_change(&mut self, purchase: &Purchase) {
        if self.knows(purchase.user_id) {
            self.record(purchase);
        } else if let Some(buyer) = self.known.remove(&purchase.user_id) {
            self.keyed_count -= buyer.keyed.len();
        }
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self { released: Vec::new(), at: DateTime::MIN }
    }
}

impl Changes {
    fn record(&mut self, purchase: &Purchase) {
        self.at = self.at.max(purchase.status_changed_at());
        self.released.retain(|released| released.purchase != purchase.id);
        if purchase.status.is_released() {
            let (units, is_lapse) = (purchase.quantity, purchase.lapsed);
            self.released.push(Released { purchase: purchase.id, units, is_lapse });
        }
    }
}
