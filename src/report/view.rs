//! The report of a sale as admins see it.

use serde::Serialize;

use crate::model::money::Money;
use crate::model::timestamp::Timestamp;

/// What was sold when, and to whom. The figures are read one after another, so while the sale goes on they need not agree.
///
/// What was refused is not in it: refusals are not stored. `/server` and `/metrics` count them for each server since its
/// start, over all products.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Report)]
pub struct ReportView {
    /// The product that was sold.
    #[schema(example = "65f1c0ffee65f1c0ffee65f1")]
    pub product_id: String,
    /// When the report was made, by the database's clock.
    pub at: Timestamp,
    /// The first moment of the sale, as it is now.
    pub sale_start_time: Timestamp,
    /// When the first purchase was made; null without one.
    #[schema(required)]
    pub first_purchase_at: Option<Timestamp>,
    /// When the last purchase was made; null without one.
    #[schema(required)]
    pub last_purchase_at: Option<Timestamp>,
    /// From the start of the sale to the last purchase, in milliseconds; null while there is stock.
    #[schema(required, example = 2317)]
    pub time_to_sell_out_ms: Option<i64>,
    /// The purchases by what they are now.
    pub outcomes: Vec<OutcomeView>,
    /// How many seconds one point of the curve stands for: 1, or more where the purchases span more than ten minutes.
    #[schema(minimum = 1, example = 1)]
    pub seconds_per_point: i64,
    /// The purchases by time, at most 601 points; those without a purchase are left out.
    pub curve: Vec<PointView>,
    /// What was sold within the first 100 milliseconds and within the first second.
    pub early: Vec<UnitsView>,
    /// The networks with the most buyers, at most 50.
    pub networks: Vec<NetworkView>,
    /// Purchases whose network is not known, or not any more (`NETWORK_DAYS`).
    #[schema(minimum = 0, example = 0)]
    pub purchases_without_network: i64,
    /// The accounts of the buyers.
    pub accounts: AccountsView,
}

impl Default for ReportView {
    fn default() -> Self {
        let moment = Timestamp::from_milliseconds(0);
        Self {
            product_id: String::new(),
            at: moment,
            sale_start_time: moment,
            first_purchase_at: None,
            last_purchase_at: None,
            time_to_sell_out_ms: None,
            outcomes: Vec::new(),
            seconds_per_point: 1,
            curve: Vec::new(),
            early: Vec::new(),
            networks: Vec::new(),
            purchases_without_network: 0,
            accounts: AccountsView::default(),
        }
    }
}

/// Purchases that are the same now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ReportOutcome)]
pub struct OutcomeView {
    /// What they are: `pending`, `confirmed`, `expired`, `canceled` or `refunded`.
    #[schema(example = "confirmed")]
    pub status: String,
    /// How many.
    #[schema(minimum = 0, example = 87)]
    pub purchases: i64,
    /// Their units.
    #[schema(minimum = 0, example = 100)]
    pub units: i64,
    /// What they cost together, in each currency that they were bought in.
    pub totals: Vec<Money>,
}

impl OutcomeView {
    /// Adds what some of the purchases cost.
    pub(super) fn add(&mut self, sum: Money) {
        match self.totals.iter_mut().find(|total| total.currency == sum.currency) {
            Some(total) => total.amount = total.amount.saturating_add(sum.amount),
            None => self.totals.push(sum),
        }
    }
}

/// What was bought in one stretch of time.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ReportPoint)]
pub struct PointView {
    /// The beginning of the stretch.
    pub at: Timestamp,
    /// Purchases.
    #[schema(minimum = 0, example = 40)]
    pub purchases: i64,
    /// Their units.
    #[schema(minimum = 0, example = 47)]
    pub units: i64,
}

/// What was bought soon after the start.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReportEarly)]
pub struct UnitsView {
    /// How soon, in milliseconds.
    #[schema(minimum = 1, example = 100)]
    pub within_ms: i64,
    /// Purchases.
    #[schema(minimum = 0, example = 3)]
    pub purchases: i64,
    /// Their units.
    #[schema(minimum = 0, example = 3)]
    pub units: i64,
}

/// The buyers of one network.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ReportNetwork)]
pub struct NetworkView {
    /// An IPv4 address, or the /64 of an IPv6 address.
    #[schema(example = "203.0.113.7")]
    pub network: String,
    /// Different buyers.
    #[schema(minimum = 1, example = 12)]
    pub buyers: i64,
    /// Their purchases.
    #[schema(minimum = 1, example = 12)]
    pub purchases: i64,
    /// The units of these.
    #[schema(minimum = 1, example = 12)]
    pub units: i64,
}

/// The accounts of the buyers of the first 100,000 purchases.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReportAccounts)]
pub struct AccountsView {
    /// The purchases that were looked at.
    #[schema(minimum = 0, example = 87)]
    pub purchases: i64,
    /// Purchases of buyers without an account here: another identity provider has it.
    #[schema(minimum = 0, example = 0)]
    pub unknown: i64,
    /// The purchases by the age of the account when it bought.
    pub by_age: Vec<AgeView>,
    /// Addresses that several of these accounts have but for dots and what follows a plus; those of most accounts, at most 50.
    pub shared_addresses: Vec<SharedAddressView>,
}

/// Purchases of accounts of about the same age.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReportAge)]
pub struct AgeView {
    /// The account was younger than this, in seconds, and not younger than the bound before; null for the oldest.
    #[schema(required, minimum = 1, example = 3600)]
    pub below_seconds: Option<i64>,
    /// Their purchases.
    #[schema(minimum = 0, example = 5)]
    pub purchases: i64,
}

/// An address that several accounts have.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ReportSharedAddress)]
pub struct SharedAddressView {
    /// Without dots in the name, and without what follows a plus.
    #[schema(example = "ada@shop.example")]
    pub address: String,
    /// Accounts that bought.
    #[schema(minimum = 2, example = 5)]
    pub accounts: i64,
    /// Their purchases.
    #[schema(minimum = 2, example = 5)]
    pub purchases: i64,
}
