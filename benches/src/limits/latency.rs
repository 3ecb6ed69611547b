//! What sharing adds to the latency of a call: gateways that differ in nothing but their limiter, called in turn.

use std::time::Duration;

use keyward_harness::{ProcessUsage, RedisServer, SeedPlan};
use keyward_loadtest::Paced;
use keyward_loadtest::paced::latencies;

use super::{Plan, System, lane, shared};
use crate::management::pin;

/// What is compared, in the order of the results.
pub const MODES: [&str; 3] = ["local", "leased", "exact"];
const GATEWAY_CORE: usize = 0;
const OTHER_CORE: usize = 1;
const WARM_UP: Duration = Duration::from_secs(2);
/// Calls a second of each account.
const EACH: u32 = 50;

/// One mode in one round.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Half of the calls took no longer.
    pub median: Duration,
    /// 99 of 100 calls took no longer.
    pub p99: Duration,
    /// Processor microseconds of the gateway for each call.
    pub cpu_us: f64,
}

/// So many rounds of each mode, at so many calls a second.
///
/// # Errors
/// When something doesn't start, or a call is not accepted.
pub async fn measure(rounds: usize, per_second: u32, lasts: Duration) -> anyhow::Result<[Vec<Round>; 3]> {
    let redis = RedisServer::start().await?;
    pin(redis.process().pid(), OTHER_CORE)?;
    let seed = SeedPlan {
        accounts: (per_second / EACH).max(1) as usize,
        customers_per_account: 0,
        tier: "growth".to_owned(),
    };
    let limiter = |mode| match mode {
        "local" => "mode = \"local\"\n".to_owned(),
        mode => shared(mode, &redis.url()),
    };
    let system = System::start(&Plan {
        seed,
        limiters: MODES.map(limiter).to_vec(),
        core: Some(GATEWAY_CORE),
    })
    .await?;
    let mut all: [Vec<Round>; 3] = Default::default();
    for _ in 0..rounds {
        for (gateway, rounds) in system.gateways.iter().zip(&mut all) {
            let load = Paced {
                lanes: vec![lane(gateway, per_second)],
                callers: system.calls_of_accounts(),
                duration: WARM_UP + lasts,
            };
            rounds.push(round(load, gateway.process().pid()).await?);
        }
    }
    Ok(all)
}

#[expect(clippy::cast_precision_loss, reason = "a count of calls is far below 2^52")]
async fn round(load: Paced, pid: u32) -> anyhow::Result<Round> {
    let used = || ProcessUsage::of(pid).map(|usage| usage.processor_time());
    let before = used()?;
    let heard = load.run().await?;
    let used = used()?.saturating_sub(before);
    let refused = heard.count(|call| !call.accepted());
    // A few are, when the machine was busy with something else: then a fallback or a late lease decided.
    anyhow::ensure!(
        refused * 100 <= heard.calls.len() as u64,
        "not accepted: {:?}",
        heard.answers()
    );
    let times = latencies(heard.due(WARM_UP, Duration::MAX));
    Ok(Round {
        median: times.quantile(0.5),
        p99: times.quantile(0.99),
        cpu_us: used.as_secs_f64() * 1e6 / heard.calls.len().max(1) as f64,
    })
}
