//! `/auth`: register, log in, read the own account.

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::{App, AppState};
use crate::accounts::current_user::CurrentUser;
use crate::accounts::view::UserView;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::body::{Body, FromFields};
use crate::http::fields::{Fields, email_address, line, verbatim};
use crate::http::peer::PeerAddress;
use crate::http::{Uncached, uncached};
use crate::metrics::Limit;
use crate::model::timestamp::Timestamp;
use crate::model::user::{NAME_CHARACTERS, PASSWORD_CHARACTERS, Role, User};

/// A good token's user is not in the database.
pub const NO_ACCOUNT: Error = Error::NotFound {
    detail: "The token is valid, but its user has no account here; another identity provider signed it.",
};

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(register)).routes(routes!(login)).routes(routes!(me))
}

/// A new account.
#[derive(Debug, utoipa::ToSchema)]
pub struct RegisterRequest {
    /// The public display name; the leaderboard shortens it.
    #[schema(min_length = 1, max_length = 80, example = "Ada Lovelace")]
    name: String,
    /// Upper and lower case make no difference.
    #[schema(max_length = 254, format = Email, example = "ada@shop.example")]
    email: String,
    /// 12 to 128 characters.
    #[schema(value_type = String, min_length = 12, max_length = 128, format = Password, example = "correct horse battery")]
    password: Secret,
}

impl FromFields for RegisterRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let name = fields.required("name", line(NAME_CHARACTERS));
        let email = fields.required("email", email_address);
        let password = fields.required("password", verbatim(PASSWORD_CHARACTERS)).map(Secret::new);
        Some(Self { name: name?, email: email?, password: password? })
    }
}

/// The credentials of an account.
#[derive(Debug, utoipa::ToSchema)]
pub struct LoginRequest {
    /// Upper and lower case make no difference.
    #[schema(format = Email, example = "ada@shop.example")]
    email: String,
    /// The password.
    #[schema(value_type = String, min_length = 1, max_length = 128, format = Password, example = "correct horse battery")]
    password: Secret,
}

impl FromFields for LoginRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let email = fields.required("email", email_address);
        // The minimum for new passwords does not apply here; the maximum bounds the work of hashing.
        let password = fields.required("password", verbatim(1..=128)).map(Secret::new);
        Some(Self { email: email?, password: password? })
    }
}

/// An account and a token for it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The account.
    pub user: UserView,
    /// The token: send it as `Authorization: Bearer <token>`.
    #[schema(example = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI2NWYxIn0.3q2-7w")]
    pub token: String,
    /// How to send the token.
    #[schema(example = "Bearer")]
    pub token_type: &'static str,
    /// When the token expires.
    pub expires_at: Timestamp,
}

fn session(app: &App, user: &User) -> Result<Uncached<Session>> {
    let signed = app.tokens.sign(user)?;
    Ok(uncached(Session {
        user: user.into(),
        token: signed.token,
        token_type: "Bearer",
        expires_at: signed.expires_at,
    }))
}

/// Create an account
///
/// The account is a customer's. The token that comes with it is as good as one of `POST /auth/login`.
#[utoipa::path(
    post, path = "/auth/register", tag = "auth", operation_id = "register",
    request_body = RegisterRequest,
    responses((status = CREATED, description = "The account and a token for it", body = Session)),
    extensions(("x-problem-codes" = json!(["email_taken", "overloaded", "database_unavailable", "outcome_unknown"]))),
)]
async fn register(
    State(app): State<AppState>,
    Body(request): Body<RegisterRequest>,
) -> Result<(StatusCode, Uncached<Session>)> {
    let user = app.accounts.register(request.name, request.email, request.password, Role::Customer).await?;
    Ok((StatusCode::CREATED, session(&app, &user)?))
}

/// Log in
///
/// Wrong passwords are counted for each account and address; beyond the limit no password is looked at for a while.
#[utoipa::path(
    post, path = "/auth/login", tag = "auth", operation_id = "login",
    request_body = LoginRequest,
    responses((status = OK, description = "The account and a token for it", body = Session)),
    extensions(("x-problem-codes" = json!(["invalid_credentials", "rate_limited", "overloaded", "database_unavailable"]))),
)]
async fn login(
    State(app): State<AppState>,
    Extension(address): Extension<PeerAddress>,
    Body(request): Body<LoginRequest>,
) -> Result<Uncached<Session>> {
    let user = app.accounts.log_in(address, &request.email, request.password).await;
    if matches!(user, Err(Error::RateLimited { .. })) {
        app.metrics.count_limit(Limit::LoginFailures);
    }
    app.metrics.count_login(user.as_ref().map_or_else(|refusal| refusal.code().name(), |_| "logged_in"));
    session(&app, &user?)
}

/// The account that the token belongs to
///
/// The token of another identity provider may belong to a user who has no account here.
#[utoipa::path(
    get, path = "/auth/me", tag = "auth", operation_id = "me",
    responses((status = OK, description = "The account", body = UserView)),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!(["not_found", "overloaded", "database_unavailable"]))),
)]
async fn me(State(app): State<AppState>, user: CurrentUser) -> Result<Uncached<UserView>> {
    let account = app.accounts.find(user.id).await?;
    let account = account.ok_or(NO_ACCOUNT)?;
    Ok(uncached(UserView::from(&account)))
}
