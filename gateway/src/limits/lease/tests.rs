//! Leases against the shared bucket's own arithmetic, under every order of questions, answers and time.

use keyward_buckets::model::Model;
use keyward_buckets::{Answer, Ask};
use keyward_contract::{AccountId, Environment};
use proptest::prelude::*;

use keyward_buckets::{Known, LeaseAnswer};

use super::*;

const GROWTH: Limits = Limits {
    rate: 100,
    burst: 200,
};
const START: u64 = 10_000;

fn lease() -> Lease {
    let name = BucketName {
        account: AccountId::new(),
        environment: Environment::Production,
        customer: None,
    };
    Lease::new(name)
}

fn granted(granted: u64, level: i64) -> LeaseAnswer {
    LeaseAnswer {
        granted,
        level,
        held_elsewhere: 0,
        born: 1,
    }
}

#[test]
fn leased_tokens_are_spent_once_and_end_with_the_lease() {
    let lease = lease();
    assert!(lease.take(START, GROWTH, 1_000).is_none());
    assert!(
        lease.want(START, GROWTH, 1_000),
        "a bucket that nobody asked is full"
    );
    let ask = lease.ask(START, Intent::Use, 1);
    assert_eq!((ask.most, ask.least, ask.holding), (1_000, 1_000, 0));
    lease.answer(granted(2_000, 198_000), START, START + 1, 1);
    assert!(lease.take(START + 1, GROWTH, 1_000).is_some());
    assert!(
        lease.take(START + LEASE_MS, GROWTH, 1_000).is_none(),
        "it has ended"
    );
    let ask = lease.ask(START + LEASE_MS, Intent::Use, 1);
    assert_eq!((ask.holding, ask.returning), (0, 0), "what ended is void");
}

#[test]
fn an_answer_that_comes_too_late_gives_nothing() {
    let lease = lease();
    lease.want(START, GROWTH, 1_000);
    lease.ask(START, Intent::Use, 1);
    lease.answer(granted(5_000, 0), START, START + LEASE_MS, 1);
    assert!(lease.take(START + LEASE_MS, GROWTH, 1_000).is_none());
}

#[test]
fn what_nobody_uses_goes_back() {
    let lease = lease();
    lease.want(START, GROWTH, 5_000);
    lease.ask(START, Intent::Use, 1);
    lease.answer(granted(5_000, 195_000), START, START, 1);
    assert!(lease.take(START, GROWTH, 1_000).is_some());
    lease.ask(START + 10, Intent::Use, 1);
    assert_eq!(lease.review(START + 20), Some(Review::Wait));
    assert_eq!(lease.review(START + 300), Some(Review::Leave));
    let ask = lease.ask(START + 300, Intent::Leave, 1);
    assert_eq!((ask.returning + ask.holding, ask.most), (ask.returning, 0));
    lease.answer(granted(0, 199_000), START + 300, START + 301, 1);
    assert_eq!(lease.review(START + 302), None);
}

#[test]
fn steady_demand_is_leased_ahead_and_low_demand_is_not() {
    let mut now = START;
    let lease = lease();
    // 50 calls a second for a second.
    for call in 0..50 {
        now += 20;
        if lease.take(now, GROWTH, 1_000).is_none() {
            assert!(call < 10, "call {call} found nothing leased");
            lease.want(now, GROWTH, 1_000);
        }
        let ask = lease.ask(now, Intent::Use, 1);
        lease.answer(granted(ask.most, 100_000), now, now, 1);
    }
    let held = lease.usable(now);
    assert!((5_000..=20_000).contains(&held), "{held}");
    let slow = self::lease();
    for call in 0..5 {
        let now = START + call * 1_000;
        slow.want(now, GROWTH, 1_000);
        let ask = slow.ask(now, Intent::Use, 1);
        assert_eq!(
            ask.most, 1_000,
            "a slice under one token: what the call needs, and no more"
        );
        slow.answer(granted(ask.most, 100_000), now, now, 1);
        assert!(slow.take(now, GROWTH, 1_000).is_some());
    }
}

