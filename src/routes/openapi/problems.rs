//! The errors in the OpenAPI document.
//!
//! A handler lists only its own problem codes (`x-problem-codes`). This module adds the codes that every route of its
//! kind can answer with, and turns each status into a response with its codes, from the one table in `error`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{AllOfBuilder, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Schema};

use crate::error::{Code, Error, Problem};
use crate::model::id::Id;
use crate::model::money::Money;
use crate::model::purchase::PurchaseStatus;
use crate::model::timestamp::Timestamp;

/// Holds a handler's codes until they become responses.
const CODES_EXTENSION: &str = "x-problem-codes";
/// The moment in the examples: 2030-11-29T09:00:00.000Z.
const EXAMPLE_MOMENT_MS: i64 = 1_890_637_200_000;
/// The id in the examples: 65f1c0ffee65f1c0ffee65f3.
const EXAMPLE_ID: [u8; 12] = [0x65, 0xf1, 0xc0, 0xff, 0xee, 0x65, 0xf1, 0xc0, 0xff, 0xee, 0x65, 0xf3];

const RATE_LIMIT_POLICY: &str = "The client's quota: `q` requests, and as many again in each `w` seconds (a structured field, \
     draft-ietf-httpapi-ratelimit-headers)";
const RATE_LIMIT: &str = "What is left of the quota: `r` requests; in `t` seconds it is whole again";

/// Turns the operation's codes into one response per status, and adds the headers that every response has, and those of
/// an operation with a bound for each client.
pub fn add_to(operation: &mut Operation, is_limited: bool) {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes_of(operation, is_limited) {
        by_status.entry(code.status().as_u16()).or_default().push(code);
    }
    for (status, codes) in by_status {
        let response = RefOr::T(problem_response(status, &codes));
        operation.responses.responses.insert(status.to_string(), response);
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        response.headers.insert(
            "X-Request-Id".into(),
            text_header("The request's id: the client's own, if it sent a valid one"),
        );
        if is_limited {
            response.headers.insert("RateLimit-Policy".into(), text_header(RATE_LIMIT_POLICY));
            response.headers.insert("RateLimit".into(), text_header(RATE_LIMIT));
        }
        if status == "304" {
            response.headers.insert("ETag".into(), text_header("The tag of what you have"));
        }
    }
}

fn text_header(description: &str) -> RefOr<Header> {
    let text = ObjectBuilder::new().schema_type(Type::String);
    RefOr::T(HeaderBuilder::new().schema(Some(text)).description(Some(description)).build())
}

/// The operation's own codes, and those of all operations of its kind.
fn codes_of(operation: &mut Operation, is_limited: bool) -> Vec<Code> {
    let own = operation.extensions.as_mut().and_then(|extensions| extensions.remove(CODES_EXTENSION));
    let own: Vec<_> = own.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str).collect();
    let has_body = operation.request_body.is_some();
    // A token of ours: that of a scraper does not expire.
    let needs_token = operation.security.iter().flatten().any(|needed| *needed == bearer());
    let belongs = |code: &&Code| match code {
        Code::MalformedJson | Code::UnsupportedMediaType | Code::PayloadTooLarge => has_body,
        Code::Unauthenticated | Code::TokenExpired => needs_token || own.contains(&code.name()),
        Code::RateLimited => is_limited || own.contains(&code.name()),
        // Whether the token still counts may have to be read.
        Code::AccountDisabled | Code::Overloaded | Code::DatabaseUnavailable if needs_token => true,
        // Every route refuses query parameters that it does not know.
        Code::ValidationFailed | Code::Internal => true,
        _ => own.contains(&code.name()),
    };
    Code::ALL.iter().filter(belongs).copied().collect()
}

fn bearer() -> SecurityRequirement {
    SecurityRequirement::new("bearer", Vec::<String>::new())
}

