//! Every "no" that a surface can answer, in one table: status here, code and form in each surface's `error.rs`.
//!
//! A problem travels as an extension of its response until the outermost step, which knows the call's id and the
//! surface, gives it a body.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::domain::refusal::{InvalidField, Refusal};
use crate::operations::Error;

/// Why a call was refused.
#[derive(Clone, Debug)]
pub enum Problem {
    /// A value breaks a rule.
    Invalid(InvalidField),
    /// No credential.
    NoCredential,
    /// A credential that identifies nobody.
    UnknownKey,
    /// A credential that was good once.
    DeadKey,
    /// A token that proves nothing here.
    UnknownToken,
    /// A token that was good once.
    DeadToken,
    /// The caller may not do this.
    Forbidden(&'static str),
    /// What the call is about isn't there, or isn't the caller's.
    Missing(Cow<'static, str>),
    /// The path takes other methods.
    MethodNotAllowed,
    /// It can't be done in the present state.
    Conflict(Cow<'static, str>),
    /// The same call runs already.
    Running,
    /// The body is over 64 KiB.
    TooLarge,
    /// The body is no JSON by its own account.
    UnsupportedMediaType,
    /// Too many calls.
    RateLimited {
        /// Whole seconds until there is a token.
        retry_after: u64,
    },
    /// Our fault. What happened is in the log.
    Internal,
    /// The store is away.
    Unavailable,
}

impl Problem {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NoCredential | Self::UnknownKey | Self::DeadKey | Self::UnknownToken | Self::DeadToken => {
                StatusCode::UNAUTHORIZED
            }
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) | Self::Running => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What the caller is told in words.
    #[must_use]
    pub fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Invalid(invalid) => invalid.to_string().into(),
            Self::NoCredential => "no API key was sent".into(),
            Self::UnknownKey => "the API key is not valid here".into(),
            Self::DeadKey => "the API key was revoked or has expired".into(),
            Self::UnknownToken => "the token is not valid here".into(),
            Self::DeadToken => "the token has expired, or the API key behind it was ended".into(),
            Self::Forbidden(why) => (*why).into(),
            Self::Missing(what) => format!("no such {what}").into(),
            Self::MethodNotAllowed => "this path does not take this method".into(),
            Self::Conflict(why) => why.clone(),
            Self::Running => "a call with this Idempotency-Key is still running".into(),
            Self::TooLarge => "the body is larger than 64 KiB".into(),
            Self::UnsupportedMediaType => "the body must be sent as application/json".into(),
            Self::RateLimited { .. } => "too many calls with this API key: slow down".into(),
            Self::Internal => "something went wrong on our side".into(),
            Self::Unavailable => "the service is unavailable for the moment: try again".into(),
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after } => Some(*retry_after),
            Self::Running | Self::Unavailable => Some(1),
            _ => None,
        }
    }
}

/// A surface's form of a problem as text. It holds texts and numbers alone, so writing it can't fail.
pub(super) fn written(form: &impl serde::Serialize) -> String {
    serde_json::to_string(form).unwrap_or_default()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if let Some(seconds) = self.retry_after() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<InvalidField> for Problem {
    fn from(invalid: InvalidField) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(invalid) => Self::Invalid(invalid),
            Refusal::Missing(what) => Self::Missing(what.to_string().into()),
            Refusal::Conflict(conflict) => Self::Conflict(conflict.to_string().into()),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Store(error) if error.is_away() => {
                tracing::error!(%error, "the store is away");
                Self::Unavailable
            }
            Error::Store(error) => {
                tracing::error!(%error, "the store refused");
                Self::Internal
            }
            Error::Randomness(error) => {
                tracing::error!(%error, "no randomness");
                Self::Internal
            }
            Error::Seal(error) => {
                tracing::error!(%error, "sealing failed");
                Self::Internal
            }
        }
    }
}