#[test]
fn a_call_that_waiting_cannot_help_is_told_so() {
    let lease = lease();
    lease.want(START, GROWTH, 1_000);
    lease.ask(START, Intent::Use, 1);
    lease.answer(granted(0, 300), START, START, 1);
    assert!(!lease.want(START, GROWTH, 1_000));
    assert!(!lease.want(START + 6, GROWTH, 1_000));
    assert!(lease.want(START + 7, GROWTH, 1_000), "a token is there by now");
}

#[test]
fn a_share_gives_a_share_of_what_was_left_and_of_the_rate() {
    let lease = lease();
    lease.want(START, GROWTH, 1_000);
    lease.ask(START, Intent::Use, 1);
    lease.answer(granted(0, 40_000), START, START, 1);
    let outage = Outage {
        number: 1,
        sharers: 4,
    };
    let takes = |now| lease.take_share(now, GROWTH, 1_000, outage).is_some();
    assert_eq!((0..100).filter(|_| takes(START)).count(), 10);
    assert_eq!((0..100).filter(|_| takes(START + 1_000)).count(), 25);
    // After so long the bucket holds at most what the share makes of it: nothing.
    let ask = lease.ask(START + 1_000, Intent::Use, 1);
    assert_eq!((ask.debt, ask.known), (0, Some(Known { born: 0, level: 0 })));
}

#[test]
fn what_a_short_outage_cost_is_owed_and_told_once() {
    let lease = lease();
    lease.want(START, GROWTH, 1_000);
    lease.ask(START, Intent::Use, 1);
    lease.answer(granted(0, 40_000), START, START, 1);
    let outage = Outage {
        number: 1,
        sharers: 4,
    };
    let takes = |now| lease.take_share(now, GROWTH, 1_000, outage).is_some();
    assert_eq!((0..100).filter(|_| takes(START)).count(), 10);
    let ask = lease.ask(START + 20, Intent::Use, 1);
    assert_eq!(
        (ask.debt, ask.known),
        (
            10_000,
            Some(Known {
                born: 1,
                level: 42_000
            })
        )
    );
    assert_eq!(lease.ask(START + 20, Intent::Use, 1).debt, 0);
    lease.unanswered(&ask);
    assert_eq!(lease.ask(START + 30, Intent::Use, 1).debt, 10_000);
}

#[test]
fn behind_another_connection_there_may_be_an_older_copy() {
    let lease = lease();
    lease.want(START, GROWTH, 1_000);
    lease.ask(START, Intent::Use, 1);
    lease.answer(granted(0, 40_000), START, START, 1);
    assert_eq!(
        lease.ask(START, Intent::Use, 1).known.map(|known| known.born),
        Some(1)
    );
    assert_eq!(
        lease.ask(START, Intent::Use, 2).known.map(|known| known.born),
        Some(0)
    );
}

