//! What is done for the machines beside calls: their names are resolved, their health is checked, and who was ejected comes back.
//!
//! One [`tend_in_force`] for all workers, on the control thread, a task for each machine that needs one. It ends when it is dropped or told to. A thread that
//! is held up only makes checks late: a machine is put out by several failures in a row, never by one.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::check::check;
use super::fleet::{Fleet, Machine, Machines};
use super::resolve;
use crate::random;
use crate::worker::Shared;

/// How often it is looked for who comes back.
const TICK: Duration = Duration::from_millis(50);
/// Within which a start spreads its first checks.
const FIRST_CHECKS: Duration = Duration::from_secs(1);

/// How often it is looked for a fleet that has taken the place of the last.
const LOOK: Duration = Duration::from_millis(250);

/// Tends the fleet that is in force until `stop` is cancelled.
pub async fn tend_in_force(shared: &Arc<Shared>, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let fleet = Arc::clone(&shared.rules().fleet);
        let clock = Arc::clone(shared);
        let replaced = async {
            while Arc::ptr_eq(&shared.rules().fleet, &fleet) {
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = tend(Arc::clone(&fleet), move || clock.clock.now().monotonic, stop) => {}
            () = replaced => {}
        }
    }
}

/// Tends a fleet until `stop` is cancelled. `clock` says the gateway's monotonic time.
async fn tend(fleet: Arc<Fleet>, clock: impl Fn() -> Duration + Send + 'static, stop: &CancellationToken) {
    let mut tasks = JoinSet::new();
    for machines in fleet.upstreams() {
        for machine in machines.all() {
            if machine.addresses().is_name() {
                tasks.spawn(resolve_name(Arc::clone(machine)));
            }
            if machines.active().is_some() {
                tasks.spawn(check_health(Arc::clone(machines), Arc::clone(machine)));
            }
        }
    }
    if fleet
        .upstreams()
        .iter()
        .any(|machines| machines.passive().is_some())
    {
        tasks.spawn(bring_back(fleet, clock));
    }
    stop.cancelled().await;
}

async fn resolve_name(machine: Arc<Machine>) {
    resolve::keep_current(machine.host(), machine.port(), machine.addresses()).await;
}

async fn check_health(machines: Arc<Machines>, machine: Arc<Machine>) {
    let Some(rules) = machines.active() else { return };
    sleep(share_of(FIRST_CHECKS.min(rules.interval))).await;
    loop {
        let outcome = check(&machine, rules).await;
        if let Err(fault) = &outcome {
            tracing::debug!(upstream = machines.name(), machine = machine.authority(), %fault, "a check failed");
        }
        machines.checked(&machine, outcome.is_ok());
        sleep(about(rules.interval)).await;
    }
}

async fn bring_back(fleet: Arc<Fleet>, clock: impl Fn() -> Duration) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = clock();
        fleet
            .upstreams()
            .iter()
            .for_each(|machines| machines.pass_time(now));
    }
}

/// Up to a quarter less or more, so that what began together does not stay together.
pub(super) fn about(duration: Duration) -> Duration {
    duration * 3 / 4 + share_of(duration / 2)
}

/// Anything up to this.
fn share_of(duration: Duration) -> Duration {
    // The upper half of the bits as a share of all that they could be.
    duration.mul_f64((random::next() >> 32) as f64 / f64::from(u32::MAX))
}
