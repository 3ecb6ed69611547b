//! The portal API's form of every "no".

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use crate::surfaces::problem::Problem;

/// What every refusal looks like.
#[derive(Debug, Serialize, ToSchema)]
pub struct Error<'a> {
    /// Always `error`.
    #[schema(pattern = "^error$", example = "error")]
    object: &'static str,
    error: ErrorBody<'a>,
}

/// Why the call was refused.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody<'a> {
    /// What programs go by.
    #[schema(pattern = "^[A-Z_]+$", example = "NOT_FOUND")]
    code: &'static str,
    /// What people read.
    message: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'a>>,
    /// A page about this code.
    documentation_url: String,
    /// The id of the call, as in `X-Request-Id`.
    request_id: &'a str,
}

/// More about some refusals.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Details<'a> {
    /// With `INVALID_INPUT`.
    Invalid {
        /// The field, parameter or header; `body` for the body as a whole.
        field: &'a str,
        /// What is wrong with it.
        reason: &'a str,
    },
    /// With `RATE_LIMITED`.
    RateLimited {
        /// In so many seconds there is a call again.
        retry_after_seconds: u64,
    },
}

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
    let error = Error {
        object: "error",
        error: ErrorBody {
            code,
            message: problem.message(),
            details: details(problem),
            documentation_url: format!("{documentation_url}/errors/{page}"),
            request_id,
        },
    };
    crate::surfaces::problem::written(&error)
}

fn details(problem: &Problem) -> Option<Details<'_>> {
    match problem {
        Problem::Invalid(invalid) => Some(Details::Invalid {
            field: &invalid.field,
            reason: &invalid.reason,
        }),
        Problem::RateLimited { retry_after } => Some(Details::RateLimited {
            retry_after_seconds: *retry_after,
        }),
        _ => None,
    }
}
