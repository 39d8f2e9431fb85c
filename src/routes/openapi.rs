//! The OpenAPI 3.1 document, generated from the code, and the page to try the API.
//!
//! utoipa derives most of it from the handlers and their types; this module completes what that leaves out.

use axum::Router;
use axum::http::{HeaderMap, Method};
use axum::routing::get;
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::{AdditionalProperties, ArrayItems, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Ref, RefOr, Schema};

use super::limits;
use super::state::AppState;
use crate::error::{Code, Error, FieldError, ProblemSchema, Result};
use crate::http::file::File;
use crate::http::rendered::Rendered;
use crate::live::message::{Released, Stale, Stock};

mod problems;
mod swagger;

const ID_PATTERN: &str = "^[0-9a-fA-F]{24}$";
/// The parameters that are ids.
const ID_PARAMETERS: [&str; 5] = ["id", "productId", "userId", "actor", "target"];
const DOCUMENT_PATH: &str = "/openapi.json";
const LIVE_DOCUMENT_PATH: &str = "/asyncapi.yaml";
/// What the WebSocket takes and sends, which OpenAPI cannot describe.
const LIVE_DOCUMENT: &[u8] = include_bytes!("../../docs/asyncapi.yaml");

#[derive(OpenApi)]
#[openapi(
    info(
        title = "flash-sale",
        description = "Sells limited stock to a crowd that arrives in the same second.\n\n\
            Every response carries `X-Request-Id`. Every error is `application/problem+json` (RFC 9457) with a `code` \
            that programs can branch on; only what is not an HTTP request, or has too large a head, is answered 400 or 431 \
            without a body. Unknown members of a body are refused, the last one counts if a member comes twice, and the first \
            hundred wrong members are named.",
        contact(name = "The maintainers of flash-sale"),
        license(name = "MIT", identifier = "MIT"),
    ),
    paths(document, live_document, page),
    components(schemas(ProblemSchema, FieldError, Stock, Stale, Released)),
    servers((url = "/", description = "This server")),
    tags(
        (name = "auth", description = "Accounts and tokens"),
        (name = "users", description = "Accounts, for admins"),
        (name = "products", description = "What is sold"),
        (name = "purchases", description = "Buying, and the purchases made"),
        (name = "audit", description = "What was changed, by whom, from where"),
        (name = "leaderboard", description = "Who bought"),
        (name = "live", description = "Stock and sales as they happen; over WebSocket too, see `GET /asyncapi.yaml`"),
        (name = "status", description = "The server itself"),
    ),
)]
struct Base;

/// This document
///
/// It is made from the code, and every answer in the tests is checked against it. The events over WebSocket are in an
/// AsyncAPI document of their own.
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

/// The messages over WebSocket
///
/// An AsyncAPI document. The tests hold each of its examples against the server.
#[utoipa::path(
    get, path = "/asyncapi.yaml", tag = "status", operation_id = "asyncapi",
    params(("If-None-Match" = Option<String>, Header, description = "The ETag of the document that you have")),
    responses(
        (status = OK, description = "AsyncAPI 3", body = Object, content_type = "application/yaml", headers(("ETag" = String, description = "For If-None-Match"))),
        (status = NOT_MODIFIED, description = "The document is the one that you have"),
    ),
)]
#[expect(dead_code, reason = "it only describes a route of `router`")]
fn live_document() {}

/// A page to try the API
///
/// Redirects to the page, which needs nothing from another host.
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
             hexadecimal digits), `name`, `role` (`customer`, `payments` or `admin`), `iss` and `aud` (`flash-sale`), `iat`, `nbf` and `exp`, and if it \
             likes `registeredAt` (when the account was made). Where there is an account, its role is the user's",
        ))
        .build();
    let scraper = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The server's METRICS_TOKEN, if it has one"))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    components.add_security_scheme("metricsToken", SecurityScheme::Http(scraper));
    document
}

