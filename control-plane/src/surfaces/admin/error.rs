//! The admin API's form of every "no".

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use crate::surfaces::problem::Problem;

/// What every refusal looks like.
#[derive(Debug, Serialize, ToSchema)]
pub struct Error<'a> {
    /// What programs go by.
    #[schema(pattern = "^[a-z_]+$", example = "not_found")]
    error: &'static str,
    /// What people read; it names the field where one is wrong.
    message: Cow<'static, str>,
    /// The id of the call, as in `X-Request-Id`.
    request_id: &'a str,
}

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
    crate::surfaces::problem::written(&Error {
        error: code(problem),
        message: problem.message(),
        request_id,
    })
}
