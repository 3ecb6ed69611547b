//! The shape of `[[routes]]`, with the tables within: header rules, CORS, and shares of a split.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::leaf::host::Host;
use crate::leaf::name::{Label, Name};
use crate::leaf::origin::Origin;
use crate::leaf::path::{Path, Prefix};
use crate::leaf::unit::{Size, Time};
use crate::leaf::word::{Credential, LimitMode, Served, Slashes, Verb};
use crate::typed::control_plane::Limit;

/// Which calls go where, and what they need.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Route {
    /// What metrics and usage call it. Its path by default.
    pub(crate) name: Option<Label>,
    /// `/x`: that path and all below it; `=/x`: that path alone; `{name}`: any one segment.
    pub(crate) path: Option<Path>,
    /// A name, or `*.example.com` for all that end so. Every host by default.
    pub(crate) host: Option<Host>,
    /// Every method by default.
    pub(crate) methods: Option<Vec<Verb>>,
    /// Whose keys are taken. Both environments by default.
    pub(crate) environments: Option<Vec<Served>>,
    /// The upstream's name. May be left out when there is one, and where there is a split.
    pub(crate) upstream: Option<Name>,
    /// Which credentials a call needs: `customer` by default.
    pub(crate) require: Option<Credential>,
    /// Tokens that a call takes: 1 by default.
    pub(crate) cost: Option<u64>,
    /// Bytes of a request's body. `bounds.body` by default.
    pub(crate) max_body: Option<Size>,
    /// Calls of one account at the same time. Any number by default.
    pub(crate) max_in_flight: Option<u64>,
    /// How often one client address may call a public route. As often as it likes by default.
    pub(crate) per_address: Option<Limit>,
    /// The whole call. `timeouts.request` by default.
    pub(crate) timeout: Option<Time>,
    /// `enforce`: limits refuse; `shadow`: rates, `max_in_flight` and `per_address` only count.
    pub(crate) mode: Option<LimitMode>,
    /// Whether the upstream sees the headers that carry keys.
    pub(crate) forward_credentials: bool,
    /// Whether the upstream gets a signed identity.
    pub(crate) identity_token: bool,
    /// What `%2F` in a path means: `refuse` by default.
    pub(crate) encoded_slashes: Option<Slashes>,
    /// Taken from the front of the path before the call is forwarded.
    pub(crate) strip_prefix: Option<Prefix>,
    /// Which origins may call.
    pub(crate) cors: Option<Cors>,
    /// Headers to set, add or remove.
    pub(crate) headers: Option<Headers>,
    /// Several upstreams by weight, in place of one.
    pub(crate) split: Option<Vec<Share>>,
}

/// What a route changes in the heads that pass it.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Headers {
    /// Of what goes on to the upstream.
    pub(crate) request: HeaderRules,
    /// Of what the upstream answered.
    pub(crate) response: HeaderRules,
}

/// What is done to one head.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HeaderRules {
    /// Names and values that take the place of what is there.
    pub(crate) set: BTreeMap<String, String>,
    /// Names and values that come beside what is there.
    pub(crate) add: BTreeMap<String, String>,
    /// Names that go.
    pub(crate) remove: Vec<String>,
}

/// Which pages of other origins may call.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cors {
    /// `https://app.example`, `https://*.example.com`, `null`, or `*` for all; at least one.
    pub(crate) origins: Vec<Origin>,
    /// What preflights are told. The route's methods by default.
    pub(crate) methods: Option<Vec<Verb>>,
    /// Headers that a request may carry; `*` for any. Those of credentials, `content-type` and `x-request-id` by
    /// default.
    pub(crate) headers: Option<Vec<String>>,
    /// Headers that a page may read beside `x-request-id`, the rate headers, `retry-after`, `deprecation` and `sunset`.
    pub(crate) expose: Vec<String>,
    /// Whether cookies and the like may come along.
    pub(crate) credentials: bool,
    /// How long a browser may remember a preflight: 10m by default.
    pub(crate) max_age: Option<Time>,
}

/// One upstream of a split.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Share {
    /// Its name.
    pub(crate) upstream: Option<Name>,
    /// How many of all the weights together it gets; 0: no call.
    pub(crate) weight: Option<u64>,
}
