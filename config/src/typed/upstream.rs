//! The shape of `[[upstreams]]`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::leaf::name::{Name, RequestHeader};
use crate::leaf::path::CheckTarget;
use crate::leaf::unit::{Percent, Time};
use crate::leaf::url::EndpointUrl;
use crate::leaf::word::{Balanced, Hashed, Protocol};
use crate::typed::gateway::ClientTls;

/// An API behind the gateway.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Upstream {
    /// What routes call it.
    pub(crate) name: Option<Name>,
    /// Its machines; at least one.
    pub(crate) endpoints: Vec<EndpointUrl>,
    /// What is spoken with them: `http1`; `h2`, HTTP/2 over TLS; `h2c`, HTTP/2 in clear text.
    pub(crate) protocol: Option<Protocol>,
    /// Which machine gets a call: `round-robin` by default, `least-requests`, or a table with `hash`.
    pub(crate) balance: Option<Balance>,
    /// When a machine counts as unhealthy. Never by default.
    pub(crate) health: Option<Health>,
    /// What is tried again. Only what no machine can have seen, by default.
    pub(crate) retries: Option<Retries>,
    /// How `https` endpoints are spoken to.
    pub(crate) tls: Option<ClientTls>,
}

/// Which machine gets a call: a word, or a table.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Balance {
    /// In turn, or by load.
    Word(Balanced),
    /// By a hash.
    Hash(HashBy),
}

/// Which thing of a call decides its machine.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HashBy {
    /// `key`, `customer`, `address` or `header`.
    pub(crate) hash: Option<Hashed>,
    /// The header, for `header`.
    pub(crate) header: Option<RequestHeader>,
}

impl<'de> Deserialize<'de> for Balance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BalanceVisitor)
    }
}

struct BalanceVisitor;

impl<'de> Visitor<'de> for BalanceVisitor {
    type Value = Balance;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word such as \"round-robin\", or a table such as { hash = \"key\" }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Balance, E> {
        text.parse().map(Balance::Word).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Balance, A::Error> {
        HashBy::deserialize(MapAccessDeserializer::new(map)).map(Balance::Hash)
    }
}

impl JsonSchema for Balance {
    fn schema_name() -> Cow<'static, str> {
        "Balance".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let word = generator.subschema_for::<Balanced>();
        let table = generator.subschema_for::<HashBy>();
        json_schema!({ "anyOf": [word, table] })
    }
}

/// When a machine counts as unhealthy.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Health {
    /// What the gateway asks each machine for, by itself. It asks nothing by default.
    pub(crate) path: Option<CheckTarget>,
    /// From one question to the next: `5s` by default.
    pub(crate) interval: Option<Time>,
    /// How long an answer may take: `1s` by default.
    pub(crate) timeout: Option<Time>,
    /// Good answers in a row that make a machine healthy again: 2 by default.
    pub(crate) healthy: Option<u64>,
    /// Bad answers in a row that make it unhealthy: 3 by default.
    pub(crate) unhealthy: Option<u64>,
    /// Statuses that are good. Every 2xx by default.
    pub(crate) expect: Option<Vec<u64>>,
    /// When fewer of the machines than this are healthy, all are used: `50%` by default.
    pub(crate) panic_threshold: Option<Percent>,
    /// What is learnt from calls. Nothing by default.
    pub(crate) passive: Option<Passive>,
}

/// When calls put a machine out, and for how long.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Passive {
    /// Failures in a row that put a machine out.
    pub(crate) failures: u64,
    /// Answers that are failures, beside connections that fail or break and answers that are none.
    pub(crate) statuses: Vec<u64>,
    /// How long it is out at first; twice as long each time that it happens again soon.
    pub(crate) ejection: Time,
    /// How long it is out at most.
    pub(crate) max_ejection: Time,
    /// The share of the machines that may be out at the same time.
    pub(crate) max_ejected: Percent,
}

impl Default for Passive {
    fn default() -> Self {
        Self {
            failures: 5,
            statuses: vec![502, 503, 504],
            ejection: Time::seconds(10),
            max_ejection: Time::seconds(300),
            max_ejected: Percent(50),
        }
    }
}

/// What is tried again.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retries {
    /// How often a call is sent at most, the first time included.
    pub(crate) attempts: u64,
    /// Answers after which it is sent again.
    pub(crate) statuses: Vec<u64>,
    /// Repeats as a share of the calls of the last ten seconds.
    pub(crate) budget: Percent,
    /// Repeats that are allowed in each second however few calls there are.
    pub(crate) min_per_second: u64,
    /// The most that is waited before the first repeat; twice as long before each further one.
    pub(crate) backoff: Time,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 2,
            statuses: vec![502, 503, 504],
            budget: Percent(20),
            min_per_second: 10,
            backoff: Time::ms(25),
        }
    }
}
