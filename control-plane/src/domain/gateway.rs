//! What operators say of gateways: their names, their tokens, what they are sent.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use keyward_contract::{AccountId, Environment, KeyDigest, KeyId, KeyMask, MalformedId, UnixMillis};

use super::text::Name;

/// A gateway has at most so many living tokens: enough to rotate them however clumsily.
pub const MAX_TOKENS: i64 = 16;
const LONGEST_ID: usize = 64;

/// A gateway's name, as its `gateway.id` has it: 1 to 64 letters, digits, dots, hyphens and underscores.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayId(String);

impl GatewayId {
    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GatewayId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let is_id = (1..=LONGEST_ID).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        if is_id {
            Ok(Self(text.to_owned()))
        } else {
            Err(MalformedId("a gateway id"))
        }
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What operators say of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewaySettings {
    /// It is not let in, whatever it shows.
    pub blocked: bool,
    /// It is sent these accounts alone; `None`: all.
    pub accounts: Option<BTreeSet<AccountId>>,
    /// It is sent keys of this environment alone; `None`: of both.
    pub environment: Option<Environment>,
    /// When they were last changed; `None`: never.
    pub updated_at: Option<UnixMillis>,
}

/// A token that lets one gateway in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayToken {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub gateway: GatewayId,
    /// What it is called.
    pub name: Option<Name>,
    /// What may be shown of it.
    pub mask: KeyMask,
    /// How it is found.
    pub digest: KeyDigest,
    /// When it was made.
    pub created_at: UnixMillis,
    /// From when on it is dead.
    pub expires_at: Option<UnixMillis>,
    /// Since when it is dead.
    pub revoked_at: Option<UnixMillis>,
    /// When a stream was last opened with it, to the minute.
    pub last_used_at: Option<UnixMillis>,
}

impl GatewayToken {
    /// Whether its time is over.
    #[must_use]
    pub fn has_expired(&self, now: UnixMillis) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_named_as_its_configuration_can_name_it() {
        for good in ["edge-1", "a", "Edge_1.example", &"x".repeat(64)] {
            assert!(good.parse::<GatewayId>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "é", "a,b", &"x".repeat(65)] {
            assert!(bad.parse::<GatewayId>().is_err(), "{bad}");
        }
    }
}
