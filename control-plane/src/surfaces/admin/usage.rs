//! `GET /admin/usage/{customer_id}`

use axum::Json;
use axum::extract::State;
use keyward_contract::{AccountId, UnixMillis};
use serde_json::{Value, json};

use crate::App;
use crate::domain::moment;
use crate::domain::refusal::InvalidField;
use crate::domain::series::Granularity;
use crate::operations::account_usage::{self, Wanted};
use crate::store::usage::UsageCounts;
use crate::surfaces::params::{Id, Params};
use crate::surfaces::problem::Problem;

/// Shows what an account used of its contract year, and in this month and year; over time too, when `from`, `to` or
/// `granularity` is given.
///
/// # Errors
/// When it isn't there, or a parameter can't be read or gives too long a series.
pub async fn show(
    State(app): State<App>,
    Id(id): Id<AccountId>,
    params: Params,
) -> Result<Json<Value>, Problem> {
    let used = account_usage::used(&app.registry, id, wanted(&params)?).await?;
    let (limit, count) = (used.account.annual_limit, used.usage.in_period);
    let day = used.now.date();
    let mut body = json!({
        "customer_id": id,
        "tier": used.account.tier,
        "annual_limit": limit,
        "usage": {
            "current_month": {"period": format!("{:04}-{:02}", day.year(), day.month()), "count": used.usage.month},
            "current_year": {"period": format!("{:04}", day.year()), "count": used.usage.year},
        },
        "usage_percent": percent(count, limit),
        "remaining": limit.saturating_sub(count),
        "quota": {
            "period_start": used.period.start.to_rfc3339_seconds(),
            "period_end": used.period.end.to_rfc3339_seconds(),
            "used": count,
            "granted": 0,
        },
    });
    if let (Some(series), Some(body)) = (&used.series, body.as_object_mut()) {
        body.insert("series".into(), series.iter().map(entry).collect());
    }
    Ok(Json(body))
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

fn entry((start, counts): &(UnixMillis, UsageCounts)) -> Value {
    json!({
        "start": start.to_rfc3339_seconds(),
        "accepted": counts.accepted,
        "limited": counts.limited,
        "refused": counts.refused,
    })
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
