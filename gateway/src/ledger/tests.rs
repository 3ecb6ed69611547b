//! No increment is lost, whatever runs at the same time.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use keyward_contract::{AccountId, Environment};
use proptest::prelude::*;

use super::*;

fn ledger() -> (tempfile::TempDir, Arc<Ledger>) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(folder.path(), vec!["first".into(), "second".into()]).unwrap();
    (folder, ledger)
}

fn key(account: AccountId, hour: i64) -> CounterKey {
    CounterKey {
        account,
        environment: Environment::Production,
        customer: None,
        account_key: None,
        customer_key: None,
        route: 1,
        hour,
    }
}

/// What a control plane holds: the greatest value of each counter.
#[derive(Default)]
struct Greatest(HashMap<(Vec<u8>, i64), u64>);

impl Greatest {
    fn take(&mut self, report: &feed::UsageReport) {
        for counter in &report.counters {
            let value = self
                .0
                .entry((counter.account_id.clone(), counter.hour))
                .or_default();
            *value = counter.accepted.max(*value);
        }
    }

    fn sum(&self) -> u64 {
        self.0.values().sum()
    }
}

#[test]
fn a_report_carries_absolute_values_under_this_boot() {
    let (_folder, ledger) = ledger();
    let account = AccountId::new();
    let counter = ledger.counter(key(account, 5));
    counter.accepted(100);
    counter.answered(204, 10, 20, 30);
    counter.answered(999, 1, 1, 1);
    counter.rate_limited(110);
    counter.quota_refused(120);
    counter.auth_refused(90);
    counter.bucket(1500, 100);
    counter.bucket(1400, 90);
    let report = ledger.report(10).unwrap();
    let wire = &report.counters[0];
    assert_eq!(
        (
            wire.accepted,
            wire.rate_limited,
            wire.quota_refused,
            wire.auth_refused
        ),
        (1, 1, 1, 1)
    );
    assert_eq!(
        (
            wire.answers.as_slice(),
            wire.bytes_in,
            wire.bytes_out,
            wire.latency_us
        ),
        (&[0, 1, 0, 0, 0][..], 11, 21, 31)
    );
    assert_eq!((wire.last_accepted_at_ms, wire.last_refused_at_ms), (100, 120));
    assert_eq!((wire.bucket_millitokens, wire.bucket_at_ms), (1500, 100));
    assert_eq!(
        (wire.route.as_str(), wire.boot_epoch, wire.hour),
        ("second", ledger.boot_epoch(), 5)
    );
    counter.accepted(130);
    assert_eq!(ledger.report(10).unwrap().counters[0].accepted, 2);
}

#[test]
fn what_did_not_change_is_not_reported_again_unless_the_report_was_lost() {
    let (_folder, ledger) = ledger();
    let counter = ledger.counter(key(AccountId::new(), 5));
    counter.accepted(1);
    let report = ledger.report(10).unwrap();
    assert_eq!((ledger.report(10), ledger.pending()), (None, 1));
    ledger.withdrawn();
    let again = ledger.report(10).unwrap();
    assert_eq!(again.counters, report.counters);
    assert!(again.sequence > report.sequence);
    // The late answer to the lost one acknowledges nothing.
    ledger.acknowledged(report.sequence);
    assert_eq!(ledger.pending(), 1);
    ledger.acknowledged(again.sequence);
    assert_eq!((ledger.report(10), ledger.pending()), (None, 0));
}

