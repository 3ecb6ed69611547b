//! Very many end customers active at once on one gateway: memory for each, processor time a call, and that nothing of
//! it stays.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use keyward_harness::{GatewayProcess, ProcessUsage, RedisServer, SeedPlan, eventually, metric};
use keyward_loadtest::{Load, generator};

use super::redis_counts::{RedisCounts, RedisHeld};
use super::{Plan, System, shared};

const PER_ACCOUNT: usize = 100;
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(64).unwrap();
const LONGEST_PASS: Duration = Duration::from_secs(300);
/// What is idle must be gone after so long.
const GONE_WITHIN: Duration = Duration::from_secs(180);

/// Every customer called once.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Answers by status; 0: none.
    pub statuses: BTreeMap<u16, u64>,
    /// Calls a second.
    pub per_second: f64,
    /// Processor microseconds of the gateway for each call.
    pub cpu_us: f64,
    /// 99 of 100 calls took no longer.
    pub p99: Duration,
    /// What Redis did.
    pub redis: RedisCounts,
    /// What the gateway holds afterwards.
    pub held: Held,
}

/// What a gateway and its Redis hold.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Resident bytes of the gateway.
    pub resident_bytes: u64,
    /// Buckets in its memory.
    pub buckets: f64,
    /// Leases with tokens.
    pub leases: f64,
    /// What Redis holds.
    pub redis: RedisHeld,
}

/// One gateway and its customers.
#[derive(Clone, Debug)]
pub struct Crowd {
    /// Before the first call.
    pub before: Held,
    /// One pass after the other.
    pub passes: Vec<Pass>,
    /// When it had all been idle.
    pub after: Held,
    /// How long that took; none when it took too long.
    pub gone_after: Option<Duration>,
}

/// Has so many end customers call a gateway of this mode, twice each.
///
/// # Errors
/// When something doesn't start or answer.
pub async fn measure(mode: &str, customers: usize) -> anyhow::Result<Crowd> {
    let redis = RedisServer::start().await?;
    let seed = SeedPlan {
        accounts: customers.div_ceil(PER_ACCOUNT),
        customers_per_account: PER_ACCOUNT,
        tier: "slow".to_owned(),
    };
    let limiter = match mode {
        "local" => "mode = \"local\"\n".to_owned(),
        mode => shared(mode, &redis.url()),
    };
    let limiters = vec![limiter];
    let system = System::start(&Plan {
        seed,
        limiters,
        core: None,
    })
    .await?;
    let gateway = system.gateways.first();
    let gateway = gateway.ok_or_else(|| anyhow::anyhow!("no gateway was started"))?;
    let before = held(gateway, &redis).await?;
    let mut passes = Vec::new();
    for _ in 0..2 {
        passes.push(pass(&system, gateway, &redis).await?);
    }
    let started = Instant::now();
    // Buckets of accounts take longer to be full than those of their customers.
    let few = (system.accounts.len() * 3) as f64;
    let gone = eventually(GONE_WITHIN, || async {
        let held = held(gateway, &redis).await?;
        anyhow::ensure!(held.leases <= few && held.redis.names as f64 <= few, "{held:?}");
        Ok(())
    });
    let gone_after = gone.await.is_ok().then(|| started.elapsed());
    Ok(Crowd {
        before,
        passes,
        after: held(gateway, &redis).await?,
        gone_after,
    })
}

#[expect(clippy::cast_precision_loss, reason = "a count of calls is far below 2^52")]
async fn pass(system: &System, gateway: &GatewayProcess, redis: &RedisServer) -> anyhow::Result<Pass> {
    let used = || gateway.process().usage().map(|usage| usage.processor_time());
    let (before, counts) = (used()?, RedisCounts::of(redis)?);
    let load = Load {
        target: gateway.address(),
        requests: system.calls_of_customers("/dear"),
        connections: CONNECTIONS,
        duration: LONGEST_PASS,
        seed: 1,
    };
    let outcome = generator::run(&load).await?;
    let calls = outcome.answers().max(1) as f64;
    let mut statuses = outcome.statuses.clone();
    if outcome.failures > 0 {
        statuses.insert(0, outcome.failures);
    }
    Ok(Pass {
        statuses,
        per_second: outcome.per_second(),
        cpu_us: used()?.saturating_sub(before).as_secs_f64() * 1e6 / calls,
        p99: outcome.latencies.quantile(0.99),
        redis: RedisCounts::of(redis)?.since(counts),
        held: held(gateway, redis).await?,
    })
}

async fn held(gateway: &GatewayProcess, redis: &RedisServer) -> anyhow::Result<Held> {
    let told = gateway.metrics().await?;
    let value = |name| metric(&told, name, &[]).unwrap_or_default();
    Ok(Held {
        resident_bytes: ProcessUsage::of(gateway.process().pid())?.resident_bytes,
        buckets: value("keyward_limiter_buckets"),
        leases: value("keyward_limiter_leases"),
        redis: RedisHeld::of(redis)?,
    })
}
