//! Tokens: ours, which account keys are exchanged for, and those of a configured OpenID Connect issuer.
//!
//! Our tokens are signed with keys that all control planes of a database share (`rotation`). They stand for the account
//! key that fetched them (`issue`): at every call that key is looked up again, so what ends the key ends its tokens.
//! A token says who issued it; only that issuer's keys are tried (`identify`).

use std::time::Duration;

use keyward_config::Auth;

use crate::oidc::Oidc;

pub mod identify;
pub mod issue;
pub mod rotation;

/// How far another control plane's clock may be from ours.
pub(crate) const LEEWAY: Duration = Duration::from_secs(30);
/// The claim of our tokens with the id of the account key that fetched them.
const KEY_CLAIM: &str = "key_id";

/// Who issues tokens that are taken here.
#[derive(Debug)]
pub struct Tokens {
    /// Who our tokens say they are from, and for: the address of this API.
    pub issuer: String,
    /// How long our tokens live, at most an hour.
    pub lifetime: Duration,
    /// How long one key signs.
    pub signing_key_lifetime: Duration,
    /// The other issuer, when there is one.
    pub oidc: Option<Oidc>,
}

impl Tokens {
    /// As configured, for an API that listens there.
    #[must_use]
    pub fn new(auth: &Auth, listen: std::net::SocketAddr, oidc: Option<Oidc>) -> Self {
        Self {
            issuer: auth.issuer.clone().unwrap_or_else(|| reached_at(listen)),
            lifetime: auth.token_lifetime,
            signing_key_lifetime: auth.signing_key_lifetime,
            oidc,
        }
    }
}

/// How a listener is reached on its own machine.
#[must_use]
pub fn reached_at(listen: std::net::SocketAddr) -> String {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
}
