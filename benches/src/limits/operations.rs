//! How often Redis is asked for each accepted call, at a steady rate per account.

use std::time::Duration;

use keyward_harness::{RedisServer, SeedPlan};
use keyward_loadtest::paced::{Call, latencies};

use super::redis_counts::RedisCounts;
use super::{Plan, System, shared};

/// Calls a second of each account, over all gateways.
pub const EACH: u32 = 50;
const GATEWAYS: u32 = 4;
/// Until demand is known.
const WARM_UP: Duration = Duration::from_secs(3);

/// What was measured.
#[derive(Clone, Debug)]
pub struct Operations {
    /// Calls that were accepted.
    pub accepted: u64,
    /// Calls that were not.
    pub others: u64,
    /// What Redis did meanwhile.
    pub redis: RedisCounts,
    /// 99 of 100 calls took no longer.
    pub p99: Duration,
}

/// Has so many accounts called, each 50 times a second over four gateways.
///
/// # Errors
/// When something doesn't start or answer.
pub async fn measure(mode: &str, accounts: usize, lasts: Duration) -> anyhow::Result<Operations> {
    let redis = RedisServer::start().await?;
    let seed = SeedPlan {
        accounts,
        customers_per_account: 0,
        tier: "growth".to_owned(),
    };
    let system = System::start(&Plan {
        seed,
        limiters: vec![shared(mode, &redis.url()); GATEWAYS as usize],
        core: None,
    })
    .await?;
    let each = EACH * u32::try_from(accounts)? / GATEWAYS;
    let load = system.steady(each, &system.calls_of_accounts(), WARM_UP + lasts);
    let load = load.start().await?;
    load.reached(WARM_UP).await;
    let (before, from) = (RedisCounts::of(&redis)?, load.elapsed());
    load.reached(WARM_UP + lasts).await;
    let (redis, until) = (RedisCounts::of(&redis)?.since(before), load.elapsed());
    let heard = load.heard().await?;
    let measured = || {
        heard
            .calls
            .iter()
            .filter(|call| (from..until).contains(&call.ended))
    };
    let accepted = measured().filter(|call| call.accepted()).count() as u64;
    let slow = latencies(measured().filter(|call: &&Call| call.accepted()));
    Ok(Operations {
        accepted,
        others: measured().count() as u64 - accepted,
        redis,
        p99: slow.quantile(0.99),
    })
}
