//! The idempotency keys that this server knows to be used, and for which product. A key that was used for another product
//! is refused before it reaches a transaction: there a unique index would refuse it, and the transaction of all who share
//! it would have to be run again in halves.
//!
//! A key never loses its purchase, so what is remembered stays true. What was forgotten, or sold by another
//! server, is left to the unique index.

use quick_cache::sync::Cache;

use crate::model::id::Id;

/// The product of each used key, by user.
pub struct UsedKeys(Cache<(Id, Box<str>), Id>);

impl UsedKeys {
    /// Remembers at most `keys_max` keys.
    pub fn new(keys_max: usize) -> Self {
        Self(Cache::new(keys_max))
    }

    /// Notes that the user has bought `product` with this key.
    pub fn record(&self, user: Id, key: &str, product: Id) {
        self.0.insert((user, key.into()), product);
    }

    /// Whether the user is known to have bought something with this key.
    pub fn is_used(&self, user: Id, key: &str) -> bool {
        self.0.get(&(user, key.into())).is_some()
    }

    /// Whether the user is known to have bought another product than `product` with this key.
    pub fn is_used_elsewhere(&self, user: Id, key: &str, product: Id) -> bool {
        self.0.get(&(user, key.into())).is_some_and(|used_for| used_for != product)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_used_for_one_product_of_one_user() {
        let [ada, eve, sneaker, shirt] = [1, 2, 3, 4].map(|number| Id::from_bytes([number; 12]));
        let keys = UsedKeys::new(10);
        keys.record(ada, "once", sneaker);
        assert!(keys.is_used_elsewhere(ada, "once", shirt));
        assert!(!keys.is_used_elsewhere(ada, "once", sneaker));
        assert!(!keys.is_used_elsewhere(ada, "twice", shirt));
        assert!(!keys.is_used_elsewhere(eve, "once", shirt));
        assert!(keys.is_used(ada, "once") && !keys.is_used(ada, "twice") && !keys.is_used(eve, "once"));
    }
}
