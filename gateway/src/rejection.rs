//! Every "no" of the gateway: one row each with status, code and words.
//!
//! The table of `decision` names, codes and statuses here is what metrics, error bodies and documentation show.
//! Messages and details never hold a secret or an internal address. Building a refusal allocates its body.

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::limits::Which;
use crate::limits::fields::Standing;
use crate::limits::quota::QuotaLevel;

mod answer;
#[cfg(test)]
mod tests;

use answer::whole_seconds;
pub use answer::{ErrorForm, response};

/// Why a call is not answered by an upstream.
#[derive(Debug)]
pub enum Rejection {
    /// Row 1: malformed or ambiguous.
    InvalidInput(&'static str),
    /// Row 1: the target is longer than `bounds.uri`.
    UriTooLong,
    /// Row 1: the head is longer than `bounds.head`, or has more fields than `bounds.headers`.
    HeadTooLarge,
    /// Row 1: no version of HTTP that is spoken here.
    VersionNotSupported,
    /// Row 2: no route for host and path.
    RouteNotFound,
    /// Row 2: a route, but not for this method; or CONNECT or TRACE.
    MethodNotAllowed(HeaderValue),
    /// Row 3: no account credential.
    Unauthorized,
    /// Rows 4 and 6: no such account key, or not for this route's environments.
    InvalidApiKey,
    /// Row 5: the account key is dead.
    ExpiredApiKey,
    /// Row 7: the account may not use what it bought.
    AccountSuspended,
    /// Row 8: not from this address.
    IpNotAllowed,
    /// Row 9: no customer key where one is required.
    CustomerKeyMissing,
    /// Row 10: the customer key is no good, for whatever reason.
    CustomerKeyRefused,
    /// Row 11: the year's validations are used up.
    QuotaExceeded(QuotaLevel),
    /// Row 12: a bucket is empty, or the account has too many calls in flight on the route.
    RateLimited {
        /// The limit that refused.
        standing: Standing,
        /// When to come back.
        retry_after: Duration,
    },
    /// Row 13: the body is longer than the route's limit, in bytes.
    PayloadTooLarge(u64),
    /// Beside the table: a question at [`crate::authz`] that is no JSON.
    UnsupportedMediaType,
    /// Row 14: the gateway can't take more, or can't decide yet.
    Overloaded(&'static str),
    /// Row 15: no upstream could be reached.
    UpstreamUnavailable,
    /// Row 15: the upstream broke off or answered garbage.
    BadGateway(&'static str),
    /// Row 16: the upstream took too long.
    UpstreamTimeout,
    /// A fault of the gateway's own.
    Internal,
}

/// Whose fault a refusal is: decides who is alarmed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller's.
    Caller,
    /// The upstream's.
    Upstream,
    /// The gateway's.
    Gateway,
}

/// The names under which decisions are counted; `accepted` first, then one a rejection.
pub const DECISIONS: &[&str] = &[
    "accepted",
    "invalid_input",
    "uri_too_long",
    "route_not_found",
    "method_not_allowed",
    "unauthorized",
    "invalid_api_key",
    "expired_api_key",
    "account_suspended",
    "ip_not_allowed",
    "customer_key_missing",
    "customer_key_refused",
    "quota_exceeded",
    "rate_limited",
    "payload_too_large",
    "overloaded",
    "upstream_unavailable",
    "bad_gateway",
    "upstream_timeout",
    "internal_error",
    "head_too_large",
    "version_not_supported",
    "unsupported_media_type",
    "answered_at_edge",
    "client_gone",
];

/// The index of `accepted` in [`DECISIONS`].
pub const ACCEPTED: u8 = 0;
/// The index of `answered_at_edge` in [`DECISIONS`]: the gateway itself was asked, as by `OPTIONS *`.
pub const ANSWERED_AT_EDGE: u8 = 23;
/// The index of `client_gone` in [`DECISIONS`]: the client went away before anything was decided.
pub const CLIENT_GONE: u8 = 24;

impl Rejection {
    /// Its index in [`DECISIONS`].
    #[must_use]
    pub fn decision(&self) -> u8 {
        match self {
            Self::InvalidInput(_) => 1,
            Self::UriTooLong => 2,
            Self::RouteNotFound => 3,
            Self::MethodNotAllowed(_) => 4,
            Self::Unauthorized => 5,
            Self::InvalidApiKey => 6,
            Self::ExpiredApiKey => 7,
            Self::AccountSuspended => 8,
            Self::IpNotAllowed => 9,
            Self::CustomerKeyMissing => 10,
            Self::CustomerKeyRefused => 11,
            Self::QuotaExceeded(_) => 12,
            Self::RateLimited { .. } => 13,
            Self::PayloadTooLarge(_) => 14,
            Self::Overloaded(_) => 15,
            Self::UpstreamUnavailable => 16,
            Self::BadGateway(_) => 17,
            Self::UpstreamTimeout => 18,
            Self::Internal => 19,
            Self::HeadTooLarge => 20,
            Self::VersionNotSupported => 21,
            Self::UnsupportedMediaType => 22,
        }
    }

    /// The code that clients switch on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidInput(_) => "INVALID_INPUT",
            Self::UriTooLong => "URI_TOO_LONG",
            Self::HeadTooLarge => "HEAD_TOO_LARGE",
            Self::VersionNotSupported => "VERSION_NOT_SUPPORTED",
            Self::RouteNotFound => "ROUTE_NOT_FOUND",
            Self::MethodNotAllowed(_) => "METHOD_NOT_ALLOWED",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::InvalidApiKey => "INVALID_API_KEY",
            Self::ExpiredApiKey => "EXPIRED_API_KEY",
            Self::AccountSuspended => "ACCOUNT_SUSPENDED",
            Self::IpNotAllowed => "IP_NOT_ALLOWED",
            Self::CustomerKeyMissing | Self::CustomerKeyRefused => "FORBIDDEN",
            Self::QuotaExceeded(_) => "QUOTA_EXCEEDED",
            Self::RateLimited { .. } => "RATE_LIMITED",
            Self::PayloadTooLarge(_) => "PAYLOAD_TOO_LARGE",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::Overloaded(_) => "OVERLOADED",
            Self::UpstreamUnavailable => "UPSTREAM_UNAVAILABLE",
            Self::BadGateway(_) => "BAD_GATEWAY",
            Self::UpstreamTimeout => "UPSTREAM_TIMEOUT",
            Self::Internal => "INTERNAL_ERROR",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InvalidInput(_) => StatusCode::BAD_REQUEST,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::RouteNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized | Self::InvalidApiKey | Self::ExpiredApiKey => StatusCode::UNAUTHORIZED,
            Self::AccountSuspended
            | Self::IpNotAllowed
            | Self::CustomerKeyMissing
            | Self::CustomerKeyRefused
            | Self::QuotaExceeded(_) => StatusCode::FORBIDDEN,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::PayloadTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Overloaded(_) | Self::UpstreamUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadGateway(_) => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::InvalidInput(_)
            | Self::UriTooLong
            | Self::HeadTooLarge
            | Self::VersionNotSupported
            | Self::RouteNotFound
            | Self::MethodNotAllowed(_)
            | Self::Unauthorized
            | Self::InvalidApiKey
            | Self::ExpiredApiKey
            | Self::AccountSuspended
            | Self::IpNotAllowed
            | Self::CustomerKeyMissing
            | Self::CustomerKeyRefused
            | Self::QuotaExceeded(_)
            | Self::RateLimited { .. }
            | Self::PayloadTooLarge(_)
            | Self::UnsupportedMediaType => Fault::Caller,
            Self::UpstreamUnavailable | Self::BadGateway(_) | Self::UpstreamTimeout => Fault::Upstream,
            Self::Overloaded(_) | Self::Internal => Fault::Gateway,
        }
    }

