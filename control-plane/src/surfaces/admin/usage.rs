//! `GET /admin/usage/{customer_id}`

use axum::Json;
use axum::extract::State;
use keyward_contract::{AccountId, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::operations::account_usage;
use crate::surfaces::params::{Id, Params};
use crate::surfaces::problem::Problem;

pub mod export;
pub mod export_all;
pub mod rows;
pub mod series;

use series::{Asked, Group, SeriesEntry};

/// What an account used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "customer_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e", "tier": "growth", "annual_limit": 10_000_000,
    "usage": {
        "current_month": {"period": "2026-01", "count": 125_000},
        "current_year": {"period": "2026", "count": 125_000},
    },
    "usage_percent": 1.25, "remaining": 9_875_000,
    "quota": {
        "period_start": "2026-01-01T00:00:00Z", "period_end": "2027-01-01T00:00:00Z",
        "used": 125_000, "granted": 0,
    },
}))]
pub struct AccountUsage {
    #[schema(value_type = String, format = "uuid")]
    customer_id: AccountId,
    tier: String,
    annual_limit: u64,
    usage: CalendarUsage,
    /// What was used of the contract year's quota: of the annual limit and what was granted. May pass 100.
    #[schema(minimum = 0)]
    usage_percent: f64,
    /// What is left of the contract year's quota; never below zero.
    remaining: u64,
    quota: ContractYear,
    /// Its calls over time, without gaps; only when `from`, `to`, `granularity` or a filter is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_items = 1_000)]
    series: Option<Vec<SeriesEntry>>,
    /// From when on usage is kept in this granularity, when the series begins earlier: entries before it are empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    series_kept_from: Option<String>,
    /// The same calls by what `group_by` names, the most accepted first; only when it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_items = 1_000)]
    groups: Option<Vec<Group>>,
}

/// Accepted production calls of this calendar month and year (UTC).
#[derive(Debug, Serialize, ToSchema)]
pub struct CalendarUsage {
    current_month: PeriodCount,
    current_year: PeriodCount,
}

/// Accepted production calls of a period.
#[derive(Debug, Serialize, ToSchema)]
pub struct PeriodCount {
    #[schema(pattern = r"^\d{4}(-\d\d)?$", example = "2026-01")]
    period: String,
    count: u64,
}

/// The contract year.
#[derive(Debug, Serialize, ToSchema)]
pub struct ContractYear {
    #[schema(format = DateTime)]
    period_start: String,
    #[schema(format = DateTime)]
    period_end: String,
    used: u64,
    /// Validations that were granted for this year, beyond the annual limit.
    granted: u64,
}

/// What is wanted of an account's usage.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct UsageParams {
    /// The first instant.
    #[param(format = "instant", example = "2026-01-01")]
    pub from: Option<String>,
    /// The first instant after it.
    #[param(format = "instant", example = "2026-01-20T10:30:00Z")]
    pub to: Option<String>,
    /// How long each entry is; a day when left out. A series has at most 1000.
    #[param(format = "granularity", example = "day")]
    pub granularity: Option<String>,
    /// Which calls `series` and `groups` are of; production when left out.
    #[param(format = "environment", example = "production")]
    pub environment: Option<String>,
    /// Only calls of this end customer of the account, living or deleted, in that environment.
    #[param(format = "customer-id", example = "clx8f2k9h0001qr5tgvwxyz12")]
    pub end_customer_id: Option<String>,
    /// Only calls with this key, of the account or of an end customer, living or dead, in that environment.
    #[param(format = "uuid", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7f")]
    pub api_key_id: Option<String>,
    /// Only calls on this route, by its path as the gateway is configured.
    #[param(format = "any", max_length = 255, example = "/")]
    pub route: Option<String>,
    /// Sums the calls up by this: at most 1000 groups, the most accepted first. `api_key` is the account's key, or the
    /// end customer's where there was none.
    #[param(format = "usage-group", example = "end_customer")]
    pub group_by: Option<String>,
    /// Shows everything that is counted in each entry and group.
    #[param(format = "usage-fields", example = "all")]
    pub fields: Option<String>,
}

/// Shows what an account used of its contract year, and in this month and year, in production; over time too, when `from`,
/// `to`, `granularity` or a filter is given, and by key, end customer or route, when `group_by` is.
///
/// # Errors
/// When the account isn't there, it never had the end customer or the key in that environment, or a parameter can't be
/// read or gives too long a series.
#[utoipa::path(
    get,
    path = "/admin/usage/{customer_id}",
    operation_id = "getUsage",
    tag = "usage",
    params(
        ("customer_id" = String, Path, format = "uuid", description = "The customer's id.", example = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"),
        UsageParams,
    ),
    responses(
        (status = 200, description = "What it used.", body = AccountUsage),
    ),
)]
pub async fn show(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    params: Params,
) -> Result<Json<AccountUsage>, Problem> {
    let asked = Asked::read(&params)?;
    let used = account_usage::used(&app.registry, id, asked.wanted).await?;
    let count = used.usage.in_period;
    let limit = used.account.annual_limit.saturating_add(used.granted);
    let day = used.now.date();
    let counted = |period, count| PeriodCount { period, count };
    let kept_from = used.series.as_ref().and_then(|series| series.kept_from);
    let entries = used.series.map(|series| series.entries);
    Ok(Json(AccountUsage {
        customer_id: id,
        tier: used.account.tier,
        annual_limit: used.account.annual_limit,
        usage: CalendarUsage {
            current_month: counted(format!("{:04}-{:02}", day.year(), day.month()), used.usage.month),
            current_year: counted(format!("{:04}", day.year()), used.usage.year),
        },
        usage_percent: percent(count, limit),
        remaining: limit.saturating_sub(count),
        quota: ContractYear {
            period_start: used.period.start.to_rfc3339_seconds(),
            period_end: used.period.end.to_rfc3339_seconds(),
            used: count,
            granted: used.granted,
        },
        series_kept_from: kept_from.map(UnixMillis::to_rfc3339_seconds),
        series: entries.map(|entries| asked.detail.entries(&entries)),
        groups: used.groups.map(|groups| asked.detail.groups(groups)),
    }))
}

/// Hundredths of a percent are shown; more digits say nothing.
fn percent(count: u64, limit: u64) -> f64 {
    let share = u128::from(count) * 10_000 / u128::from(limit.max(1));
    u32::try_from(share).map_or(f64::MAX, f64::from) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_two_digits_and_may_pass_a_hundred() {
        assert_eq!(percent(125_000, 10_000_000), 1.25);
        assert_eq!(percent(0, 10), 0.0);
        assert_eq!(percent(15, 10), 150.0);
    }
}
