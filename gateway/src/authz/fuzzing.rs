//! For the fuzz targets alone (`tests/fuzz`): what is made of the questions about somebody else's calls, before anything
//! is decided.

use std::net::IpAddr;

use bytes::Bytes;
use http::request::Parts;
use secrecy::ExposeSecret;

use super::proto::envoy::service::auth::v3::CheckRequest;
use super::validate::asked;
use super::{ext_authz, forward_auth, grpc};

/// The head that `/auth` decides on; `None` when the question is refused.
#[must_use]
pub fn forward_auth(question: &Parts) -> Option<Parts> {
    forward_auth::original(question).ok()
}

/// The head that `Check` decides on, of a body as it comes; `None` when the question is refused.
#[must_use]
pub fn check(body: Bytes) -> Option<Parts> {
    let question: CheckRequest = grpc::message(body).ok()?;
    ext_authz::original(question.attributes?.request?.http?)
}

/// What an application asks, with its keys in the open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `account_key`.
    pub account_key: Option<String>,
    /// `customer_key`.
    pub customer_key: Option<String>,
    /// `cost`.
    pub cost: Option<u32>,
    /// `client_ip`.
    pub client: Option<IpAddr>,
    /// `route`.
    pub route: Option<String>,
}

/// What `/v1/validate` decides on; `None` when the question is refused.
#[must_use]
pub fn validate(text: &[u8]) -> Option<Asked> {
    let asked = asked::Asked::parse(text).ok()?;
    let open = |key: Option<secrecy::SecretString>| key.map(|key| key.expose_secret().to_owned());
    Some(Asked {
        account_key: open(asked.account_key),
        customer_key: open(asked.customer_key),
        cost: asked.cost,
        client: asked.client,
        route: asked.route,
    })
}
