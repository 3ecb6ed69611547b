//! `routes.cors`: which pages of other origins may call, and what they may see (the Fetch standard's CORS protocol).

use std::time::Duration;

use http::{HeaderName, Method};

/// `routes.cors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// `origins`: at least one; [`OriginPattern::Any`] stands alone.
    pub origins: Vec<OriginPattern>,
    /// `methods`: what a preflight is told; the route's own by default.
    pub methods: Vec<Method>,
    /// `headers`: what a request may carry.
    pub headers: AllowedHeaders,
    /// `expose`: what a page may read beside what it always may.
    pub expose: Vec<HeaderName>,
    /// `credentials`: whether cookies and the like may come along. Never with every origin.
    pub credentials: bool,
    /// `max_age`: how long a browser may remember a preflight; whole seconds.
    pub max_age: Duration,
}

/// One of `routes.cors.origins`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// `*`: every origin.
    Any,
    /// This one, as a browser writes it; also `null`.
    Exact(String),
    /// `https://*.example.com`: every origin of that scheme and port whose host ends so.
    Below {
        /// `https://`.
        scheme: String,
        /// `.example.com`, with the port if there is one.
        end: String,
    },
}

/// `routes.cors.headers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHeaders {
    /// `*`: whatever a preflight asks for.
    Any,
    /// These.
    Listed(Vec<HeaderName>),
}
