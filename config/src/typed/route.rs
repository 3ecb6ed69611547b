//! The tables within a route: header rules, CORS, and shares of a split.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::leaf::name::Name;
use crate::leaf::origin::Origin;
use crate::leaf::unit::Time;
use crate::leaf::word::Verb;

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
