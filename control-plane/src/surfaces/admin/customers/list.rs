//! `GET /admin/customers`

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward_contract::{AccountId, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::domain::account::{Account, status_from_str};
use crate::domain::refusal::InvalidField;
use crate::operations::accounts;
use crate::store::accounts::Filter;
use crate::surfaces::admin::wire::{self, KeyIdShown};
use crate::surfaces::page;
use crate::surfaces::params::Params;
use crate::surfaces::problem::Problem;

/// A page of accounts.
#[derive(Debug, Serialize, ToSchema)]
pub struct CustomerPage {
    customers: Vec<wire::Customer>,
    /// What `cursor` must be for the next page; null on the last one.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// Which accounts are wanted.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Only those on this tier.
    #[param(format = "tier", example = "growth")]
    pub tier: Option<String>,
    /// Only those with this status.
    #[param(format = "account-status", example = "active")]
    pub status: Option<String>,
    /// Only those whose name or e-mail has this in it, without regard to case.
    #[param(format = "search", example = "acme")]
    pub query: Option<String>,
    /// The most that are shown.
    #[param(minimum = 1, maximum = 1_000, default = 100, example = 100)]
    pub limit: Option<i64>,
    /// The `next_cursor` of the page before.
    #[param(format = "cursor")]
    pub cursor: Option<String>,
}

/// Lists accounts, newest first.
///
/// # Errors
/// When a filter, the limit or the cursor is none.
#[utoipa::path(
    get,
    path = "/admin/customers",
    operation_id = "listCustomers",
    tag = "customers",
    params(ListParams),
    responses(
        (status = 200, description = "A page, newest first.", body = CustomerPage),
    ),
)]
pub async fn list(State(app): State<App>, params: Params) -> Result<Json<CustomerPage>, Problem> {
    let limit = params.whole_number("limit", 1..=1_000)?.unwrap_or(100);
    let status = params.text("status")?;
    if let Some(status) = status {
        status_from_str(status)
            .map_err(|_| InvalidField::new("status", "must be active, suspended or cancelled"))?;
    }
    let tier = params.text("tier")?;
    if let Some(tier) = tier {
        app.registry.catalogue.terms(tier, None)?;
    }
    let filter = Filter {
        tier: tier.map(str::to_owned),
        status: status.map(str::to_owned),
        query: params.search("query")?,
        before: params.text("cursor")?.map(read_cursor).transpose()?,
    };
    let mut found = accounts::list(&app.registry, filter, limit + 1).await?;
    let more = page::cut(&mut found, limit);
    let next_cursor = found.last().filter(|_| more).map(|last| cursor(&last.account));
    let customers = found
        .iter()
        .map(|found| wire::customer(found, KeyIdShown::Masked))
        .collect();
    Ok(Json(CustomerPage {
        customers,
        next_cursor,
    }))
}

fn cursor(last: &Account) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", last.created_at.0, last.id))
}

fn read_cursor(text: &str) -> Result<(UnixMillis, String), InvalidField> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (at, id) = std::str::from_utf8(&bytes).ok()?.split_once('.')?;
        let id: AccountId = id.parse().ok()?;
        Some((UnixMillis(at.parse().ok()?), id.to_string()))
    };
    read().ok_or_else(|| InvalidField::new("cursor", "is not one that this list gave out"))
}
