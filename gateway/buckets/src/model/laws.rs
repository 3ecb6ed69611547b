//! What must hold whatever gateways do, in whatever order, and whoever dies meanwhile.

use keyward_contract::{AccountId, Environment, Limits, UnixMillis};
use proptest::prelude::*;

use super::{LEASE_MS, Model};
use crate::ask::{Answer, Ask, BucketName, Known, LeaseAsk, QuotaAsk, QuotaName, QuotaSpent, Rebuild};

const GATEWAYS: [&str; 3] = ["one", "two", "three"];
const START_MS: i64 = 1_800_000_000_000;

/// What one gateway does next, and how much time passes before it.
#[derive(Clone, Debug)]
struct Step {
    after_us: i64,
    gateway: usize,
    deed: Deed,
}

#[derive(Clone, Debug)]
enum Deed {
    /// It asks for so many tokens and hands back a part (of ten) of what it holds.
    Send { most: u64, least: u64, back: u64 },
    /// The question arrives, and so does the answer. Without one on its way it asks for this many first.
    Arrive(u64),
    /// The question arrives, the answer does not.
    ArriveUnheard,
    /// It spends as many tokens as this, if it has them.
    Spend(u64),
    /// It dies with all that it holds, and starts again.
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    let deed = prop_oneof![
        4 => (0..120u64, 0..4u64, 0..11u64).prop_map(|(most, least, back)| Deed::Send { most, least, back }),
        7 => (0..250u64).prop_map(Deed::Arrive),
        1 => Just(Deed::ArriveUnheard),
        6 => (1..250u64).prop_map(Deed::Spend),
        1 => Just(Deed::Die),
    ];
    let after_us = prop_oneof![
        5 => 0..3_000i64,
        5 => 0..300_000i64,
        2 => 900_000..1_100_000i64,
        1 => 0..5_000_000i64,
    ];
    (after_us, 0..GATEWAYS.len(), deed).prop_map(|(after_us, gateway, deed)| Step {
        after_us,
        gateway,
        deed,
    })
}

/// A gateway as it should be: it spends what it was granted, until a second after it asked for it.
#[derive(Clone, Debug, Default)]
struct Gateway {
    tokens: u64,
    ends: i64,
    /// A question on its way, and when it was sent.
    flight: Option<(LeaseAsk, i64)>,
    known: Option<(Known, i64)>,
}

impl Gateway {
    fn send(&mut self, now: i64, ask: LeaseAsk, back: u64) {
        if now >= self.ends {
            self.tokens = 0;
        }
        let returning = self.tokens * back / 10;
        self.tokens -= returning;
        let rate = i64::from(ask.limits.rate);
        let known = self.known.map(|(known, heard)| Known {
            born: known.born,
            level: known.level + (now - heard) * rate,
        });
        let ask = LeaseAsk {
            holding: self.tokens,
            returning,
            known,
            ..ask
        };
        self.flight = Some((ask, now));
    }
}

