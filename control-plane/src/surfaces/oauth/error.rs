//! OAuth's form of every "no" (RFC 6749, 5.2).

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::surfaces::problem::Problem;

/// What every refusal looks like.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenError {
    /// What programs go by.
    #[schema(pattern = "^[a-z_]+$", example = "invalid_client")]
    error: &'static str,
    /// What people read.
    error_description: std::borrow::Cow<'static, str>,
}

/// Why no token was given.
#[derive(Debug)]
pub enum Refusal {
    /// The request isn't one; says why.
    Request(&'static str),
    /// The client couldn't be authenticated.
    Client(Presented),
    /// Another way of getting tokens.
    GrantType,
    /// A scope that the client can't have.
    Scope,
    /// What isn't OAuth's own.
    Other(Problem),
}

/// Where a client showed who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// In the `Authorization` header.
    InHeader,
    /// In the body, or nowhere.
    InBody,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, description) = match self {
            // It gets its form, and its headers, where every problem does.
            Self::Other(problem) => return problem.into_response(),
            Self::Request(why) => ("invalid_request", why),
            Self::Client(_) => (
                "invalid_client",
                "the client id is no account, the secret is no living API key of it, or it may not be used here",
            ),
            Self::GrantType => (
                "unsupported_grant_type",
                "the grant_type must be client_credentials",
            ),
            Self::Scope => (
                "invalid_scope",
                "the scope holds something that is not known or that this key may not do",
            ),
        };
        let status = match self {
            Self::Client(_) => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        };
        let body = Json(TokenError {
            error: code,
            error_description: description.into(),
        });
        let mut response = (status, body).into_response();
        if let Self::Client(Presented::InHeader) = self {
            let challenge = HeaderValue::from_static("Basic realm=\"keyward\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Other(problem)
    }
}

/// The body of the answer to what isn't OAuth's own.
#[must_use]
pub fn body(problem: &Problem) -> String {
    let code = match problem {
        Problem::Internal => "server_error",
        Problem::Unavailable => "temporarily_unavailable",
        Problem::RateLimited { .. } => "slow_down",
        Problem::Invalid(_)
        | Problem::NoCredential
        | Problem::UnknownKey
        | Problem::DeadKey
        | Problem::UnknownToken
        | Problem::DeadToken
        | Problem::Forbidden(_)
        | Problem::Missing(_)
        | Problem::MethodNotAllowed
        | Problem::Conflict(_)
        | Problem::Running
        | Problem::TooLarge
        | Problem::UnsupportedMediaType => "invalid_request",
    };
    let description = match problem {
        Problem::UnsupportedMediaType => "the body must be sent as application/x-www-form-urlencoded".into(),
        Problem::RateLimited { .. } => "too many calls by this client: slow down".into(),
        other => other.message(),
    };
    crate::surfaces::problem::written(&TokenError {
        error: code,
        error_description: description,
    })
}