fn problem_response(status: u16, codes: &[Code]) -> Response {
    let lines: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.name(), code.title())).collect();
    let examples = codes.iter().map(|code| {
        let problem = Problem { error: &example_of(*code), instance: "5f0c3b1a9d8e4f7c8b6a5d4e3f2a1b0c" };
        (code.name(), ExampleBuilder::new().summary(code.title()).value(Some(json!(problem))).build())
    });
    // Only the codes of this response, so that a client's `switch` over them can be complete.
    let code = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(codes.iter().map(|code| code.name())));
    let narrowed = ObjectBuilder::new().property("code", code).required("code");
    let schema = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(narrowed).build();
    let content =
        ContentBuilder::new().schema(Some(Schema::AllOf(schema))).examples_from_iter(examples).build();
    let mut response = ResponseBuilder::new()
        .description(lines.join("; "))
        .content("application/problem+json", content)
        .build();
    let may_wait = [Code::SaleNotStarted, Code::SalePaused].iter().any(|code| codes.contains(code));
    if matches!(status, 429 | 503) || may_wait {
        response.headers.insert("Retry-After".into(), text_header("Seconds to wait before trying again"));
    }
    if status == 401 {
        response.headers.insert("WWW-Authenticate".into(), text_header("How to authenticate (RFC 6750)"));
    }
    response
}

/// An error with this code, as a client may meet it.
fn example_of(code: Code) -> Error {
    let moment = Timestamp::from_milliseconds(EXAMPLE_MOMENT_MS);
    match code {
        Code::MalformedJson => Error::MalformedJson {
            detail: "The body cannot be read as JSON: expected value at line 1 column 9.".into(),
        },
        Code::UnsupportedMediaType => Error::UnsupportedMediaType,
        Code::PayloadTooLarge => Error::PayloadTooLarge { body_bytes_max: 65_536 },
        Code::ValidationFailed => Error::invalid("quantity", "must be a whole number from 1 to 1000"),
        Code::NotFound => Error::NO_ACCOUNT,
        Code::MethodNotAllowed => Error::MethodNotAllowed,
        Code::Unauthenticated => {
            Error::Unauthenticated { detail: "The token is not one of ours.", has_token: true }
        }
        Code::TokenExpired => Error::TokenExpired,
        Code::InvalidCredentials => Error::InvalidCredentials,
        Code::Forbidden => Error::FORBIDDEN,
        Code::AccountTooNew => Error::AccountTooNew { registered_before: moment },
        Code::AccountDisabled => Error::AccountDisabled,
        Code::EmailTaken => Error::EmailTaken,
        Code::LastAdmin => Error::LastAdmin,
        Code::ProductNotFound => Error::ProductNotFound,
        Code::PurchaseNotFound => Error::PurchaseNotFound,
        Code::SaleNotStarted => Error::SaleNotStarted { sale_start_time: moment, retry_after_seconds: 60 },
        Code::SaleEnded => Error::SaleEnded { sale_end_time: moment },
        Code::SalePaused => Error::SalePaused,
        Code::SoldOut => Error::SoldOut,
        Code::InsufficientStock => Error::InsufficientStock { remaining: 1 },
        Code::PurchaseLimitReached => Error::PurchaseLimitReached { limit: 2, purchased: 1 },
        Code::PriceChanged => Error::PriceChanged { price: Money { amount: 2499, currency: "USD".into() } },
        Code::TooManyLapses => Error::TooManyLapses { lapses: 3 },
        Code::PurchaseNotPending => Error::PurchaseNotPending { status: PurchaseStatus::Confirmed },
        Code::PaymentUnfillable => Error::PaymentUnfillable { status: PurchaseStatus::Expired },
        Code::AmountMismatch => {
            Error::AmountMismatch { total: Money { amount: 1999, currency: "USD".into() } }
        }
        Code::ProductHasSales => Error::ProductHasSales,
        Code::IdempotencyKeyReused => Error::IdempotencyKeyReused,
        Code::VersionConflict => Error::VersionConflict,
        Code::PreconditionRequired => Error::PreconditionRequired,
        Code::RateLimited => Error::RateLimited { retry_after_seconds: 60 },
        Code::Overloaded => Error::Overloaded { detail: "Too many purchases are under way." },
        Code::DatabaseUnavailable => Error::DatabaseUnavailable,
        Code::OutcomeUnknown => Error::OutcomeUnknown { purchase_id: Some(Id::from_bytes(EXAMPLE_ID)) },
        Code::Internal => Error::Internal,
    }
}
