//! `/auth`: register, log in and out, read the own account, change its password.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Serialize;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::state::{App, AppState};
use crate::accounts::current_user::CurrentUser;
use crate::accounts::view::UserView;
use crate::config::{Registration, Secret};
use crate::error::{Error, Result};
use crate::http::body::{Body, FromFields};
use crate::http::client::Client;
use crate::http::fields::{Fields, Rule, boolean, email_address, new_email_address, text_that, verbatim};
use crate::http::page::{Query, truth};
use crate::http::{Uncached, uncached};
use crate::metrics::Limit;
use crate::model::audit::Actor;
use crate::model::network::Network;
use crate::model::password;
use crate::model::timestamp::Timestamp;
use crate::model::user::{PASSWORD_CHARACTERS, User};

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(me, change_me))
        .routes(routes!(logout))
        .routes(routes!(change_password))
}

/// A new account.
#[derive(Debug, utoipa::ToSchema)]
pub struct RegisterRequest {
    /// The display name. The leaderboard shortens it to the first name and an initial, and a single word to its initial.
    /// It has a letter and one alphabet in each word, and no invisible characters, addresses, telephone numbers or words
    /// that stand for the shop, like `admin`. It is stored in NFC, trimmed, with single blanks.
    #[schema(min_length = 1, max_length = 80, example = "Ada Lovelace")]
    name: String,
    /// An address on the internet. Upper and lower case make no difference. All the ways to write the address of one
    /// mailbox have one account together: with the dots and tags that some providers ignore, or with the domain in
    /// Unicode or in ASCII.
    #[schema(max_length = 254, format = Email, example = "ada@shop.example")]
    email: String,
    /// 12 to 128 characters, as sent and in NFKC, in which it is compared. Refused are those that are easy to guess: the
    /// most used ones, repetitions, sequences, and those made of the own name or address.
    #[schema(value_type = String, min_length = 12, max_length = 128, format = Password, example = "correct horse battery")]
    password: Secret,
}

impl RegisterRequest {
    /// Like `FromFields`, by rules that need the shop's own words and a thread for passwords.
    ///
    /// # Errors
    /// `overloaded`.
    async fn read(fields: &mut Fields, app: &App, network: Network) -> Result<Option<Self>> {
        let name = fields.required("name", text_that(|name| app.names.check(name)));
        let email = fields.required("email", new_email_address);
        let password = fields.required("password", new_password);
        if let Some(password) = password.clone() {
            let own = name.iter().chain(&email).chain(&app.names.shops_own).cloned().collect();
            if let Err(problem) = app.accounts.check_strength(network, password, own).await? {
                fields.wrong("password", problem);
            }
        }
        Ok(name.zip(email).zip(password).map(|((name, email), password)| Self { name, email, password }))
    }
}

/// Proves that anybody may register. Refuses with `forbidden`, whatever the body is.
struct OpenRegistration;

impl FromRequestParts<AppState> for OpenRegistration {
    type Rejection = Error;

    async fn from_request_parts(_: &mut Parts, app: &AppState) -> Result<Self> {
        match app.registration {
            Registration::Open => Ok(Self),
            Registration::Closed => Err(Error::REGISTRATION_CLOSED),
        }
    }
}

/// The credentials of an account.
#[derive(Debug, utoipa::ToSchema)]
pub struct LoginRequest {
    /// Upper and lower case make no difference. An address that is written in another way than at the registration finds
    /// the account, if it is of the same mailbox.
    #[schema(format = Email, example = "ada@shop.example")]
    email: String,
    /// The password.
    #[schema(value_type = String, min_length = 1, max_length = 128, format = Password, example = "correct horse battery")]
    password: Secret,
}

impl FromFields for LoginRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let email = fields.required("email", email_address);
        let password = fields.required("password", known_password);
        Some(Self { email: email?, password: password? })
    }
}

/// A new password for an account.
#[derive(Debug, utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ChangePasswordRequest {
    /// The password so far.
    #[schema(value_type = String, min_length = 1, max_length = 128, format = Password, example = "correct horse battery")]
    current_password: Secret,
    /// Like that of a new account.
    #[schema(value_type = String, min_length = 12, max_length = 128, format = Password, example = "incorrect zebra battery")]
    new_password: Secret,
}

impl FromFields for ChangePasswordRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let current_password = fields.required("currentPassword", known_password);
        let new_password = fields.required("newPassword", new_password);
        Some(Self { current_password: current_password?, new_password: new_password? })
    }
}

fn new_password(value: Value) -> Rule<Secret> {
    text_that(|text| password::check_length(text).map(|()| Secret::new(text)))(value)
}

/// The minimum for new passwords does not apply here; the maximum bounds the work of hashing.
fn known_password(value: Value) -> Rule<Secret> {
    verbatim(1..=*PASSWORD_CHARACTERS.end())(value).map(Secret::new)
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
    let signed = app.tokens.sign_for_account(user)?;
    Ok(uncached(Session {
        user: user.into(),
        token: signed.token,
        token_type: "Bearer",
        expires_at: signed.expires_at,
    }))
}