#[test]
fn a_report_is_bounded_and_the_first_changed_go_first() {
    let (_folder, ledger) = ledger();
    let accounts: Vec<AccountId> = (0..5).map(|_| AccountId::new()).collect();
    for account in &accounts {
        ledger.counter(key(*account, 5)).accepted(1);
    }
    let mut seen = Vec::new();
    while let Some(report) = ledger.report(2) {
        assert!(report.counters.len() <= 2);
        seen.extend(report.counters.into_iter().map(|counter| counter.account_id));
    }
    let expected: Vec<Vec<u8>> = accounts
        .iter()
        .map(|id| id.as_uuid().as_bytes().to_vec())
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_past_hours_counter_is_dropped_only_when_acknowledged_and_free() {
    let (_folder, ledger) = ledger();
    let account = AccountId::new();
    let counter = ledger.counter(key(account, 5));
    counter.accepted(1);
    ledger.close_hours(5);
    ledger.close_hours(6);
    assert_eq!(ledger.counters(), 1, "its hour is still open");
    ledger.close_hours(7);
    assert_eq!(ledger.counters(), 1, "a call holds it");
    drop(counter);
    ledger.close_hours(7);
    assert_eq!(ledger.counters(), 1, "it was not reported");
    let report = ledger.report(10).unwrap();
    ledger.close_hours(7);
    assert_eq!(ledger.counters(), 1, "it was not acknowledged");
    ledger.acknowledged(report.sequence);
    ledger.close_hours(7);
    assert_eq!(ledger.counters(), 0);
}

#[test]
fn a_call_in_a_closed_hour_is_counted_in_the_first_open_one() {
    let (_folder, ledger) = ledger();
    let account = AccountId::new();
    ledger.counter(key(account, 5)).accepted(1);
    let report = ledger.report(10).unwrap();
    ledger.acknowledged(report.sequence);
    ledger.close_hours(100);
    // The wall clock was set back.
    let counter = ledger.counter(key(account, 5));
    assert_eq!(counter.key().hour, 99);
    counter.accepted(2);
    let mut greatest = Greatest::default();
    greatest.take(&report);
    greatest.take(&ledger.report(10).unwrap());
    assert_eq!(greatest.sum(), 2);
    ledger.close_hours(6);
    assert_eq!(
        ledger.counter(key(account, 5)).key().hour,
        99,
        "hours never open again"
    );
}

/// Threads count while another reports, loses reports and closes hours.
#[test]
fn no_increment_is_lost_between_a_report_and_a_drop() {
    const THREADS: usize = 4;
    const CALLS: i64 = 60_000;
    let (_folder, ledger) = ledger();
    let accounts: Vec<AccountId> = (0..3).map(|_| AccountId::new()).collect();
    let (hour, finished) = (AtomicI64::new(0), AtomicBool::new(false));
    let mut greatest = Greatest::default();
    std::thread::scope(|scope| {
        let counting: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (ledger, accounts, hour) = (&ledger, &accounts, &hour);
                scope.spawn(move || {
                    for call in 0..CALLS {
                        let at = usize::try_from(call).unwrap() + thread;
                        // Some clocks lag: they still count in hours that are about to be closed.
                        let now = hour.load(Ordering::Relaxed) - (call % 4);
                        ledger
                            .counter(key(accounts[at % accounts.len()], now))
                            .accepted(now);
                    }
                })
            })
            .collect();
        let (ledger, hour, finished) = (&ledger, &hour, &finished);
        let reporting = scope.spawn(move || {
            let mut greatest = Greatest::default();
            let mut round = 0u64;
            loop {
                let is_last = finished.load(Ordering::SeqCst);
                while let Some(report) = ledger.report(2) {
                    round += 1;
                    match round % 5 {
                        // Arrived, but its acknowledgement was lost.
                        0 => greatest.take(&report),
                        // Never arrived.
                        1 => {}
                        _ => {
                            greatest.take(&report);
                            ledger.acknowledged(report.sequence);
                        }
                    }
                    if round.is_multiple_of(7) {
                        ledger.withdrawn();
                    }
                    ledger.close_hours(hour.fetch_add(1, Ordering::Relaxed));
                }
                if is_last {
                    ledger.withdrawn();
                    while let Some(report) = ledger.report(100) {
                        greatest.take(&report);
                        ledger.acknowledged(report.sequence);
                    }
                    return greatest;
                }
            }
        });
        for thread in counting {
            thread.join().unwrap();
        }
        finished.store(true, Ordering::SeqCst);
        greatest = reporting.join().unwrap();
    });
    assert_eq!(greatest.sum(), THREADS as u64 * CALLS.unsigned_abs());
    ledger.close_hours(i64::MAX);
    assert_eq!((ledger.counters(), ledger.pending()), (0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Count {
        account: usize,
        hour: i64,
    },
    Report {
        limit: usize,
        arrives: bool,
        acknowledged: bool,
    },
    Withdraw,
    CloseHours(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3usize, 0..6i64).prop_map(|(account, hour)| Step::Count { account, hour }),
        2 => (1..4usize, any::<bool>(), any::<bool>()).prop_map(|(limit, arrives, acknowledged)| {
            Step::Report { limit, arrives, acknowledged: arrives && acknowledged }
        }),
        1 => Just(Step::Withdraw),
        1 => (0..8i64).prop_map(Step::CloseHours),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    /// Whatever is lost on the way, in the end the control plane holds every call once.
    #[test]
    fn in_the_end_every_call_is_counted_once(steps in steps()) {
        let (_folder, ledger) = ledger();
        let accounts = [AccountId::new(), AccountId::new(), AccountId::new()];
        let (mut greatest, mut counted) = (Greatest::default(), 0);
        for step in steps {
            match step {
                Step::Count { account, hour } => {
                    ledger.counter(key(accounts[account], hour)).accepted(1);
                    counted += 1;
                }
                Step::Report { limit, arrives, acknowledged } => {
                    let report = ledger.report(limit);
                    if let Some(report) = report.filter(|_| arrives) {
                        greatest.take(&report);
                        if acknowledged {
                            ledger.acknowledged(report.sequence);
                        }
                    }
                }
                Step::Withdraw => ledger.withdrawn(),
                Step::CloseHours(hour) => ledger.close_hours(hour),
            }
            prop_assert!(greatest.sum() <= counted);
        }
        ledger.withdrawn();
        while let Some(report) = ledger.report(3) {
            greatest.take(&report);
        }
        prop_assert_eq!(greatest.sum(), counted);
    }
}
