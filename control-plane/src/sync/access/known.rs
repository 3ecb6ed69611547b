//! What the database says of gateways and their tokens, in memory.

use std::collections::HashMap;
use std::sync::Arc;

use keyward_contract::KeyDigest;

use crate::domain::gateway::{GatewaySettings, GatewayToken};
use crate::store::{Result, Store, gateway_access};
use crate::sync::scope::Scope;

/// All of it, at one version.
#[derive(Debug, Default)]
pub(super) struct Known {
    version: i64,
    tokens: HashMap<KeyDigest, GatewayToken>,
    settings: HashMap<String, GatewaySettings>,
}

impl Known {
    /// Reads it. The version first: what changes meanwhile is read again.
    pub(super) async fn read(store: &Store) -> Result<Self> {
        let pool = store.readers();
        let version = gateway_access::version(pool).await?;
        let tokens = gateway_access::all_tokens(pool).await?.into_iter();
        let settings = gateway_access::all_settings(pool).await?.into_iter();
        Ok(Self {
            version,
            tokens: tokens.map(|token| (token.digest, token)).collect(),
            settings: settings
                .map(|(id, settings)| (id.to_string(), settings))
                .collect(),
        })
    }

    pub(super) fn version(&self) -> i64 {
        self.version
    }

    pub(super) fn token(&self, digest: KeyDigest) -> Option<&GatewayToken> {
        self.tokens.get(&digest)
    }

    pub(super) fn is_blocked(&self, gateway_id: &str) -> bool {
        self.settings
            .get(gateway_id)
            .is_some_and(|settings| settings.blocked)
    }

    /// What a gateway is sent.
    pub(super) fn scope(&self, gateway_id: &str) -> Scope {
        let settings = self.settings.get(gateway_id);
        settings.map_or_else(Scope::default, |settings| Scope {
            accounts: settings.accounts.clone().map(Arc::new),
            environment: settings.environment,
        })
    }
}