/// Completes the document, and serves it and the page to try the API.
pub fn router(mut document: utoipa::openapi::OpenApi) -> Router<AppState> {
    let items = document.paths.paths.iter_mut();
    for (path, method, operation) in items.flat_map(|(path, item)| operations(path, item)) {
        problems::add_to(operation, limits::is_limited(&method, path));
        // An empty list says that no token is needed. Without one it could have been forgotten.
        operation.security.get_or_insert_default();
        operation.parameters.iter_mut().flatten().for_each(describe_parameter);
        operation.request_body.iter_mut().for_each(describe_body);
    }
    close_requests(&mut document);
    describe_members(&mut document);
    let rendered = with_events(&document).and_then(|document| Rendered::digested(&document));
    Router::new()
        .route(
            DOCUMENT_PATH,
            get(async |headers: HeaderMap| rendered.map(|rendered| rendered.answer(&headers))),
        )
        .route(LIVE_DOCUMENT_PATH, File::new("asyncapi.yaml", LIVE_DOCUMENT, "default-src 'none'").route())
        .merge(swagger::router())
}

/// Adds the schemas of what an event stream carries, for which utoipa has no member.
fn with_events(document: &utoipa::openapi::OpenApi) -> Result<Value> {
    let mut document = serde_json::to_value(document).map_err(|error| {
        tracing::error!("cannot serialize the OpenAPI document: {error}");
        Error::Internal
    })?;
    let events = ["Product", "StockEvent", "LeaderboardItem", "ReleasedEvent", "StaleEvent"];
    let events = events.map(|name| json!(Ref::from_schema_name(name)));
    for path in document["paths"].as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
        if let Some(schema) = path.pointer_mut("/get/responses/200/content/text~1event-stream/schema") {
            schema["contentMediaType"] = "text/event-stream".into();
            schema["contentSchema"] = json!({ "description": "The data of one event", "anyOf": events });
        }
    }
    Ok(document)
}

/// Says in the document that unknown members of a body are refused.
fn close_requests(document: &mut utoipa::openapi::OpenApi) {
    let components = document.components.get_or_insert_default();
    for (name, schema) in &mut components.schemas {
        if let RefOr::T(Schema::Object(object)) = schema
            && (name.ends_with("Request") || ["Price", "PaidMoney"].contains(&name.as_str()))
        {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
}

/// Adds the pattern of ids and the list of codes, and names the items of pages.
fn describe_members(document: &mut utoipa::openapi::OpenApi) {
    let components = document.components.get_or_insert_default();
    for (schema_name, schema) in &mut components.schemas {
        let RefOr::T(Schema::Object(object)) = schema else { continue };
        for (name, member) in &mut object.properties {
            match (member, schema_name.strip_prefix("Page_")) {
                // utoipa repeats the whole schema of the items.
                (RefOr::T(Schema::Array(items)), Some(item)) => {
                    items.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(item).into()));
                }
                (RefOr::T(Schema::Object(member)), _)
                    if name == "id" || (name.ends_with("Id") && name != "requestId") =>
                {
                    member.pattern = Some(ID_PATTERN.into());
                }
                (RefOr::T(Schema::Object(member)), _) if schema_name == "Problem" && name == "code" => {
                    member.enum_values = Some(Code::ALL.iter().map(|code| code.name().into()).collect());
                }
                _ => {}
            }
        }
    }
}

/// A body can be missing, but never null.
fn describe_body(body: &mut RefOr<RequestBody>) {
    let RefOr::T(body) = body else { return };
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content
            && let Some(RefOr::T(Schema::OneOf(either))) = &content.schema
            && let Some(schema) = either.items.iter().find(|item| matches!(item, RefOr::Ref(_)))
        {
            content.schema = Some(schema.clone());
        }
    }
}

/// Adds the pattern of ids. A parameter can be missing, but never null.
fn describe_parameter(parameter: &mut RefOr<Parameter>) {
    if let RefOr::T(parameter) = parameter
        && let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
    {
        if ID_PARAMETERS.contains(&parameter.name.as_str()) {
            schema.pattern = Some(ID_PATTERN.into());
        }
        if let SchemaType::Array(types) = &schema.schema_type
            && let [one] = types.iter().filter(|kind| **kind != Type::Null).collect::<Vec<_>>()[..]
        {
            schema.schema_type = SchemaType::Type(one.clone());
        }
    }
}

fn operations<'a>(
    path: &'a str,
    item: &'a mut utoipa::openapi::PathItem,
) -> impl Iterator<Item = (&'a str, Method, &'a mut Operation)> {
    [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ]
    .into_iter()
    .filter_map(move |(method, operation)| Some((path, method, operation.as_mut()?)))
}
