//! Every "no" of the gateway: one row each with status, code and words.
//!
//! The table of `decision` names, codes and statuses here is what metrics, error bodies and documentation show.
//! Messages and details never hold a secret or an internal address. Building a refusal allocates its body.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::limits::Which;
use crate::limits::fields::Standing;
use crate::limits::quota::QuotaLevel;

/// Why a call is not answered by an upstream.
#[derive(Debug)]
pub enum Rejection {
    /// Row 1: malformed or ambiguous.
    InvalidInput(&'static str),
    /// Row 1: the target is longer than `bounds.uri`.
    UriTooLong,
    /// Row 2: no route for host and path.
    RouteNotFound,
    /// Row 2: a route, but not for this method; or CONNECT or TRACE.
    MethodNotAllowed(HeaderValue),
    /// Row 3: no account credential.
    Unauthorized,
    /// Rows 4 and 6: no such account key, or not for this route's environments.
    InvalidApiKey,
    /// Row 5: the account key is dead.
    ExpiredApiKey,
    /// Row 7: the account may not use what it bought.
    AccountSuspended,
    /// Row 8: not from this address.
    IpNotAllowed,
    /// Row 9: no customer key where one is required.
    CustomerKeyMissing,
    /// Row 10: the customer key is no good, for whatever reason.
    CustomerKeyRefused,
    /// Row 11: the year's validations are used up.
    QuotaExceeded(QuotaLevel),
    /// Row 12: a bucket is empty, or the account has too many calls in flight on the route.
    RateLimited {
        /// The limit that refused.
        standing: Standing,
        /// When to come back.
        retry_after: Duration,
    },
    /// Row 13: the body is longer than the route's limit, in bytes.
    PayloadTooLarge(u64),
    /// Beside the table: a question at [`crate::authz`] that is no JSON.
    UnsupportedMediaType,
    /// Row 14: the gateway can't take more, or can't decide yet.
    Overloaded(&'static str),
    /// Row 15: no upstream could be reached.
    UpstreamUnavailable,
    /// Row 15: the upstream broke off or answered garbage.
    BadGateway(&'static str),
    /// Row 16: the upstream took too long.
    UpstreamTimeout,
    /// A fault of the gateway's own.
    Internal,
}

/// Whose fault a refusal is: decides who is alarmed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller's.
    Caller,
    /// The upstream's.
    Upstream,
    /// The gateway's.
    Gateway,
}

/// The names under which decisions are counted; `accepted` first, then one a rejection.
pub const DECISIONS: &[&str] = &[
    "accepted",
    "invalid_input",
    "uri_too_long",
    "route_not_found",
    "method_not_allowed",
    "unauthorized",
    "invalid_api_key",
    "expired_api_key",
    "account_suspended",
    "ip_not_allowed",
    "customer_key_missing",
    "customer_key_refused",
    "quota_exceeded",
    "rate_limited",
    "payload_too_large",
    "overloaded",
    "upstream_unavailable",
    "bad_gateway",
    "upstream_timeout",
    "internal_error",
    "unsupported_media_type",
    "answered_at_edge",
    "client_gone",
];

/// The index of `accepted` in [`DECISIONS`].
pub const ACCEPTED: u8 = 0;
/// The index of `answered_at_edge` in [`DECISIONS`]: the gateway itself was asked, as by `OPTIONS *`.
pub const ANSWERED_AT_EDGE: u8 = 21;
/// The index of `client_gone` in [`DECISIONS`]: the client went away before anything was decided.
pub const CLIENT_GONE: u8 = 22;

impl Rejection {
    /// Its index in [`DECISIONS`].
    #[must_use]
    pub fn decision(&self) -> u8 {
        match self {
            Self::InvalidInput(_) => 1,
            Self::UriTooLong => 2,
            Self::RouteNotFound => 3,
            Self::MethodNotAllowed(_) => 4,
            Self::Unauthorized => 5,
            Self::InvalidApiKey => 6,
            Self::ExpiredApiKey => 7,
            Self::AccountSuspended => 8,
            Self::IpNotAllowed => 9,
            Self::CustomerKeyMissing => 10,
            Self::CustomerKeyRefused => 11,
            Self::QuotaExceeded(_) => 12,
            Self::RateLimited { .. } => 13,
            Self::PayloadTooLarge(_) => 14,
            Self::Overloaded(_) => 15,
            Self::UpstreamUnavailable => 16,
            Self::BadGateway(_) => 17,
            Self::UpstreamTimeout => 18,
            Self::Internal => 19,
            Self::UnsupportedMediaType => 20,
        }
    }

    /// The code that clients switch on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidInput(_) => "INVALID_INPUT",
            Self::UriTooLong => "URI_TOO_LONG",
            Self::RouteNotFound => "ROUTE_NOT_FOUND",
            Self::MethodNotAllowed(_) => "METHOD_NOT_ALLOWED",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::InvalidApiKey => "INVALID_API_KEY",
            Self::ExpiredApiKey => "EXPIRED_API_KEY",
            Self::AccountSuspended => "ACCOUNT_SUSPENDED",
            Self::IpNotAllowed => "IP_NOT_ALLOWED",
            Self::CustomerKeyMissing | Self::CustomerKeyRefused => "FORBIDDEN",
            Self::QuotaExceeded(_) => "QUOTA_EXCEEDED",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::PayloadTooLarge(_) => "PAYLOAD_TOO_LARGE",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::Overloaded(_) => "OVERLOADED",
            Self::UpstreamUnavailable => "UPSTREAM_UNAVAILABLE",
            Self::BadGateway(_) => "BAD_GATEWAY",
            Self::UpstreamTimeout => "UPSTREAM_TIMEOUT",
            Self::Internal => "INTERNAL_ERROR",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InvalidInput(_) => StatusCode::BAD_REQUEST,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::RouteNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized | Self::InvalidApiKey | Self::ExpiredApiKey => StatusCode::UNAUTHORIZED,
            Self::AccountSuspended
            | Self::IpNotAllowed
            | Self::CustomerKeyMissing
            | Self::CustomerKeyRefused
            | Self::QuotaExceeded(_) => StatusCode::FORBIDDEN,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::PayloadTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Overloaded(_) | Self::UpstreamUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadGateway(_) => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::InvalidInput(_)
            | Self::UriTooLong
            | Self::RouteNotFound
            | Self::MethodNotAllowed(_)
            | Self::Unauthorized
            | Self::InvalidApiKey
            | Self::ExpiredApiKey
            | Self::AccountSuspended
            | Self::IpNotAllowed
            | Self::CustomerKeyMissing
            | Self::CustomerKeyRefused
            | Self::QuotaExceeded(_)
            | Self::RateLimited { .. }
            | Self::PayloadTooLarge(_)
            | Self::UnsupportedMediaType => Fault::Caller,
            Self::UpstreamUnavailable | Self::BadGateway(_) | Self::UpstreamTimeout => Fault::Upstream,
            Self::Overloaded(_) | Self::Internal => Fault::Gateway,
        }
    }

