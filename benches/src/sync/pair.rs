//! Two control planes on one PostgreSQL, changes on both at once, and one that is killed: how soon its gateways are on the
//! other, and whether every gateway ends with exactly what the database holds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use keyward_contract::UnixMillis;
use keyward_control_plane::store::Store;
use keyward_harness::postgres::{Durability, Postgres};
use keyward_harness::{ControlPlaneProcess, GatewayProcess, GatewaySetup, eventually, metric};
use keyward_loadtest::Tally;
use keyward_loadtest::replicas::Held;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::endings::{Company, Ending};
use super::figures::{Figure, Part, ms, quantile};
use super::rest::Rest;
use super::simulated::now_ms;
use super::system;

/// Gateways that follow each of the two first.
const EACH: usize = 2;
const WRITERS_EACH: usize = 2;
const SOON: Duration = Duration::from_secs(60);
const MOVED_GOAL: Duration = Duration::from_secs(3);
const SECRETS: [&str; 3] = ["master.key", "digest.key", "gateway.token"];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// For how long both are written to.
    pub lasts: Duration,
    /// How often one is killed, and started again when its gateways have moved.
    pub kills: usize,
    /// When they must have moved at the latest.
    pub moved_within: Duration,
}

/// Two control planes and their gateways. What runs ends before what it runs on.
struct Pair {
    gateways: Vec<(GatewayProcess, GatewaySetup)>,
    control_planes: [ControlPlaneProcess; 2],
    rests: [Rest; 2],
    url: String,
    _tally: Tally,
    _database: Postgres,
    _folder: TempDir,
}

