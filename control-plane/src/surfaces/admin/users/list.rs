//! `GET /admin/customers/{customer_id}/users`

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward_contract::{AccountId, UnixMillis, UserId};
use serde::Serialize;
use utoipa::ToSchema;

use super::UserBody;
use crate::App;
use crate::domain::refusal::InvalidField;
use crate::domain::user::User;
use crate::operations::users;
use crate::surfaces::page;
use crate::surfaces::params::{Id, Params};
use crate::surfaces::problem::Problem;

/// A page of users.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct UserList {
    users: Vec<UserBody>,
    /// What `cursor` must be for the next page; null on the last one.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// Which users are wanted.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// The most that are shown.
    #[param(minimum = 1, maximum = 1_000, default = 100, example = 100)]
    pub limit: Option<i64>,
    /// The `next_cursor` of the page before.
    #[param(format = "cursor")]
    pub cursor: Option<String>,
}

/// Lists the users of an account, newest first.
///
/// # Errors
/// When the account isn't there, or the limit or the cursor is none.
#[utoipa::path(
    get,
    path = "/admin/customers/{customer_id}/users",
    operation_id = "listUsers",
    tag = "users",
    params(
        ("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"),
        ListParams,
    ),
    responses(
        (status = 200, description = "A page, newest first.", body = UserList),
    ),
)]
pub async fn list(
    State(app): State<App>,
    Id(account): Id<AccountId>,
    params: Params,
) -> Result<Json<UserList>, Problem> {
    let limit = params.whole_number("limit", 1..=1_000)?.unwrap_or(100);
    let before = params.text("cursor")?.map(read_cursor).transpose()?;
    let mut found = users::list(&app.registry, account, before, limit + 1).await?;
    let more = page::cut(&mut found, limit);
    Ok(Json(UserList {
        next_cursor: found.last().filter(|_| more).map(cursor),
        users: found.iter().map(UserBody::from).collect(),
    }))
}

fn cursor(last: &User) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", last.created_at.0, last.id))
}

fn read_cursor(text: &str) -> Result<(UnixMillis, UserId), InvalidField> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (at, id) = std::str::from_utf8(&bytes).ok()?.split_once('.')?;
        Some((UnixMillis(at.parse().ok()?), id.parse().ok()?))
    };
    read().ok_or_else(|| InvalidField::new("cursor", "is not one that this list gave out"))
}
