//! Extractors for the user who sends a request.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

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

/// Refuses with `unauthenticated` or `token_expired`.
impl FromRequestParts<AppState> for CurrentUser {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self> {
        let user = app.known_tokens.verify(&app.tokens, bearer_token(&parts.headers)?)?;
        RequestContext::set_user(user.id);
        Ok(user)
    }
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

impl FromRequestParts<AppState> for Admin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self> {
        let user = CurrentUser::from_request_parts(parts, app).await?;
        match user.role {
            Role::Admin => Ok(Self { id: user.id }),
            Role::Customer => Err(Error::FORBIDDEN),
        }
    }
}
