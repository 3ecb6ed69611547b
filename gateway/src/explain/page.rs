//! A refusal as JSON, made when somebody asks.

use keyward_config::Require;
use serde_json::{Value, json};

use super::checks::{Check, in_order};
use super::{Refusal, Who};
use crate::limits::bucket::Level;
use crate::limits::{Levels, Which};

/// Everything that is known of it.
pub(super) fn of(refusal: &Refusal) -> Value {
    let [account, customer] = &refusal.sources;
    json!({
        "time": refusal.at.unix.to_rfc3339_millis(),
        "status": refusal.status,
        "code": refusal.code,
        "message": refusal.message,
        "method": refusal.method.as_str(),
        "client": refusal.client.to_string(),
        "endpoint": refusal.endpoint,
        "route": refusal.route.as_ref().map(|route| json!({
            "name": &*route.name,
            "require": word_of(route.require),
            "cost": route.cost,
        })),
        "upstream": refusal.upstream.as_ref().map(|name| name.as_str()),
        "accepted": refusal.was_accepted,
        "credentials": {
            "account": account.as_ref().map(|name| name.as_str()),
            "customer": customer.as_ref().map(|name| name.as_str()),
        },
        "caller": refusal.caller.as_ref().map(caller),
        "revision": refusal.revision,
        "steps": steps(refusal),
        "limits": refusal.levels.as_ref().map(|levels| limits(levels, refusal)),
        "refusedBy": refusal.limit.map(|(which, level, retry_after)| json!({
            "limit": limit(which, level),
            "retryAfterMillis": u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
        })),
    })
}

fn caller(who: &Who) -> Value {
    json!({
        "account": who.account,
        "environment": who.environment.as_str(),
        "keyId": who.key,
        "customerKeyId": who.customer_key,
        "customer": who.customer,
    })
}

/// Each check with its outcome: before the one that refused all have passed, after it none was reached.
fn steps(refusal: &Refusal) -> Vec<Value> {
    let checks = in_order(refusal.route.as_ref().map(|route| route.require));
    let at = refusal
        .check
        .and_then(|check| checks.iter().position(|known| *known == check));
    let outcome = |index: usize| match at {
        None => "unknown",
        Some(at) if index < at => "passed",
        Some(at) if index == at => "refused",
        Some(_) => "not reached",
    };
    let told = |(index, check): (usize, &Check)| json!({ "step": check.step(), "check": check.question(), "outcome": outcome(index) });
    checks.iter().enumerate().map(told).collect()
}

/// Each bucket's numbers, as they were just after the refusal.
fn limits(levels: &Levels, refusal: &Refusal) -> Value {
    let needed = refusal.route.as_ref().map(|route| route.cost);
    json!({
        "needed": needed,
        "account": limit(Which::Account, levels.account),
        "customer": levels.customer.map(|level| limit(Which::Customer, level)),
        "quota": levels.quota.map(|quota| json!({
            "limit": quota.limit,
            "used": quota.used,
            "remaining": quota.remaining(),
            "resetsAt": quota.resets_at.to_rfc3339_millis(),
        })),
    })
}

fn limit(which: Which, level: Level) -> Value {
    match which {
        // A bound on calls at the same time has no rate.
        Which::Route => json!({ "limit": "route", "maxInFlight": level.limits.burst }),
        Which::Account | Which::Customer | Which::Address | Which::Quota => json!({
            "limit": if which == Which::Address { "address" } else { which.name() },
            "ratePerSecond": level.limits.rate,
            "burst": level.limits.burst,
            "remaining": level.remaining(),
            "remainingThousandths": level.millitokens,
        }),
    }
}

fn word_of(require: Require) -> &'static str {
    match require {
        Require::Customer => "customer",
        Require::Account => "account",
        Require::CustomerOnly => "customer-only",
        Require::None => "none",
    }
}
