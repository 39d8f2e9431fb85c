//! What is written down of paying for purchases.

use mongodb::bson::oid::ObjectId;

use super::{Exchange, Purchase};

/// What somebody asks of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    /// It is paid for. No two payments of a run have the same number.
    Confirm {
        payment: u32,
        /// The amount is the purchase's total.
        is_right: bool,
    },
    /// It is given up, by its buyer or by an admin.
    Cancel { by_buyer: bool },
    /// The money goes back.
    Refund { restock: bool },
}

/// One request about a purchase that its buyer was told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub user: u32,
    pub purchase: ObjectId,
    pub ask: Ask,
    pub exchange: Exchange,
    pub told: Option<Standing>,
}

/// The status of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    Pending,
    Confirmed,
    Expired,
    Canceled,
    Refunded,
}

impl Status {
    /// By its name in the API and in documents.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "pending" => Some(Self::Pending),
            "confirmed" => Some(Self::Confirmed),
            "expired" => Some(Self::Expired),
            "canceled" => Some(Self::Canceled),
            "refunded" => Some(Self::Refunded),
            _ => None,
        }
    }

    /// Whether the buyer has the units.
    pub fn is_standing(self) -> bool {
        matches!(self, Self::Pending | Self::Confirmed)
    }
}

/// A purchase and where it stands, as a client was told or as the database holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub purchase: Purchase,
    pub status: Status,
    /// The payment that is on record.
    pub payment: Option<u32>,
    pub refund_due: bool,
    /// Milliseconds since 1970; none without a payment window.
    pub expires_at: Option<i64>,
}

/// An entry of the audit log about a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub purchase: ObjectId,
    /// Milliseconds since 1970, by the database's clock.
    pub at: i64,
    pub actor: Option<ObjectId>,
    pub what: Noted,
}

/// What an entry tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// Another status; what was paid with it, and whether a refund has put the units on sale again.
    Move { from: Status, to: Status, payment: Option<u32>, restock: bool },
    /// Money came for which nothing was left.
    Unfillable { payment: Option<u32> },
    /// It has gone back.
    Returned,
}
