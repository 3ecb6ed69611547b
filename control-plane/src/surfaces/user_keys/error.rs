//! Surface 4's form of every "no".

use std::borrow::Cow;

use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::surfaces::problem::Problem;

/// What every refusal looks like.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Error<'a> {
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status_code: u16,
    /// What people read; it names the field where one is wrong.
    message: Cow<'static, str>,
    /// The status in words.
    error: &'static str,
    /// The id of the call, as in `X-Request-Id`.
    request_id: &'a str,
}

/// The body of the answer.
#[must_use]
pub fn body(problem: &Problem, request_id: &str) -> String {
    let status = problem.status();
    let message: Cow<'static, str> = match problem {
        Problem::Missing(_) => "Api key not found.".into(),
        Problem::Unavailable => "PSP Product Manager Api is unavailable.".into(),
        other => other.message(),
    };
    crate::surfaces::problem::written(&Error {
        status_code: status.as_u16(),
        message,
        error: StatusCode::canonical_reason(&status).unwrap_or("Error"),
        request_id,
    })
}
