//! Extractors for the user who sends a request.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::header;
use axum::http::request::Parts;

use super::state::AppState;
use crate::accounts::current_user::CurrentUser;
use crate::error::{Error, Result};
use crate::http::request_context::RequestContext;
use crate::model::id::Id;
use crate::model::user::Role;

/// Proves that the request comes from an admin. Refuses others with `forbidden`.
#[derive(Debug, Clone, Copy)]
pub struct Admin {
    /// The admin's user id.
    pub id: Id,
}

/// The shop's payment service, or an admin. Refuses others with `forbidden`.
#[derive(Debug, Clone)]
pub struct Staff(pub CurrentUser);

impl FromRequestParts<AppState> for Staff {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self> {
        let user = <CurrentUser as FromRequestParts<AppState>>::from_request_parts(parts, app).await?;
        match user.role.is_staff() {
            true => Ok(Self(user)),
            false => Err(Error::FORBIDDEN_BUYER),
        }
    }
}

/// Refuses with `unauthenticated` or `token_expired`.
impl FromRequestParts<AppState> for CurrentUser {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self> {
        let refused = |detail| Error::Unauthenticated { detail, has_token: false };
        const ADVICE: &str = "Send `Authorization: Bearer` and a token.";
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        let value = values.next().ok_or(refused(ADVICE))?;
        if values.next().is_some() {
            return Err(refused("Send one Authorization header, not several."));
        }
        let token = value.to_str().ok().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let token = token.ok_or(refused(ADVICE))?;
        let user = app.known_tokens.verify(&app.tokens, token)?;
        RequestContext::set_user(user.id);
        Ok(user)
    }
}

impl FromRequestParts<AppState> for Admin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self> {
        let user = <CurrentUser as FromRequestParts<AppState>>::from_request_parts(parts, app).await?;
        match user.role {
            Role::Admin => Ok(Self { id: user.id }),
            Role::Customer | Role::Payments => Err(Error::FORBIDDEN),
        }
    }
}

/// For routes that say more to somebody with a token. A token that is sent has to be good.
impl OptionalFromRequestParts<AppState> for CurrentUser {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Option<Self>> {
        match parts.headers.contains_key(header::AUTHORIZATION) {
            true => <Self as FromRequestParts<AppState>>::from_request_parts(parts, app).await.map(Some),
            false => Ok(None),
        }
    }
}
