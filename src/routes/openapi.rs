//! The OpenAPI 3.1 document, generated from the code, and the page to try the API.
//!
//! A handler lists only its own problem codes (`x-problem-codes`). This module adds the codes that every route of its
//! kind can answer with, and turns each status into a response that lists its codes, from the one table in `error`.

use std::collections::BTreeMap;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{AdditionalProperties, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Schema};

use super::state::AppState;
use crate::error::{Code, FieldError, ProblemSchema};
use crate::http::rendered::Rendered;
use crate::live::message::{Stale, Stock};

mod swagger;

/// Holds a handler's codes until they become responses.
const CODES_EXTENSION: &str = "x-problem-codes";
const ID_PATTERN: &str = "^[0-9a-fA-F]{24}$";
const DOCUMENT_PATH: &str = "/openapi.json";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "flash-sale",
        description = "Sells limited stock to a crowd that arrives in the same second.\n\n\
            Every response carries `X-Request-Id`. Every error is `application/problem+json` (RFC 9457) with a `code` \
            that programs can branch on; only what is not an HTTP request, or has too large a head, is answered 400 or 431 \
            without a body. Unknown members of a body are refused, the last one counts if a member comes twice, and the first \
            hundred wrong members are named.",
        license(name = "MIT", identifier = "MIT"),
    ),
    paths(document, page),
    components(schemas(ProblemSchema, FieldError, Stock, Stale)),
    servers((url = "/", description = "This server")),
    tags(
        (name = "auth", description = "Accounts and tokens"),
        (name = "products", description = "What is sold"),
        (name = "purchases", description = "Buying, and the purchases made"),
        (name = "leaderboard", description = "Who bought"),
        (name = "live", description = "Stock and sales as they happen; over WebSocket too, see docs/asyncapi.yaml"),
        (name = "status", description = "The server itself"),
    ),
)]
struct Base;

/// This document
#[utoipa::path(
    get, path = "/openapi.json", tag = "status", operation_id = "openapi",
    params(("If-None-Match" = Option<String>, Header, description = "The ETag of the document that you have")),
    responses(
        (status = OK, description = "OpenAPI 3.1", body = Object, headers(("ETag" = String, description = "For If-None-Match"))),
        (status = NOT_MODIFIED, description = "The document is the one that you have"),
    ),
)]
#[expect(dead_code, reason = "it only describes a route of `router`")]
fn document() {}

/// A page to try the API
#[utoipa::path(
    get, path = "/docs", tag = "status", operation_id = "docs",
    responses((status = SEE_OTHER, description = "Where the page is", headers(("Location" = String, description = "/docs/")))),
)]
#[expect(dead_code, reason = "it only describes a route of `router`")]
fn page() {}

/// The document without the routes, which are added to it.
pub fn base() -> utoipa::openapi::OpenApi {
    let mut document = Base::openapi();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "The `token` of /auth/login, or of any identity provider that signs with the same secret: HS256, with `sub` (24 \
             hexadecimal digits), `name`, `role` (`customer` or `admin`), `iss` and `aud` (`flash-sale`), `iat`, `nbf` and `exp`",
        ))
        .build();
    document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(bearer));
    document
}

/// Completes the document, and serves it and the page to try the API.
pub fn router(mut document: utoipa::openapi::OpenApi) -> Router<AppState> {
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        add_problems(operation);
        operation.parameters.iter_mut().flatten().for_each(describe_parameter);
    }
    close_requests(&mut document);
    describe_members(&mut document);
    let rendered = Rendered::digested(&document);
    Router::new()
        .route(
            DOCUMENT_PATH,
            get(async |headers: HeaderMap| rendered.map(|rendered| rendered.answer(&headers))),
        )
        .merge(swagger::router())
}

/// Says in the document that unknown members of a body are refused.
fn close_requests(document: &mut utoipa::openapi::OpenApi) {
    let components = document.components.get_or_insert_default();
    for (name, schema) in &mut components.schemas {
        if let RefOr::T(Schema::Object(object)) = schema
            && (name.ends_with("Request") || name == "Price")
        {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
}

/// Adds the pattern of ids and the list of codes.
fn describe_members(document: &mut utoipa::openapi::OpenApi) {
    let components = document.components.get_or_insert_default();
    for (schema_name, schema) in &mut components.schemas {
        let RefOr::T(Schema::Object(object)) = schema else { continue };
        for (name, member) in &mut object.properties {
            let RefOr::T(Schema::Object(member)) = member else { continue };
            if name == "id" || name.ends_with("Id") {
                member.pattern = Some(ID_PATTERN.into());
            } else if schema_name == "Problem" && name == "code" {
                member.enum_values = Some(Code::ALL.iter().map(|code| code.name().into()).collect());
            }
        }
    }
}

fn describe_parameter(parameter: &mut RefOr<Parameter>) {
    if let RefOr::T(parameter) = parameter
        && (parameter.name == "id" || parameter.name == "productId")
        && let Some(RefOr::T(Schema::Object(id))) = &mut parameter.schema
    {
        id.pattern = Some(ID_PATTERN.into());
    }
}

fn operations(item: &mut utoipa::openapi::PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
}

/// Turns the codes into one response per status.
fn add_problems(operation: &mut Operation) {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes_of(operation) {
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
fn codes_of(operation: &mut Operation) -> Vec<Code> {
    let own = operation.extensions.as_mut().and_then(|extensions| extensions.remove(CODES_EXTENSION));
    let own: Vec<_> = own.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str).collect();
    let has_body = operation.request_body.is_some();
    let in_query = |parameter: &RefOr<Parameter>| match parameter {
        RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Query,
        RefOr::Ref(_) => false,
    };
    let has_query = operation.parameters.iter().flatten().any(in_query);
    let needs_token = operation.security.is_some();
    let belongs = |code: &&Code| match code {
        Code::MalformedJson | Code::UnsupportedMediaType | Code::PayloadTooLarge => has_body,
        Code::ValidationFailed => has_body || has_query,
        Code::Unauthenticated | Code::TokenExpired => needs_token,
        Code::Internal => true,
        _ => own.contains(&code.name()),
    };
    Code::ALL.iter().filter(belongs).copied().collect()
}

fn problem_response(status: u16, codes: &[Code]) -> Response {
    let lines: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.name(), code.title())).collect();
    let examples = codes.iter().map(|code| {
        let example = json!({
            "type": format!("urn:problem-type:flash-sale:{}", code.name()), "title": code.title(),
            "status": code.status().as_u16(), "detail": "What happened this time.",
            "instance": "5f0c3b1a9d8e4f7c8b6a5d4e3f2a1b0c", "code": code.name(),
        });
        (code.name(), utoipa::openapi::example::ExampleBuilder::new().value(Some(example)).build())
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build();
    let mut response = ResponseBuilder::new()
        .description(lines.join("; "))
        .content("application/problem+json", content)
        .build();
    if matches!(status, 429 | 503) || codes.contains(&Code::SaleNotStarted) {
        response.headers.insert("Retry-After".into(), text_header("Seconds to wait before trying again"));
    }
    if status == 401 {
        response.headers.insert("WWW-Authenticate".into(), text_header("How to authenticate (RFC 6750)"));
    }
    response
}
