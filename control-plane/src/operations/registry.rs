//! What operations work with: the store, the secrets, the catalogue, the gateways and the clock.

use std::time::Duration;

use keyward_config::{LeakPolicy, Rules, UsageRetention};
use keyward_contract::{DigestKey, Environment, KeyDigest, KeyId, KeyKind, PlainKey, UnixMillis};

use super::Result;
use super::tokens::Tokens;
use crate::clock::Clock;
use crate::domain::key::ApiKey;
use crate::domain::seal::MasterKey;
use crate::domain::tier::Catalogue;
use crate::store::Store;
use crate::store::usage::Horizon;
use crate::sync::Gateways;

/// Everything that operations need. Shared behind an `Arc`.
#[derive(Debug)]
pub struct Registry {
    /// The database.
    pub store: Store,
    /// Seals what must be shown again.
    pub master_key: MasterKey,
    /// Finds keys without knowing them.
    pub digest_key: DigestKey,
    /// The tiers.
    pub catalogue: Catalogue,
    /// Who must hear of a change.
    pub gateways: Gateways,
    /// What time it is.
    pub clock: Clock,
    /// Versions, windows and lifetimes of keys.
    pub rules: Rules,
    /// What is done to a key that leaked.
    pub leaks: LeakPolicy,
    /// How long usage is kept in detail.
    pub usage: UsageRetention,
    /// Whose tokens are taken.
    pub tokens: Tokens,
}

/// A key that was just made: its text and how it is found.
#[derive(Debug)]
pub struct Minted {
    /// Its text.
    pub plain: PlainKey,
    /// The digest of its text.
    pub digest: KeyDigest,
}

impl Registry {
    /// From when on usage is kept by hour and by day.
    #[must_use]
    pub fn usage_horizon(&self) -> Horizon {
        let now = self.clock.now();
        let before = |kept: Duration| {
            let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
            UnixMillis(now.0.saturating_sub(kept).max(0))
        };
        Horizon {
            hours: before(self.usage.keep_hours),
            days: before(self.usage.keep_days),
        }
    }

    /// The API version that new keys are pinned to, the newest one; empty when there are none.
    #[must_use]
    pub fn newest_api_version(&self) -> &str {
        self.rules.api_versions.last().map_or("", String::as_str)
    }

    /// Makes the text of a new key.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn mint(&self, kind: KeyKind, environment: Environment) -> Result<Minted> {
        let plain = PlainKey::mint(kind, environment)?;
        let digest = self.digest(plain.expose());
        Ok(Minted { plain, digest })
    }

    /// How a key with this text is found.
    #[must_use]
    pub fn digest(&self, text: &str) -> KeyDigest {
        self.digest_key.digest(text.as_bytes())
    }

    /// Seals the text of a key into it, bound to its id.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn seal_into(&self, key: &mut ApiKey, plain: &PlainKey) -> Result<()> {
        let context = key.id.to_string();
        key.sealed = Some(
            self.master_key
                .seal(context.as_bytes(), plain.expose().as_bytes())?,
        );
        Ok(())
    }

    /// The text of a sealed key; `None` when it was never sealed, or can't be opened any more (noted in the log).
    #[must_use]
    pub fn open(&self, key: &ApiKey) -> Option<PlainKey> {
        self.open_sealed(key.id, key.sealed.as_deref()?)
    }

    /// The same of a key of which no more than this was read.
    #[must_use]
    pub fn open_sealed(&self, id: KeyId, sealed: &[u8]) -> Option<PlainKey> {
        let context = id.to_string();
        let text = match self.master_key.open(context.as_bytes(), sealed) {
            Ok(text) => text,
            Err(error) => {
                tracing::error!(key = %id, %error, "a key can't be shown: was the master key changed?");
                return None;
            }
        };
        PlainKey::parse(std::str::from_utf8(&text).ok()?).ok()
    }
}
