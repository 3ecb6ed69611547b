//! `GET /admin/usage/{customer_id}`

use axum::Json;
use axum::extract::State;
use keyward_contract::AccountId;
use serde_json::{Value, json};

use crate::App;
use crate::operations::accounts;
use crate::surfaces::params::Id;
use crate::surfaces::problem::Problem;

/// Shows what an account used of its contract year, and in this month and year.
///
/// # Errors
/// When it isn't there.
pub async fn show(State(app): State<App>, Id(id): Id<AccountId>) -> Result<Json<Value>, Problem> {
    let used = accounts::used(&app.registry, id).await?;
    let (limit, count) = (used.account.annual_limit, used.usage.in_period);
    let day = used.now.date();
    Ok(Json(json!({
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
    })))
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
