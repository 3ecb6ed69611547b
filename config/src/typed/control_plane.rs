//! The shape of `control-plane.toml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::leaf::issuer::{ApiUrl, IssuerUrl};
use crate::leaf::later::Later;
use crate::leaf::name::{Availability, FilePath, Label, Name, Version};
use crate::leaf::network::Address;
use crate::leaf::redis::{RedisUrl, RedisUser};
use crate::leaf::unit::{Rate, Time};
use crate::leaf::url::DatabaseUrl;
use crate::leaf::word::{Fallback, Leak, LimitMode};
use crate::typed::gateway::Errors;

/// Configuration of `keyward-control-plane`.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "control-plane.toml")]
pub(crate) struct ControlPlane {
    /// Where it answers.
    pub(crate) listen: Listen,
    /// Where keys, customers and usage are kept.
    pub(crate) database: Database,
    /// Secrets, each in a file of its own.
    pub(crate) secrets: Secrets,
    /// How changes reach gateways.
    pub(crate) propagation: Propagation,
    /// Who may be a gateway.
    pub(crate) sync: Sync,
    /// Where live buckets are read.
    pub(crate) limiter: Limiter,
    /// Tokens: our own, and those of another issuer.
    pub(crate) auth: Auth,
    /// Rules for keys.
    pub(crate) rules: Rules,
    /// What happens to a key that was found where it must not be.
    pub(crate) leaks: Leaks,
    /// How long usage is kept in detail.
    pub(crate) usage: Usage,
    /// How fast each credential may call the REST surfaces.
    pub(crate) management_limits: ManagementLimits,
    /// What errors say.
    pub(crate) errors: Errors,
    /// Laid over the built-in catalogue.
    pub(crate) tiers: Vec<Tier>,
}

/// Where a control plane answers.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Listen {
    /// The REST surfaces and the portal.
    pub(crate) api: Address,
    /// The gateways' streams.
    pub(crate) sync: Address,
    /// Health and metrics.
    pub(crate) admin: Address,
    /// Certificates.
    pub(crate) tls: Option<Later>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            api: Address::everywhere(8081),
            sync: Address::everywhere(8082),
            admin: Address::loopback(9091),
            tls: None,
        }
    }
}

/// Where keys, customers and usage are kept.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Database {
    /// `sqlite://PATH`, a file that is made when it is absent, or `postgres://USER@HOST/DATABASE`.
    pub(crate) url: DatabaseUrl,
    /// The file with PostgreSQL's password, which never stands in a configuration.
    pub(crate) password_file: Option<FilePath>,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: DatabaseUrl::plain("sqlite://keyward-data/control-plane.db"),
            password_file: None,
        }
    }
}

/// Files of 32 bytes in base64, made on the first start when they are absent.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Secrets {
    /// Seals the keys that must be shown again.
    pub(crate) master_key_file: FilePath,
    /// Keys every digest.
    pub(crate) digest_key_file: FilePath,
    /// What gateways show.
    pub(crate) gateway_token_file: FilePath,
}

impl Default for Secrets {
    fn default() -> Self {
        let file = |name: &str| FilePath(format!("keyward-data/secrets/{name}").into());
        Self {
            master_key_file: file("master-key"),
            digest_key_file: file("digest-key"),
            gateway_token_file: file("gateway-token"),
        }
    }
}

/// How changes reach gateways.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Propagation {
    /// How long a change waits for the gateways' acknowledgements.
    pub(crate) wait: Time,
}

impl Default for Propagation {
    fn default() -> Self {
        Self {
            wait: Time::seconds(1),
        }
    }
}

/// Who may be a gateway.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sync {
    /// Whether the token of `secrets.gateway_token_file`, which all gateways share, is taken.
    pub(crate) shared_token: bool,
    /// TLS for `listen.sync`. Clear text by default.
    pub(crate) tls: Option<SyncTls>,
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            shared_token: true,
            tls: None,
        }
    }
}

/// TLS for the gateways' streams.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SyncTls {
    /// The control plane's certificate, as PEM, with what leads to its root.
    pub(crate) cert_file: Option<FilePath>,
    /// Its private key, as PEM.
    pub(crate) key_file: Option<FilePath>,
    /// The authorities that sign gateways' certificates, as PEM. Without it none is taken.
    pub(crate) client_ca_file: Option<FilePath>,
    /// What they have revoked, as PEM.
    pub(crate) client_crl_file: Option<FilePath>,
}

