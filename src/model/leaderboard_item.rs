use serde::Serialize;

use super::purchase::{Purchase, PurchaseStatus};
use super::timestamp::Timestamp;

/// One purchase as everybody may see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaderboardItem {
    /// The position in this list, from 1.
    #[schema(minimum = 1, example = 17)]
    pub rank: i64,
    /// The purchase's number among those of its product, from 1.
    #[schema(minimum = 1, example = 17)]
    pub sequence: i64,
    /// The product that was bought.
    #[schema(example = "65f1c0ffee65f1c0ffee65f1")]
    pub product_id: String,
    /// The product's name.
    #[schema(example = "Limited sneaker")]
    pub product_name: String,
    /// The buyer's first name and an initial; of a name with a single word only its initial. `Anonymous` if the name breaks
    /// the rules for names, as that of another provider's token may.
    #[schema(example = "Ada L.")]
    pub buyer: String,
    /// Units bought.
    #[schema(minimum = 1, maximum = 1000, example = 1)]
    pub quantity: i64,
    /// When the purchase was made.
    pub purchased_at: Timestamp,
    /// Where the purchase stands.
    #[schema(example = "confirmed")]
    pub status: PurchaseStatus,
}

impl LeaderboardItem {
    pub fn of(purchase: Purchase, rank: i64, product_name: String) -> Self {
        Self {
            rank,
            sequence: purchase.sequence,
            product_id: purchase.product_id.to_hex(),
            product_name,
            buyer: purchase.buyer,
            quantity: purchase.quantity,
            purchased_at: purchase.purchased_at.into(),
            status: purchase.status,
        }
    }
}
