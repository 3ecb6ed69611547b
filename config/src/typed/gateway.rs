//! The shape of `gateway.toml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::leaf::name::{CredentialHeader, FilePath, Name};
use crate::leaf::network::{Address, Block};
use crate::leaf::redis::{RedisUrl, RedisUser};
use crate::leaf::unit::{Size, Time};
use crate::leaf::url::{DocumentationUrl, SyncUrl};
use crate::leaf::word::{ClientCertificates, Fallback, LimiterMode, Stale};
use crate::typed::bounds::{Bounds, Timeouts};
use crate::typed::identity::IdentityTokens;
use crate::typed::route::Route;
use crate::typed::upstream::Upstream;

/// Configuration of `keyward-gateway`.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "gateway.toml")]
pub(crate) struct Gateway {
    /// Threads that serve calls. As many as there are processors by default.
    pub(crate) workers: Option<u64>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<Block>,
    /// Where it answers.
    pub(crate) listen: Listen,
    /// Who it is.
    pub(crate) gateway: Identity,
    /// Where key changes come from.
    pub(crate) control_plane: Link,
    /// Secrets, each in a file of its own.
    pub(crate) secrets: Secrets,
    /// The key set on disk.
    pub(crate) replica: Replica,
    /// The usage ledger.
    pub(crate) ledger: Ledger,
    /// The hot keys in memory.
    pub(crate) cache: Cache,
    /// What holds when the control plane has not been heard for long.
    pub(crate) sync: Sync,
    /// Where the token buckets are.
    pub(crate) limiter: Limiter,
    /// Which headers carry keys.
    pub(crate) credentials: Credentials,
    /// How long each part of a call may take.
    pub(crate) timeouts: Timeouts,
    /// How much of each thing is taken.
    pub(crate) bounds: Bounds,
    /// How calls in flight end.
    pub(crate) drain: Drain,
    /// The access log.
    pub(crate) access_log: AccessLog,
    /// What errors say.
    pub(crate) errors: Errors,
    /// How the identities are signed that routes hand to their upstreams.
    pub(crate) identity: IdentityTokens,
    /// The APIs behind the gateway; at least one.
    pub(crate) upstreams: Vec<Upstream>,
    /// Which calls go where, and what they need; at least one.
    pub(crate) routes: Vec<Route>,
}

/// Where a gateway answers.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Listen {
    /// Where partners call.
    pub(crate) proxy: Address,
    /// Health, metrics and state; never open to partners.
    pub(crate) admin: Address,
    /// Validation without proxying; never open to partners. Off by default.
    pub(crate) authz: Option<Address>,
    /// Whether trusted proxies tell the client's address by the PROXY protocol, version 1 or 2.
    pub(crate) proxy_protocol: bool,
    /// What is shown to partners; without it they are spoken to in clear text.
    pub(crate) tls: Option<ListenTls>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            proxy: Address::everywhere(8080),
            admin: Address::loopback(9090),
            authz: None,
            proxy_protocol: false,
            tls: None,
        }
    }
}

/// TLS towards partners.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenTls {
    /// At least one. A client gets the one that has the name it asks for, and else the first.
    pub(crate) certificates: Vec<Certificate>,
    /// The authorities that may have signed clients' certificates, as PEM. Without it none is asked for.
    pub(crate) client_ca_file: Option<FilePath>,
    /// Whether a client without a certificate is turned away: `require` (the default), or `optional`.
    pub(crate) client_certificates: Option<ClientCertificates>,
}

/// A certificate with its key.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Certificate {
    /// The certificate, as PEM, with what leads to its root.
    pub(crate) cert_file: Option<FilePath>,
    /// Its private key, as PEM.
    pub(crate) key_file: Option<FilePath>,
}

/// Who a gateway is.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Identity {
    /// Shown by `GET /admin/gateways`; no two gateways may have the same. The host name by default.
    pub(crate) id: Option<Name>,
}

/// Where key changes come from.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Link {
    /// The sync addresses of control planes, tried in turn.
    pub(crate) urls: Vec<SyncUrl>,
    /// The file with the token that the control plane expects.
    pub(crate) token_file: FilePath,
    /// How `https` addresses are spoken to.
    pub(crate) tls: Option<ClientTls>,
}

