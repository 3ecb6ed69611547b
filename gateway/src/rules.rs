//! What a reload changes, as one value that is never changed itself: configuration, routes, names, trust.
//!
//! A call takes the [`Terms`] of its worker when it begins and keeps them to its end: indices of routes and upstreams are
//! those of its own rules. [`InForce`] holds the newest rules of the process; each worker picks them up by itself, with the
//! connections to endpoints that are still there.
//!
//! Cost: a call compares one number and counts one reference that no other thread touches. Rules are made of a configuration
//! that has passed its checks; what can fail are the files of TLS and of signed identities that it names.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use keyward_config::GatewayConfig;
use keyward_tls::{EdgeTls, FileError, Reloading, Sources};

use crate::access_log::Sampling;
use crate::address::TrustedProxies;
use crate::credential::CredentialNames;
use crate::identity::Signer;
use crate::route::RouteTable;
use crate::upstream::Pools;
use crate::upstream::fleet::Fleet;
use crate::upstream::tls::UpstreamTls;

pub mod fixed;
pub mod names;

use names::{Names, TooMany};

/// Why a configuration that is right in itself can't be in force.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It names more than there is room for.
    #[error(transparent)]
    Names(#[from] TooMany),
    /// A file that it names.
    #[error("can't serve TLS: {0}")]
    Tls(#[from] FileError),
    /// A key that signs identities, or is published beside it.
    #[error("can't sign identities: {0:#}")]
    Identity(anyhow::Error),
}

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
    /// Which calls are logged.
    pub sampling: Sampling,
    /// What signs identities, when a route asks for them.
    pub signer: Option<Arc<Signer>>,
    /// TLS towards the upstreams, in their order.
    pub upstream_tls: Vec<Option<Arc<UpstreamTls>>>,
    /// The machines of the upstreams.
    pub fleet: Arc<Fleet>,
    /// What is shown to partners; `None`: clear text. Follows its files by itself.
    pub tls: Option<Arc<Reloading<EdgeTls>>>,
    /// The label of each upstream in metrics.
    upstream_labels: Box<[u16]>,
}

impl Rules {
    /// What this configuration means, after these rules. Routes and upstreams that there were before keep their numbers,
    /// machines how they stand. The key that signs identities is made where a route asks for it and there is none.
    ///
    /// # Errors
    /// When there are no numbers left for new names, or a certificate or a key that signs identities is of no use.
    pub fn new(config: GatewayConfig, names: &mut Names, before: Option<&Self>) -> Result<Self, Unusable> {
        let numbers = names.number_routes(&config)?;
        let is_signed = config.routes.iter().any(|route| route.identity_token);
        let signer = is_signed.then(|| Signer::open(&config.identity));
        let upstream_tls = UpstreamTls::open(&config.upstreams)?;
        let earlier = before.map(|before| &*before.fleet);
        Ok(Self {
            signer: signer.transpose().map_err(Unusable::Identity)?.map(Arc::new),
            routes: RouteTable::numbered(&config, &numbers),
            upstream_labels: names.number_upstreams(&config)?,
            fleet: Fleet::after(&config.upstreams, &upstream_tls, earlier),
            upstream_tls,
            tls: edge_tls(&config, before)?,
            credentials: CredentialNames::new(&config.credentials),
            trusted: TrustedProxies::new(&config.trusted_proxies),
            sampling: Sampling::of(&config.access_log),
            config,
        })
    }

    /// The label in metrics of an upstream, by its place in the configuration.
    #[must_use]
    pub fn upstream_label(&self, upstream: usize) -> u16 {
        self.upstream_labels.get(upstream).copied().unwrap_or(u16::MAX)
    }
}

/// The certificates: those that there are, where the settings are the same.
fn edge_tls(
    config: &GatewayConfig,
    before: Option<&Rules>,
) -> Result<Option<Arc<Reloading<EdgeTls>>>, FileError> {
    let Some(tls) = &config.listen.tls else {
        return Ok(None);
    };
    if let Some(before) = before
        && before.config.listen.tls.as_ref() == Some(tls)
    {
        return Ok(before.tls.clone());
    }
    let clients = tls.client_certificates;
    let make = move |sources: &Sources| EdgeTls::make(sources, clients);
    Reloading::open(EdgeTls::files(tls), make).map(|tls| Some(Arc::new(tls)))
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
            pools: Pools::new(&rules),
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
        Some(Rc::new(Self {
            pools: self.pools.succeeded_by(&rules),
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
