//! A gateway's explanation as text for people. What it doesn't say is left out.

use std::fmt::Write as _;

use serde_json::Value;

/// Every refusal, the latest first.
pub(super) fn of(told: &Value) -> String {
    let refusals = told["refusals"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = String::new();
    if refusals.len() > 1 {
        let count = refusals.len();
        let _ = writeln!(out, "{count} calls with this id were refused, the latest first\n");
    }
    let texts: Vec<String> = refusals.iter().map(refusal).collect();
    out + &texts.join("\n")
}

fn refusal(refusal: &Value) -> String {
    let mut out = format!(
        "{} {}: {}\n\n",
        refusal["status"],
        word(&refusal["code"]),
        word(&refusal["message"])
    );
    let facts = [
        ("time", Some(word(&refusal["time"]).to_owned())),
        ("call", Some(call(refusal))),
        ("asked by", refusal["endpoint"].as_str().map(str::to_owned)),
        ("client", Some(word(&refusal["client"]).to_owned())),
        ("credentials", Some(credentials(&refusal["credentials"]))),
        ("caller", caller(&refusal["caller"])),
        ("revision", Some(refusal["revision"].to_string())),
        ("upstream", upstream(refusal)),
    ];
    for (name, fact) in facts {
        if let Some(fact) = fact {
            let _ = writeln!(out, "  {name:<12} {fact}");
        }
    }
    out.push('\n');
    for step in refusal["steps"].as_array().into_iter().flatten() {
        let outcome = match word(&step["outcome"]) {
            "refused" => "REFUSED",
            other => other,
        };
        let (step, check) = (word(&step["step"]), word(&step["check"]));
        let _ = writeln!(out, "  {outcome:<12} {step:<10} {check}");
    }
    let limits = limits(refusal);
    if !limits.is_empty() {
        out.push('\n');
    }
    for (name, limit) in limits {
        let _ = writeln!(out, "  {name:<12} {limit}");
    }
    out
}

fn call(refusal: &Value) -> String {
    let method = word(&refusal["method"]);
    let route = &refusal["route"];
    match route["name"].as_str() {
        None => format!("{method}, which came to no route"),
        Some(name) => format!(
            "{method} on route {name}, which requires {} and costs {}",
            word(&route["require"]),
            route["cost"]
        ),
    }
}

fn credentials(sources: &Value) -> String {
    let sent = ["account", "customer"].map(|slot| {
        let header = sources[slot].as_str()?;
        Some(format!("{slot} key in {header}"))
    });
    let sent: Vec<String> = sent.into_iter().flatten().collect();
    if sent.is_empty() {
        "none were sent".to_owned()
    } else {
        sent.join(", ")
    }
}

fn caller(caller: &Value) -> Option<String> {
    let account = caller["account"].as_str()?;
    let mut out = format!("account {account}, {}", word(&caller["environment"]));
    for (name, member) in [
        ("key", "keyId"),
        ("customer", "customer"),
        ("customer key", "customerKeyId"),
    ] {
        if let Some(id) = caller[member].as_str() {
            let _ = write!(out, ", {name} {id}");
        }
    }
    Some(out)
}

fn upstream(refusal: &Value) -> Option<String> {
    let name = refusal["upstream"].as_str()?;
    let seen = if refusal["accepted"] == true {
        "it may have seen the call, which counts"
    } else {
        "it has not seen the call"
    };
    Some(format!("{name}; {seen}"))
}

fn limits(refusal: &Value) -> Vec<(&'static str, String)> {
    let limits = &refusal["limits"];
    let buckets = ["account", "customer"].map(|name| Some((name, bucket(&limits[name])?)));
    let quota = limits["quota"]["limit"].as_u64().map(|limit| {
        let quota = &limits["quota"];
        let until = word(&quota["resetsAt"]);
        (
            "quota",
            format!("{} of {limit} validations used, until {until}", quota["used"]),
        )
    });
    let by = &refusal["refusedBy"];
    let refused_by = by["limit"]["limit"].as_str().map(|name| {
        let bound = match by["limit"]["maxInFlight"].as_u64() {
            Some(most) => format!("at most {most} calls at the same time"),
            None => bucket(&by["limit"]).unwrap_or_default(),
        };
        let after = &by["retryAfterMillis"];
        (
            "refused by",
            format!("{name}: {bound}; come back after {after} ms"),
        )
    });
    buckets.into_iter().chain([quota, refused_by]).flatten().collect()
}

fn bucket(level: &Value) -> Option<String> {
    let burst = level["burst"].as_u64()?;
    let (left, rate) = (&level["remaining"], &level["ratePerSecond"]);
    Some(format!(
        "{left} of {burst} tokens left, {rate} come back each second"
    ))
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told() -> Value {
        let bucket = json!({ "limit": "account", "ratePerSecond": 1, "burst": 4, "remaining": 1 });
        json!({ "requestId": "r-1", "refusals": [{
            "time": "2026-11-22T12:00:00.000Z", "status": 429, "code": "RATE_LIMITED", "message": "too many calls",
            "method": "GET", "client": "192.0.2.7",
            "route": { "name": "/v1", "require": "account", "cost": 3 }, "upstream": null, "accepted": false,
            "credentials": { "account": "x-api-key", "customer": null },
            "caller": { "account": "a-1", "environment": "test", "keyId": "k-1", "customerKeyId": null, "customer": null },
            "revision": 17,
            "steps": [
                { "step": "parse", "check": "the head can be read", "outcome": "passed" },
                { "step": "limit", "check": "there are tokens", "outcome": "refused" },
                { "step": "forward", "check": "it answered", "outcome": "not reached" },
            ],
            "limits": { "needed": 3, "account": bucket.clone(), "customer": null, "quota": null },
            "refusedBy": { "limit": bucket, "retryAfterMillis": 2100 },
        }] })
    }

    #[test]
    fn a_refusal_is_told_from_top_to_bottom() {
        let expected = "\
429 RATE_LIMITED: too many calls

  time         2026-11-22T12:00:00.000Z
  call         GET on route /v1, which requires account and costs 3
  client       192.0.2.7
  credentials  account key in x-api-key
  caller       account a-1, test, key k-1
  revision     17

  passed       parse      the head can be read
  REFUSED      limit      there are tokens
  not reached  forward    it answered

  account      1 of 4 tokens left, 1 come back each second
  refused by   account: 1 of 4 tokens left, 1 come back each second; come back after 2100 ms
";
        assert_eq!(of(&told()), expected);
    }

    #[test]
    fn several_are_counted_and_what_is_not_said_is_left_out() {
        let mut told = told();
        let first = told["refusals"][0].clone();
        let bare = json!({ "status": 404, "code": "ROUTE_NOT_FOUND", "message": "no route", "method": "GET", "revision": 1 });
        told["refusals"] = json!([first, bare]);
        let text = of(&told);
        assert!(text.starts_with("2 calls with this id were refused"), "{text}");
        assert!(text.contains("GET, which came to no route\n"), "{text}");
        assert!(
            text.contains("none were sent\n") && !text.contains("null"),
            "{text}"
        );
    }
}
