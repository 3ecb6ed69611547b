//! `GET /admin/usage/{customer_id}`

use axum::Json;
use axum::extract::State;
use keyward_contract::{AccountId, Limits, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::domain::left::Left;
use crate::domain::moment;
use crate::domain::refusal::InvalidField;
use crate::domain::series::Granularity;
use crate::operations::account_usage::{self, Wanted};
use crate::operations::live_buckets::OfAccount;
use crate::store::usage::UsageCounts;
use crate::surfaces::params::{Id, Params};
use crate::surfaces::problem::Problem;

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
    "rate_limit": {
        "source": "redis",
        "production": {"rate": 100, "burst": 200, "remaining": 187, "reset": 1_768_819_201},
        "test": {"rate": 100, "burst": 200, "remaining": 200, "reset": 1_768_819_200},
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
    rate_limit: RateLimits,
    /// Its production calls over time, without gaps; only when `from`, `to` or `granularity` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_items = 1_000)]
    series: Option<Vec<SeriesEntry>>,
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

/// The account's buckets, which its keys, its end customers and all gateways share.
#[derive(Debug, Serialize, ToSchema)]
pub struct RateLimits {
    /// Where what is left in them was read; null when it is not known: no Redis is configured, or it is away.
    #[schema(pattern = "^redis$", required = true)]
    source: Option<&'static str>,
    production: RateLimit,
    test: RateLimit,
}

/// One bucket.
#[derive(Debug, Serialize, ToSchema)]
pub struct RateLimit {
    /// Calls a second.
    rate: u32,
    /// Calls at once.
    burst: u32,
    /// Calls that are left now, those included that gateways hold; null when it is not known.
    #[schema(required = true)]
    remaining: Option<u64>,
    /// When all of them are there again, in seconds since 1970; null when it is not known.
    #[schema(required = true)]
    reset: Option<i64>,
}

/// What was used from `start` to the next entry.
#[derive(Debug, Serialize, ToSchema)]
pub struct SeriesEntry {
    #[schema(format = DateTime)]
    start: String,
    accepted: u64,
    limited: u64,
    refused: u64,
}

/// Which series is wanted.
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
}

/// Shows what an account used of its contract year, and in this month and year; over time too, when `from`, `to` or
/// `granularity` is given.
///
/// # Errors
/// When it isn't there, or a parameter can't be read or gives too long a series.
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
    let used = account_usage::used(&app.registry, id, wanted(&params)?).await?;
    let count = used.usage.in_period;
    let limit = used.account.annual_limit.saturating_add(used.granted);
    let day = used.now.date();
    let counted = |period, count| PeriodCount { period, count };
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
        rate_limit: rate_limits(used.account.limits, used.buckets),
        series: used.series.map(|series| series.iter().map(entry).collect()),
    }))
}

fn rate_limits(limits: Limits, buckets: Option<OfAccount>) -> RateLimits {
    let bucket = |level: Option<Left>| RateLimit {
        rate: limits.rate,
        burst: limits.burst,
        remaining: level.map(Left::remaining),
        reset: level.map(Left::reset),
    };
    RateLimits {
        source: buckets.map(|_| "redis"),
        production: bucket(buckets.map(|both| both.production)),
        test: bucket(buckets.map(|both| both.test)),
    }
}

fn wanted(params: &Params) -> Result<Wanted, InvalidField> {
    let instant = |name| -> Result<_, InvalidField> {
        params
            .text(name)?
            .map(|text| moment::instant(name, text))
            .transpose()
    };
    Ok(Wanted {
        from: instant("from")?,
        to: instant("to")?,
        granularity: params
            .text("granularity")?
            .map(|text| Granularity::parse("granularity", text))
            .transpose()?,
    })
}

fn entry((start, counts): &(UnixMillis, UsageCounts)) -> SeriesEntry {
    SeriesEntry {
        start: start.to_rfc3339_seconds(),
        accepted: counts.accepted,
        limited: counts.limited,
        refused: counts.refused,
    }
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