/// TLS towards a server: whom we trust, and what we show.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClientTls {
    /// The authorities that may have signed the server's certificate, as PEM. The system's by default.
    pub(crate) ca_file: Option<FilePath>,
    /// The certificate that names this gateway, as PEM, with what leads to its root.
    pub(crate) cert_file: Option<FilePath>,
    /// Its private key, as PEM.
    pub(crate) key_file: Option<FilePath>,
    /// The name that the server's certificate must have. The host of its address by default.
    pub(crate) server_name: Option<Name>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            urls: "http://127.0.0.1:8082".parse().into_iter().collect(),
            token_file: FilePath("keyward-data/secrets/gateway-token".into()),
            tls: None,
        }
    }
}

/// A gateway's secrets.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Secrets {
    /// The key of every digest. When absent it comes over the stream and is kept beside the replica.
    pub(crate) digest_key_file: Option<FilePath>,
}

/// The key set on disk.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Replica {
    /// Its folder.
    pub(crate) path: FilePath,
}

impl Default for Replica {
    fn default() -> Self {
        Self {
            path: FilePath("keyward-data/gateway/replica".into()),
        }
    }
}

/// The usage ledger.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ledger {
    /// Its folder.
    pub(crate) path: FilePath,
    /// The most that a power loss may lose.
    pub(crate) sync_interval: Time,
    /// The most that its files may have.
    pub(crate) max_size: Size,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            path: FilePath("keyward-data/gateway/ledger".into()),
            sync_interval: Time::seconds(1),
            max_size: Size(1 << 30),
        }
    }
}

/// The hot keys in memory.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cache {
    /// How many.
    pub(crate) entries: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { entries: 200_000 }
    }
}

/// What holds when the control plane has not been heard for long.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sync {
    /// How long after the last heartbeat the key set counts as fresh. For ever by default.
    pub(crate) max_staleness: Option<Time>,
    /// What a stale gateway does with calls that need a key.
    pub(crate) when_stale: Stale,
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            max_staleness: None,
            when_stale: Stale::Serve,
        }
    }
}

/// Where the token buckets are.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limiter {
    /// `local`: in this process, right for one gateway; `leased`: in Redis, tokens taken in slices; `exact`: in Redis,
    /// one by one. With `redis` it is `leased` by default, without it `local`.
    pub(crate) mode: Option<LimiterMode>,
    /// The Redis whose buckets gateways share: `redis://HOST:PORT/DATABASE`, `redis+sentinel://HOST,HOST/SERVICE` or
    /// `redis+cluster://HOST,HOST`; `rediss` for TLS.
    pub(crate) redis: Option<RedisUrl>,
    /// Who asks. Redis's default user otherwise.
    pub(crate) redis_username: Option<RedisUser>,
    /// The file with the password, which never stands in a configuration.
    pub(crate) redis_password_file: Option<FilePath>,
    /// What holds while Redis is away: `share` by default.
    pub(crate) fallback: Option<Fallback>,
    /// After how long without an answer Redis counts as away: 5ms by default.
    pub(crate) timeout: Option<Time>,
    /// How long a call may wait for tokens: 5ms by default.
    pub(crate) max_wait: Option<Time>,
}

/// Which headers carry keys.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Credentials {
    /// Headers that carry the account key: `authorization` as `Bearer <key>`, every other one bare.
    pub(crate) account: Vec<CredentialHeader>,
    /// Headers that carry the customer key, bare.
    pub(crate) customer: Vec<CredentialHeader>,
}

impl Default for Credentials {
    fn default() -> Self {
        let header = |name: &str| CredentialHeader(name.to_owned());
        Self {
            account: vec![header("authorization"), header("x-api-key")],
            customer: vec![header("x-customer-key")],
        }
    }
}

/// How calls in flight end.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Drain {
    /// How long they may go on after a stop was asked for.
    pub(crate) timeout: Time,
    /// How long they may go on after their key lost its rights.
    pub(crate) revoked: Time,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            timeout: Time::seconds(30),
            revoked: Time::seconds(5),
        }
    }
}

/// The access log: one JSON line a call.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AccessLog {
    /// The file to append to; `-` is standard output. None by default.
    pub(crate) path: Option<FilePath>,
    /// The share of accepted calls that is logged, from 0.0 to 1.0.
    pub(crate) sample: f64,
    /// Whether every refused call is logged, whatever the share.
    pub(crate) refusals: bool,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            path: None,
            sample: 1.0,
            refusals: true,
        }
    }
}

/// What errors say.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Errors {
    /// The start of every error's `documentationUrl`; `/errors/<code>` follows it.
    pub(crate) documentation_url: DocumentationUrl,
}

impl Default for Errors {
    fn default() -> Self {
        Self {
            documentation_url: DocumentationUrl("https://keyward.example/docs".to_owned()),
        }
    }
}
