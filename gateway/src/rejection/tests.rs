use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::{Value, json};

use super::*;
use crate::limits::quota::QuotaLevel;

fn all() -> Vec<Rejection> {
    let level = QuotaLevel {
        limit: 10,
        used: 10,
        resets_at: keyward_contract::UnixMillis(0),
    };
    let limits = keyward_contract::Limits {
        rate: 100,
        burst: 200,
    };
    let standing = Standing {
        which: Which::Customer,
        level: crate::limits::bucket::Level {
            millitokens: 0,
            limits,
        },
        policy: HeaderValue::from_static("x"),
        reset_after: Duration::from_millis(10),
    };
    vec![
        Rejection::InvalidInput("bad"),
        Rejection::UriTooLong,
        Rejection::RouteNotFound,
        Rejection::MethodNotAllowed(HeaderValue::from_static("GET")),
        Rejection::Unauthorized,
        Rejection::InvalidApiKey,
        Rejection::ExpiredApiKey,
        Rejection::AccountSuspended,
        Rejection::IpNotAllowed,
        Rejection::CustomerKeyMissing,
        Rejection::CustomerKeyRefused,
        Rejection::QuotaExceeded(level),
        Rejection::RateLimited {
            standing,
            retry_after: Duration::from_millis(10),
        },
        Rejection::PayloadTooLarge(5),
        Rejection::Overloaded("busy"),
        Rejection::UpstreamUnavailable,
        Rejection::BadGateway("garbage"),
        Rejection::UpstreamTimeout,
        Rejection::Internal,
        Rejection::HeadTooLarge,
        Rejection::VersionNotSupported,
        Rejection::UnsupportedMediaType,
    ]
}

#[test]
fn every_rejection_has_its_own_row_in_the_decisions() {
    for (index, rejection) in all().iter().enumerate() {
        assert_eq!(usize::from(rejection.decision()), index + 1);
    }
    assert_eq!(DECISIONS.len(), all().len() + 3);
    assert_eq!(DECISIONS[usize::from(ANSWERED_AT_EDGE)], "answered_at_edge");
}

#[test]
fn an_error_body_is_what_the_contract_says() {
    let rejection = all().remove(12);
    let answer = response(&rejection, ErrorForm::Keyward, "r-1", "https://docs.example");
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()[RETRY_AFTER], "1");
    let body: Value = serde_json::from_slice(answer.body()).unwrap();
    assert_eq!(
        body,
        json!({"object": "error", "error": {
            "code": "RATE_LIMITED",
            "message": "too many calls; come back after the time in Retry-After",
            "details": {"limit": "customer", "ratePerSecond": 100, "burst": 200, "retryAfterSeconds": 1},
            "documentationUrl": "https://docs.example/errors/rate-limited",
            "requestId": "r-1",
        }})
    );
}

#[test]
fn details_say_which_limit_with_its_own_numbers() {
    let details = |rejection: &Rejection| {
        let answer = response(rejection, ErrorForm::Problem, "r-1", "https://docs.example");
        serde_json::from_slice::<Value>(answer.body()).unwrap()["details"].clone()
    };
    let Rejection::RateLimited { mut standing, .. } = all().remove(12) else {
        panic!("row 12 has moved");
    };
    standing.which = Which::Route;
    let in_flight = Rejection::RateLimited {
        standing,
        retry_after: Duration::from_millis(1_001),
    };
    assert_eq!(
        details(&in_flight),
        json!({"limit": "route", "maxInFlight": 200, "retryAfterSeconds": 2})
    );
    assert_eq!(
        details(&all().remove(11)),
        json!({"limit": 10, "used": 10, "resetsAt": "1970-01-01T00:00:00.000Z"})
    );
    assert_eq!(details(&Rejection::PayloadTooLarge(5)), json!({"limitBytes": 5}));
}

#[test]
fn the_same_facts_come_as_problem_json_and_as_grpc_status() {
    let problem = response(
        &Rejection::InvalidApiKey,
        ErrorForm::Problem,
        "r-1",
        "https://docs.example",
    );
    assert_eq!(problem.headers()[CONTENT_TYPE], "application/problem+json");
    assert_eq!(problem.headers()[WWW_AUTHENTICATE], "Bearer realm=\"keyward\"");
    let body: Value = serde_json::from_slice(problem.body()).unwrap();
    assert_eq!(body["type"], "https://docs.example/errors/invalid-api-key");
    assert_eq!(body["status"], 401);
    let grpc = response(
        &Rejection::InvalidApiKey,
        ErrorForm::Grpc,
        "r-1",
        "https://docs.example",
    );
    assert_eq!(
        (grpc.status().as_u16(), &grpc.headers()["grpc-status"]),
        (200, &"16".parse().unwrap())
    );
    assert!(grpc.body().is_empty());
}
