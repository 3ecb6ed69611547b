//! Surface 3's form of every "no".

use serde_json::json;

use crate::surfaces::problem::Problem;

/// The body of the answer.
#[must_use]
pub fn body(problem: &Problem, request_id: &str) -> String {
    json!({"status": problem.status().as_u16(), "message": problem.message(), "requestId": request_id})
        .to_string()
}