    /// The gRPC status of the same refusal
    /// (`google.rpc.Code`; the mapping from HTTP is that of gRPC's `http-grpc-status-mapping`).
    #[must_use]
    pub fn grpc_status(&self) -> u8 {
        match self {
            Self::InvalidInput(_) | Self::UriTooLong | Self::UnsupportedMediaType => 3,
            Self::RouteNotFound | Self::MethodNotAllowed(_) => 12,
            Self::Unauthorized | Self::InvalidApiKey | Self::ExpiredApiKey => 16,
            Self::AccountSuspended
            | Self::IpNotAllowed
            | Self::CustomerKeyMissing
            | Self::CustomerKeyRefused => 7,
            Self::QuotaExceeded(_) | Self::RateLimited { .. } | Self::PayloadTooLarge(_) => 8,
            Self::Overloaded(_) | Self::UpstreamUnavailable | Self::BadGateway(_) => 14,
            Self::UpstreamTimeout => 4,
            Self::Internal => 13,
        }
    }

    /// Whether the caller is identified by the time of this refusal, so that the answer shows its limits.
    #[must_use]
    pub fn shows_limits(&self) -> bool {
        match self {
            Self::InvalidInput(_)
            | Self::UriTooLong
            | Self::RouteNotFound
            | Self::MethodNotAllowed(_)
            | Self::Unauthorized
            | Self::InvalidApiKey
            | Self::ExpiredApiKey
            | Self::UnsupportedMediaType => false,
            Self::AccountSuspended
            | Self::IpNotAllowed
            | Self::CustomerKeyMissing
            | Self::CustomerKeyRefused
            | Self::QuotaExceeded(_)
            | Self::RateLimited { .. }
            | Self::PayloadTooLarge(_)
            | Self::Overloaded(_)
            | Self::UpstreamUnavailable
            | Self::BadGateway(_)
            | Self::UpstreamTimeout
            | Self::Internal => true,
        }
    }

