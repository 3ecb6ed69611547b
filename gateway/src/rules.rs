//! What a reload changes, as one value that is never changed itself: configuration, routes, names, trust.
//!
//! A call takes the [`Terms`] of its worker when it begins and keeps them to its end: indices of routes and upstreams are
//! those of its own rules. [`InForce`] holds the newest rules of the process; each worker picks them up by itself, with the
//! connections to endpoints that are still there.
//!
//! Cost: a call compares one number and counts one reference that no other thread touches. Rules are made of
//! a configuration that has passed its checks; only the keys that sign identities are read then, and a reload that can't is none.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use keyward_config::GatewayConfig;

use crate::address::TrustedProxies;
use crate::credential::CredentialNames;
use crate::identity::Signer;
use crate::route::RouteTable;
use crate::upstream::Pools;

/// Everything that calls go by and that a reload may change.
#[derive(Debug)]
pub struct Rules {
    /// The configuration as it was read.
    pub config: GatewayConfig,
    /// All routes.
    pub routes: RouteTable,
    /// Where credentials are.
    pub credentials: CredentialNames,
    /// Whose forwarded fields are believed.
    pub trusted: TrustedProxies,
    /// What signs identities, when a route asks for them.
    pub signer: Option<Arc<Signer>>,
}

impl Rules {
    /// What this configuration means. Reads the keys that sign identities, and makes the first, where a route asks for it.
    ///
    /// # Errors
    /// When such a key can't be read or made.
    pub fn new(config: GatewayConfig) -> anyhow::Result<Self> {
        let is_signed = config.routes.iter().any(|route| route.identity_token);
        let signer = is_signed.then(|| Signer::open(&config.identity)).transpose()?;
        Ok(Self {
            signer: signer.map(Arc::new),
            routes: RouteTable::compile(&config),
            credentials: CredentialNames::new(&config.credentials),
            trusted: TrustedProxies::new(&config.trusted_proxies),
            config,
        })
    }
}

/// The newest rules of the process.
#[derive(Debug)]
pub struct InForce {
    rules: ArcSwap<Rules>,
    /// Grows after the rules have changed, so that who sees the new number finds the new rules.
    generation: AtomicU64,
}

impl InForce {
    /// From the start on.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules: ArcSwap::from_pointee(rules),
            generation: AtomicU64::new(0),
        }
    }

    /// The newest rules. Counts a reference that all threads share: not for calls, which have their [`Terms`].
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// From now on these: every call that begins later goes by them.
    pub fn put(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// The rules as one worker holds them, with its connections to their upstreams.
#[derive(Debug)]
pub struct Terms {
    rules: Arc<Rules>,
    pools: Pools,
    generation: u64,
}

impl Terms {
    /// The newest there are, with nothing connected yet.
    #[must_use]
    pub fn of(in_force: &InForce) -> Rc<Self> {
        let generation = in_force.generation();
        let rules = in_force.rules();
        Rc::new(Self {
            pools: Pools::new(&rules.config.upstreams, rules.config.timeouts),
            rules,
            generation,
        })
    }

    /// Newer ones, when there are any. Connections to endpoints that both know are taken along, others end with the last
    /// call that uses them.
    #[must_use]
    pub fn newer(&self, in_force: &InForce) -> Option<Rc<Self>> {
        let generation = in_force.generation();
        if generation == self.generation {
            return None;
        }
        let rules = in_force.rules();
        let config = &rules.config;
        Some(Rc::new(Self {
            pools: self.pools.succeeded_by(&config.upstreams, config.timeouts),
            rules,
            generation,
        }))
    }

    /// What calls go by.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// This worker's connections to the upstreams of these rules.
    #[must_use]
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Grows with every reload.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}
