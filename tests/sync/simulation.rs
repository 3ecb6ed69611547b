//! The sync protocol under every fault that can be thought of, thousands of histories of it: the real roster, tail,
//! echoes and resuming of the control plane against the real applier, fence, quiescence and staleness of the gateway.
//! Network, disks, clocks and processes are played, and fail by a seed.
//!
//! `KEYWARD_SIM_SEED=n` plays one history again and tells it; `KEYWARD_SIM_HISTORIES=n` plays so many, from
//! `KEYWARD_SIM_FROM` on. What is promised is in [`crate::judge`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::history::{self, Outcome, Plan, play};

/// As many are played when nothing is said.
const HISTORIES: u64 = 4_000;

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}"))
    })
}

#[test]
fn after_complete_no_live_gateway_goes_by_what_was_and_no_change_is_skipped() {
    if let Some(seed) = number("KEYWARD_SIM_SEED") {
        let plan = Plan::of(seed);
        let outcome = play(&plan, true);
        println!("{plan:?}\n{}", outcome.trace.join("\n"));
        assert!(outcome.broken.is_none(), "{:?}", outcome.broken);
        return;
    }
    let (from, many) = (
        number("KEYWARD_SIM_FROM").unwrap_or(1),
        number("KEYWARD_SIM_HISTORIES").unwrap_or(HISTORIES),
    );
    let began = Instant::now();
    let sums = play_all(from, many);
    println!(
        "{many} histories from seed {from} in {:.1?}: {} changes complete, {} partial; {} calls forwarded, {} refused",
        began.elapsed(),
        sums[0],
        sums[1],
        sums[2],
        sums[3]
    );
    // A simulation in which nothing happens proves nothing.
    assert!(sums.iter().all(|sum| *sum >= many), "{sums:?}");
}

/// Plays histories on two threads; the first broken one ends it.
fn play_all(from: u64, many: u64) -> [u64; 4] {
    let next = AtomicU64::new(from);
    let worker = || {
        let mut sums = [0; 4];
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + many {
                return Ok(sums);
            }
            let plan = Plan::of(seed);
            let outcome = play(&plan, false);
            if outcome.broken.is_some() {
                next.store(from + many, Ordering::Relaxed);
                return Err((seed - from + 1, smallest(plan)));
            }
            let Outcome {
                completed,
                partial,
                forwarded,
                refused,
                ..
            } = outcome;
            for (sum, one) in sums.iter_mut().zip([completed, partial, forwarded, refused]) {
                *sum += one;
            }
        }
    };
    let all = std::thread::scope(|scope| {
        let (one, other) = (scope.spawn(worker), scope.spawn(worker));
        [one.join().unwrap(), other.join().unwrap()]
    });
    let mut sums = [0; 4];
    for part in all {
        match part {
            Ok(part) => sums.iter_mut().zip(part).for_each(|(sum, one)| *sum += one),
            Err((played, plan)) => {
                let outcome = play(&plan, true);
                panic!(
                    "history {played} is broken: {:?}\n{}\nthe smallest such plan is {plan:?}; \
                     KEYWARD_SIM_SEED={} plays the whole of it again",
                    outcome.broken,
                    outcome.trace.join("\n"),
                    plan.seed
                );
            }
        }
    }
    sums
}

/// Leaves out of a broken history what it needs not to be broken.
fn smallest(mut plan: Plan) -> Plan {
    let is_broken = |plan: &Plan| play(plan, false).broken.is_some();
    for fault in history::FAULTS {
        let mut without = plan.clone();
        without.faults.retain(|other| *other != fault);
        if without.faults.len() < plan.faults.len() && is_broken(&without) {
            plan = without;
        }
    }
    while plan.gateways > 1 {
        let mut fewer = plan.clone();
        fewer.gateways -= 1;
        if !is_broken(&fewer) {
            break;
        }
        plan = fewer;
    }
    while plan.seconds > 2 {
        let mut shorter = plan.clone();
        shorter.seconds -= 1;
        if !is_broken(&shorter) {
            break;
        }
        plan = shorter;
    }
    plan
}