    /// What it is called in words.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::InvalidInput(reason) | Self::Overloaded(reason) | Self::BadGateway(reason) => reason,
            Self::UriTooLong => "the request target is too long",
            Self::RouteNotFound => "there is no route for this host and path",
            Self::MethodNotAllowed(_) => "this method is not allowed here; see the Allow header",
            Self::Unauthorized => {
                "an account key is required: send it as `Authorization: Bearer <key>` or `x-api-key: <key>`"
            }
            Self::InvalidApiKey => "the account key is not valid here",
            Self::ExpiredApiKey => "the account key has been revoked, disabled or has expired",
            Self::AccountSuspended => "the account is suspended or its contract does not hold",
            Self::IpNotAllowed => "this key may not be used from this address",
            Self::CustomerKeyMissing => "a customer key is required: send it as `X-Customer-Key: <key>`",
            Self::CustomerKeyRefused => "the customer key is not valid here",
            Self::QuotaExceeded(_) => "the account's validations for this contract year are used up",
            Self::RateLimited { standing, .. } => match standing.which {
                Which::Route => "too many calls at the same time; come back after the time in Retry-After",
                Which::Account | Which::Customer | Which::Address | Which::Quota => {
                    "too many calls; come back after the time in Retry-After"
                }
            },
            Self::PayloadTooLarge(_) => "the request body is too large",
            Self::UnsupportedMediaType => "a question is JSON: send it as application/json",
            Self::UpstreamUnavailable => "the service behind the gateway can't be reached",
            Self::UpstreamTimeout => "the service behind the gateway took too long",
            Self::Internal => "the gateway failed to handle this call",
        }
    }

    fn details(&self) -> Option<Value> {
        match self {
            Self::RateLimited {
                standing,
                retry_after,
            } => Some(limit_details(standing, *retry_after)),
            Self::QuotaExceeded(level) => Some(json!({
                "limit": level.limit, "used": level.used, "resetsAt": level.resets_at.to_rfc3339_millis(),
            })),
            Self::PayloadTooLarge(limit) => Some(json!({ "limitBytes": limit })),
            _ => None,
        }
    }

    /// When a refused caller may come back, in whole seconds; as `Retry-After` says.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(whole_seconds(*retry_after)),
            Self::Overloaded(_) => Some(1),
            _ => None,
        }
    }

    fn extra_header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthorized | Self::InvalidApiKey | Self::ExpiredApiKey => Some((
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"keyward\""),
            )),
            Self::RateLimited { .. } | Self::Overloaded(_) => {
                self.retry_after().map(|seconds| (RETRY_AFTER, seconds.into()))
            }
            Self::MethodNotAllowed(allow) => Some((ALLOW, allow.clone())),
            _ => None,
        }
    }
}

/// What a 429 says of the limit that refused: its own numbers.
fn limit_details(standing: &Standing, retry_after: Duration) -> Value {
    let (limit, limits) = (standing.which.name(), standing.level.limits);
    let retry_after = whole_seconds(retry_after);
    match standing.which {
        Which::Route => json!({
            "limit": limit, "maxInFlight": limits.burst, "retryAfterSeconds": retry_after,
        }),
        Which::Account | Which::Customer | Which::Address | Which::Quota => json!({
            "limit": limit, "ratePerSecond": limits.rate, "burst": limits.burst,
            "retryAfterSeconds": retry_after,
        }),
    }
}

/// RFC 9457 §3.
const PROBLEM: &[u8] = b"application/problem+json";

/// The form in which a client wants its errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorForm {
    /// `{"object":"error",…}`.
    #[default]
    Keyward,
    /// RFC 9457.
    Problem,
    /// A trailers-only gRPC answer.
    Grpc,
}

impl ErrorForm {
    /// What a request's head asks for.
    #[must_use]
    pub fn of(headers: &http::HeaderMap) -> Self {
        let begins = |text: &[u8], with: &[u8]| {
            text.get(..with.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(with))
        };
        let is_grpc = |value: &HeaderValue| begins(value.as_bytes(), b"application/grpc");
        if headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
            return Self::Grpc;
        }
        let accepts = |value: &HeaderValue| {
            value
                .as_bytes()
                .windows(PROBLEM.len())
                .any(|part| part.eq_ignore_ascii_case(PROBLEM))
        };
        let mut accepted = headers.get_all(http::header::ACCEPT).iter();
        if accepted.any(accepts) {
            Self::Problem
        } else {
            Self::Keyward
        }
    }
}

/// The answer to a refused call, without the headers that every answer carries.
#[must_use]
pub fn response(
    rejection: &Rejection,
    form: ErrorForm,
    request_id: &str,
    documentation_url: &str,
) -> Response<Bytes> {
    let page = rejection.code().to_ascii_lowercase().replace('_', "-");
    let documentation = format!("{documentation_url}/errors/{page}");
    let (status, content_type, body) = match form {
        ErrorForm::Grpc => (StatusCode::OK, "application/grpc", Bytes::new()),
        ErrorForm::Keyward => {
            let mut error = json!({ "code": rejection.code(), "message": rejection.message() });
            if let Some(details) = rejection.details() {
                error["details"] = details;
            }
            error["documentationUrl"] = documentation.into();
            error["requestId"] = request_id.into();
            (
                rejection.status(),
                "application/json",
                text(&json!({ "object": "error", "error": error })),
            )
        }
        ErrorForm::Problem => {
            let mut problem = json!({
                "type": documentation, "title": rejection.status().canonical_reason(),
                "status": rejection.status().as_u16(), "detail": rejection.message(),
                "code": rejection.code(), "requestId": request_id,
            });
            if let Some(details) = rejection.details() {
                problem["details"] = details;
            }
            (rejection.status(), "application/problem+json", text(&problem))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some((name, value)) = rejection.extra_header() {
        headers.insert(name, value);
    }
    if form == ErrorForm::Grpc {
        headers.insert(
            HeaderName::from_static("grpc-status"),
            u16::from(rejection.grpc_status()).into(),
        );
        headers.insert(
            HeaderName::from_static("grpc-message"),
            HeaderValue::from_static(rejection.message()),
        );
    }
    response
}

fn text(body: &Value) -> Bytes {
    Bytes::from(body.to_string())
}

fn whole_seconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .div_ceil(1_000)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
