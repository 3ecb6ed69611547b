//! `identity`: how the identities are signed that routes with `identity_token` hand to their upstreams.

use std::path::PathBuf;
use std::time::Duration;

/// `identity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityTokens {
    /// `key_file`: the Ed25519 key that signs, PKCS#8 as PEM; made when a route needs it and it is absent.
    pub key_file: PathBuf,
    /// `other_key_files`: keys that are only published: the next one, and former ones.
    pub other_key_files: Vec<PathBuf>,
    /// `issuer`: the claim `iss`; `gateway.id` by default.
    pub issuer: String,
    /// `audience`: the claim `aud`; `None`: the name of the upstream that gets it.
    pub audience: Option<String>,
    /// `lifetime`: from a token's making to its end.
    pub lifetime: Duration,
}
