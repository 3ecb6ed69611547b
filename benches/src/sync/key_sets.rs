//! Huge key sets: how soon one is in force at a new gateway, how soon a gateway is back without its control plane, what a
//! key takes on disk and in memory, and what calls feel of its size and of changes to it.
//!
//! The gateway has a core for itself, as one of a company that cares would; control plane, upstream and load share the
//! other. What calls feel is always a ratio of two p99s of one run, measured in turn.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward_contract::PlainKey;
use keyward_harness::{ControlPlaneProcess, SeedPlan};
use keyward_loadtest::paced::{Call, Heard};
use keyward_loadtest::{Requests, Tally};

use super::figures::{Figure, Part, mebibytes, ms, quantile};
use super::generated::Generated;
use super::outpost::{End, OTHER_CORE, Outpost, all_accepted, calls};
use super::simulated::Simulated;
use super::system;
use crate::limits::median;
use crate::management::pin;

/// Keys that are called with.
const HOT: u64 = 100_000;
const ACCOUNTS: usize = 1_000;
const SNAPSHOT_GOAL: Duration = Duration::from_secs(5);
const RESTART_GOAL: Duration = Duration::from_millis(500);
const MEMORY_GOAL: u64 = 1 << 30;
/// What the p99 may be more than with few keys or without changes.
const P99_GOAL: f64 = 1.05;
/// Changes a second.
const CHANGES: u64 = 1_000;
/// The beginning of a stretch of time with or without changes, which is not judged.
const SETTLING: Duration = Duration::from_millis(500);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds of everything that is compared.
    pub rounds: usize,
    /// Seconds of one measurement.
    pub seconds: u64,
    /// Calls a second.
    pub per_second: u32,
}

/// So many keys in a real control plane on SQLite.
///
/// # Errors
/// When something doesn't start or answer.
pub async fn stored(keys: usize, rounds: usize) -> anyhow::Result<Part> {
    let mut part = Part::new(
        format!("{keys} keys in a control plane on SQLite"),
        format!("gateway on core 0, control plane on core {OTHER_CORE}; {rounds} rounds each"),
    );
    let folder = tempfile::tempdir()?;
    let setup = system::setup(folder.path(), None, system::TO_THE_END)?;
    let began = Instant::now();
    setup.seed(&SeedPlan {
        accounts: ACCOUNTS,
        customers_per_account: keys / ACCOUNTS - 1,
        tier: "enterprise".to_owned(),
    })?;
    part.add(Figure::told("seeded within", ms(began.elapsed())));
    let control_plane = ControlPlaneProcess::start(&setup).await?;
    pin(control_plane.process().pid(), OTHER_CORE)?;
    let tally = Tally::start()?;
    let at = (control_plane.sync_url(), control_plane.token_file());
    let (mut took, mut ready, mut last) = (Vec::new(), Vec::new(), None);
    for round in 0..rounds {
        drop(last.take());
        let folder = folder.path().join(format!("edge-{round}"));
        let (outpost, until_ready) = Outpost::start(folder, at.clone(), tally.address()).await?;
        took.push(outpost.snapshot_took()?);
        ready.push(until_ready);
        last = Some(outpost);
    }
    part.add(Figure::within(
        "first snapshot in force after the connection",
        first(&took),
        SNAPSHOT_GOAL,
    ));
    part.add(Figure::within(
        "median of all",
        quantile(&took, 0.5),
        SNAPSHOT_GOAL,
    ));
    part.add(Figure::told(
        "from a gateway's start to ready, median",
        ms(quantile(&ready, 0.5)),
    ));
    let used = control_plane.process().usage()?;
    part.add(Figure::told(
        "control plane: resident now and at most",
        format!(
            "{}, {}",
            mebibytes(used.resident_bytes),
            mebibytes(used.peak_resident_bytes)
        ),
    ));
    if let Some(mut outpost) = last {
        held(&mut part, &outpost, keys as u64)?;
        control_plane.kill();
        restarts(&mut part, (&mut outpost, rounds), Some(RESTART_GOAL)).await?;
    }
    Ok(part)
}

