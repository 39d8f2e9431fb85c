//! Extractors for the user who sends a request.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::state::AppState;
use crate::accounts::current_user::CurrentUser;
use crate::error::{Error, Result};
use crate::http::client::Client;
use crate::http::request_context::RequestContext;
use crate::model::audit::Actor;
use crate::model::user::Role;

/// An admin, as the account says now. Refuses others with `forbidden`.
#[derive(Debug, Clone)]
pub struct Admin(pub CurrentUser);

/// The user of a verified token, before it is known whether the token still counts.
///
/// # Errors
/// `unauthenticated`, `token_expired`.
fn presented(parts: &Parts, app: &AppState) -> Result<CurrentUser> {
    let user = app.known_tokens.verify(&app.tokens, bearer_token(&parts.headers)?)?;
    RequestContext::set_user(user.id);
    Ok(user)
}

/// The token of the header `Authorization`.
///
/// # Errors
/// `unauthenticated` if there is none.
pub fn bearer_token(headers: &HeaderMap) -> Result<&str> {
    let refused = |detail| Error::Unauthenticated { detail, has_token: false };
    const ADVICE: &str = "Send `Authorization: Bearer` and a token.";
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(refused(ADVICE))?;
    if values.next().is_some() {
        return Err(refused("Send one Authorization header, not several."));
    }
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    token.ok_or(refused(ADVICE))
}

/// The shop's payment service, or an admin, as the account says now. Refuses others with `forbidden`.
#[derive(Debug, Clone)]
pub struct Staff(pub CurrentUser);

impl FromRequestParts<AppState> for Staff {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self> {
        let user = app.access.look(presented(parts, app)?).await?;
        match user.role.is_staff() {
            true => Ok(Self(user)),
            false => Err(Error::FORBIDDEN_BUYER),
        }
    }
}

/// Refuses with `unauthenticated`, `token_expired` or `account_disabled`. An end of access counts within two seconds.
impl FromRequestParts<AppState> for CurrentUser {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self> {
        app.access.check(presented(parts, app)?).await
    }
}

/// `None` without a token; a bad one is refused.
impl OptionalFromRequestParts<AppState> for CurrentUser {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Option<Self>> {
        match parts.headers.contains_key(header::AUTHORIZATION) {
            true => app.access.check(presented(parts, app)?).await.map(Some),
            false => Ok(None),
        }
    }
}

/// An end of access counts at once: the account is read for each request.
impl FromRequestParts<AppState> for Admin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self> {
        let user = app.access.look(presented(parts, app)?).await?;
        match user.role {
            Role::Admin => Ok(Self(user)),
            Role::Customer | Role::Payments => Err(Error::FORBIDDEN),
        }
    }
}

/// Who asks for a change, for the audit log, before it is known which user that is.
impl FromRequestParts<AppState> for Actor {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self> {
        Ok(Self {
            user: None,
            request_id: RequestContext::current().map(|request| request.id().to_owned()),
            address: parts.extensions.get::<Client>().map(|client| client.address),
        })
    }
}
