//! Surface 3's form of every "no".

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use crate::surfaces::problem::Problem;

/// What every refusal looks like.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Error<'a> {
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What people read; it names the field where one is wrong.
    message: Cow<'static, str>,
    /// The id of the call, as in `X-Request-Id`.
    request_id: &'a str,
}

/// The body of the answer.
#[must_use]
pub fn body(problem: &Problem, request_id: &str) -> String {
    crate::surfaces::problem::written(&Error {
        status: problem.status().as_u16(),
        message: problem.message(),
        request_id,
    })
}