fn first(times: &[Duration]) -> Duration {
    times.first().copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a number of bytes is far below 2^52")]
fn held(part: &mut Part, outpost: &Outpost, keys: u64) -> anyhow::Result<()> {
    let (disk, (resident, peak)) = (outpost.disk_bytes()?, outpost.memory()?);
    part.add(Figure::told(
        "replica on disk, bytes a key",
        format!("{}, {:.0}", mebibytes(disk), disk as f64 / keys as f64),
    ));
    part.add(Figure::told(
        "gateway: resident with no call yet",
        mebibytes(resident),
    ));
    part.add(Figure::bytes_within(
        "gateway: resident at most, snapshot included",
        peak,
        MEMORY_GOAL,
    ));
    Ok(())
}

async fn restarts(
    part: &mut Part,
    (outpost, rounds): (&mut Outpost, usize),
    goal: Option<Duration>,
) -> anyhow::Result<()> {
    for (end, how) in [(End::Stopped, "a stop in good order"), (End::Killed, "kill -9")] {
        let mut took = Vec::new();
        for _ in 0..rounds {
            took.push(outpost.again(end).await?);
        }
        let what = format!("start to ready without a control plane, after {how}, slowest");
        let slowest = quantile(&took, 1.0);
        part.add(match goal {
            Some(goal) => Figure::within(what, slowest, goal),
            None => Figure::told(what, ms(slowest)),
        });
    }
    Ok(())
}

/// What calls feel of changes at a gateway with so many keys.
///
/// # Errors
/// When something doesn't start or answer.
pub async fn changing(keys: u64, effort: Effort) -> anyhow::Result<Part> {
    let Effort {
        rounds,
        seconds,
        per_second,
    } = effort;
    let mut part = Part::new(
        format!("{CHANGES} changes/s to {keys} keys under load"),
        format!(
            "gateway on core 0; simulated control plane, upstream and load on core {OTHER_CORE}; {per_second} calls/s with \
             {HOT} keys; {rounds} times {seconds} s without and {seconds} s with changes in turn"
        ),
    );
    let folder = tempfile::tempdir()?;
    let simulated = Simulated::start(folder.path(), Generated::new(keys, HOT)?)?;
    let tally = Tally::start()?;
    let at = (simulated.url(), simulated.token_file());
    let (outpost, _) = Outpost::start(folder.path().join("edge"), at, tally.address()).await?;
    outpost.warm(calls(simulated.keys().callable())).await?;
    let stretch = Duration::from_secs(seconds);
    let requests = Arc::new(calls(simulated.keys().callable()));
    let windows = u32::try_from(rounds)? * 2;
    let load = outpost
        .steady(&requests, per_second, stretch * windows + SETTLING)
        .start()
        .await?;
    let (mut used, mut behind) = ([Duration::ZERO; 2], 0);
    for window in 0..windows {
        let is_busy = window % 2 == 1;
        simulated.change(if is_busy { CHANGES } else { 0 });
        let before = outpost.processor_time()?;
        load.reached(stretch * (window + 1)).await;
        used[usize::from(is_busy)] += outpost.processor_time()?.saturating_sub(before);
        let (sent, in_force) = simulated.changes();
        behind = behind.max(sent.saturating_sub(in_force));
    }
    simulated.change(0);
    let heard = load.heard().await?;
    all_accepted(&heard)?;
    let (sent, _) = simulated.changes();
    part.add(Figure::told(
        "changes sent; most that were not in force at the end of a stretch",
        format!("{sent}, {behind}"),
    ));
    let of = |used: Duration| used.as_secs_f64() / (stretch * windows / 2).as_secs_f64() * 100.0;
    part.add(Figure::told(
        "gateway's core busy, without and with changes",
        format!("{:.1} %, {:.1} %", of(used[0]), of(used[1])),
    ));
    compare(
        &mut part,
        &windows_of(&heard, stretch, windows),
        ["without changes", "with changes"],
    );
    Ok(part)
}

/// The latencies of calls, of both kinds of stretches in turn.
fn windows_of(heard: &Heard, stretch: Duration, windows: u32) -> [Vec<Vec<Duration>>; 2] {
    let mut all: [Vec<Vec<Duration>>; 2] = Default::default();
    for window in 0..windows {
        let due = heard.due(stretch * window + SETTLING, stretch * (window + 1));
        all[usize::from(window % 2 == 1)].push(due.map(Call::latency).collect());
    }
    all
}

/// Puts two kinds of stretches beside each other: p99 of each, and the median of the ratios round by round.
fn compare(part: &mut Part, [one, other]: &[Vec<Vec<Duration>>; 2], names: [&str; 2]) {
    let p99s = |all: &[Vec<Duration>]| all.iter().map(|times| quantile(times, 0.99)).collect::<Vec<_>>();
    let (one_p99s, other_p99s) = (p99s(one), p99s(other));
    for (name, all, p99s) in [(names[0], one, &one_p99s), (names[1], other, &other_p99s)] {
        part.spread(&format!("calls {name}"), all.concat(), None);
        part.add(Figure::told(
            format!("median of the p99s {name}"),
            ms(quantile(p99s, 0.5)),
        ));
    }
    let ratios: Vec<f64> = one_p99s
        .iter()
        .zip(&other_p99s)
        .map(|(one, other)| other.as_secs_f64() / one.as_secs_f64().max(f64::EPSILON))
        .collect();
    let each: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    part.add(Figure::told("ratio of the p99s, round by round", each.join(" ")));
    part.add(Figure::at_most(
        "median of the ratios",
        (median(ratios), P99_GOAL),
        "",
    ));
}

/// So many keys from a simulated control plane, beside a gateway that has only those which are called with.
///
/// # Errors
/// When something doesn't start or answer.
pub async fn huge(keys: u64, effort: Effort, place: &Path) -> anyhow::Result<Part> {
    let Effort {
        rounds,
        seconds,
        per_second,
    } = effort;
    let mut part = Part::new(
        format!("{keys} keys at one gateway"),
        format!(
            "gateways on core 0, one called at a time; simulated control planes, upstream and load on core {OTHER_CORE}; \
             {per_second} calls/s with {HOT} keys; {rounds} times {seconds} s each in turn"
        ),
    );
    let tally = Tally::start()?;
    let few = Side::start(place, "few", HOT, &tally).await?;
    let mut many = Side::start(place, "many", keys, &tally).await?;
    part.add(Figure::told("from the gateway's start to ready", ms(many.ready)));
    part.add(Figure::told(
        "snapshot in force after the connection",
        ms(many.outpost.snapshot_took()?),
    ));
    held(&mut part, &many.outpost, keys)?;
    cached(&mut part, &many).await?;
    few.outpost.warm(calls(few.hot())).await?;
    let mut all: [Vec<Vec<Duration>>; 2] = Default::default();
    for _ in 0..rounds {
        for (side, into) in [&few, &many].into_iter().zip(&mut all) {
            into.push(side.round(per_second, Duration::from_secs(seconds)).await?);
        }
    }
    let names = [format!("with {HOT} keys"), format!("with {keys} keys")];
    compare(&mut part, &all, [&names[0], &names[1]]);
    let (resident, peak) = many.outpost.memory()?;
    part.add(Figure::bytes_within(
        "gateway: resident after all calls",
        resident,
        MEMORY_GOAL,
    ));
    part.add(Figure::told("at most", mebibytes(peak)));
    drop(many.simulated);
    restarts(&mut part, (&mut many.outpost, rounds.min(3)), None).await?;
    Ok(part)
}

/// What the keys that are called with take in memory.
#[expect(clippy::cast_precision_loss, reason = "a number of bytes is far below 2^52")]
async fn cached(part: &mut Part, side: &Side) -> anyhow::Result<()> {
    let (before, _) = side.outpost.memory()?;
    side.outpost.warm(calls(side.hot())).await?;
    let (after, _) = side.outpost.memory()?;
    let each = after.saturating_sub(before) as f64 / side.hot().len().max(1) as f64;
    part.add(Figure::told(
        format!("memory for each of {HOT} keys that were called with, in bytes"),
        format!("{each:.0}"),
    ));
    Ok(())
}

/// A gateway with its simulated control plane.
struct Side {
    outpost: Outpost,
    ready: Duration,
    simulated: Simulated,
    hot: Vec<PlainKey>,
    requests: Arc<Requests>,
}

impl Side {
    async fn start(place: &Path, name: &str, keys: u64, tally: &Tally) -> anyhow::Result<Self> {
        let folder = place.join(name);
        std::fs::create_dir_all(&folder)?;
        let simulated = Simulated::start(&folder, Generated::new(keys, HOT)?)?;
        let at = (simulated.url(), simulated.token_file());
        let (outpost, ready) = Outpost::start(folder.join("edge"), at, tally.address()).await?;
        let hot = simulated.keys().callable().to_vec();
        Ok(Self {
            outpost,
            ready,
            requests: Arc::new(calls(&hot)),
            simulated,
            hot,
        })
    }

    fn hot(&self) -> &[PlainKey] {
        &self.hot
    }

    async fn round(&self, per_second: u32, lasts: Duration) -> anyhow::Result<Vec<Duration>> {
        let heard = self
            .outpost
            .steady(&self.requests, per_second, SETTLING + lasts)
            .run()
            .await?;
        all_accepted(&heard)?;
        let due = heard.due(SETTLING, Duration::MAX);
        Ok(due.map(Call::latency).collect())
    }
}
