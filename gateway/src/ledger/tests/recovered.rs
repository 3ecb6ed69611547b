//! What an earlier start left, whole or damaged.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::*;
use crate::ledger::recovery::Part;
use crate::ledger::{record, segment};

fn segments(folder: &Path, epoch: u64) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join(epoch.to_string())).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|kind| kind == "seg"))
        .collect()
}

#[test]
fn what_a_killed_start_counted_is_reported_under_its_epoch_until_it_is_acknowledged() {
    let (folder, before, book) = ledger();
    let (other, account) = (before.book(), AccountId::new());
    book.counter(key(account, 5)).accepted(1);
    other.counter(key(account, 5)).accepted(2);
    other.counter(key(account, 5)).rate_limited(3);
    let killed = as_if_killed(folder.path());

    let after = open(killed.path());
    assert!(after.boot_epoch() > before.boot_epoch());
    assert_eq!(after.oldest_boot_epoch(), before.boot_epoch());
    assert!(after.pending() > 0);
    let mut report = None;
    eventually("it is read", || {
        report = after.report(10);
        report.is_some()
    });
    let report = report.unwrap();
    let wire = &report.counters[0];
    assert_eq!(
        (
            report.counters.len(),
            wire.accepted,
            wire.rate_limited,
            wire.last_accepted_at_ms
        ),
        (1, 2, 1, 2)
    );
    assert_eq!(
        (wire.boot_epoch, wire.route.as_str(), wire.hour),
        (before.boot_epoch(), "second", 5)
    );
    after.withdrawn();
    let again = after.report(10).unwrap();
    assert_eq!(again.counters, report.counters);
    assert_eq!(
        (after.pending(), after.oldest_boot_epoch()),
        (1, before.boot_epoch())
    );
    after.acknowledged(again.sequence);
    eventually("it is deleted", || {
        !killed.path().join(before.boot_epoch().to_string()).exists()
    });
    assert_eq!(
        (after.pending(), after.oldest_boot_epoch()),
        (0, after.boot_epoch())
    );
}

#[test]
fn a_stop_with_everything_acknowledged_leaves_nothing_to_be_reported() {
    let (folder, ledger, book) = ledger();
    book.counter(key(AccountId::new(), 5)).accepted(1);
    Greatest::default().take_all(&ledger);
    let epoch = ledger.boot_epoch();
    drop((book, ledger));
    assert!(!folder.path().join(epoch.to_string()).exists());
}

#[test]
fn a_stop_with_usage_left_leaves_it_to_the_next_start() {
    let (folder, ledger, book) = ledger();
    let account = AccountId::new();
    book.counter(key(account, 5)).accepted(1);
    drop((book, ledger));
    let mut greatest = Greatest::default();
    greatest.take_all(&open(folder.path()));
    assert_eq!(greatest.of(account), 1);
}

#[test]
fn several_starts_are_reported_the_oldest_first() {
    let folder = tempfile::tempdir().unwrap();
    let account = AccountId::new();
    let epochs: Vec<u64> = (0..3)
        .map(|_| {
            let ledger = open(folder.path());
            let book = ledger.book();
            book.counter(key(account, 5)).accepted(1);
            ledger.boot_epoch()
        })
        .collect();
    let ledger = open(folder.path());
    let mut seen = Vec::new();
    eventually("all is reported", || {
        while let Some(report) = ledger.report(10) {
            assert_eq!(ledger.oldest_boot_epoch(), report.counters[0].boot_epoch);
            seen.extend(report.counters.iter().map(|counter| counter.boot_epoch));
            ledger.acknowledged(report.sequence);
        }
        ledger.oldest_boot_epoch() == ledger.boot_epoch()
    });
    assert_eq!(seen, epochs);
}

