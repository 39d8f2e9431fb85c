//! Everything that can go wrong with a request: one enum, and one table from a variant to its `code`, status and title.

use std::borrow::Cow;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::ser::SerializeMap;

use crate::model::id::Id;
use crate::model::money::Money;
use crate::model::purchase::PurchaseStatus;
use crate::model::timestamp::Timestamp;

pub use self::problem::{Problem, ProblemSchema};

mod problem;

/// The result of a handler or a service.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One field of the request that is wrong, named as the client sent it (`price.amount`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The field: a member of the body, a query parameter or a header.
    #[schema(example = "price.amount")]
    pub field: String,
    /// What the field has to be.
    #[schema(example = "must be a whole number from 0 to 1000000000000")]
    pub message: String,
}

macro_rules! errors {
    ($($error:ident $({ $($member:ident: $type:ty),* })? => $name:literal $status:ident $title:literal;)*) => {
        /// What went wrong with a request, as reported to the client.
        #[derive(Debug, Clone, PartialEq)]
        #[expect(missing_docs, reason = "the titles in the table say what each one means")]
        pub enum Error { $($error $({ $($member: $type),* })?,)* }

        /// The `code` of a problem: what a client's program branches on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the titles in the table say what each one means")]
        pub enum Code { $($error,)* }

        impl Error {
            /// This error's row in the table.
            pub fn code(&self) -> Code {
                match self { $(Self::$error { .. } => Code::$error,)* }
            }
        }

        impl Code {
            /// All codes, in the order of the contract.
            pub const ALL: &[Code] = &[$(Code::$error,)*];

            /// The `code` as clients see it.
            pub fn name(self) -> &'static str {
                match self { $(Code::$error => $name,)* }
            }

            /// The `type` of its problems.
            pub fn problem_type(self) -> &'static str {
                match self { $(Code::$error => concat!("urn:problem-type:flash-sale:", $name),)* }
            }

            /// The HTTP status of its responses.
            pub fn status(self) -> StatusCode {
                match self { $(Code::$error => StatusCode::$status,)* }
            }

            /// The same sentence for every occurrence (RFC 9457, 3.1.3).
            pub fn title(self) -> &'static str {
                match self { $(Code::$error => $title,)* }
            }
        }
    };
}

