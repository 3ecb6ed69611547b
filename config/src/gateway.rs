//! What a gateway's configuration means, after every check: the types that the gateway is built from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use keyward_contract::Fallback;

use crate::redis::RedisConfig;
use crate::upstream::{Balance, Health, Retries};

mod cors;
mod headers;
mod identity;
mod route;

pub use cors::{AllowedHeaders, Cors, OriginPattern};
pub use headers::{HeaderChanges, HeaderRules};
pub use identity::IdentityTokens;
pub use route::{EncodedSlashes, HostPattern, PathPattern, PathSegment, Require, Route, Share};

/// A checked gateway configuration.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// `gateway.id`: shown by `GET /admin/gateways`; the host name by default.
    pub id: String,
    /// `listen`: where it answers.
    pub listen: Listen,
    /// `trusted_proxies`: peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `control_plane`: where key changes come from.
    pub control_plane: ControlPlaneLink,
    /// `secrets.digest_key_file`; `None`: the key comes over the stream and is kept beside the replica.
    pub digest_key_file: Option<PathBuf>,
    /// `replica.path`: the folder of the on-disk key set.
    pub replica_path: PathBuf,
    /// `ledger.path`: the folder of the usage ledger.
    pub ledger_path: PathBuf,
    /// `ledger.sync_interval`: what a power loss may lose.
    pub ledger_sync_interval: Duration,
    /// `ledger.max_size`: bytes that its files may have.
    pub ledger_max_size: u64,
    /// `cache.entries`: hot keys held in memory.
    pub cache_entries: u64,
    /// `sync`: what holds when the control plane has not been heard for long.
    pub staleness: Staleness,
    /// `limiter`: where the buckets are.
    pub limiter: Limiter,
    /// `credentials`: the header names of each slot, lower case.
    pub credentials: Credentials,
    /// `timeouts`.
    pub timeouts: Timeouts,
    /// `bounds`.
    pub bounds: Bounds,
    /// `drain`.
    pub drain: Drain,
    /// `workers`: threads that serve calls, one runtime and listener each; as many as processors by default.
    pub workers: usize,
    /// `access_log`.
    pub access_log: AccessLog,
    /// `errors.documentation_url`: the start of every error's `documentationUrl`, without a final slash.
    pub documentation_url: String,
    /// `identity`: how identities are signed.
    pub identity: IdentityTokens,
    /// `upstreams`; at least one.
    pub upstreams: Vec<Upstream>,
    /// `routes`; at least one; each names an upstream that exists.
    pub routes: Vec<Route>,
}

/// `listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// `proxy`: where partners call.
    pub proxy: SocketAddr,
    /// `admin`: health, metrics, state. Never open to partners.
    pub admin: SocketAddr,
    /// `authz`: validation without proxying. Never open to partners.
    pub authz: Option<SocketAddr>,
    /// `proxy_protocol`: whether trusted proxies begin their connections with it.
    pub proxy_protocol: bool,
    /// `tls`: what is shown to partners; `None`: clear text.
    pub tls: Option<ListenTls>,
}

/// `listen.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenTls {
    /// `certificates`; at least one, the first for names that none has.
    pub certificates: Vec<CertificateFiles>,
    /// `client_ca_file`: who may have signed clients' certificates; `None`: none is asked for.
    pub client_ca_file: Option<PathBuf>,
    /// `client_certificates`.
    pub client_certificates: ClientCertificates,
}

/// `listen.tls.client_certificates`: what becomes of a client without a certificate, where there is a `client_ca_file`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// It is turned away.
    #[default]
    Require,
    /// It is served. A certificate that is shown must be good all the same.
    Optional,
}

/// `control_plane`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlaneLink {
    /// `urls`: tried in turn.
    pub urls: Vec<String>,
    /// `token_file`: the gateway token that the control plane expects. It may be absent or empty when there is a
    /// certificate.
    pub token_file: PathBuf,
    /// `tls`: how `https` addresses are spoken to.
    pub tls: ClientTls,
}

/// `control_plane.tls` and `upstreams.tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// `ca_file`: who may have signed the server's certificate; `None`: the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// `cert_file` and `key_file`: what this gateway shows.
    pub certificate: Option<CertificateFiles>,
    /// `server_name`: the name that the server's certificate must have; `None`: the host of its address.
    pub server_name: Option<String>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// `cert_file`.
    pub cert_file: PathBuf,
    /// `key_file`.
    pub key_file: PathBuf,
}

