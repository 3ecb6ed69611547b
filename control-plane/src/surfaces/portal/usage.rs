//! `GET /customers/{customerId}/usage`

use axum::Json;
use axum::extract::State;
use keyward_contract::{CustomerId, Limits, UnixMillis};
use serde_json::{Value, json};

use crate::App;
use crate::operations::end_customers::{self, Quota};
use crate::operations::identify::PortalCaller;
use crate::store::usage::{BucketSeen, UsageCounts};
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;

/// Shows what an end customer used.
///
/// # Errors
/// When it isn't there.
pub async fn usage(
    State(app): State<App>,
    caller: PortalCaller,
    Id(id): Id<CustomerId>,
) -> Result<Json<Value>, Problem> {
    let used = end_customers::used(&app.registry, &caller, id).await?;
    let limits = used.customer.limits.unwrap_or(caller.account.limits);
    let day = used.now.date();
    Ok(Json(json!({
        "object": "customer_usage",
        "customerId": used.customer.id,
        "environment": used.customer.environment,
        "rateLimit": rate_limit(limits, used.usage.bucket, used.now),
        "usage": {
            "currentDay": counts(day.to_string(), used.usage.day),
            "currentMonth": counts(format!("{:04}-{:02}", day.year(), day.month()), used.usage.month),
            "currentYear": counts(format!("{:04}", day.year()), used.usage.year),
        },
        "quota": used.quota.map(quota),
        "lastRequestAt": used.usage.last_request_at.map(UnixMillis::to_rfc3339_millis),
    })))
}

fn counts(period: String, counts: UsageCounts) -> Value {
    json!({
        "period": period,
        "accepted": counts.accepted,
        "limited": counts.limited,
        "refused": counts.refused,
    })
}

fn quota(quota: Quota) -> Value {
    json!({
        "limit": quota.limit,
        "used": quota.used,
        "remaining": quota.limit.saturating_sub(quota.used),
        "resetsAt": quota.period.end.to_rfc3339_millis(),
    })
}

/// The bucket as it must stand now if nothing was taken since a gateway saw it; full when none ever did.
fn rate_limit(limits: Limits, seen: Option<BucketSeen>, now: UnixMillis) -> Value {
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
    json!({
        "ratePerSecond": limits.rate,
        "limit": limits.burst,
        "remaining": level / 1_000,
        "reset": full_at_ms.saturating_add(999).div_euclid(1_000),
    })
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
        assert_eq!(
            (shown["remaining"].as_u64(), shown["reset"].as_i64()),
            (Some(remaining), Some(reset))
        );
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