/// Where live buckets are read.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limiter {
    /// The gateways' Redis, as they have it.
    pub(crate) redis: Option<RedisUrl>,
    /// Who asks. Redis's default user otherwise.
    pub(crate) redis_username: Option<RedisUser>,
    /// The file with the password, which never stands in a configuration.
    pub(crate) redis_password_file: Option<FilePath>,
}

/// Tokens for the surfaces of companies and users.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Auth {
    /// Where this API is reached: who our own tokens say they are from. By default this machine, on the port of
    /// `listen.api`.
    pub(crate) issuer: Option<ApiUrl>,
    /// How long a token of our own lives. At most an hour.
    pub(crate) token_lifetime: Time,
    /// How long one key signs them.
    pub(crate) signing_key_lifetime: Time,
    /// An OpenID Connect issuer whose tokens are taken too.
    pub(crate) oidc: Option<Oidc>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            issuer: None,
            token_lifetime: Time::seconds(3_600),
            signing_key_lifetime: Time::seconds(30 * 86_400),
            oidc: None,
        }
    }
}

/// An OpenID Connect issuer.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Oidc {
    /// Its address as it stands in its tokens; https, or on this machine.
    pub(crate) issuer: Option<IssuerUrl>,
    /// What its tokens must name in `aud`.
    pub(crate) audience: Option<Label>,
    /// The claim that says what surface 4 lets a user do.
    pub(crate) claims: Label,
    /// How far its clock may be from ours.
    pub(crate) leeway: Time,
    /// After what time its keys are fetched again at the latest.
    pub(crate) jwks_refresh: Time,
}

impl Default for Oidc {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            claims: Label("cognito:groups".to_owned()),
            leeway: Time::seconds(30),
            jwks_refresh: Time::seconds(3_600),
        }
    }
}

/// Rules for keys.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rules {
    /// The versions of the API that a key may be pinned to: dates, oldest first.
    pub(crate) api_versions: Vec<Version>,
    /// How long after an upgrade a key may go back.
    pub(crate) api_version_downgrade_window: Time,
    /// How long a user's own key lives at most.
    pub(crate) user_key_lifetime: Time,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            api_versions: vec![Version("2026-11-01".to_owned())],
            api_version_downgrade_window: Time::seconds(72 * 3600),
            user_key_lifetime: Time::seconds(365 * 86_400),
        }
    }
}

/// What happens to a key that was found where it must not be.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Leaks {
    /// What `POST /admin/leaks` does to a living key.
    pub(crate) policy: Leak,
}

impl Default for Leaks {
    fn default() -> Self {
        Self {
            policy: Leak::Quarantine,
        }
    }
}

/// How long usage is kept in detail. Months are kept for ever.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Usage {
    /// Counts by hour.
    pub(crate) keep_hours: Time,
    /// Counts by day.
    pub(crate) keep_days: Time,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            keep_hours: Time::seconds(90 * 86_400),
            keep_days: Time::seconds(1_100 * 86_400),
        }
    }
}

/// How fast each credential may call the REST surfaces.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ManagementLimits {
    /// The partners' surface, `/v1`. 20 a second, 40 at once by default.
    pub(crate) portal: Limit,
    /// The other three. 50 a second, 100 at once by default.
    pub(crate) others: Limit,
}

impl Default for ManagementLimits {
    fn default() -> Self {
        let limit = |rate, burst| Limit {
            rate: Some(Rate(rate)),
            burst: Some(burst),
        };
        Self {
            portal: limit(20, 40),
            others: limit(50, 100),
        }
    }
}

/// A token bucket.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limit {
    /// Calls a second.
    pub(crate) rate: Option<Rate>,
    /// Calls at once. Twice the rate by default.
    pub(crate) burst: Option<u64>,
}

/// A tier: one of the built-in catalogue to change it, or a new one.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tier {
    /// Its key: `starter`, `growth`, `scale`, `enterprise`, `custom`, or a new one.
    pub(crate) key: Option<Name>,
    /// Its name as people see it.
    pub(crate) name: Option<Label>,
    /// USD a year.
    pub(crate) annual_price: Option<u64>,
    /// Validations a contract year.
    pub(crate) annual_limit: Option<u64>,
    /// Calls a second.
    pub(crate) rate_limit: Option<Rate>,
    /// Calls at once.
    pub(crate) burst_limit: Option<u64>,
    /// The availability that is promised.
    pub(crate) sla: Option<Availability>,
    /// `enforce`: its limits refuse; `shadow`: they only count. `enforce` by default.
    pub(crate) mode: Option<LimitMode>,
    /// What holds for its accounts while Redis is away: `share`, `allow` or `deny`. What each gateway says by default.
    pub(crate) fallback: Option<Fallback>,
}
