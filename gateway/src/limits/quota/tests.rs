//! What is accepted against a quota, alone and with others.

use keyward_contract::{AccountStatus, Contract, EnvironmentId, Grant, Limits};
use proptest::prelude::*;

use keyward_buckets::{QuotaAnswer, QuotaAsk, QuotaSpent};

use super::*;

const NOW: UnixMillis = UnixMillis(1_768_800_000_000);

fn record(annual_limit: u64) -> AccountRecord {
    AccountRecord {
        id: AccountId::new(),
        status: AccountStatus::Active,
        tier: "growth".into(),
        limits: Limits {
            rate: 100,
            burst: 200,
        },
        annual_limit,
        contract: Contract::default(),
        test_environment: EnvironmentId::random().unwrap(),
        production_environment: EnvironmentId::random().unwrap(),
        limit_mode: keyward_contract::LimitMode::Enforce,
        fallback: None,
        grants: Vec::new(),
    }
}

fn quota() -> Quota {
    let quota = Quota::new(AccountId::new());
    quota.turn(NOW, None);
    quota
}

fn told(used_elsewhere: u64) -> feed::QuotaUsage {
    feed::QuotaUsage {
        period_start_ms: QuotaPeriod::at(NOW, None).start.0,
        used_elsewhere,
        ..feed::QuotaUsage::default()
    }
}

fn alone(quota: &Quota, record: &AccountRecord, calls: usize) -> usize {
    let takes = |_: &usize| quota.take_alone(record, Sharing::Generous(1)).is_ok();
    (0..calls).filter(takes).count()
}

#[test]
fn exactly_the_limit_is_charged() {
    let (quota, record) = (quota(), record(10));
    assert_eq!(alone(&quota, &record, 20), 10);
    let level = quota.take_alone(&record, Sharing::Generous(1)).unwrap_err();
    assert_eq!((level.limit, level.used, level.remaining()), (10, 10, 0));
    quota.give_back();
    assert_eq!(alone(&quota, &record, 5), 1);
}

#[test]
fn what_others_used_counts_and_a_grant_gives_exactly_its_number() {
    let (quota, mut record) = (quota(), record(10));
    quota.hear(&told(7));
    assert_eq!(alone(&quota, &record, 20), 3);
    record.grants.push(Grant {
        at: NOW,
        validations: 2,
    });
    assert_eq!(alone(&quota, &record, 20), 2);
    record.grants.push(Grant {
        at: QuotaPeriod::at(NOW, None).end,
        validations: 50,
    });
    assert_eq!(alone(&quota, &record, 20), 0, "of the next year");
}

#[test]
fn a_lower_limit_holds_at_once() {
    let quota = quota();
    assert_eq!(alone(&quota, &record(10), 4), 4);
    assert_eq!(alone(&quota, &record(6), 10), 2);
    assert_eq!(alone(&quota, &record(3), 10), 0);
    assert_eq!(quota.level_now(&record(3)).remaining(), 0);
}

#[test]
fn a_share_is_not_shared_out_again_until_something_new_is_known() {
    let (quota, record) = (quota(), record(100));
    let takes = || quota.take_alone(&record, Sharing::Generous(4)).is_ok();
    assert_eq!((0..100).filter(|_| takes()).count(), 25);
    quota.hear(&told(35));
    assert_eq!((0..100).filter(|_| takes()).count(), 10);
    let strict = || quota.take_alone(&record, Sharing::Strict(7)).is_ok();
    assert_eq!((0..100).filter(|_| strict()).count(), 4, "of the thirty left");
}

#[test]
fn a_new_period_starts_from_nothing_and_a_clock_set_back_clears_nothing() {
    let (quota, record) = (quota(), record(1));
    assert_eq!(alone(&quota, &record, 3), 1);
    let next_year = QuotaPeriod::at(NOW, None).end;
    quota.turn(next_year, None);
    assert_eq!(alone(&quota, &record, 3), 1);
    quota.turn(NOW, None);
    assert_eq!(alone(&quota, &record, 3), 0);
}

#[test]
fn a_message_of_another_period_changes_nothing() {
    let quota = quota();
    quota.hear(&feed::QuotaUsage {
        used_elsewhere: 10,
        ..feed::QuotaUsage::default()
    });
    assert_eq!(quota.level(NOW, &record(10)).used, 0);
}

/// The shared quota as the limiter sees it: absolute values of every gateway.
#[derive(Default)]
struct Central {
    taken: [u64; 3],
}

impl Central {
    fn answer(&mut self, gateway: usize, ask: &QuotaAsk) -> QuotaAnswer {
        match ask.spent {
            QuotaSpent::InAll(taken) => self.taken[gateway] = taken,
            QuotaSpent::Since(more) => {
                self.taken[gateway] = self.taken[gateway].checked_add_signed(more).unwrap();
            }
        }
        let sum: u64 = self.taken.iter().sum();
        let left = ask.limit.saturating_sub(sum);
        let granted = if left >= ask.least { ask.most.min(left) } else { 0 };
        self.taken[gateway] += granted;
        QuotaAnswer {
            granted,
            taken: sum + granted,
            rebuilding: false,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Call(usize),
    GiveBack(usize),
    Ask {
        gateway: usize,
        leaves: bool,
        late: bool,
    },
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..3usize).prop_map(Step::Call),
        1 => (0..3usize).prop_map(Step::GiveBack),
        4 => (0..3usize, any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(gateway, leaves, late)| Step::Ask { gateway, leaves, late }),
        1 => (0..1_500u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    /// However leases come, end, are handed back or are lost: never one more than the limit, and what was spent here is
    /// what was counted here.
    #[test]
    fn several_gateways_never_spend_more_than_the_limit(
        steps in steps(), limit in 1u64..60, knows_past in any::<bool>(),
    ) {
        let record = record(limit);
        let quotas = [quota(), quota(), quota()];
        let (mut central, mut spent, mut now_ms) = (Central::default(), [0u64; 3], 10_000u64);
        for step in steps {
            match step {
                Step::Call(gateway) => {
                    let quota = &quotas[gateway];
                    if quota.take_leased(now_ms, &record).is_some() {
                        spent[gateway] += 1;
                    } else {
                        quota.want(&record, now_ms);
                    }
                }
                Step::GiveBack(gateway) if spent[gateway] > 0 => {
                    quotas[gateway].give_back();
                    spent[gateway] -= 1;
                }
                Step::GiveBack(_) => {}
                Step::Ask { gateway, leaves, late } => {
                    let quota = &quotas[gateway];
                    let ask = quota.ask(now_ms, knows_past, 3, leaves);
                    let answer = central.answer(gateway, &ask);
                    let came_ms = if late { now_ms + 2_000 } else { now_ms };
                    quota.answer(answer, &ask, now_ms, came_ms);
                    if late && !knows_past {
                        // A grant that came too late stands in the sum until the past is known.
                        central.taken[gateway] -= answer.granted;
                    }
                    now_ms = came_ms;
                }
                Step::Pass(ms) => now_ms += ms,
            }
            prop_assert!(spent.iter().sum::<u64>() <= limit);
            for (quota, spent) in quotas.iter().zip(spent) {
                prop_assert_eq!(quota.spent_here(&quota.books.lock()), spent);
            }
        }
    }
}
