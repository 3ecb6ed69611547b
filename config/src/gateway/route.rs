//! What `[[routes]]` means.

use std::time::Duration;

use keyward_contract::{Environment, LimitMode, Limits};

use super::{Cors, HeaderRules};

/// One of `routes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `name`: what metrics and usage call it; the path by default.
    pub name: String,
    /// `host`: which authority it serves.
    pub host: HostPattern,
    /// `path`: which paths it serves.
    pub path: PathPattern,
    /// `methods`: `None`: every one.
    pub methods: Option<Vec<http::Method>>,
    /// `environments`: whose keys it takes.
    pub environments: Vec<Environment>,
    /// `upstream`: the index in [`super::GatewayConfig::upstreams`]; of a split the first that gets calls.
    pub upstream: usize,
    /// `split`: several upstreams by weight, no two the same, not all weights 0; empty when there is one upstream.
    pub split: Vec<Share>,
    /// `require`: which credentials a call needs.
    pub require: Require,
    /// `cost`: tokens a call takes, at least 1.
    pub cost: u32,
    /// `max_body`: bytes.
    pub max_body: u64,
    /// `max_in_flight`: calls of one account at the same time.
    pub max_in_flight: Option<u32>,
    /// `per_address`: rate and burst of each client address, on public routes.
    pub per_address: Option<Limits>,
    /// `mode`: what limits do on this route.
    pub mode: LimitMode,
    /// `timeout`: the whole call.
    pub timeout: Duration,
    /// `forward_credentials`: whether the upstream sees the credential headers.
    pub forward_credentials: bool,
    /// `encoded_slashes`: what `%2F` in a path means.
    pub encoded_slashes: EncodedSlashes,
    /// `strip_prefix`: taken from the front of the path before forwarding; begins with `/`, no final slash.
    pub strip_prefix: Option<String>,
    /// `identity_token`: whether the upstream gets a signed identity.
    pub identity_token: bool,
    /// `cors`: which pages of other origins may call.
    pub cors: Option<Cors>,
    /// `headers`: what is changed in heads that pass.
    pub headers: HeaderRules,
}

/// One of `routes.split`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// `upstream`: the index in [`super::GatewayConfig::upstreams`].
    pub upstream: usize,
    /// `weight`: 0 to 1000.
    pub weight: u32,
}

/// `routes.host`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Every authority.
    Any,
    /// This one, lower case, without port.
    Exact(String),
    /// `*.example.com`: every name that ends so; holds `.example.com`.
    Suffix(String),
}

/// `routes.path`: the segments between slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    /// The pattern's segments; empty for `/`.
    pub segments: Vec<PathSegment>,
    /// `=/x`: that path alone. Otherwise everything below it too.
    pub exact: bool,
}

/// One segment of a [`PathPattern`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathSegment {
    /// This text.
    Literal(String),
    /// `{name}`: any one segment that is not empty.
    Parameter(String),
}

/// `routes.require`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Require {
    /// Account key and, in production, customer key.
    Customer,
    /// Account key alone.
    Account,
    /// Customer key alone.
    CustomerOnly,
    /// Nothing: a public route.
    None,
}

/// `routes.encoded_slashes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EncodedSlashes {
    /// `%2F` in a path is 400.
    Refuse,
    /// `%2F` is kept as it is and is no separator.
    Keep,
}