#[test]
fn a_call_that_the_kernel_took_and_no_worker_counted_is_counted_at_the_next_start() {
    let (folder, ledger, book) = ledger();
    let (socket, mut upstream) = UnixStream::pair().unwrap();
    let account = AccountId::new();
    let counter = book.counter(key(account, 5));
    assert_eq!(book.send(&counter, socket.as_fd(), b"first", 1).unwrap(), 5);
    // Killed between the system call and the count.
    assert_eq!(
        book.send_uncounted(&counter, socket.as_fd(), b"second", 2)
            .unwrap(),
        6
    );
    let killed = as_if_killed(folder.path());
    let mut greatest = Greatest::default();
    greatest.take_all(&open(killed.path()));
    assert_eq!(greatest.of(account), 2);

    // Had it come to the count, the same note changes nothing.
    counter.accepted(2);
    let killed = as_if_killed(folder.path());
    let mut greatest = Greatest::default();
    greatest.take_all(&open(killed.path()));
    assert_eq!(greatest.of(account), 2);
    let mut seen = [0; 11];
    upstream.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"firstsecond");
    drop(ledger);
}

#[test]
fn what_a_connection_does_not_take_is_not_counted() {
    let (folder, ledger, book) = ledger();
    let (socket, upstream) = UnixStream::pair().unwrap();
    let account = AccountId::new();
    let counter = book.counter(key(account, 5));
    // A write that is taken in part counts once.
    let much = vec![b'x'; 64 << 20];
    let taken = book.send(&counter, socket.as_fd(), &much, 1).unwrap();
    assert!(taken > 0 && taken < much.len());
    let full = book.send(&counter, socket.as_fd(), b"more", 2).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
    let killed = as_if_killed(folder.path());
    let mut greatest = Greatest::default();
    greatest.take_all(&open(killed.path()));
    assert_eq!(greatest.of(account), 1);
    drop(upstream);
    let gone = book.send(&counter, socket.as_fd(), b"more", 3).unwrap_err();
    assert_eq!(gone.kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(ledger.report(10).unwrap().counters[0].accepted, 1);
}

#[test]
fn what_does_not_fit_into_memory_is_read_in_parts() {
    let (folder, ledger, book) = ledger();
    let other = ledger.book();
    let accounts: Vec<AccountId> = (0..500).map(|_| AccountId::new()).collect();
    for account in &accounts {
        book.counter(key(*account, 5)).accepted(1);
        other.counter(key(*account, 5)).accepted(1);
    }
    let boots = recovery::old_boots(folder.path(), u64::MAX).unwrap();
    assert_eq!(boots[0].records, 1_000);
    let parts = (0..7).map(|index| recovery::read(&boots[0], Part { index, of: 7 }, &mut || {}).0);
    let mut seen = BTreeSet::new();
    for part in parts {
        assert!(!part.is_empty() && part.len() < 250);
        for (key, tally) in part {
            assert_eq!(tally.of(record::Value::Accepted), 2);
            assert!(seen.insert(key.account), "in two parts");
        }
    }
    assert_eq!(seen.len(), accounts.len());
}

#[test]
fn a_damaged_record_is_left_out_alone_and_its_file_is_kept() {
    let (folder, ledger, book) = ledger();
    let accounts: Vec<AccountId> = (0..10).map(|_| AccountId::new()).collect();
    for account in &accounts {
        book.counter(key(*account, 5)).accepted(1);
    }
    let killed = as_if_killed(folder.path());
    let epoch = ledger.boot_epoch();
    let file = &segments(killed.path(), epoch)[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[segment::HEADER + 3 * record::BYTES + 20] ^= 1;
    fs::write(file, bytes).unwrap();
    let after = open(killed.path());
    let mut greatest = Greatest::default();
    greatest.take_all(&after);
    assert_eq!((greatest.sum(), greatest.of(accounts[3])), (9, 0));
    assert_eq!(after.standing().corrupt_records, 1);
    let kept = killed.path().join("damaged");
    eventually("the file is kept", || {
        kept.is_dir() && fs::read_dir(&kept).unwrap().count() == 1
    });
}

#[test]
fn lost_names_of_routes_lose_no_usage() {
    let (folder, ledger, book) = ledger();
    book.counter(key(AccountId::new(), 5)).accepted(1);
    let killed = as_if_killed(folder.path());
    fs::write(
        killed.path().join(ledger.boot_epoch().to_string()).join("routes"),
        "[",
    )
    .unwrap();
    let mut greatest = Greatest::default();
    greatest.take_all(&open(killed.path()));
    assert_eq!(greatest.sum(), 1);
}

#[derive(Clone, Debug)]
enum Harm {
    Flip { at: usize, bit: u8 },
    Truncate(usize),
    Overwrite { at: usize, with: Vec<u8> },
}

fn harm() -> impl Strategy<Value = Harm> {
    // Where the records are, mostly.
    let at = || prop_oneof![3 => 0..segment::HEADER + 40 * record::BYTES, 1 => 0..segment::BYTES];
    prop_oneof![
        (at(), 0..8u8).prop_map(|(at, bit)| Harm::Flip { at, bit }),
        at().prop_map(Harm::Truncate),
        (at(), proptest::collection::vec(any::<u8>(), 1..600))
            .prop_map(|(at, with)| Harm::Overwrite { at, with }),
    ]
}

impl Harm {
    fn done_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Flip { at, bit } => bytes[*at] ^= 1 << bit,
            Self::Truncate(at) => bytes.truncate(*at),
            Self::Overwrite { at, with } => {
                let end = (at + with.len()).min(bytes.len());
                bytes[*at..end].copy_from_slice(&with[..end - at]);
            }
        }
    }

    /// Records that it touches.
    fn touches(&self, index: usize) -> bool {
        let first = segment::HEADER + index * record::BYTES;
        let harmed = match self {
            Self::Flip { at, .. } => *at..at + 1,
            Self::Truncate(at) => *at..segment::BYTES,
            Self::Overwrite { at, with } => *at..at + with.len(),
        };
        harmed.start < first + record::BYTES && first < harmed.end
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens to a file, nothing panics, and what was not touched is reported as it was.
    #[test]
    fn what_is_not_damaged_survives(harm in harm()) {
        let (folder, ledger, book) = ledger();
        let accounts: Vec<AccountId> = (0..40).map(|_| AccountId::new()).collect();
        for (times, account) in (1..).zip(&accounts) {
            (0..times).for_each(|_| book.counter(key(*account, 5)).accepted(1));
        }
        let killed = as_if_killed(folder.path());
        let file = &segments(killed.path(), ledger.boot_epoch())[0];
        let mut bytes = fs::read(file).unwrap();
        harm.done_to(&mut bytes);
        fs::write(file, bytes).unwrap();
        let after = open(killed.path());
        let mut greatest = Greatest::default();
        greatest.take_all(&after);
        for (index, account) in accounts.iter().enumerate() {
            if !harm.touches(index) {
                prop_assert_eq!(greatest.of(*account), index as u64 + 1);
            }
        }
    }
}

#[test]
fn usage_of_a_route_that_a_reload_brought_is_found_under_its_name() {
    let (folder, before, book) = ledger();
    let account = AccountId::new();
    let names: Vec<Arc<str>> = ["first", "second", "third"].map(Arc::from).into();
    before.name_routes(&names).unwrap();
    let third = CounterKey {
        route: 2,
        ..key(account, 5)
    };
    book.counter(third).accepted(1);
    let reported = before.report(10).unwrap();
    assert_eq!(reported.counters[0].route, "third");
    let killed = as_if_killed(folder.path());
    let after = open(killed.path());
    let mut report = None;
    eventually("it is read", || {
        report = after.report(10);
        report.is_some()
    });
    assert_eq!(report.unwrap().counters[0].route, "third");
}