#[test]
fn an_outage_after_an_outage_begins_with_what_is_left_and_not_with_a_full_bucket() {
    let lease = lease();
    lease.want(START, GROWTH, 1_000);
    lease.ask(START, Intent::Use, 1);
    lease.answer(granted(0, 0), START, START, 1);
    for number in 1..=5 {
        let outage = Outage { number, sharers: 2 };
        assert!(lease.take_share(START, GROWTH, 1_000, outage).is_none());
    }
    let outage = Outage {
        number: 6,
        sharers: 2,
    };
    let takes = |now| lease.take_share(now, GROWTH, 1_000, outage).is_some();
    assert_eq!((0..100).filter(|_| takes(START + 100)).count(), 5);
    let outage = Outage {
        number: 7,
        sharers: 2,
    };
    assert!(lease.take_share(START + 100, GROWTH, 1_000, outage).is_some());
    // Ten tokens came since the answer, five and one of which are spent: two of the four left are this gateway's.
    let takes = |now| lease.take_share(now, GROWTH, 1_000, outage).is_some();
    assert_eq!((0..100).filter(|_| takes(START + 100)).count(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Calls {
        gateway: usize,
        calls: u64,
    },
    Ask {
        gateway: usize,
        leaves: bool,
        delay_ms: u64,
        lost: bool,
    },
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3usize, 1..60u64).prop_map(|(gateway, calls)| Step::Calls { gateway, calls }),
        4 => (0..3usize, prop::bool::weighted(0.2), prop_oneof![8 => 0..5u64, 1 => 0..2_000u64], prop::bool::weighted(0.1))
            .prop_map(|(gateway, leaves, delay_ms, lost)| Step::Ask { gateway, leaves, delay_ms, lost }),
        2 => (0..400u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..150)
}

proptest! {
    /// Promise 2, over every window and not only from the start: what several gateways spend between any two instants is
    /// at most rate × time + burst.
    #[test]
    fn gateways_together_never_overshoot_in_any_window(steps in steps()) {
        let name = lease().name();
        let leases = [0; 3].map(|_| Lease::new(name));
        let mut central = Model::default();
        let (mut now, mut spent) = (START, Vec::<(u64, u64)>::new());
        for step in steps {
            match step {
                Step::Calls { gateway, calls } => {
                    let lease = &leases[gateway];
                    let takes = |_: &u64| {
                        let took = lease.take(now, GROWTH, TOKEN).is_some();
                        took || { lease.want(now, GROWTH, TOKEN); false }
                    };
                    let took = (0..calls).filter(takes).count() as u64;
                    spent.push((now, took * TOKEN));
                }
                Step::Ask { gateway, leaves, delay_ms, lost } => {
                    let intent = if leaves { Intent::Leave } else { Intent::Use };
                    let (ask, asked_ms) = (leases[gateway].ask(now, intent, 1), now);
                    now += delay_ms;
                    let asked = Ask::Lease(ask.clone());
                    let Answer::Lease(answer) = central.answer(now * 1_000, &gateway.to_string(), &asked) else {
                        panic!("another answer")
                    };
                    if lost {
                        leases[gateway].unanswered(&ask);
                    } else {
                        leases[gateway].answer(answer, asked_ms, now, 1);
                    }
                }
                Step::Pass(ms) => now += ms,
            }
        }
        for (first, (from, _)) in spent.iter().enumerate() {
            let mut sum = 0;
            for (at, took) in &spent[first..] {
                sum += took;
                prop_assert!(sum <= 200_000 + (at - from) * 100, "{sum} within {} ms", at - from);
            }
        }
    }
}

proptest! {
    /// Numbers that no bucket would say, in every order of questions and calls: nothing panics, and no call gets more
    /// than was granted.
    #[test]
    fn whatever_the_shared_bucket_says_nothing_panics(
        steps in proptest::collection::vec((0u8..6, any::<i64>(), any::<u64>(), any::<u64>()), 1..60),
    ) {
        let lease = lease();
        let (mut now, mut granted, mut taken) = (START, 0u64, 0u64);
        for (step, level, held_elsewhere, born) in steps {
            now += born % 300;
            match step {
                0 | 1 => {
                    lease.want(now, GROWTH, 1_000);
                    let ask = lease.ask(now, Intent::Use, born as u32 % 3);
                    let answer = LeaseAnswer { granted: ask.most, level, held_elsewhere, born };
                    granted += ask.most;
                    lease.answer(answer, now, now, born as u32 % 3);
                }
                2 => taken += lease.take(now, GROWTH, 1_000).map_or(0, |_| 1_000),
                3 => lease.charged(keyward_buckets::Charged { level, held: held_elsewhere, born }, now, 1),
                4 => drop(lease.charge_ask(now, GROWTH, 1_000, 1)),
                _ => drop((lease.level(now, GROWTH), lease.review(now), lease.is_idle(now))),
            }
            prop_assert!(taken <= granted);
            let outage = Outage { number: born % 3, sharers: held_elsewhere as u32 };
            let _ = lease.share_level(now, GROWTH, outage);
            if let Some(stake) = lease.take_share(now, GROWTH, 1_000, outage) {
                lease.give_back_share(stake, 1_000);
            }
        }
    }
}
