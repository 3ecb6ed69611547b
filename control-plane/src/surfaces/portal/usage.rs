//! `GET /customers/{customerId}/usage`

use axum::Json;
use axum::extract::State;
use keyward_contract::{CustomerId, Environment, Limits, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::operations::account_usage;
use crate::operations::end_customers::{self, Quota};
use crate::operations::identify::PortalCaller;
use crate::store::usage::{BucketSeen, Counted, UsageCounts};
use crate::surfaces::params::{Id, Params};
use crate::surfaces::problem::Problem;
use crate::surfaces::span;

/// What an end customer used.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "object": "customer_usage", "customerId": "clx8f2k9h0001qr5tgvwxyz12", "environment": "production",
    "rateLimit": {"ratePerSecond": 100, "limit": 200, "remaining": 197, "reset": 1_768_819_200},
    "usage": {
        "currentDay": {"period": "2026-01-19", "accepted": 3, "limited": 0, "refused": 0},
        "currentMonth": {"period": "2026-01", "accepted": 3, "limited": 0, "refused": 0},
        "currentYear": {"period": "2026", "accepted": 3, "limited": 0, "refused": 0},
    },
    "quota": {"limit": 10_000_000, "used": 3, "remaining": 9_999_997, "resetsAt": "2027-01-01T00:00:00.000Z"},
    "lastRequestAt": "2026-01-19T10:30:00.000Z",
}))]
pub struct CustomerUsage {
    /// Always `customer_usage`.
    #[schema(pattern = "^customer_usage$", example = "customer_usage")]
    object: &'static str,
    /// Whose.
    #[schema(value_type = String, pattern = "^c[0-9a-z]{24}$")]
    customer_id: CustomerId,
    /// Where.
    #[schema(value_type = String, pattern = "^(test|production)$")]
    environment: Environment,
    rate_limit: RateLimit,
    usage: UsagePeriods,
    /// The account's yearly quota; null in the test environment.
    #[schema(required = true)]
    quota: Option<QuotaShown>,
    /// When a gateway last counted a call.
    #[schema(format = DateTime, required = true)]
    last_request_at: Option<String>,
    /// Its calls over time, without gaps; only when `from`, `to` or `granularity` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_items = 1_000)]
    series: Option<Vec<SeriesEntry>>,
    /// From when on usage is kept in this granularity, when the series begins earlier: entries before it are empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, nullable = false)]
    series_kept_from: Option<String>,
}

/// How fast the end customer's key may call, and what it has left now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    rate_per_second: u32,
    /// Calls at once.
    limit: u32,
    remaining: u64,
    /// When all of them are there again, in seconds since 1970.
    reset: i64,
}

/// What was used in this day, month and year (UTC).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsagePeriods {
    current_day: PeriodUsage,
    current_month: PeriodUsage,
    current_year: PeriodUsage,
}

/// What was used in a period.
#[derive(Debug, Serialize, ToSchema)]
pub struct PeriodUsage {
    /// A day, a month or a year.
    #[schema(pattern = r"^\d{4}(-\d\d){0,2}$", example = "2026-01")]
    period: String,
    accepted: u64,
    limited: u64,
    refused: u64,
}

/// What was used from `start` to the next entry.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageEntry)]
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

/// A yearly quota.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaShown {
    /// The annual limit, and what was granted for this year.
    limit: u64,
    used: u64,
    remaining: u64,
    #[schema(format = DateTime)]
    resets_at: String,
}

