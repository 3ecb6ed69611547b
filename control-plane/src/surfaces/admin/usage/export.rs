//! `GET /admin/usage/{customer_id}/export`

use axum::extract::State;
use axum::response::Response;
use keyward_contract::AccountId;

use super::rows::{self, File, Format, Row};
use crate::App;
use crate::operations::usage_export::Export;
use crate::surfaces::params::{Id, Params};
use crate::surfaces::problem::Problem;
use crate::surfaces::span;

/// What is wanted of an account's usage.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExportParams {
    /// CSV with a line of names, one JSON array, or one JSON object a line.
    #[param(format = "usage-format", default = "csv", example = "csv")]
    pub format: Option<String>,
    /// The first instant.
    #[param(format = "instant", example = "2026-01-01")]
    pub from: Option<String>,
    /// The first instant after it.
    #[param(format = "instant", example = "2026-01-20T10:30:00Z")]
    pub to: Option<String>,
    /// How long each row counts; a day when left out. At most 10000 of them are handed out at once.
    #[param(format = "granularity", example = "day")]
    pub granularity: Option<String>,
    /// Which calls; production when left out.
    #[param(format = "any-environment", default = "production", example = "production")]
    pub environment: Option<String>,
}

/// Hands out what an account used, one row for each hour, day or month, environment, end customer, key and route that has
/// anything: row by row, in the order of who called, and of time within it. Of a time that is over the rows add up to
/// what `getUsage` shows. An error after the first rows breaks the answer off, so that nobody takes a part for the whole.
///
/// # Errors
/// When the account isn't there, or a parameter can't be read or gives too long a time.
#[utoipa::path(
    get,
    path = "/admin/usage/{customer_id}/export",
    operation_id = "exportUsage",
    tag = "usage",
    params(
        ("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"),
        ExportParams,
    ),
    responses(
        (
            status = 200,
            description = "What it used.",
            content((String = "text/csv"), (Vec<Row> = "application/json"), (String = "application/x-ndjson")),
        ),
    ),
)]
pub async fn export(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    params: Params,
) -> Result<Response, Problem> {
    let format = Format::read(&params)?;
    let (environment, time) = (rows::environment(&params)?, span::time(&params)?);
    let export = Export::of_account(&app.registry, id, environment, time).await?;
    let file = File {
        format,
        name: format!("usage-{id}"),
        names_accounts: false,
    };
    rows::answer(app, export, file).await
}
