//! What became of purchases after they were made.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::model::purchase::{Purchase, PurchaseStatus};

/// A payment was noted for which nothing was left.
const UNFILLABLE: &str = "unfillable";
/// The money of such a payment has gone back.
const RETURNED: &str = "returned";

/// Payments, cancellations, refunds, expiries.
#[derive(Debug, Default)]
pub struct PaymentMetrics {
    /// By change: the new status, `unfillable` or `returned`.
    changes: Family<ChangeLabel, Counter>,
    units_held: Counter,
    units_released: Counter,
    /// For how long the purchase has been due that expires next, in seconds; 0 if none is due.
    pub expiry_lag: Gauge<f64, AtomicU64>,
}

/// The label of a change.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabel {
    change: &'static str,
}

impl PaymentMetrics {
    /// Registers all of them, those with labels at 0.
    pub fn register(&self, registry: &mut Registry) {
        let statuses = PurchaseStatus::ALL.into_iter().filter(|status| *status != PurchaseStatus::Pending);
        for change in statuses.map(PurchaseStatus::name).chain([UNFILLABLE, RETURNED]) {
            drop(self.changes.get_or_create(&ChangeLabel { change }));
        }
        let what = "Changes of purchases that were made, by what they became";
        registry.register("purchase_changes", what, self.changes.clone());
        let what = "Units that were bought and have to be paid for";
        registry.register("units_held", what, self.units_held.clone());
        let what = "Units of purchases that expired, were canceled or refunded";
        registry.register("units_released", what, self.units_released.clone());
        let what = "How long the purchase has been due that expires next; 0 if none is due";
        registry.register_with_unit("expiry_lag", what, Unit::Seconds, self.expiry_lag.clone());
    }

    /// Counts a purchase that was made.
    pub fn count_made(&self, purchase: &Purchase) {
        if purchase.status == PurchaseStatus::Pending {
            self.units_held.inc_by(units(purchase));
        }
    }

    /// Counts what has become of a purchase.
    pub fn count_change(&self, before: &Purchase, after: &Purchase) {
        let change = match after.status {
            status if status != before.status => status.name(),
            _ if after.refund_due => UNFILLABLE,
            _ => RETURNED,
        };
        self.changes.get_or_create(&ChangeLabel { change }).inc();
        if after.status.is_released() && !before.status.is_released() {
            self.units_released.inc_by(units(after));
        }
    }
}

fn units(purchase: &Purchase) -> u64 {
    u64::try_from(purchase.quantity).unwrap_or(0)
}