/// Create an account
///
/// The account is a customer's. The token that comes with it is as good as one of `POST /auth/login`. A shop whose accounts
/// come from an identity provider answers `forbidden`.
#[utoipa::path(
    post, path = "/auth/register", tag = "auth", operation_id = "register",
    request_body = RegisterRequest,
    responses((status = CREATED, description = "The account and a token for it", body = Session)),
    extensions(("x-problem-codes" = json!(["forbidden", "email_taken", "overloaded", "database_unavailable", "outcome_unknown"]))),
)]
async fn register(
    State(app): State<AppState>,
    _: OpenRegistration,
    client: Client,
    actor: Actor,
    Body(mut fields): Body<Fields>,
) -> Result<(StatusCode, Uncached<Session>)> {
    let request = RegisterRequest::read(&mut fields, &app, client.network).await?;
    let request = fields.finish(request)?;
    let RegisterRequest { name, email, password } = request;
    let user = app.accounts.register(client.network, name, email, password, actor).await?;
    Ok((StatusCode::CREATED, session(&app, &user)?))
}

/// Log in
///
/// Wrong passwords are counted for each account and network, and for each network; beyond the limit no password from that
/// network is looked at for a while. An account is never closed to its owner elsewhere.
#[utoipa::path(
    post, path = "/auth/login", tag = "auth", operation_id = "login",
    request_body = LoginRequest,
    responses((status = OK, description = "The account and a token for it", body = Session)),
    extensions(("x-problem-codes" = json!(["invalid_credentials", "account_disabled", "rate_limited", "overloaded", "database_unavailable"]))),
)]
async fn login(
    State(app): State<AppState>,
    client: Client,
    actor: Actor,
    Body(request): Body<LoginRequest>,
) -> Result<Uncached<Session>> {
    let user = app.accounts.log_in(client, &request.email, request.password, actor).await;
    count_refused_guess(&app, &user);
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
    let account = account.ok_or(Error::NO_ACCOUNT)?;
    Ok(uncached(UserView::from(&account)))
}

/// What to change of the own account.
#[derive(Debug, utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ChangeOwnAccountRequest {
    /// `true` shows the public `Anonymous` in place of the name, in earlier purchases as well.
    #[schema(example = true)]
    hide_name: bool,
}

impl FromFields for ChangeOwnAccountRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        Some(Self { hide_name: fields.required("hideName", boolean)? })
    }
}

/// Hide the own name, or show it again
///
/// The claim `name` of a token is what the public sees: `Anonymous` if the name is hidden. So all earlier tokens of the account
/// end with a change. The answer has a new one.
#[utoipa::path(
    patch, path = "/auth/me", tag = "auth", operation_id = "changeMe",
    request_body = ChangeOwnAccountRequest,
    responses((status = OK, description = "The account and a new token for it", body = Session)),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!(["not_found", "outcome_unknown"]))),
)]
async fn change_me(
    State(app): State<AppState>,
    user: CurrentUser,
    actor: Actor,
    Body(request): Body<ChangeOwnAccountRequest>,
) -> Result<Uncached<Session>> {
    let account = app.accounts.hide_own_name(&user, request.hide_name, actor).await?;
    session(&app, &account)
}

/// Log out
///
/// Ends the token that is sent, or all tokens of the account, also those of other devices. Without an account, tokens that
/// were made before this second end. An ended token is refused at once on routes for admins and `payments`, and within two
/// seconds everywhere else.
#[utoipa::path(
    post, path = "/auth/logout", tag = "auth", operation_id = "logout",
    params(("everywhere" = Option<bool>, Query, description = "`true`: end all tokens of the account", example = true)),
    responses((status = NO_CONTENT, description = "The token counts no more")),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!(["outcome_unknown"]))),
)]
async fn logout(
    State(app): State<AppState>,
    user: CurrentUser,
    actor: Actor,
    mut query: Query,
) -> Result<StatusCode> {
    let everywhere = query.parameter("everywhere", truth);
    query.finish()?;
    match everywhere.unwrap_or_default() {
        true => app.accounts.log_out_everywhere(&user, actor).await?,
        false => app.accounts.log_out(&user, actor).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Change the own password
///
/// All earlier tokens of the account end, as after `POST /auth/logout?everywhere=true`. The answer has a new one.
#[utoipa::path(
    post, path = "/auth/password", tag = "auth", operation_id = "changePassword",
    request_body = ChangePasswordRequest,
    responses((status = OK, description = "The account and a new token for it", body = Session)),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!(["not_found", "invalid_credentials", "rate_limited", "outcome_unknown"]))),
)]
async fn change_password(
    State(app): State<AppState>,
    user: CurrentUser,
    client: Client,
    actor: Actor,
    Body(request): Body<ChangePasswordRequest>,
) -> Result<Uncached<Session>> {
    let passwords = (request.current_password, request.new_password);
    let account = app.accounts.change_password(&user, client, passwords, &app.names.shops_own, actor).await;
    count_refused_guess(&app, &account);
    session(&app, &account?)
}

/// Counts what is refused because of wrong passwords before.
fn count_refused_guess(app: &App, outcome: &Result<User>) {
    if matches!(outcome, Err(Error::RateLimited { .. })) {
        app.metrics.count_limit(Limit::LoginFailures);
    }
}
