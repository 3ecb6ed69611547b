//! Surface 4's form of every "no".

use std::borrow::Cow;

use http::StatusCode;
use serde_json::json;

use crate::surfaces::problem::Problem;

/// The body of the answer.
#[must_use]
pub fn body(problem: &Problem, request_id: &str) -> String {
    let status = problem.status();
    let message: Cow<'static, str> = match problem {
        Problem::Missing(_) => "Api key not found.".into(),
        Problem::Unavailable => "PSP Product Manager Api is unavailable.".into(),
        other => other.message(),
    };
    json!({
        "statusCode": status.as_u16(),
        "message": message,
        "error": StatusCode::canonical_reason(&status).unwrap_or("Error"),
        "requestId": request_id,
    })
    .to_string()
}
