//! Limits that gateways share, measured: what they cost in calls of Redis, in latency and in memory, and how little
//! a Redis that is away is felt.
//!
//! Everything runs on one machine, whose processors gateways, Redis, upstream and load share; so times are only ever
//! compared with times of the same run.

pub mod customers;
pub mod latency;
pub mod operations;
pub mod outages;
pub mod redis_counts;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use keyward_harness::{
    ControlPlaneProcess, ControlPlaneSetup, GatewayProcess, GatewaySetup, SeedPlan, SeededAccount,
};
use keyward_loadtest::{Credentials, Lane, Order, Pace, Paced, Requests, Tally};

const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(16).unwrap();
/// `/a` needs an account key, `/dear` costs so much that it takes half a minute to be forgotten, and every other path
/// needs a customer's key too.
const ROUTES: &str = "[[routes]]\npath = \"/a\"\nupstream = \"api\"\nrequire = \"account\"\n\
    [[routes]]\npath = \"/dear\"\nupstream = \"api\"\ncost = 60\n\
    [[routes]]\npath = \"/\"\nupstream = \"api\"\n";
/// Limits that are slow to fill, and of which an account has enough for all of its customers.
const TIERS: &str = "[[tiers]]\nkey = \"slow\"\nname = \"Slow\"\nannual_price = 0\nannual_limit = 1000000000\n\
    rate_limit = \"2/s\"\nburst_limit = 100000\nsla = \"99.9%\"\n";

/// What is started.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Accounts, their end customers and their tier.
    pub seed: SeedPlan,
    /// `[limiter]` of each gateway.
    pub limiters: Vec<String>,
    /// The core of the gateways; any by default.
    pub core: Option<usize>,
}

/// Gateways of one control plane, before an upstream that answers little.
pub struct System {
    /// The gateways.
    pub gateways: Vec<GatewayProcess>,
    /// The accounts.
    accounts: Vec<SeededAccount>,
    _control_plane: ControlPlaneProcess,
    _tally: Tally,
    _folder: tempfile::TempDir,
}

impl System {
    /// Seeds and starts one.
    ///
    /// # Errors
    /// When a program is missing or isn't ready in time.
    pub async fn start(plan: &Plan) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let setup = ControlPlaneSetup::new(folder.path().join("control-plane"))?
            .configured(TIERS)
            .env("KEYWARD_LOG", "warn");
        let accounts = setup.seed(&plan.seed)?;
        let control_plane = ControlPlaneProcess::start(&setup).await?;
        let tally = Tally::start()?;
        let mut gateways = Vec::new();
        for (number, limiter) in plan.limiters.iter().enumerate() {
            let id = format!("edge-{number}");
            let setup = GatewaySetup::new(folder.path().join(&id), &control_plane, tally.address());
            let mut setup = setup
                .settings("workers = 1")
                .routes(ROUTES)
                .configured(&format!("[limiter]\n{limiter}"))
                .env("KEYWARD_LOG", "error");
            setup.id = id;
            setup.core = plan.core;
            gateways.push(GatewayProcess::start(&setup).await?);
        }
        Ok(Self {
            gateways,
            accounts,
            _control_plane: control_plane,
            _tally: tally,
            _folder: folder,
        })
    }

    /// One call of `/a` for each account.
    #[must_use]
    pub fn calls_of_accounts(&self) -> Arc<Requests> {
        let credentials = self.accounts.iter().map(|account| Credentials {
            account_key: Some(account.account_key.clone()),
            customer_key: None,
        });
        Arc::new(Requests::render("/a", Order::Random, credentials))
    }

    /// One call of this path for each end customer.
    #[must_use]
    pub fn calls_of_customers(&self, path: &str) -> Arc<Requests> {
        let credentials = self.accounts.iter().flat_map(|account| {
            account.customer_keys.iter().map(|key| Credentials {
                account_key: Some(account.account_key.clone()),
                customer_key: Some(key.clone()),
            })
        });
        Arc::new(Requests::render(path, Order::EachOnce, credentials))
    }

    /// Every gateway called so often a second.
    #[must_use]
    pub fn steady(&self, each: u32, callers: &Arc<Requests>, duration: Duration) -> Paced {
        let lanes = self.gateways.iter().map(|gateway| lane(gateway, each));
        Paced {
            lanes: lanes.collect(),
            callers: Arc::clone(callers),
            duration,
        }
    }
}

fn lane(gateway: &GatewayProcess, each: u32) -> Lane {
    Lane {
        target: gateway.address(),
        pace: Pace::steady(each),
        connections: CONNECTIONS,
    }
}

/// `[limiter]` with shared buckets.
#[must_use]
pub fn shared(mode: &str, redis: &str) -> String {
    format!("mode = \"{mode}\"\nredis = \"{redis}\"\n")
}

/// The middle one, or halfway between the two in the middle; 0 when there is none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    let lower = values.len().saturating_sub(1) / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    f64::midpoint(at(lower), at(upper))
}
