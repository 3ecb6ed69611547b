//! No increment is lost, whatever runs at the same time, and whatever ends the process.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use keyward_contract::{AccountId, Environment};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

mod full;
mod recovered;

const BOUNDS: LedgerBounds = LedgerBounds {
    max_size: 64 << 20,
    sync_interval: Duration::from_millis(50),
};

fn open(folder: &Path) -> Arc<Ledger> {
    Ledger::open(folder, vec!["first".into(), "second".into()], BOUNDS).unwrap()
}

fn ledger() -> (TempDir, Arc<Ledger>, Book) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let book = ledger.book();
    (folder, ledger, book)
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

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a kill at this moment would leave: what was written to a mapping is in its file, for everyone who reads it.
fn as_if_killed(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_into(folder, copy.path());
    copy
}

/// What goes away meanwhile is what the keeper deletes: all of it is acknowledged.
fn copy_into(from: &Path, to: &Path) {
    let gone = |error: std::io::Error| assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    std::fs::create_dir_all(to).unwrap();
    let Ok(entries) = std::fs::read_dir(from).map_err(gone) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_into(&entry.path(), &place);
        } else {
            let _ = std::fs::copy(entry.path(), place).map_err(gone);
        }
    }
}

/// What a control plane holds: the greatest value of each counter.
#[derive(Default)]
struct Greatest(HashMap<(u64, Vec<u8>, i64), u64>);

impl Greatest {
    fn take(&mut self, report: &feed::UsageReport) {
        for counter in &report.counters {
            let value = self
                .0
                .entry((counter.boot_epoch, counter.account_id.clone(), counter.hour))
                .or_default();
            *value = counter.accepted.max(*value);
        }
    }

    /// Everything that the ledger has, acknowledged.
    fn take_all(&mut self, ledger: &Ledger) {
        eventually("all is reported", || {
            while let Some(report) = ledger.report(1_000) {
                self.take(&report);
                ledger.acknowledged(report.sequence);
            }
            ledger.pending() == 0 && ledger.oldest_boot_epoch() == ledger.boot_epoch()
        });
    }

    fn sum(&self) -> u64 {
        self.0.values().sum()
    }

    fn of(&self, account: AccountId) -> u64 {
        let id = account.as_uuid().as_bytes().as_slice();
        self.0
            .iter()
            .filter(|((_, account, _), _)| account == id)
            .map(|(_, value)| value)
            .sum()
    }
}

