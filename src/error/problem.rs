//! The body of an error response.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Error, FieldError};
use crate::model::money::Money;
use crate::model::purchase::PurchaseStatus;
use crate::model::timestamp::Timestamp;

/// The body of an error response (RFC 9457).
pub struct Problem<'a> {
    /// What went wrong.
    pub error: &'a Error,
    /// The request's id.
    pub instance: &'a str,
}

impl Serialize for Problem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let code = self.error.code();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", code.problem_type())?;
        map.serialize_entry("title", code.title())?;
        map.serialize_entry("status", &code.status().as_u16())?;
        map.serialize_entry("detail", &self.error.detail())?;
        map.serialize_entry("instance", self.instance)?;
        map.serialize_entry("code", code.name())?;
        self.error.serialize_members(&mut map)?;
        map.end()
    }
}

/// An error, RFC 9457.
#[derive(utoipa::ToSchema)]
#[schema(as = Problem, rename_all = "camelCase")]
#[expect(dead_code, reason = "it only describes what `Problem` writes")]
pub struct ProblemSchema {
    /// Names the kind of problem; `code` is shorter.
    #[schema(example = "urn:problem-type:flash-sale:sold_out")]
    r#type: String,
    /// The same sentence for every problem of this code.
    #[schema(example = "The product is sold out")]
    title: String,
    /// The HTTP status.
    #[schema(example = 409)]
    status: u16,
    /// What happened this time and what to do about it, for people.
    #[schema(example = "Nothing is left.")]
    detail: String,
    /// The request's id, as in `X-Request-Id`.
    #[schema(example = "5f0c3b1a9d8e4f7c8b6a5d4e3f2a1b0c")]
    instance: String,
    /// The kind of problem, for programs: branch on this.
    #[schema(example = "sold_out")]
    code: String,
    /// With `validation_failed`: every field that is wrong.
    #[schema(value_type = Vec<FieldError>, required = false)]
    errors: Option<Vec<FieldError>>,
    /// With `sold_out` and `insufficient_stock`: units left.
    #[schema(value_type = i64, required = false)]
    remaining: Option<i64>,
    /// With `purchase_limit_reached`: units that one buyer may have in all.
    #[schema(value_type = i64, required = false)]
    limit: Option<i64>,
    /// With `purchase_limit_reached`: units that you have already.
    #[schema(value_type = i64, required = false)]
    purchased: Option<i64>,
    /// With `sale_not_started`: when the sale starts.
    #[schema(value_type = Timestamp, required = false)]
    sale_start_time: Option<Timestamp>,
    /// With `sale_ended`: when the sale ended.
    #[schema(value_type = Timestamp, required = false)]
    sale_end_time: Option<Timestamp>,
    /// With `account_too_new`: accounts that were made later may not buy.
    #[schema(value_type = Timestamp, required = false)]
    registered_before: Option<Timestamp>,
    /// With `price_changed`: what one unit costs.
    #[schema(value_type = Money, required = false)]
    price: Option<Money>,
    /// With `too_many_lapses`: your purchases of this product that expired, or that you canceled.
    #[schema(value_type = i64, required = false)]
    lapses: Option<i64>,
    /// With `purchase_not_pending` and `payment_unfillable`: where the purchase stands. `status` is the HTTP status.
    #[schema(value_type = PurchaseStatus, required = false)]
    purchase_status: Option<PurchaseStatus>,
    /// With `amount_mismatch`: what all units cost.
    #[schema(value_type = Money, required = false)]
    total: Option<Money>,
    /// With `outcome_unknown`: the id that the purchase has if it was made.
    #[schema(value_type = String, required = false)]
    purchase_id: Option<String>,
}