/// Each gateway took a whole burst and lost it, and then its old question arrives after all: what it names is taken
/// once more, and together that is three bursts.
#[test]
fn holdings_of_more_than_two_bursts_are_taken_from_the_bucket_in_full() {
    let limits = Limits {
        rate: 1000,
        burst: 50,
    };
    let bucket = BucketName {
        account: AccountId::new(),
        environment: Environment::Production,
        customer: None,
    };
    let mut model = Model::default();
    let mut now_us = START_MS as u64 * 1000;
    let mut ask = |after_ms: u64, gateway: &str, holding: u64, most: u64| {
        now_us += after_ms * 1000;
        let ask = LeaseAsk {
            bucket,
            limits,
            holding: holding * 1000,
            returning: 0,
            debt: 0,
            least: 0,
            most: most * 1000,
            known: None,
        };
        let Answer::Lease(answer) = model.answer(now_us, gateway, &Ask::Lease(ask)) else {
            unreachable!()
        };
        let stored = model.bucket(&bucket).unwrap();
        assert!(stored.level + stored.held <= 50_000, "{stored:?}");
        (answer.granted, stored.level, stored.held)
    };
    for gateway in GATEWAYS {
        // Whoever held is forgotten by the first question after its time; then the bucket fills.
        ask(1_100, gateway, 0, 0);
        assert_eq!(ask(100, gateway, 0, 50), (50_000, 0, 50_000));
    }
    assert_eq!(ask(0, "one", 50, 50), (0, -50_000, 100_000));
    assert_eq!(ask(0, "two", 50, 50), (0, -100_000, 150_000));
    // Nobody renews: all of it is let go of, and what is owed is one burst.
    assert_eq!(ask(1_100, "one", 0, 50), (0, -50_000, 0));
    assert_eq!(ask(49, "two", 0, 50), (0, -1_000, 0));
    assert_eq!(ask(51, "two", 0, 50), (50_000, 0, 50_000));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_no_window_more_is_spent_than_the_burst_and_what_the_rate_brings(
        steps in prop::collection::vec(step(), 1..120),
        (rate, burst) in prop::sample::select(vec![(100u32, 200u32), (7, 20), (1000, 50), (1, 100)]),
    ) {
        let limits = Limits { rate, burst };
        let bucket = BucketName { account: AccountId::new(), environment: Environment::Production, customer: None };
        let mut model = Model::default();
        let mut gateways = vec![Gateway::default(); GATEWAYS.len()];
        let mut spent: Vec<(i64, i64)> = Vec::new();
        let mut now_us = START_MS * 1000;
        for step in steps {
            now_us += step.after_us;
            let now = now_us / 1000;
            let gateway = &mut gateways[step.gateway];
            let ask = |least: u64, most: u64| LeaseAsk {
                bucket,
                limits,
                holding: 0,
                returning: 0,
                debt: 0,
                least: least * 1000,
                most: most * 1000,
                known: None,
            };
            if let Deed::Arrive(most) = step.deed
                && gateway.flight.is_none()
            {
                gateway.send(now, ask(0, most), 0);
            }
            match step.deed {
                Deed::Send { most, least, back } => {
                    let ask = ask(least, most);
                    if gateway.flight.is_none() {
                        gateway.send(now, ask, back);
                    }
                }
                Deed::Arrive(_) | Deed::ArriveUnheard => {
                    if let Some((ask, sent)) = gateway.flight.take() {
                        let answer = model.answer(now_us as u64, GATEWAYS[step.gateway], &Ask::Lease(ask));
                        let Answer::Lease(answer) = answer else { unreachable!() };
                        prop_assert_eq!(answer.granted % 1000, 0);
                        if matches!(step.deed, Deed::Arrive(_)) {
                            if now >= gateway.ends {
                                gateway.tokens = 0;
                            }
                            gateway.tokens += answer.granted;
                            gateway.ends = sent + LEASE_MS;
                            gateway.known = Some((Known { born: answer.born, level: answer.level }, now));
                        }
                    }
                }
                Deed::Spend(tokens) => {
                    let amount = (tokens * 1000).min(gateway.tokens);
                    if now < gateway.ends && amount > 0 {
                        gateway.tokens -= amount;
                        spent.push((now, amount as i64));
                    }
                }
                Deed::Die => *gateway = Gateway::default(),
            }
            if let Some(stored) = model.bucket(&bucket) {
                prop_assert!(stored.level + stored.held <= i64::from(burst) * 1000, "{:?}", stored);
                // Below the floor of one burst it is only by what is held of more than two, and nobody holds more than one.
                let lowest = i64::from(burst) * 1000 * (1 - GATEWAYS.len() as i64);
                prop_assert!(stored.level >= lowest, "{:?}", stored);
                let held: i64 = stored.holders.values().map(|(amount, _)| amount).sum();
                prop_assert_eq!(held, stored.held);
            }
        }
        for (index, (first, _)) in spent.iter().enumerate() {
            let mut sum = 0;
            for (at, amount) in &spent[index..] {
                sum += amount;
                let allowed = i64::from(burst) * 1000 + i64::from(rate) * (at - first);
                prop_assert!(sum <= allowed, "{sum} spent in {} ms, {allowed} allowed", at - first);
            }
        }
    }

    #[test]
    fn no_more_than_the_quota_is_spent_whoever_dies_and_whatever_is_flushed(
        limit in 0..200u64,
        steps in prop::collection::vec((0..GATEWAYS.len(), 0..12u64, 0..8u32, 0..400i64), 1..150),
    ) {
        let quota = QuotaName {
            account: AccountId::new(),
            period_start: UnixMillis(0),
            period_end: UnixMillis(2_000_000_000_000),
        };
        let mut model = Model::default();
        // What each spent, which it never forgets, and what it holds besides.
        let mut gateways = [(0u64, 0u64); GATEWAYS.len()];
        let mut now_us = START_MS as u64 * 1000;
        let ask = |model: &mut Model, now_us, index: usize, gateways: &[(u64, u64); 3], most| {
            let others = gateways.iter().zip(GATEWAYS).enumerate().filter(|(other, _)| *other != index);
            // The control plane's count is behind.
            let listed = others.map(|(_, ((spent, _), name))| (name.to_owned(), spent / 2)).collect();
            let (spent, held) = gateways[index];
            let ask = QuotaAsk {
                quota,
                limit,
                spent: QuotaSpent::InAll(spent + held),
                least: 1,
                most,
                sharers: 3,
                rebuild: Rebuild { others: 0, gateways: listed },
            };
            match model.answer(now_us, GATEWAYS[index], &Ask::Quota(ask)) {
                Answer::Quota(answer) => answer.granted,
                _ => unreachable!(),
            }
        };
        for (index, amount, deed, after_ms) in steps {
            now_us += after_ms as u64 * 1000;
            match deed {
                0..=3 => gateways[index].1 += ask(&mut model, now_us, index, &gateways, amount),
                // It hands back what it holds by not naming it any more.
                4 => gateways[index].1 = 0,
                5 | 6 => {
                    let (spent, held) = &mut gateways[index];
                    let amount = amount.min(*held);
                    (*spent, *held) = (*spent + amount, *held - amount);
                }
                _ => {
                    model.flush();
                    // Every gateway renews within a second.
                    for step in 0..GATEWAYS.len() {
                        now_us += 300_000;
                        let granted = ask(&mut model, now_us, (index + step) % 3, &gateways, amount);
                        prop_assert_eq!(granted, 0, "granted while it is made anew");
                    }
                }
            }
            let spent: u64 = gateways.iter().map(|(spent, _)| spent).sum();
            let held: u64 = gateways.iter().map(|(_, held)| held).sum();
            prop_assert!(spent + held <= limit, "{spent} spent and {held} held of {limit}");
        }
    }
}