#[test]
fn a_report_carries_absolute_values_under_this_boot() {
    let (_folder, ledger, book) = ledger();
    let account = AccountId::new();
    let counter = book.counter(key(account, 5));
    counter.accepted(100);
    counter.answered(204, 10, 20, 30);
    counter.answered(999, 1, 1, 1);
    counter.rate_limited(110);
    counter.quota_refused(120);
    counter.auth_refused(90);
    counter.would_limit();
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
    assert_eq!(wire.would_limit, 1);
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
    let (_folder, ledger, book) = ledger();
    let counter = book.counter(key(AccountId::new(), 5));
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
    let (_folder, ledger, book) = ledger();
    let accounts: Vec<AccountId> = (0..5).map(|_| AccountId::new()).collect();
    for account in &accounts {
        book.counter(key(*account, 5)).accepted(1);
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
    let (_folder, ledger, book) = ledger();
    let account = AccountId::new();
    let counter = book.counter(key(account, 5));
    counter.accepted(1);
    ledger.close_hours(5);
    ledger.close_hours(6);
    assert_eq!(ledger.counters(), 1, "its hour is still open");
    ledger.close_hours(7);
    assert_eq!(ledger.counters(), 1, "a call holds it");
    book.tidy();
    drop(counter);
    ledger.close_hours(7);
    assert_eq!(ledger.counters(), 1, "its worker has not put it away");
    book.tidy();
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
    let (_folder, ledger, book) = ledger();
    let account = AccountId::new();
    book.counter(key(account, 5)).accepted(1);
    let report = ledger.report(10).unwrap();
    ledger.acknowledged(report.sequence);
    ledger.close_hours(100);
    book.tidy();
    // The wall clock was set back.
    let counter = book.counter(key(account, 5));
    assert_eq!(counter.key().hour, 99);
    counter.accepted(2);
    let mut greatest = Greatest::default();
    greatest.take(&report);
    greatest.take(&ledger.report(10).unwrap());
    assert_eq!(greatest.sum(), 2);
    ledger.close_hours(6);
    assert_eq!(
        book.counter(key(account, 5)).key().hour,
        99,
        "hours never open again"
    );
}

#[test]
fn what_several_workers_count_is_summed() {
    let (_folder, ledger, book) = ledger();
    let (other, account) = (ledger.book(), AccountId::new());
    for (book, at) in [(&book, 10), (&other, 20), (&other, 15)] {
        let counter = book.counter(key(account, 5));
        counter.accepted(at);
        counter.answered(200, 1, 2, 3);
        counter.bucket(at.unsigned_abs(), at);
    }
    let report = ledger.report(10).unwrap();
    let wire = &report.counters[0];
    assert_eq!(
        (
            report.counters.len(),
            wire.accepted,
            wire.answers[1],
            wire.bytes_out
        ),
        (1, 3, 3, 6)
    );
    assert_eq!(
        (
            wire.last_accepted_at_ms,
            wire.bucket_at_ms,
            wire.bucket_millitokens
        ),
        (20, 20, 20)
    );
    // A worker that ends takes nothing with it.
    drop(other);
    book.counter(key(account, 5)).accepted(30);
    assert_eq!(ledger.report(10).unwrap().counters[0].accepted, 4);
}

/// Threads count while another reports, loses reports and closes hours.
#[test]
fn no_increment_is_lost_between_a_report_and_a_drop() {
    const THREADS: usize = 4;
    const CALLS: i64 = 60_000;
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let accounts: Vec<AccountId> = (0..3).map(|_| AccountId::new()).collect();
    let (hour, finished) = (AtomicI64::new(0), AtomicBool::new(false));
    let mut greatest = Greatest::default();
    std::thread::scope(|scope| {
        let counting: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (ledger, accounts, hour) = (&ledger, &accounts, &hour);
                scope.spawn(move || {
                    let book = ledger.book();
                    for call in 0..CALLS {
                        let at = usize::try_from(call).unwrap() + thread;
                        // Some clocks lag: they still count in hours that are about to be closed.
                        let now = hour.load(Ordering::Relaxed) - (call % 4);
                        book.counter(key(accounts[at % accounts.len()], now))
                            .accepted(now);
                        if call % 16 == 0 {
                            book.tidy();
                        }
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
                    greatest.take_all(ledger);
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
    eventually("every segment is deleted", || ledger.standing().segments == 0);
    assert_eq!(ledger.standing().bytes, 0);
}

#[derive(Clone, Debug)]
enum Step {
    Count {
        worker: usize,
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
    Tidy,
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..2usize, 0..3usize, 0..6i64)
            .prop_map(|(worker, account, hour)| Step::Count { worker, account, hour }),
        6 => (1..4usize, any::<bool>(), any::<bool>()).prop_map(|(limit, arrives, acknowledged)| {
            Step::Report { limit, arrives, acknowledged: arrives && acknowledged }
        }),
        2 => Just(Step::Withdraw),
        2 => (0..8i64).prop_map(Step::CloseHours),
        2 => Just(Step::Tidy),
        1 => Just(Step::Kill),
    ];
    proptest::collection::vec(step, 0..60)
}

/// A ledger with two workers.
struct Counting {
    folder: TempDir,
    books: [Book; 2],
    ledger: Arc<Ledger>,
}

impl Counting {
    fn start(folder: TempDir) -> Self {
        let ledger = open(folder.path());
        Self {
            books: [ledger.book(), ledger.book()],
            ledger,
            folder,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is lost on the way, and however often it is killed, in the end the control plane holds every call
    /// once.
    #[test]
    fn in_the_end_every_call_is_counted_once(steps in steps()) {
        let mut now = Counting::start(tempfile::tempdir().unwrap());
        let accounts = [AccountId::new(), AccountId::new(), AccountId::new()];
        let (mut greatest, mut counted) = (Greatest::default(), 0);
        for step in steps {
            match step {
                Step::Count { worker, account, hour } => {
                    now.books[worker].counter(key(accounts[account], hour)).accepted(1);
                    counted += 1;
                }
                Step::Report { limit, arrives, acknowledged } => {
                    let report = now.ledger.report(limit);
                    if let Some(report) = report.filter(|_| arrives) {
                        greatest.take(&report);
                        if acknowledged {
                            now.ledger.acknowledged(report.sequence);
                        }
                    }
                }
                Step::Withdraw => now.ledger.withdrawn(),
                Step::CloseHours(hour) => now.ledger.close_hours(hour),
                Step::Tidy => now.books.iter().for_each(Book::tidy),
                Step::Kill => now = Counting::start(as_if_killed(now.folder.path())),
            }
            prop_assert!(greatest.sum() <= counted);
        }
        now.ledger.withdrawn();
        greatest.take_all(&now.ledger);
        prop_assert_eq!(greatest.sum(), counted);
    }
}
