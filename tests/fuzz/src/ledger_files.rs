//! What an earlier start left of its ledger: any bytes are read to their end, in one part or in several, and a record
//! that can't be true costs itself alone.

use std::fs;
use std::path::Path;

use keyward_gateway::ledger::fuzzing::{FIRST_RECORD, RECORD, Recovered, recovered, seal};

use super::folder;

const EPOCH: u64 = 77;
const ROUTES: &[u8] = br#"["first","second"]"#;

/// A byte that says which header the segment has, 64 of a header, 128 of an outbox, then records: a byte that says
/// whether the record is marked as whole, and its 256.
pub fn check(bytes: &[u8]) {
    let folder = folder("ledger");
    let boot = folder.path().join(EPOCH.to_string());
    written(fs::create_dir(&boot));
    let [kind, rest @ ..] = bytes else { return };
    let (header, rest) = rest.split_at(rest.len().min(64));
    let (outbox, records) = rest.split_at(rest.len().min(128));
    let (segment, sealed) = segment(*kind, header, records);
    written(fs::write(boot.join("0-1.seg"), segment));
    written(fs::write(boot.join("0.outbox"), outbox));
    written(fs::write(boot.join("routes"), ROUTES));

    let whole = read(folder.path(), 1);
    assert!(
        whole.counters.len() <= sealed,
        "a record that was never whole is counted"
    );
    assert_eq!(
        read(folder.path(), 1).counters.len(),
        whole.counters.len(),
        "reading it has changed it"
    );
    let mut parts = read(folder.path(), 3);
    assert_eq!(parts.damaged, whole.damaged);
    // In parts it is the same, and nothing twice.
    for counter in &whole.counters {
        let at = parts.counters.iter().position(|other| other == counter);
        let at = at.unwrap_or_else(|| panic!("{counter:?} is in no part"));
        parts.counters.swap_remove(at);
    }
    assert_eq!(parts.counters, []);
    for counter in &whole.counters {
        assert_eq!(counter.boot_epoch, EPOCH);
        assert_eq!((counter.account_id.len(), counter.answers.len()), (16, 5));
    }
}

fn segment(kind: u8, header: &[u8], records: &[u8]) -> (Vec<u8>, usize) {
    let mut segment = vec![0; FIRST_RECORD];
    if kind & 1 == 0 {
        let words = [
            u64::from_le_bytes(*b"KWSEGMT1"),
            EPOCH,
            0,
            1,
            u64::from(kind >> 4),
        ];
        for (place, word) in segment.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_ne_bytes();
        }
    } else {
        segment[..header.len()].copy_from_slice(header);
    }
    let mut sealed = 0;
    for piece in records.chunks(RECORD + 1) {
        let [mode, piece @ ..] = piece else { break };
        let mut record = [0; RECORD];
        record[..piece.len()].copy_from_slice(piece);
        let mut whole = record;
        seal(&mut whole, EPOCH);
        if mode & 1 == 0 {
            record = whole;
        }
        sealed += usize::from(record == whole);
        segment.extend_from_slice(&record);
    }
    // A file may end anywhere.
    if kind & 2 != 0 {
        segment.truncate(segment.len().saturating_sub(usize::from(kind)));
    }
    (segment, sealed)
}

fn read(folder: &Path, parts: u64) -> Recovered {
    recovered(folder, parts).unwrap_or_else(|error| panic!("{error}"))
}

fn written(outcome: std::io::Result<()>) {
    assert!(outcome.is_ok(), "{outcome:?}");
}