/// Shows what an end customer used; over time too, when `from`, `to` or `granularity` is given.
///
/// # Errors
/// When it isn't there, or a parameter can't be read or gives too long a series.
#[utoipa::path(
    get,
    path = "/customers/{customerId}/usage",
    operation_id = "getCustomerUsage",
    tag = "customers",
    params(("customerId" = String, Path, format = "customer-id", description = "The end customer's id.", example = "clx8f2k9h0001qr5tgvwxyz12"), UsageParams),
    responses((status = 200, description = "What it used.", body = CustomerUsage)),
)]
pub async fn usage(
    State(app): State<App>,
    caller: PortalCaller,
    Id(id): Id<CustomerId>,
    params: Params,
) -> Result<Json<CustomerUsage>, Problem> {
    let time = span::time(&params)?;
    let used = end_customers::used(&app.registry, &caller, id).await?;
    let place = (used.customer.account, used.customer.environment);
    let series = match time.is_some() {
        true => Some(account_usage::of_end_customer(&app.registry, place, id, time).await?),
        false => None,
    };
    let kept_from = series.as_ref().and_then(|series| series.kept_from);
    let limits = used.customer.limits.unwrap_or(caller.account.limits);
    let day = used.now.date();
    Ok(Json(CustomerUsage {
        object: "customer_usage",
        customer_id: used.customer.id,
        environment: used.customer.environment,
        rate_limit: rate_limit(limits, used.usage.bucket, used.now),
        usage: UsagePeriods {
            current_day: counts(day.to_string(), used.usage.day),
            current_month: counts(format!("{:04}-{:02}", day.year(), day.month()), used.usage.month),
            current_year: counts(format!("{:04}", day.year()), used.usage.year),
        },
        quota: used.quota.map(quota),
        last_request_at: used.usage.last_request_at.map(UnixMillis::to_rfc3339_millis),
        series_kept_from: kept_from.map(UnixMillis::to_rfc3339_millis),
        series: series.map(|series| series.entries.iter().map(entry).collect()),
    }))
}

fn counts(period: String, counts: UsageCounts) -> PeriodUsage {
    PeriodUsage {
        period,
        accepted: counts.accepted,
        limited: counts.limited,
        refused: counts.refused,
    }
}

fn entry((start, counted): &(UnixMillis, Counted)) -> SeriesEntry {
    let counts = counted.counts();
    SeriesEntry {
        start: start.to_rfc3339_millis(),
        accepted: counts.accepted,
        limited: counts.limited,
        refused: counts.refused,
    }
}

fn quota(quota: Quota) -> QuotaShown {
    QuotaShown {
        limit: quota.limit,
        used: quota.used,
        remaining: quota.limit.saturating_sub(quota.used),
        resets_at: quota.period.end.to_rfc3339_millis(),
    }
}

/// The bucket as it must stand now if nothing was taken since a gateway saw it; full when none ever did.
fn rate_limit(limits: Limits, seen: Option<BucketSeen>, now: UnixMillis) -> RateLimit {
    let capacity = u64::from(limits.burst) * 1_000;
    let level = seen.map_or(capacity, |seen| {
        // A token a second is a thousandth of one a millisecond.
        let elapsed = u64::try_from(now.0.saturating_sub(seen.at.0)).unwrap_or(0);
        let gained = elapsed.saturating_mul(u64::from(limits.rate));
        seen.millitokens.saturating_add(gained).min(capacity)
    });
    let full_in_ms = (capacity - level).div_ceil(u64::from(limits.rate.max(1)));
    let full_at_ms = now
        .0
        .saturating_add(i64::try_from(full_in_ms).unwrap_or(i64::MAX));
    RateLimit {
        rate_per_second: limits.rate,
        limit: limits.burst,
        remaining: level / 1_000,
        reset: full_at_ms.saturating_add(999).div_euclid(1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seen: Option<(u64, i64)>, remaining: u64, reset: i64) {
        let limits = Limits {
            rate: 100,
            burst: 200,
        };
        let seen = seen.map(|(millitokens, at)| BucketSeen {
            millitokens,
            at: UnixMillis(at),
        });
        let shown = rate_limit(limits, seen, UnixMillis(10_000));
        assert_eq!((shown.remaining, shown.reset), (remaining, reset));
    }

    #[test]
    fn a_bucket_is_shown_as_it_must_stand_now() {
        check(None, 200, 10);
        check(Some((0, 10_000)), 0, 12);
        check(Some((0, 9_000)), 100, 11);
        check(Some((150_500, 10_000)), 150, 11);
        check(Some((0, 1_000)), 200, 10);
        // A gateway's clock ahead of ours fills nothing; a level above a lowered burst is the burst.
        check(Some((5_000, 60_000)), 5, 12);
        check(Some((900_000, 10_000)), 200, 10);
    }
}
