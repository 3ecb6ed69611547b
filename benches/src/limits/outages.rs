//! How little callers feel of a Redis that is away: the slowest of a hundred calls before, at the beginning, meanwhile
//! and afterwards.

use std::time::Duration;

use keyward_harness::{RedisCluster, RedisSentinels, RedisServer, SeedPlan};
use keyward_loadtest::paced::{Heard, Running, latencies};
use tokio::sync::Mutex;

use super::{Plan, System, shared};

const GATEWAYS: u32 = 4;
/// Each called 80 times a second, of 100 that it may.
const ACCOUNTS: usize = 20;
const EACH: u32 = 80;
const BEFORE: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_secs(2);
const AWAY: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(3);
/// Nothing is promised of the first moment.
pub const FIRST: Duration = Duration::from_millis(50);

/// 99 of 100 calls took no longer: in these stretches of time.
#[derive(Clone, Debug)]
pub struct Felt {
    /// What happened to Redis.
    pub fault: &'static str,
    /// Before it did.
    pub before: Duration,
    /// In its first moment.
    pub first: Duration,
    /// Until Redis was back.
    pub meanwhile: Duration,
    /// From then on.
    pub after: Duration,
    /// Calls that were neither accepted nor told of a rate: none, if all is well.
    pub harmed: u64,
}

/// Every fault under the same load.
///
/// # Errors
/// When something doesn't start or answer.
pub async fn measure() -> anyhow::Result<Vec<Felt>> {
    let mut all = vec![
        on_one(
            "SIGSTOP",
            async |redis| redis.pause(),
            async |redis| redis.resume(),
        )
        .await?,
        on_one(
            "killed, started empty",
            async |redis| {
                redis.kill();
                Ok(())
            },
            async |redis| redis.start_again().await,
        )
        .await?,
        on_one(
            "FLUSHALL",
            async |redis| told(redis, &["FLUSHALL"]),
            async |_| Ok(()),
        )
        .await?,
        on_one(
            "CLIENT PAUSE",
            async |redis| told(redis, &["CLIENT", "PAUSE", "3000", "ALL"]),
            async |_| Ok(()),
        )
        .await?,
    ];
    all.push(failed_over().await?);
    all.push(slots_moved().await?);
    Ok(all)
}

fn told(redis: &RedisServer, words: &[&str]) -> anyhow::Result<()> {
    redis.command(words).map(|_| ())
}

async fn on_one(
    fault: &'static str,
    begin: impl AsyncFnOnce(&mut RedisServer) -> anyhow::Result<()>,
    mend: impl AsyncFnOnce(&mut RedisServer) -> anyhow::Result<()>,
) -> anyhow::Result<Felt> {
    let redis = RedisServer::start().await?;
    let url = redis.url();
    let redis = Mutex::new(redis);
    let begin = async || begin(&mut *redis.lock().await).await;
    let mend = async || mend(&mut *redis.lock().await).await;
    under(fault, &url, begin, mend).await
}

async fn failed_over() -> anyhow::Result<Felt> {
    let redis = RedisSentinels::start().await?;
    let url = redis.url();
    let redis = Mutex::new(redis);
    let begin = async || {
        redis.lock().await.kill_master();
        Ok(())
    };
    let mend = async || redis.lock().await.promoted(Duration::from_secs(20)).await;
    under("failed over by Sentinel", &url, begin, mend).await
}

/// Every slot that holds something moves to another node.
async fn slots_moved() -> anyhow::Result<Felt> {
    let cluster = RedisCluster::start().await?;
    let begin = async || {
        let mut slots = Vec::new();
        for node in cluster.nodes() {
            for key in node
                .command(&["KEYS", "*"])?
                .lines()
                .filter(|key| !key.is_empty())
            {
                slots.push(cluster.slot_of(key)?);
            }
        }
        slots.sort_unstable();
        slots.dedup();
        slots.into_iter().try_for_each(|slot| cluster.move_slot(slot))
    };
    under("Cluster slots moved", &cluster.url(), begin, async || Ok(())).await
}

async fn under(
    fault: &'static str,
    redis: &str,
    begin: impl AsyncFnOnce() -> anyhow::Result<()>,
    mend: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Felt> {
    let seed = SeedPlan {
        accounts: ACCOUNTS,
        customers_per_account: 0,
        tier: "growth".to_owned(),
    };
    let system = System::start(&Plan {
        seed,
        limiters: vec![shared("leased", redis); GATEWAYS as usize],
        core: None,
    })
    .await?;
    let each = EACH * u32::try_from(ACCOUNTS)? / GATEWAYS;
    let load = system.steady(each, &system.calls_of_accounts(), Duration::from_secs(120));
    let load: Running = load.start().await?;
    load.reached(WARM_UP + BEFORE).await;
    let began = load.elapsed();
    begin().await?;
    load.reached(began + AWAY).await;
    mend().await?;
    let back = load.elapsed();
    load.reached(back + AFTER).await;
    let heard = load.stop().await?;
    let p99 = |from, until| p99(&heard, from, until);
    Ok(Felt {
        fault,
        before: p99(WARM_UP, began),
        first: p99(began, began + FIRST),
        meanwhile: p99(began + FIRST, back),
        after: p99(back, Duration::MAX),
        harmed: heard.count(|call| !is_well(call.answer)),
    })
}

fn is_well(answer: keyward_loadtest::paced::Answer) -> bool {
    use keyward_loadtest::paced::Answer;
    matches!(answer, Answer::Accepted | Answer::Limited(_))
}

fn p99(heard: &Heard, from: Duration, until: Duration) -> Duration {
    latencies(heard.due(from, until)).quantile(0.99)
}