// The one table of errors: a variant and its members, its `code`, status and title.
errors! {
    MalformedJson { detail: String } => "malformed_json" BAD_REQUEST "The body is not valid JSON";
    UnsupportedMediaType => "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "The body has to be application/json";
    PayloadTooLarge { body_bytes_max: usize } => "payload_too_large" PAYLOAD_TOO_LARGE "The body is too large";
    ValidationFailed { errors: Vec<FieldError> } => "validation_failed" UNPROCESSABLE_ENTITY "The request has invalid fields";
    NotFound { detail: &'static str } => "not_found" NOT_FOUND "There is nothing here";
    MethodNotAllowed => "method_not_allowed" METHOD_NOT_ALLOWED "This method is not allowed here";
    Unauthenticated { detail: &'static str, has_token: bool } => "unauthenticated" UNAUTHORIZED "A valid token is needed";
    TokenExpired => "token_expired" UNAUTHORIZED "The token has expired";
    InvalidCredentials => "invalid_credentials" UNAUTHORIZED "The e-mail address or the password is wrong";
    Forbidden { detail: &'static str } => "forbidden" FORBIDDEN "This is not allowed";
    AccountTooNew { registered_before: Timestamp } => "account_too_new" FORBIDDEN "This sale is for accounts that are older";
    AccountDisabled => "account_disabled" FORBIDDEN "This account is disabled";
    EmailTaken => "email_taken" CONFLICT "This e-mail address already has an account";
    LastAdmin => "last_admin" CONFLICT "This is the last admin who can log in";
    ProductNotFound => "product_not_found" NOT_FOUND "There is no such product";
    PurchaseNotFound => "purchase_not_found" NOT_FOUND "There is no such purchase";
    SaleNotStarted { sale_start_time: Timestamp, retry_after_seconds: u64 } => "sale_not_started" CONFLICT "The sale has not started yet";
    SaleEnded { sale_end_time: Timestamp } => "sale_ended" CONFLICT "The sale has ended";
    SalePaused => "sale_paused" CONFLICT "The sale is paused";
    SoldOut => "sold_out" CONFLICT "The product is sold out";
    InsufficientStock { remaining: i64 } => "insufficient_stock" CONFLICT "Less is left than was asked for";
    PurchaseLimitReached { limit: i64, purchased: i64 } => "purchase_limit_reached" CONFLICT "This would be more than one buyer may have";
    PriceChanged { price: Money } => "price_changed" CONFLICT "The price is not the expected one";
    TooManyLapses { lapses: i64 } => "too_many_lapses" CONFLICT "This buyer has let too many purchases lapse";
    PurchaseNotPending { status: PurchaseStatus } => "purchase_not_pending" CONFLICT "The purchase has another status";
    PaymentUnfillable { status: PurchaseStatus } => "payment_unfillable" CONFLICT "Nothing is left for this payment";
    AmountMismatch { total: Money } => "amount_mismatch" UNPROCESSABLE_ENTITY "The purchase costs another amount";
    ProductHasSales => "product_has_sales" CONFLICT "A product that was sold cannot be deleted";
    IdempotencyKeyReused => "idempotency_key_reused" UNPROCESSABLE_ENTITY "This idempotency key was used for another request";
    VersionConflict => "version_conflict" PRECONDITION_FAILED "The product has changed since it was read";
    PreconditionRequired => "precondition_required" PRECONDITION_REQUIRED "An If-Match header is needed";
    RateLimited { retry_after_seconds: u64 } => "rate_limited" TOO_MANY_REQUESTS "Too many attempts";
    Overloaded { detail: &'static str } => "overloaded" SERVICE_UNAVAILABLE "The server is overloaded";
    DatabaseUnavailable => "database_unavailable" SERVICE_UNAVAILABLE "The database cannot be reached";
    OutcomeUnknown { purchase_id: Option<Id> } => "outcome_unknown" SERVICE_UNAVAILABLE "It is not known yet whether this happened";
    Internal => "internal" INTERNAL_SERVER_ERROR "Something went wrong on the server";
}

/// At most a day: timers of browsers overflow beyond 24.8 days, and fire at once.
const RETRY_AFTER_SECONDS_MAX: u64 = 24 * 60 * 60;
/// The media type of every error (RFC 9457).
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// How long a client should wait after an overload or while the database is unavailable.
const RETRY_AFTER_SECONDS: u64 = 1;
/// A sale is paused for as long as an admin needs; a crowd should not ask all the time.
const RETRY_AFTER_PAUSED_SECONDS: u64 = 5;
/// A purchase with an unknown outcome is settled in the background within about this time.
const RETRY_AFTER_UNKNOWN_SECONDS: u64 = 2;

impl Error {
    /// No route has the request's path.
    pub const NO_ROUTE: Self =
        Self::NotFound { detail: "No route has this path; GET /docs lists those of the API." };

    /// A good token's user is not in the database.
    pub const NO_ACCOUNT: Self = Self::NotFound {
        detail: "The token is valid, but its user has no account here; another identity provider signed it.",
    };

    /// Somebody else on a route for admins.
    pub const FORBIDDEN: Self =
        Self::Forbidden { detail: "Only an account with the role `admin` may do this." };
    /// A registration where `REGISTRATION` is `closed`.
    pub const REGISTRATION_CLOSED: Self = Self::Forbidden {
        detail: "Nobody can register here: accounts come from the shop's identity provider. Log in there.",
    };
    /// Somebody who may not say what was paid.
    pub const FORBIDDEN_BUYER: Self =
        Self::Forbidden { detail: "Only the roles `payments` and `admin` may do this, never the buyer." };
    /// A WebSocket from a page of another origin.
    pub const FOREIGN_ORIGIN: Self = Self::Forbidden {
        detail: "Pages of this origin may not connect; CORS_ORIGINS lists those that may.",
    };

    /// The answer to new requests during shutdown.
    pub const SHUTTING_DOWN: Self = Self::Overloaded { detail: "The server is shutting down." };

    /// A request with one wrong field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::ValidationFailed { errors: vec![FieldError { field: field.into(), message: message.into() }] }
    }

    /// Combines two results, so that the client hears of all wrong fields at once.
    ///
    /// # Errors
    /// One `validation_failed` with the fields of both. Any other error wins over it, that of `first` before that of
    /// `second`.
    pub fn both<A, B>(first: Result<A>, second: Result<B>) -> Result<(A, B)> {
        match (first, second) {
            (Ok(first), Ok(second)) => Ok((first, second)),
            (Err(Self::ValidationFailed { mut errors }), Err(Self::ValidationFailed { errors: more })) => {
                errors.extend(more);
                Err(Self::ValidationFailed { errors })
            }
            (Err(Self::ValidationFailed { .. }), Err(other)) | (Err(other), _) | (_, Err(other)) => {
                Err(other)
            }
        }
    }

    /// Whether the server or the database is at fault, not the request.
    pub fn is_fault(&self) -> bool {
        self.code().status().is_server_error()
    }

    /// What happened this time and what to do about it.
    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::MalformedJson { detail } => detail.clone().into(),
            Self::UnsupportedMediaType => "Send the header `Content-Type: application/json`, and no `Content-Encoding`.".into(),
            Self::PayloadTooLarge { body_bytes_max } => format!("A body has at most {body_bytes_max} bytes.").into(),
            Self::ValidationFailed { errors } if errors.iter().all(|error| error.field.is_empty()) => {
                "The body must be a JSON object.".into()
            }
            Self::ValidationFailed { errors } => {
                let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
                format!("See `errors` for what is wrong with: {}.", fields.join(", ")).into()
            }
            Self::NotFound { detail }
            | Self::Unauthenticated { detail, .. }
            | Self::Forbidden { detail }
            | Self::Overloaded { detail } => (*detail).into(),
            Self::MethodNotAllowed => "The header `Allow` lists the methods that are allowed.".into(),
            Self::TokenExpired => "Log in again to get a new token.".into(),
            Self::InvalidCredentials => "Check both. Upper and lower case make no difference in the address.".into(),
            Self::AccountDisabled => "An admin of the shop has disabled it, and can enable it again.".into(),
            Self::LastAdmin => "Make another account an admin first.".into(),
            Self::EmailTaken => "Log in with this address, or register another one.".into(),
            Self::ProductNotFound => "No product has this id.".into(),
            Self::PurchaseNotFound => "No purchase of yours has this id.".into(),
            Self::SaleNotStarted { sale_start_time, .. } => format!("The sale starts at {sale_start_time}.").into(),
            Self::SaleEnded { sale_end_time } => format!("The sale ended at {sale_end_time}.").into(),
            Self::AccountTooNew { registered_before } => {
                format!("Only accounts that were made by {registered_before} may buy; the token or the account says when.")
                    .into()
            }
            Self::SalePaused => "The shop has paused the sale. Try again in a moment.".into(),
            Self::SoldOut => "Nothing is left.".into(),
            Self::InsufficientStock { remaining } => {
                format!("Only {remaining} left. A purchase gets its whole quantity or nothing.").into()
            }
            Self::PurchaseLimitReached { limit, purchased } => {
                format!("A buyer may have {limit} of this product; you have {purchased}.").into()
            }
            Self::PriceChanged { price } => {
                format!("The price is {} {} in minor units. Nothing was bought.", price.amount, price.currency).into()
            }
            Self::TooManyLapses { lapses } => {
                format!("You have let {lapses} purchases of this product expire or canceled them.").into()
            }
            Self::PurchaseNotPending { status } => format!("It is {}.", status.name()).into(),
            Self::PaymentUnfillable { status } => format!(
                "It is {}, and its units are gone. The payment is noted; give the money back, unless `refundDue` is false: then that was done.",
                status.name()
            )
            .into(),
            Self::AmountMismatch { total } => {
                format!("It costs {} {} in minor units. Nothing was changed.", total.amount, total.currency).into()
            }
            Self::ProductHasSales => "End its sale instead: PATCH its saleEndTime.".into(),
            Self::IdempotencyKeyReused => "Use a new key for a new request.".into(),
            Self::VersionConflict => "Read the product again, and send its new ETag as If-Match.".into(),
            Self::PreconditionRequired => {
                "Send the ETag of the product that you read as If-Match, or `*` to overwrite any version.".into()
            }
            Self::RateLimited { retry_after_seconds } => format!("Try again in {retry_after_seconds} s.").into(),
            Self::DatabaseUnavailable => "Nothing was changed. Try again in a moment.".into(),
            Self::OutcomeUnknown { purchase_id: Some(_) } => {
                "The purchase may have been made: look for `purchaseId` among your purchases, or send the request again \
                 with the same Idempotency-Key, which settles it."
                    .into()
            }
            Self::OutcomeUnknown { purchase_id: None } => {
                "The change may have been made: check before you repeat it.".into()
            }
            Self::Internal => "The server's log has the cause, under this request id.".into(),
        }
    }

    /// Writes the members that only this code has.
    fn serialize_members<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        match self {
            Self::ValidationFailed { errors } => map.serialize_entry("errors", errors),
            Self::SaleNotStarted { sale_start_time, .. } => {
                map.serialize_entry("saleStartTime", sale_start_time)
            }
            Self::SaleEnded { sale_end_time } => map.serialize_entry("saleEndTime", sale_end_time),
            Self::SoldOut => map.serialize_entry("remaining", &0),
            Self::InsufficientStock { remaining } => map.serialize_entry("remaining", remaining),
            Self::PurchaseLimitReached { limit, purchased } => {
                map.serialize_entry("limit", limit)?;
                map.serialize_entry("purchased", purchased)
            }
            Self::AccountTooNew { registered_before } => {
                map.serialize_entry("registeredBefore", registered_before)
            }
            Self::TooManyLapses { lapses } => map.serialize_entry("lapses", lapses),
            Self::PurchaseNotPending { status } | Self::PaymentUnfillable { status } => {
                // RFC 9457 has a member of this name for the HTTP status; the contract gives it to the purchase here.
                map.serialize_entry("purchaseStatus", status)
            }
            Self::AmountMismatch { total } => map.serialize_entry("total", total),
            Self::PriceChanged { price } => map.serialize_entry("price", price),
            Self::OutcomeUnknown { purchase_id: Some(id) } => map.serialize_entry("purchaseId", &id.to_hex()),
            _ => Ok(()),
        }
    }

    /// How long the client should wait, in seconds; 0 if waiting does not help.
    pub fn retry_after_seconds(&self) -> u64 {
        match self {
            Self::SaleNotStarted { retry_after_seconds, .. } | Self::RateLimited { retry_after_seconds } => {
                (*retry_after_seconds).clamp(1, RETRY_AFTER_SECONDS_MAX)
            }
            Self::Overloaded { .. } | Self::DatabaseUnavailable => RETRY_AFTER_SECONDS,
            Self::SalePaused => RETRY_AFTER_PAUSED_SECONDS,
            Self::OutcomeUnknown { .. } => RETRY_AFTER_UNKNOWN_SECONDS,
            _ => 0,
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::TokenExpired | Self::Unauthenticated { has_token: true, .. } => Some((
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"flash-sale\", error=\"invalid_token\""),
            )),
            Self::Unauthenticated { .. } | Self::InvalidCredentials => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"flash-sale\"")))
            }
            _ => match self.retry_after_seconds() {
                0 => None,
                seconds => Some((header::RETRY_AFTER, HeaderValue::from(seconds))),
            },
        }
    }
}

impl IntoResponse for Error {
    /// Without the body: the outermost layer (`http::request_id`) writes it, since only that layer knows the
    /// request's id.
    fn into_response(self) -> Response {
        let mut response = self.code().status().into_response();
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests;
