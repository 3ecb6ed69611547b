//! `GET /admin/usage/export`

use axum::extract::State;
use axum::response::Response;
use jiff::civil::Date;
use keyward_contract::UnixMillis;

use super::rows::{self, BilledRow, File, Format};
use crate::App;
use crate::domain::moment;
use crate::domain::refusal::InvalidField;
use crate::domain::series::{Granularity, Span};
use crate::operations::usage_export::Export;
use crate::surfaces::params::Params;
use crate::surfaces::problem::Problem;

/// What is wanted of all usage.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExportAllParams {
    /// The calendar month (UTC); the present one when left out.
    #[param(format = "month", example = "2026-01")]
    pub month: Option<String>,
    /// CSV with a line of names, one JSON array, or one JSON object a line.
    #[param(format = "usage-format", default = "csv", example = "csv")]
    pub format: Option<String>,
    /// Which calls; production when left out.
    #[param(format = "any-environment", default = "production", example = "production")]
    pub environment: Option<String>,
}

/// Hands out what all accounts used in a month, for a billing run: one row for each account, environment, end customer,
/// key and route that has anything, in the order of accounts. Tier and annual limit are the account's present ones. An
/// error after the first rows breaks the answer off, so that nobody takes a part for the whole.
///
/// # Errors
/// When a parameter can't be read.
#[utoipa::path(
    get,
    path = "/admin/usage/export",
    operation_id = "exportAllUsage",
    tag = "usage",
    params(ExportAllParams),
    responses(
        (
            status = 200,
            description = "What all accounts used.",
            content(
                (String = "text/csv"), (Vec<BilledRow> = "application/json"), (String = "application/x-ndjson"),
            ),
        ),
    ),
)]
pub async fn export(State(app): State<App>, params: Params) -> Result<Response, Problem> {
    let format = Format::read(&params)?;
    let environment = rows::environment(&params)?;
    let month = match params.text("month")? {
        Some(text) => month(text)?,
        None => app.registry.clock.now().date().first_of_month(),
    };
    let span = Span {
        granularity: Granularity::Month,
        from: UnixMillis::start_of(month),
        to: moment::end_of(month.last_of_month()),
    };
    let export = Export::of_all(&app.registry, environment, span)?;
    let file = File {
        format,
        name: format!("usage-{:04}-{:02}", month.year(), month.month()),
        names_accounts: true,
    };
    rows::answer(app, export, file).await
}

fn month(text: &str) -> Result<Date, InvalidField> {
    let first = moment::date("month", &format!("{text}-01"));
    first.map_err(|_| InvalidField::new("month", "must be a month from 1970 on, such as 2026-01"))
}
