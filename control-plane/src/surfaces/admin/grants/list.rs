//! `GET /admin/customers/{customer_id}/quota-grants`

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward_contract::{AccountId, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::GrantBody;
use crate::App;
use crate::domain::refusal::InvalidField;
use crate::operations::grants::{self, Granted, Years};
use crate::surfaces::page;
use crate::surfaces::params::{Id, Params};
use crate::surfaces::problem::Problem;

/// A page of grants.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GrantList {
    quota_grants: Vec<GrantBody>,
    /// What `cursor` must be for the next page; null on the last one.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// Which grants are wanted.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Of which contract years.
    #[param(format = "grant-period", example = "current")]
    pub period: Option<String>,
    /// The most that are shown.
    #[param(minimum = 1, maximum = 1_000, default = 100, example = 100)]
    pub limit: Option<i64>,
    /// The `next_cursor` of the page before.
    #[param(format = "cursor")]
    pub cursor: Option<String>,
}

/// Lists what was granted to an account, newest first: for the running contract year, or for all.
///
/// # Errors
/// When the account isn't there, or a parameter can't be read.
#[utoipa::path(
    get,
    path = "/admin/customers/{customer_id}/quota-grants",
    operation_id = "listQuotaGrants",
    tag = "usage",
    params(
        ("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"),
        ListParams,
    ),
    responses(
        (status = 200, description = "A page, newest first.", body = GrantList),
    ),
)]
pub async fn list(
    State(app): State<App>,
    Id(account): Id<AccountId>,
    params: Params,
) -> Result<Json<GrantList>, Problem> {
    let years = years(&params)?;
    let limit = params.whole_number("limit", 1..=1_000)?.unwrap_or(100);
    let before = params.text("cursor")?.map(read_cursor).transpose()?;
    let mut found = grants::list(&app.registry, account, years, before, limit + 1).await?;
    let more = page::cut(&mut found, limit);
    Ok(Json(GrantList {
        next_cursor: found.last().filter(|_| more).map(cursor),
        quota_grants: found.iter().map(GrantBody::from).collect(),
    }))
}

fn years(params: &Params) -> Result<Years, InvalidField> {
    match params.text("period")? {
        None | Some("current") => Ok(Years::Running),
        Some("all") => Ok(Years::All),
        Some(_) => Err(InvalidField::new("period", "must be one of current, all")),
    }
}

fn cursor(Granted { grant, .. }: &Granted) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", grant.created_at.0, grant.id))
}

fn read_cursor(text: &str) -> Result<(UnixMillis, Uuid), InvalidField> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (at, id) = std::str::from_utf8(&bytes).ok()?.split_once('.')?;
        Some((UnixMillis(at.parse().ok()?), id.parse().ok()?))
    };
    read().ok_or_else(|| InvalidField::new("cursor", "is not one that this list gave out"))
}
