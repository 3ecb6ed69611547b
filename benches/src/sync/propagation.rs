//! Revocations on all surfaces under load: from when on no gateway accepts the key, and how soon that is answered.
//!
//! Propagation is the time from a change's commit until all gateways have it in force, as the control plane counts it
//! (`keyward_revocation_propagation_seconds`): revocations come one at a time, so its sum moves by one of them. What
//! the caller sees is the whole call: its way there and back, its transaction with its write to the disk, and the
//! propagation. What of it is not propagation is measured by the same calls while no gateway is connected.
//!
//! A key is called with before its end, by the load on every gateway, and at once when its end was answered, on a kept
//! and on a new connection to each gateway. A call counts as later when it was sent after that answer had been read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use keyward_harness::GatewayProcess;
use keyward_loadtest::paced::{Call, Heard};
use keyward_loadtest::random::Random;
use keyward_loadtest::{Order, Paced, Requests};

use super::caller::Caller;
use super::endings::{Company, Ending, Victim};
use super::figures::{Figure, Part};
use super::system::{System, TO_THE_END};

const WARM_UP: Duration = Duration::from_secs(2);
/// After the last revocation, the load goes on for so long.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// Revocations that are measured without a gateway.
const QUIET: usize = 40;
/// Between two revocations, at most and in the middle twice this.
const PAUSE_MS: usize = 120;
const LONGEST: Duration = Duration::from_secs(3_600);
const GOALS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(100));

/// What is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many gateways.
    pub gateways: usize,
    /// How many revocations.
    pub revocations: usize,
    /// Calls a second, over all gateways.
    pub per_second: u32,
}

/// What came of one revocation.
#[derive(Clone, Copy, Debug)]
struct Ended {
    took: Duration,
    propagated: Duration,
    at: Instant,
    is_complete: bool,
    /// Calls right after the answer, and how many of them were accepted.
    probes: u64,
    accepted: u64,
}

/// Measures it.
///
/// # Errors
/// When something doesn't start or answer.
pub async fn measure(plan: Plan) -> anyhow::Result<Part> {
    let mut system = System::start(None, TO_THE_END).await?;
    let (quiet, _) = victims(&system, QUIET).await?;
    let mut baseline = Vec::new();
    for victim in &quiet {
        baseline.push(victim.end(&system.rest).await?.took);
    }
    system.add_gateways(plan.gateways).await?;
    let (victims, companies) = victims(&system, plan.revocations).await?;
    system.all_follow().await?;
    let living = companies.iter().map(Company::request);
    let requests = victims.iter().map(|victim| victim.request.clone()).chain(living);
    let load = Paced {
        lanes: system.lanes(plan.per_second / u32::try_from(plan.gateways)?),
        callers: Arc::new(Requests::of(requests, Order::EachOnce)),
        duration: LONGEST,
    };
    let load = load.start().await?;
    load.reached(WARM_UP).await;
    let (mut ended, mut random) = (Vec::new(), Random::new(5));
    let mut probes = Probes::open(&system.gateways).await?;
    for victim in &victims {
        ended.push(end(&system, victim, &mut probes).await?);
        let pause = PAUSE_MS + random.below(PAUSE_MS);
        tokio::time::sleep(Duration::from_millis(pause as u64)).await;
    }
    tokio::time::sleep(AFTERWARDS).await;
    let heard = load.stop().await?;
    judge(plan, &baseline, &ended, &heard)
}

/// Keys whose rights will end, in every way in turn, each way of a company of its own.
async fn victims(system: &System, count: usize) -> anyhow::Result<(Vec<Victim>, Vec<Company>)> {
    let (mut victims, mut companies) = (Vec::new(), Vec::new());
    while victims.len() < count {
        let company = Company::make(&system.rest).await?;
        for ending in Ending::ALL.into_iter().take(count - victims.len()) {
            victims.push(company.victim(&system.rest, ending).await?);
        }
        companies.push(company);
    }
    Ok((victims, companies))
}

