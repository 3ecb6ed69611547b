//! The answer to a refused call, in the form that its client reads.
//!
//! Building one allocates its body.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::Rejection;
use crate::grpc;
use crate::limits::Which;
use crate::limits::fields::Standing;

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
    pub fn of(headers: &HeaderMap) -> Self {
        if grpc::is_spoken(headers) {
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
        headers.insert(grpc::STATUS, u16::from(rejection.grpc_status()).into());
        headers.insert(grpc::MESSAGE, HeaderValue::from_static(rejection.message()));
    }
    response
}

fn text(body: &Value) -> Bytes {
    Bytes::from(body.to_string())
}

pub(super) fn whole_seconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .div_ceil(1_000)
        .max(1)
}

impl Rejection {
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
