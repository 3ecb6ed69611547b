//! The shape of `[identity]`, in a gateway's file and in standalone's, which decides itself where files are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::leaf::name::{FilePath, Label};
use crate::leaf::unit::Time;

const LIFETIME: Time = Time::seconds(300);

/// How identities are signed.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IdentityTokens {
    /// The Ed25519 key that signs, PKCS#8 as PEM. Made at the first start that needs it.
    pub(crate) key_file: FilePath,
    /// Keys that are published beside it: the next one, and former ones. Private or public, as PEM.
    pub(crate) other_key_files: Vec<FilePath>,
    /// The claim `iss`. `gateway.id` by default.
    pub(crate) issuer: Option<Label>,
    /// The claim `aud`. The name of the upstream by default.
    pub(crate) audience: Option<Label>,
    /// From a token's making to its end.
    pub(crate) lifetime: Time,
}

impl Default for IdentityTokens {
    fn default() -> Self {
        Self {
            key_file: FilePath("keyward-data/gateway/identity.pem".into()),
            other_key_files: Vec::new(),
            issuer: None,
            audience: None,
            lifetime: LIFETIME,
        }
    }
}

/// How standalone's gateway signs identities.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StandaloneTokens {
    /// The claim `iss`. `gateway.id` by default.
    pub(crate) issuer: Option<Label>,
    /// The claim `aud`. The name of the upstream by default.
    pub(crate) audience: Option<Label>,
    /// From a token's making to its end.
    pub(crate) lifetime: Time,
}

impl Default for StandaloneTokens {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            lifetime: LIFETIME,
        }
    }
}
