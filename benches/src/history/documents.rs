//! Documents as the product stores them.

use flash_sale::model::id::Id;
use flash_sale::model::money::Money;
use flash_sale::model::product::Product;
use flash_sale::model::purchase::Purchase;
use mongodb::bson::{DateTime, RawDocumentBuf, rawdoc};

/// The price of every product.
pub fn price() -> Money {
    Money { amount: 9_900, currency: "USD".into() }
}

/// A product on sale with `sold` purchases of one unit each and `stock` units left.
pub fn product(name: &str, sold: i64, stock: i64, at: DateTime) -> Product {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    let sale = (
        DateTime::from_millis(at.timestamp_millis() - DAY_MS),
        DateTime::from_millis(at.timestamp_millis() + 365 * DAY_MS),
    );
    Product {
        sold,
        total_stock: stock + sold,
        purchase_count: sold,
        version: sold + 1,
        ..Product::new(name.to_owned(), price(), stock, sale, at)
    }
}

/// The purchase with this sequence: one unit, by a new buyer.
pub fn purchase(product_id: Id, sequence: i64) -> Purchase {
    Purchase {
        buyer: "Bench M.".into(),
        ..Purchase::new(product_id, Id::new(), sequence, price(), DateTime::now())
    }
}

/// Writes a purchase without serde, because ten million of them are written.
pub fn raw(purchase: &Purchase) -> RawDocumentBuf {
    rawdoc! {
        "_id": purchase.id,
        "productId": purchase.product_id,
        "userId": purchase.user_id,
        "buyer": purchase.buyer.as_str(),
        "quantity": purchase.quantity,
        "unitPrice": {
            "amount": purchase.unit_price.amount,
            "currency": purchase.unit_price.currency.as_str(),
        },
        "sequence": purchase.sequence,
        "firstUnit": purchase.first_unit,
        "purchasedAt": purchase.purchased_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_document_is_what_serde_writes() {
        let purchase = purchase(Id::new(), 7);
        assert_eq!(mongodb::bson::serialize_to_raw_document_buf(&purchase).unwrap(), raw(&purchase));
    }
}