    /// Whether the connection ends after it: what may have been read wrongly is followed by nothing, and what is too long
    /// need not be sent to its end.
    #[must_use]
    pub fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::InvalidInput(_)
                | Self::UriTooLong
                | Self::HeadTooLarge
                | Self::VersionNotSupported
                | Self::PayloadTooLarge(_)
        )
    }

    /// The gRPC status of the same refusal
    /// (`google.rpc.Code`; the mapping from HTTP is that of gRPC's `http-grpc-status-mapping`).
    #[must_use]
    pub fn grpc_status(&self) -> u8 {
        match self {
            Self::InvalidInput(_)
            | Self::UriTooLong
            | Self::HeadTooLarge
            | Self::VersionNotSupported
            | Self::UnsupportedMediaType => 3,
            Self::RouteNotFound | Self::MethodNotAllowed(_) => 12,
            Self::Unauthorized | Self::InvalidApiKey | Self::ExpiredApiKey => 16,
            Self::AccountSuspended
            | Self::IpNotAllowed
            | Self::CustomerKeyMissing
            | Self::CustomerKeyRefused => 7,
            Self::QuotaExceeded(_) | Self::RateLimited { .. } | Self::PayloadTooLarge(_) => 8,
            Self::Overloaded(_) | Self::UpstreamUnavailable | Self::BadGateway(_) => 14,
            Self::UpstreamTimeout => 4,
            Self::Internal => 13,
        }
    }

    /// Whether the caller is identified by the time of this refusal, so that the answer shows its limits.
    #[must_use]
    pub fn shows_limits(&self) -> bool {
        match self {
            Self::InvalidInput(_)
            | Self::UriTooLong
            | Self::HeadTooLarge
            | Self::VersionNotSupported
            | Self::RouteNotFound
            | Self::MethodNotAllowed(_)
            | Self::Unauthorized
            | Self::InvalidApiKey
            | Self::ExpiredApiKey
            | Self::UnsupportedMediaType => false,
            Self::AccountSuspended
            | Self::IpNotAllowed
            | Self::CustomerKeyMissing
            | Self::CustomerKeyRefused
            | Self::QuotaExceeded(_)
            | Self::RateLimited { .. }
            | Self::PayloadTooLarge(_)
            | Self::Overloaded(_)
            | Self::UpstreamUnavailable
            | Self::BadGateway(_)
            | Self::UpstreamTimeout
            | Self::Internal => true,
        }
    }

    /// What it is called in words.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::InvalidInput(reason) | Self::Overloaded(reason) | Self::BadGateway(reason) => reason,
            Self::UriTooLong => "the request target is too long",
            Self::HeadTooLarge => "the request's head is too large or has too many fields",
            Self::VersionNotSupported => "this version of HTTP is not spoken here",
            Self::RouteNotFound => "there is no route for this host and path",
            Self::MethodNotAllowed(_) => "this method is not allowed here; see the Allow header",
            Self::Unauthorized => {
                "an account key is required: send it as `Authorization: Bearer <key>` or `x-api-key: <key>`"
            }
            Self::InvalidApiKey => "the account key is not valid here",
            Self::ExpiredApiKey => "the account key has been revoked, disabled or has expired",
            Self::AccountSuspended => "the account is suspended or its contract does not hold",
            Self::IpNotAllowed => "this key may not be used from this address",
            Self::CustomerKeyMissing => "a customer key is required: send it as `X-Customer-Key: <key>`",
            Self::CustomerKeyRefused => "the customer key is not valid here",
            Self::QuotaExceeded(_) => "the account's validations for this contract year are used up",
            Self::RateLimited { standing, .. } => match standing.which {
                Which::Route => "too many calls at the same time; come back after the time in Retry-After",
                Which::Account | Which::Customer | Which::Address | Which::Quota => {
                    "too many calls; come back after the time in Retry-After"
                }
            },
            Self::PayloadTooLarge(_) => "the request body is too large",
            Self::UnsupportedMediaType => "a question is JSON: send it as application/json",
            Self::UpstreamUnavailable => "the service behind the gateway can't be reached",
            Self::UpstreamTimeout => "the service behind the gateway took too long",
            Self::Internal => "the gateway failed to handle this call",
        }
    }

    /// When a refused caller may come back, in whole seconds; as `Retry-After` says.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(whole_seconds(*retry_after)),
            Self::Overloaded(_) => Some(1),
            _ => None,
        }
    }
}
