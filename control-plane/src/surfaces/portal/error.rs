//! The portal API's form of every "no".

use serde_json::{Map, Value, json};

use crate::surfaces::problem::Problem;

/// The code that programs go by.
#[must_use]
pub fn code(problem: &Problem) -> &'static str {
    match problem {
        Problem::Invalid(_) => "INVALID_INPUT",
        Problem::NoCredential => "UNAUTHORIZED",
        Problem::UnknownKey | Problem::UnknownToken => "INVALID_API_KEY",
        Problem::DeadKey | Problem::DeadToken => "EXPIRED_API_KEY",
        Problem::Forbidden(_) => "FORBIDDEN",
        Problem::Missing(_) => "NOT_FOUND",
        Problem::MethodNotAllowed => "METHOD_NOT_ALLOWED",
        Problem::Conflict(_) | Problem::Running => "CONFLICT",
        Problem::TooLarge => "PAYLOAD_TOO_LARGE",
        Problem::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
        Problem::RateLimited { .. } => "RATE_LIMITED",
        Problem::Internal => "INTERNAL_ERROR",
        Problem::Unavailable => "SERVICE_UNAVAILABLE",
    }
}

/// The body of the answer.
#[must_use]
pub fn body(problem: &Problem, request_id: &str, documentation_url: &str) -> String {
    let code = code(problem);
    let page = code.to_ascii_lowercase().replace('_', "-");
    let mut error = Map::new();
    error.insert("code".into(), code.into());
    error.insert("message".into(), problem.message().into());
    if let Some(details) = details(problem) {
        error.insert("details".into(), details);
    }
    error.insert(
        "documentationUrl".into(),
        format!("{documentation_url}/errors/{page}").into(),
    );
    error.insert("requestId".into(), request_id.into());
    json!({"object": "error", "error": error}).to_string()
}

fn details(problem: &Problem) -> Option<Value> {
    match problem {
        Problem::Invalid(invalid) => Some(json!({"field": invalid.field, "reason": invalid.reason})),
        Problem::RateLimited { retry_after } => Some(json!({"retryAfterSeconds": retry_after})),
        _ => None,
    }
}
