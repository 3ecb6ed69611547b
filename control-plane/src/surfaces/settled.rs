//! What the answer to a change says of it: its revision, and how far it has come.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue};

use crate::operations::Settled;

/// The revision of a change.
pub const REVISION: HeaderName = HeaderName::from_static("keyward-revision");
/// How many gateways have it in force, and which may not.
pub const PROPAGATION: HeaderName = HeaderName::from_static("keyward-propagation");

/// An answer with what is known of the change that it answers.
pub fn with(settled: &Settled, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    let headers = response.headers_mut();
    headers.insert(REVISION, HeaderValue::from(settled.revision));
    // Gateway ids are visible ASCII; a name that is not would be left out rather than fail the answer.
    if let Ok(propagation) = HeaderValue::from_str(&settled.propagation.to_string()) {
        headers.insert(PROPAGATION, propagation);
    }
    response
}