async fn end(system: &System, victim: &Victim, probes: &mut Probes) -> anyhow::Result<Ended> {
    ensure!(
        probes.call(victim).await? == (system.gateways.len() as u64, 0),
        "not accepted before its end"
    );
    let before = system.rest.complete().await?;
    let told = victim.end(&system.rest).await?;
    let (again, later) = (probes.call(victim).await?, probes.call_anew(victim).await?);
    let after = system.rest.complete().await?;
    Ok(Ended {
        took: told.took,
        propagated: after.1.saturating_sub(before.1),
        at: told.at,
        is_complete: told.is_complete_at(system.gateways.len()) && after.0 - before.0 < 1.5,
        probes: again.0 + again.1 + later.0 + later.1,
        accepted: again.0 + later.0,
    })
}

/// A connection to each gateway.
struct Probes {
    gateways: Vec<std::net::SocketAddr>,
    kept: Vec<Caller>,
}

impl Probes {
    async fn open(gateways: &[GatewayProcess]) -> anyhow::Result<Self> {
        let mut probes = Self {
            gateways: gateways.iter().map(GatewayProcess::address).collect(),
            kept: Vec::new(),
        };
        for gateway in &probes.gateways {
            probes.kept.push(Caller::open(*gateway).await?);
        }
        Ok(probes)
    }

    /// Calls all gateways at once on the kept connections: how often accepted, and how often not.
    async fn call(&mut self, victim: &Victim) -> anyhow::Result<(u64, u64)> {
        let calls = self.kept.iter_mut().map(|caller| caller.call(&victim.request));
        count(futures_util::future::try_join_all(calls).await?)
    }

    /// The same on new connections.
    async fn call_anew(&self, victim: &Victim) -> anyhow::Result<(u64, u64)> {
        let calls = self.gateways.iter().map(|gateway| async {
            let mut caller = Caller::open(*gateway).await?;
            caller.call(&victim.request).await
        });
        count(futures_util::future::try_join_all(calls).await?)
    }
}

fn count(statuses: Vec<u16>) -> anyhow::Result<(u64, u64)> {
    let accepted = statuses.iter().filter(|status| **status == 200).count() as u64;
    let refused = statuses
        .iter()
        .filter(|status| [401, 403].contains(*status))
        .count() as u64;
    ensure!(
        accepted + refused == statuses.len() as u64,
        "answered with {statuses:?}"
    );
    Ok((accepted, refused))
}

fn judge(plan: Plan, baseline: &[Duration], ended: &[Ended], heard: &Heard) -> anyhow::Result<Part> {
    let mut part = Part::new(
        "Revocations under load",
        format!(
            "{} gateways, {} revocations in eight ways over all surfaces, {} calls/s; one control plane on SQLite, every \
             commit on the disk; nothing pinned",
            plan.gateways, plan.revocations, plan.per_second
        ),
    );
    let is_later = |call: &&Call| {
        let end = ended.get(call.caller);
        end.is_some_and(|end| end.is_complete && heard.started + call.sent > end.at)
    };
    let later: Vec<_> = heard.calls.iter().filter(is_later).collect();
    ensure!(
        later.len() > ended.len(),
        "hardly any calls with ended keys: {}",
        later.len()
    );
    let accepted = later.iter().filter(|call| call.accepted()).count() as u64;
    let probes: u64 = ended.iter().map(|end| end.probes).sum();
    let by_probes: u64 = ended
        .iter()
        .filter(|end| end.is_complete)
        .map(|end| end.accepted)
        .sum();
    part.add(Figure::told("calls of the load, accepted of them", {
        format!("{}, {}", heard.calls.len(), heard.accepted())
    }));
    part.add(Figure::told(
        "calls with a key after its end was answered `complete`",
        format!("{} and {probes} at once", later.len()),
    ));
    part.add(Figure::never("accepted of these", accepted + by_probes));
    let partial = ended.iter().filter(|end| !end.is_complete).count();
    part.add(Figure::never("answers that were not `complete`", partial as u64));
    let all = |time: fn(&Ended) -> Duration| ended.iter().map(time).collect::<Vec<_>>();
    part.spread("commit to complete", all(|end| end.propagated), Some(GOALS));
    part.spread("the whole revoking call", all(|end| end.took), Some(GOALS));
    part.spread("the same without gateways and load", baseline.to_vec(), None);
    Ok(part)
}