/// `sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// `max_staleness`: how long after the last heartbeat the key set counts as fresh; `None`: for ever.
    pub max: Option<Duration>,
    /// `when_stale`: what then.
    pub then: WhenStale,
}

/// `sync.when_stale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenStale {
    /// Serve on with what is known.
    Serve,
    /// Refuse every call that needs a key.
    Deny,
}

/// `limiter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// Buckets in this process: right for one gateway.
    Local,
    /// Buckets in Redis, which all gateways share.
    Shared(SharedLimiter),
}

/// `limiter`, when the buckets are in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLimiter {
    /// `mode`: how tokens are taken.
    pub taking: Taking,
    /// `redis` and what belongs to it: where the buckets are.
    pub redis: RedisConfig,
    /// `fallback`: what holds while Redis is away, for tiers that say nothing themselves.
    pub fallback: Fallback,
    /// `timeout`: after how long without an answer Redis counts as away.
    pub timeout: Duration,
    /// `max_wait`: how long a call may wait for tokens.
    pub max_wait: Duration,
}

/// `limiter.mode`, when the buckets are in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// In slices, ahead of need.
    Leased,
    /// One by one, a question a call.
    Exact,
}

/// `credentials`: the header names of each slot, lower case, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Headers that carry the account key; `authorization` carries it as `Bearer <key>`, all others bare.
    pub account: Vec<String>,
    /// Headers that carry the customer key, bare.
    pub customer: Vec<String>,
}

/// `timeouts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accepting a connection to its first byte.
    pub first_byte: Duration,
    /// From accepting a connection that begins with the PROXY protocol or TLS to the end of that beginning.
    pub handshake: Duration,
    /// From the first byte of a request to the end of its head.
    pub request_headers: Duration,
    /// Between two pieces of a request body.
    pub request_body_idle: Duration,
    /// The least of a request body that must come each second, once it was waited for longer than that; in bytes.
    pub request_body_rate: u64,
    /// How long a write to the client may make no progress.
    pub write_stall: Duration,
    /// How long a keep-alive connection may wait for its next request.
    pub idle: Duration,
    /// How often a PING is sent on an HTTP/2 connection, and how long it may stay unanswered.
    pub http2_ping: Duration,
    /// How long a connection in another protocol may be silent both ways.
    pub upgraded_idle: Duration,
    /// To connect to an upstream.
    pub connect: Duration,
    /// From the end of the request to the upstream's answer head.
    pub response_headers: Duration,
    /// The whole call.
    pub request: Duration,
}

/// `bounds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Open client connections.
    pub connections: usize,
    /// Calls in flight.
    pub concurrent_requests: usize,
    /// Header fields of a request.
    pub headers: usize,
    /// Bytes of a request's head.
    pub head: usize,
    /// Bytes of a request target.
    pub uri: usize,
    /// Bytes of a request body, where the route says nothing else.
    pub body: u64,
    /// Calls at the same time on one HTTP/2 connection.
    pub http2_streams: u32,
    /// Calls a second that a client may take back on one HTTP/2 connection.
    pub http2_resets: u32,
    /// Frames a second that carry next to nothing on one HTTP/2 connection.
    pub http2_empty_frames: u32,
    /// CONTINUATION frames of one head.
    pub http2_continuations: u32,
}

/// `drain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long calls in flight may go on after a stop was asked for.
    pub timeout: Duration,
    /// How long calls in flight may go on after their key lost its rights.
    pub revoked: Duration,
}

/// `access_log`.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// `path`: a file to append to; `None`: no access log. `-` is standard output.
    pub path: Option<PathBuf>,
    /// `sample`: the share of accepted calls that is logged, 0.0 to 1.0.
    pub sample: f64,
    /// `refusals`: whether every refused call is logged whatever the share.
    pub refusals: bool,
}

/// One of `upstreams`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `name`: what routes call it.
    pub name: String,
    /// `endpoints`: at least one.
    pub endpoints: Vec<Endpoint>,
    /// `protocol`: what is spoken with them.
    pub protocol: UpstreamProtocol,
    /// `tls`: how, when the endpoints are `https`; `None`: in clear text.
    pub tls: Option<ClientTls>,
    /// `balance`: which of them gets a call.
    pub balance: Balance,
    /// `health`: when one counts as unhealthy; `None`: never.
    pub health: Option<Health>,
    /// `retries`: what is tried again; `None`: only what no machine can have seen.
    pub retries: Option<Retries>,
}

/// `upstreams.protocol`, whether over TLS or in clear text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
}

/// One machine of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}