impl Pair {
    async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let database = Postgres::start(Durability::Full)?;
        let url = database.database()?;
        let first = start(&folder.path().join("one"), &url).await?;
        let other = folder.path().join("two");
        std::fs::create_dir_all(other.join("control-plane"))?;
        for secret in SECRETS {
            std::fs::copy(
                first.folder().join(secret),
                other.join("control-plane").join(secret),
            )?;
        }
        let second = start(&other, &url).await?;
        let rest = Rest::of(&first)?;
        let tally = Tally::start()?;
        let mut gateways = Vec::new();
        for number in 0..EACH * 2 {
            let order = if number % 2 == 0 {
                [&first, &second]
            } else {
                [&second, &first]
            };
            let id = format!("edge-{number}");
            let mut setup = GatewaySetup::new(folder.path().join(&id), order[0], tally.address())
                .settings("workers = 1")
                .env("KEYWARD_LOG", "info");
            setup.id = id;
            setup.other_control_planes = vec![order[1].sync_url()];
            gateways.push((GatewayProcess::start(&setup).await?, setup));
        }
        let pair = Self {
            gateways,
            rests: [rest.clone(), Rest::by(&second, rest.operator().to_owned())?],
            control_planes: [first, second],
            url,
            _tally: tally,
            _database: database,
            _folder: folder,
        };
        pair.all_follow().await?;
        Ok(pair)
    }

    /// Every gateway has what is in force now; while others write, there is always something newer.
    async fn all_follow(&self) -> anyhow::Result<()> {
        for rest in &self.rests {
            let newest = rest.newest_revision().await?;
            eventually(SOON, || async {
                let there = rest.gateways_at(newest).await?;
                ensure!(there == self.gateways.len(), "only {there} gateways follow");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Kills one, and answers how long it took until all gateways had their streams on the other.
    async fn kill(&mut self, which: usize, within: Duration) -> anyhow::Result<Duration> {
        self.control_planes[which].kill();
        let began = Instant::now();
        let rest = &self.rests[1 - which];
        eventually(within, || async {
            let up = metric(&rest.metrics().await?, "keyward_sync_gateways", &[]).unwrap_or_default();
            ensure!(
                up >= f64::from(u32::try_from(self.gateways.len())?),
                "only {up} streams"
            );
            Ok(())
        })
        .await?;
        Ok(began.elapsed())
    }
}

async fn start(folder: &Path, url: &str) -> anyhow::Result<ControlPlaneProcess> {
    ControlPlaneProcess::start(&system::setup(folder, Some(url), system::TO_THE_END)?).await
}

/// Measures it.
///
/// # Errors
/// When something doesn't start or answer.
pub async fn measure(plan: Plan) -> anyhow::Result<Part> {
    let mut part = Part::new(
        "Two control planes on one PostgreSQL",
        format!(
            "{EACH} gateways on each, {WRITERS_EACH} writers on each for {} s; every commit on the disk; nothing pinned",
            plan.lasts.as_secs()
        ),
    );
    let mut pair = Pair::start().await?;
    let writers = Writers::start(&pair.rests);
    tokio::time::sleep(plan.lasts).await;
    let mut moved = Vec::new();
    for round in 0..plan.kills {
        let which = round % 2;
        moved.push(pair.kill(which, plan.moved_within).await?);
        pair.control_planes[which].restart().await?;
        pair.all_follow().await?;
    }
    let (made, failed) = writers.stop().await;
    part.add(Figure::told(
        "changes that were answered, calls that failed when theirs was killed",
        format!("{made}, {failed}"),
    ));
    part.add(Figure::within(
        format!(
            "killed {} times: all gateways are on the other, slowest",
            plan.kills
        ),
        quantile(&moved, 1.0),
        MOVED_GOAL,
    ));
    part.add(Figure::told("the same, median", ms(quantile(&moved, 0.5))));
    pair.all_follow().await?;
    compare(&mut part, &pair).await?;
    Ok(part)
}

async fn compare(part: &mut Part, pair: &Pair) -> anyhow::Result<()> {
    let store = Store::open(&pair.url).await?;
    let mut differences = Vec::new();
    let mut keys = 0;
    for (gateway, setup) in &pair.gateways {
        gateway.stop(SOON).await?;
        let held = Held::by(&store, UnixMillis(now_ms())).await?;
        keys = held.keys();
        let found = held.differences(&setup.folder.join("replica"))?;
        differences.extend(
            found
                .into_iter()
                .map(|difference| format!("{}: {difference}", setup.id)),
        );
    }
    part.add(Figure::told("keys compared at each gateway", keys.to_string()));
    part.add(Figure::never(
        "records that differ from the database",
        differences.len() as u64,
    ));
    for difference in differences {
        part.add(Figure::told(difference, ""));
    }
    Ok(())
}

/// Make and end keys on both control planes, all the time.
struct Writers {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    counts: Arc<[AtomicU64; 2]>,
}

impl Writers {
    fn start(rests: &[Rest; 2]) -> Self {
        let (stop, counts) = (Arc::<AtomicBool>::default(), Arc::<[AtomicU64; 2]>::default());
        let mut tasks = JoinSet::new();
        for rest in rests.iter().cycle().take(2 * WRITERS_EACH) {
            let (rest, stop, counts) = (rest.clone(), Arc::clone(&stop), Arc::clone(&counts));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if write(&rest, &stop, &counts[0]).await.is_err() {
                        // Its control plane is dead just now.
                        counts[1].fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            });
        }
        Self { tasks, stop, counts }
    }

    /// How many changes were made, and how many calls failed.
    async fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
        let [made, failed] = &*self.counts;
        (made.load(Ordering::Relaxed), failed.load(Ordering::Relaxed))
    }
}

/// A company, keys in every way, and the end of two thirds of them.
async fn write(rest: &Rest, stop: &AtomicBool, made: &AtomicU64) -> anyhow::Result<()> {
    let company = Company::make(rest).await?;
    for (number, ending) in Ending::ALL.into_iter().enumerate() {
        let victim = company.victim(rest, ending).await?;
        made.fetch_add(1, Ordering::Relaxed);
        if number % 3 != 2 {
            victim.end(rest).await?;
            made.fetch_add(1, Ordering::Relaxed);
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}
