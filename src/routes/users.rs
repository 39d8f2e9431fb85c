//! `/users`: admins list accounts, change their roles, and disable them.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Admin;
use super::state::AppState;
use crate::accounts::administration::{NO_USER, UserChange};
use crate::accounts::filter::{UserCursor, UserFilter, search_words};
use crate::accounts::view::AccountView;
use crate::error::Result;
use crate::http::body::{Body, FromFields};
use crate::http::fields::{Fields, Rule, boolean, email_address};
use crate::http::page::{Page, Query, truth};
use crate::http::path::PathId;
use crate::http::{Uncached, uncached};
use crate::model::audit::Actor;
use crate::model::user::Role;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_users)).routes(routes!(get_user, change_user))
}

/// What to change of an account; what is missing stays as it is.
#[derive(Debug, utoipa::ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct ChangeUserRequest {
    /// What the user may do.
    #[schema(value_type = Option<Role>, nullable = false)]
    role: Option<Role>,
    /// `true` refuses all logins and tokens of the account, `false` allows them again.
    #[schema(value_type = Option<bool>, nullable = false, example = true)]
    disabled: Option<bool>,
    /// `true` shows the public `Anonymous` in place of the name, in earlier purchases as well.
    #[schema(value_type = Option<bool>, nullable = false, example = true)]
    hide_name: Option<bool>,
}

impl FromFields for ChangeUserRequest {
    fn from_fields(fields: &mut Fields) -> Option<Self> {
        let role = fields.changed("role", |value| role(value.as_str().unwrap_or_default()));
        let disabled = fields.changed("disabled", boolean);
        let hide_name = fields.changed("hideName", boolean);
        Some(Self { role, disabled, hide_name })
    }
}

fn role(name: &str) -> Rule<Role> {
    let role = Role::ALL.into_iter().find(|role| role.name() == name);
    role.ok_or_else(|| format!("must be one of {}", Role::ALL.map(Role::name).join(", ")))
}

/// All accounts, the newest first
///
/// For admins.
#[utoipa::path(
    get, path = "/users", tag = "users", operation_id = "listUsers",
    params(
        ("email" = Option<String>, Query, max_length = 254, description = "Only the account with this address; upper and lower case make no difference", example = "ada@shop.example"),
        ("role" = inline(Option<Role>), Query, description = "Only accounts with this role", example = "admin"),
        ("disabled" = Option<bool>, Query, description = "Only accounts that are disabled, or only those that are not", example = true),
        ("search" = Option<String>, Query, max_length = 200, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$", description = "Only accounts with all of these words in the name or the address, ignoring case; at most 200 characters and 10 different words", example = "lovelace"),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "Items on the page: 1 to 200, 50 without it", example = 50),
        ("cursor" = Option<String>, Query, min_length = 1, max_length = 500, description = "The `nextCursor` of the page before"),
    ),
    responses((status = OK, description = "A page of accounts", body = Page<AccountView>)),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!(["forbidden"]))),
)]
async fn list_users(
    State(app): State<AppState>,
    _admin: Admin,
    mut query: Query,
) -> Result<Uncached<Page<AccountView>>> {
    let filter = UserFilter {
        email: query.parameter("email", |value| email_address(value.into())),
        role: query.parameter("role", role),
        disabled: query.parameter("disabled", truth),
        words: query
            .parameter("search", |value| search_words(value, &app.limits.accounts))
            .unwrap_or_default(),
    };
    let page = query.page(|_: &UserCursor| true);
    query.finish()?;
    let users = app.accounts.list(&filter, &page).await?;
    Ok(uncached(users.map(|user| AccountView::from(&user))))
}

/// One account
///
/// For admins.
#[utoipa::path(
    get, path = "/users/{id}", tag = "users", operation_id = "getUser",
    params(("id" = String, Path, description = "The account's id", example = "65f1c0ffee65f1c0ffee65f1")),
    responses((status = OK, description = "The account", body = AccountView)),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!(["forbidden", "not_found"]))),
)]
async fn get_user(State(app): State<AppState>, _admin: Admin, id: PathId) -> Result<Uncached<AccountView>> {
    let user = app.accounts.find(id.or(NO_USER)?).await?.ok_or(NO_USER)?;
    Ok(uncached(AccountView::from(&user)))
}

/// Change a role, disable or enable an account, hide a name
///
/// For admins. A change of `hideName` ends all tokens of the account, because they carry the name. A change counts at once on routes for admins and `payments`, and within two seconds everywhere else. The last admin
/// who can log in stays one.
#[utoipa::path(
    patch, path = "/users/{id}", tag = "users", operation_id = "changeUser",
    params(("id" = String, Path, description = "The account's id", example = "65f1c0ffee65f1c0ffee65f1")),
    request_body = ChangeUserRequest,
    responses((status = OK, description = "The changed account", body = AccountView)),
    security(("bearer" = [])),
    extensions(("x-problem-codes" = json!(["forbidden", "not_found", "last_admin", "outcome_unknown"]))),
)]
async fn change_user(
    State(app): State<AppState>,
    Admin(admin): Admin,
    actor: Actor,
    id: PathId,
    Body(request): Body<ChangeUserRequest>,
) -> Result<Uncached<AccountView>> {
    let change = UserChange { role: request.role, disabled: request.disabled, hide_name: request.hide_name };
    let user = app.accounts.change(id.or(NO_USER)?, change, actor.of(admin.id)).await?;
    Ok(uncached(AccountView::from(&user)))
}
