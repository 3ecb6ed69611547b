//! The admin API's form of every "no".

use serde_json::json;

use crate::surfaces::problem::Problem;

/// The code that programs go by.
#[must_use]
pub fn code(problem: &Problem) -> &'static str {
    match problem {
        Problem::Invalid(_) => "invalid_request",
        Problem::NoCredential => "unauthorized",
        Problem::UnknownKey
        | Problem::DeadKey
        | Problem::UnknownToken
        | Problem::DeadToken
        | Problem::Forbidden(_) => "forbidden",
        Problem::Missing(_) => "not_found",
        Problem::MethodNotAllowed => "method_not_allowed",
        Problem::Conflict(_) | Problem::Running => "conflict",
        Problem::TooLarge => "payload_too_large",
        Problem::UnsupportedMediaType => "unsupported_media_type",
        Problem::RateLimited { .. } => "rate_limited",
        Problem::Internal => "internal_error",
        Problem::Unavailable => "unavailable",
    }
}

/// The body of the answer.
#[must_use]
pub fn body(problem: &Problem, request_id: &str) -> String {
    json!({"error": code(problem), "message": problem.message(), "request_id": request_id}).to_string()
}
