//! Who bought what and when, computed from a purchase's number, so that purchases can be written in any order.
//!
//! Every tenth purchase is of the hot product (number 0), the others of the other products in turn. The first
//! purchase of each of those belongs to the collector, a user with an extreme number of purchases; all other buyers
//! have about ten.

use flash_sale::model::id::Id;
use flash_sale::model::product::Product;
use flash_sale::model::purchase::Purchase;
use mongodb::bson::{DateTime, RawDocumentBuf};

use super::documents;
use crate::Outcome;

/// One purchase in this many is of the hot product.
const HOT_EVERY: u64 = 10;
/// The time between two purchases: ten million take eleven days.
const INTERVAL_MS: u64 = 100;
/// The stock left of each product.
const STOCK_LEFT: i64 = 1_000_000;
/// The kind of an id, set in its last eight bytes so that ids of different kinds never collide.
const PRODUCT: u64 = 1 << 56;
const BUYER: u64 = 2 << 56;
const PURCHASE: u64 = 3 << 56;

pub struct Plan {
    pub purchases: u64,
    pub products: u64,
    /// Different buyers, without the collector.
    buyers: u64,
    start_ms: u64,
    start_seconds: u32,
}

impl Plan {
    /// A history that ends now.
    pub fn new(purchases: u64, products: u64) -> Outcome<Self> {
        if products < 2 || purchases < products * HOT_EVERY {
            return Err("--products has to be at least 2, and --purchases ten times that".into());
        }
        let now_ms = u64::try_from(DateTime::now().timestamp_millis())?;
        let start_ms = now_ms - purchases * INTERVAL_MS;
        let start_seconds = u32::try_from(start_ms / 1000)?;
        // As many buyers as the most popular product has purchases, so that nobody buys a product twice.
        let hot = purchases.div_ceil(HOT_EVERY);
        let buyers = hot.max((purchases - hot).div_ceil(products - 1));
        Ok(Self { purchases, products, buyers, start_ms, start_seconds })
    }

    fn id(&self, kind: u64, number: u64) -> Id {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.start_seconds.to_be_bytes());
        bytes[4..].copy_from_slice(&(kind + number).to_be_bytes());
        Id::from_bytes(bytes)
    }

    pub fn product_id(&self, number: u64) -> Id {
        self.id(PRODUCT, number)
    }

    /// The buyer of the first purchase of each product except the hot one.
    pub fn collector(&self) -> Id {
        self.id(BUYER, 0)
    }

    /// How many purchases the collector has.
    pub fn collector_count(&self) -> u64 {
        self.products - 1
    }

    /// The number of the collector's n-th purchase, from 0.
    pub fn nth_of_collector(&self, nth: u64) -> u64 {
        // The first of each ten purchases is of the hot product.
        nth + nth / (HOT_EVERY - 1) + 1
    }

    /// How many purchases the hot product has.
    pub fn hot_count(&self) -> u64 {
        self.purchases.div_ceil(HOT_EVERY)
    }

    /// The number of the hot product's n-th purchase, from 0.
    pub fn nth_of_hot(&self, nth: u64) -> u64 {
        nth * HOT_EVERY
    }

    /// The product of a purchase, and how many purchases of that product came before.
    fn place(&self, number: u64) -> (u64, u64) {
        if number.is_multiple_of(HOT_EVERY) {
            return (0, number / HOT_EVERY);
        }
        let ordinal = number - number / HOT_EVERY - 1;
        (1 + ordinal % (self.products - 1), ordinal / (self.products - 1))
    }

    fn buyer(&self, product: u64, before: u64) -> Id {
        if product > 0 && before == 0 {
            return self.collector();
        }
        // Consecutive buyers within a product, so all differ; each product begins at another buyer.
        let beginning = product * (self.buyers / self.products);
        self.id(BUYER, 1 + (beginning + before) % self.buyers)
    }

    /// The purchase with this number, from 0.
    pub fn purchase(&self, number: u64) -> Purchase {
        let (product, before) = self.place(number);
        let (id, buyer) = (self.product_id(product), self.buyer(product, before));
        let at = DateTime::from_millis(signed(self.start_ms + number * INTERVAL_MS));
        Purchase {
            id: self.id(PURCHASE, number),
            buyer: "Bench B.".into(),
            ..Purchase::new(id, buyer, signed(before + 1), documents::price(), at)
        }
    }

    /// The same as a stored document.
    pub fn purchase_document(&self, number: u64) -> RawDocumentBuf {
        documents::raw(&self.purchase(number))
    }

    /// A product after all its purchases.
    pub fn product(&self, number: u64) -> Product {
        let others = self.purchases - self.hot_count();
        let sold = match number {
            0 => self.hot_count(),
            _ => others / (self.products - 1) + u64::from(number <= others % (self.products - 1)),
        };
        let at = DateTime::from_millis(signed(self.start_ms));
        let product = documents::product(&format!("Bench history {number}"), signed(sold), STOCK_LEFT, at);
        Product { id: self.product_id(number), ..product }
    }
}

/// The numbers are far from the limits of both types.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn a_history_keeps_the_products_promises() {
        let plan = Plan::new(1_003, 7).unwrap();
        let mut sequences: HashMap<Id, i64> = HashMap::new();
        let mut buyers = HashSet::new();
        let mut collected = Vec::new();
        for number in 0..plan.purchases {
            let purchase = plan.purchase(number);
            let last = sequences.entry(purchase.product_id).or_default();
            *last += 1;
            assert_eq!(purchase.sequence, *last, "a gap at {number}");
            assert!(buyers.insert((purchase.product_id, purchase.user_id)), "twice at {number}");
            if purchase.user_id == plan.collector() {
                collected.push(number);
            }
        }
        for number in 0..plan.products {
            assert_eq!(plan.product(number).purchase_count, sequences[&plan.product_id(number)], "{number}");
        }
        assert_eq!(plan.nth_of_hot(3), 30);
        let expected: Vec<_> = (0..plan.collector_count()).map(|nth| plan.nth_of_collector(nth)).collect();
        assert_eq!(collected, expected);
    }
}
