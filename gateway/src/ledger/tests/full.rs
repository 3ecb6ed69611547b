//! No room: calls are counted all the same, and the disk's use has a bound.

use super::*;
use crate::ledger::segment;

/// Room for one segment.
fn small() -> (TempDir, Arc<Ledger>, Book) {
    let folder = tempfile::tempdir().unwrap();
    let bounds = LedgerBounds {
        max_size: segment::BYTES as u64,
        ..BOUNDS
    };
    let ledger = Ledger::open(folder.path(), Vec::new(), bounds).unwrap();
    let book = ledger.book();
    (folder, ledger, book)
}

#[test]
fn beyond_the_bound_calls_are_counted_in_memory_and_said_to_be() {
    let (folder, ledger, book) = small();
    let accounts: Vec<AccountId> = (0..segment::RECORDS + 100).map(|_| AccountId::new()).collect();
    for account in &accounts {
        book.counter(key(*account, 5)).accepted(1);
    }
    let standing = ledger.standing();
    assert!(standing.is_degraded && standing.in_memory == 100, "{standing:?}");
    assert!(standing.bytes <= standing.limit_bytes);
    let killed = as_if_killed(folder.path());
    let mut greatest = Greatest::default();
    greatest.take_all(&ledger);
    assert_eq!(greatest.sum(), accounts.len() as u64);
    // A kill loses these, and only these.
    let mut greatest = Greatest::default();
    greatest.take_all(&open(killed.path()));
    assert_eq!(greatest.sum(), segment::RECORDS as u64);
}

#[test]
fn what_is_in_memory_goes_to_the_disk_once_there_is_room() {
    let (folder, ledger, book) = small();
    for _ in 0..segment::RECORDS {
        book.counter(key(AccountId::new(), 5)).accepted(1);
    }
    let account = AccountId::new();
    let counter = book.counter(key(account, 7));
    counter.accepted(1);
    counter.bucket(7, 1);
    assert_eq!(ledger.standing().in_memory, 1);
    // All of hour 5 is acknowledged and over: its segment goes.
    Greatest::default().take_all(&ledger);
    ledger.close_hours(7);
    eventually("it is moved", || {
        book.tidy();
        ledger.close_hours(7);
        !ledger.standing().is_degraded
    });
    counter.accepted(2);
    let report = ledger.report(10).unwrap();
    assert_eq!(
        (report.counters[0].accepted, report.counters[0].bucket_millitokens),
        (2, 7)
    );
    let mut greatest = Greatest::default();
    greatest.take_all(&open(as_if_killed(folder.path()).path()));
    assert_eq!(greatest.of(account), 2);
}

#[test]
fn the_disk_holds_what_is_not_acknowledged_and_little_more() {
    let (_folder, ledger, book) = ledger();
    let accounts: Vec<AccountId> = (0..segment::RECORDS / 2).map(|_| AccountId::new()).collect();
    for hour in 0..20 {
        for account in &accounts {
            book.counter(key(*account, hour)).accepted(1);
        }
        Greatest::default().take_all(&ledger);
        ledger.close_hours(hour);
        eventually("what is over is deleted", || {
            book.tidy();
            ledger.close_hours(hour);
            ledger.standing().segments <= 4
        });
    }
}

#[test]
fn what_earlier_starts_left_counts_towards_the_bound() {
    let (folder, ledger, book) = small();
    book.counter(key(AccountId::new(), 5)).accepted(1);
    drop((book, ledger));
    let bounds = LedgerBounds {
        max_size: segment::BYTES as u64,
        ..BOUNDS
    };
    let ledger = Ledger::open(folder.path(), Vec::new(), bounds).unwrap();
    let book = ledger.book();
    let counter = book.counter(key(AccountId::new(), 5));
    counter.accepted(1);
    assert!(ledger.standing().is_degraded);
    let mut greatest = Greatest::default();
    greatest.take_all(&ledger);
    assert_eq!(greatest.sum(), 2);
    eventually("there is room again", || {
        book.tidy();
        !ledger.standing().is_degraded
    });
}
