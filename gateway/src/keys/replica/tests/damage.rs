//! Files that are not what was written: found, or of no consequence; never a panic, never another content.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use keyward_contract::DigestKey;

use super::{Model, folder};
use crate::keys::{KeySet, Lookup, Recent};
use crate::telemetry::TierSlot;

/// A folder's files, and what is in them.
type Files = BTreeMap<String, Vec<u8>>;

fn read(folder: &Path) -> Files {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    files
        .filter(|entry| entry.metadata().unwrap().is_file())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

fn write(files: &Files) -> tempfile::TempDir {
    let folder = folder();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// Numbers that look like chance, the same at every run of a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

/// Does something to a file that no program of ours does.
fn mangle(files: &mut Files, chance: &mut Chance) -> String {
    let names: Vec<_> = files.keys().filter(|name| *name != "lock").cloned().collect();
    let name = names[chance.below(names.len())].clone();
    let other = files[&names[chance.below(names.len())]].clone();
    let bytes = files.get_mut(&name).unwrap();
    let at = chance.below(bytes.len());
    let what = chance.below(9);
    match what {
        0..=2 if !bytes.is_empty() => bytes[at] ^= 1 << chance.below(8),
        3 => bytes.truncate(at),
        4 => bytes.extend((0..=chance.below(200)).map(|byte| byte as u8)),
        5 => {
            let end = (at + chance.below(600)).min(bytes.len());
            bytes[at..end].fill(if chance.below(2) == 0 { 0 } else { 0xff });
        }
        6 => *bytes = other,
        7 => {
            let from = chance.below(bytes.len());
            let piece = bytes[from..(from + 40).min(bytes.len())].to_vec();
            let end = (at + piece.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&piece[..end - at]);
        }
        _ => drop(files.remove(&name)),
    }
    format!("{name}: {what} at {at}")
}

#[test]
fn a_journal_that_was_named_and_never_begun_is_no_damage() {
    for begun in [&[][..], b"KEYW", &[0; 8]] {
        let (model, made) = (Model::new(), folder());
        let set = model.open(made.path());
        model.snapshot(&set, 20).unwrap();
        model.go_on(&set, 22);
        drop(set);
        let files = read(made.path());
        let last = files
            .keys()
            .filter(|name| name.ends_with(".journal"))
            .max()
            .unwrap();
        let number = u64::from_str_radix(last.trim_end_matches(".journal"), 16).unwrap();
        let next = format!("{:016x}.journal", number + 1);
        fs::write(made.path().join(&next), begun).unwrap();
        let set = model.open(made.path());
        assert_eq!((set.set_aside(), set.position().revision), (None, 22));
        model.go_on(&set, 60);
        drop(set);
        let set = model.open(made.path());
        assert_eq!((set.set_aside(), set.position().revision), (None, 60));
        model.verify(&set).unwrap();
    }
}

#[test]
fn no_byte_of_a_base_can_be_another() {
    let (model, made) = (Model::new(), folder());
    let set = model.open(made.path());
    model.snapshot(&set, 20).unwrap();
    drop(set);
    let files = read(made.path());
    let (name, base) = files.iter().find(|(name, _)| name.ends_with(".base")).unwrap();
    // All of the list of blocks and of the trailer, and of the blocks what is as good as any other. The magic before
    // them says nothing that its repetition at the end does not.
    let list = base.len() - 1_500;
    for at in (8..list).step_by(61).chain(list..base.len()) {
        let mut files = files.clone();
        files.get_mut(name).unwrap()[at] ^= 1;
        let folder = write(&files);
        let set = model.open(folder.path());
        assert!(set.set_aside().is_some(), "byte {at} of {}", base.len());
    }
}

#[test]
fn a_key_that_is_not_held_is_answered_without_the_disk() {
    let (model, folder) = (Model::new(), folder());
    let set = model.open(folder.path());
    model.snapshot(&set, 20).unwrap();
    for (name, bytes) in read(folder.path()) {
        if name.ends_with(".base") {
            fs::write(folder.path().join(name), vec![0; bytes.len()]).unwrap();
        }
    }
    let mut recent = Recent::with_capacity(64);
    let mut found = |number| set.find_digest(&model.digest(number), &mut recent).0;
    assert!(matches!(found(7), Lookup::Unavailable), "the disk was not read");
    let read = (1_000..2_000).filter(|number| !matches!(found(*number), Lookup::Unknown));
    // Some thirty fingerprints of 65 536 lie in a block.
    assert!(read.count() <= 5);
}

#[test]
fn whatever_is_done_to_the_files_is_found_or_changes_nothing() {
    const ACKNOWLEDGED: u64 = 47;
    let (model, made) = (Model::new(), folder());
    let set = model.open(made.path());
    model.snapshot(&set, 30).unwrap();
    model.go_on(&set, ACKNOWLEDGED);
    // One that was not acknowledged: it may be lost, or not.
    model.change(&set, ACKNOWLEDGED + 1).unwrap();
    drop(set);
    let whole = read(made.path());
    let (mut found, mut harmless) = (0, 0);
    for seed in 0..1_000 {
        let (mut files, mut chance) = (whole.clone(), Chance(seed));
        let done: Vec<_> = (0..=chance.below(3))
            .map(|_| mangle(&mut files, &mut chance))
            .collect();
        let folder = write(&files);
        let set = model.open(folder.path());
        if set.is_ready() {
            let revision = set.position().revision;
            assert!(
                revision >= ACKNOWLEDGED,
                "seed {seed}: revision {revision} after {done:?}"
            );
            harmless += 1;
        } else {
            model.snapshot(&set, 50).unwrap();
            assert_eq!(set.set_aside(), None);
            found += 1;
        }
        model
            .verify(&set)
            .unwrap_or_else(|error| panic!("seed {seed}: {error} after {done:?}"));
        let next = set.position().revision + 2;
        model.go_on(&set, next);
        drop(set);
        let set = model.open(folder.path());
        assert_eq!(set.position().revision, next, "seed {seed}: after {done:?}");
        model
            .verify(&set)
            .unwrap_or_else(|error| panic!("seed {seed}: {error} in the end, after {done:?}"));
    }
    assert!(found > 300 && harmless > 20, "{found} found, {harmless} harmless");
}

#[test]
fn what_is_older_than_what_was_acknowledged_is_set_aside() {
    let (model, made) = (Model::new(), folder());
    let set = model.open(made.path());
    model.snapshot(&set, 30).unwrap();
    model.go_on(&set, 40);
    drop(set);
    let older = read(made.path());
    let set = model.open(made.path());
    model.go_on(&set, 41);
    drop(set);
    let newer = read(made.path());

    // All but the second file from the older copy: a revocation would be undone.
    let mut mixed = older.clone();
    mixed.insert("acknowledged".into(), newer["acknowledged"].clone());
    let folder = write(&mixed);
    let set = model.open(folder.path());
    assert!(!set.is_ready());
    let reason = set.set_aside().unwrap();
    assert!(reason.contains("revision 40 is older"), "{reason}");
    let aside = fs::read_dir(folder.path())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    assert_eq!(aside.filter(|name| name.starts_with("damaged-")).count(), 1);

    // Without the second file nothing is believed, or removing it would be enough.
    let mut without = newer;
    without.remove("acknowledged");
    assert!(!model.open(write(&without).path()).is_ready());
}

#[test]
fn a_replica_under_another_digest_key_is_set_aside() {
    let (model, made) = (Model::new(), folder());
    let set = model.open(made.path());
    model.snapshot(&set, 30).unwrap();
    model.go_on(&set, 31);
    drop(set);
    let open = |key: DigestKey| {
        let folder = write(&read(made.path()));
        let set = KeySet::open_with_key(folder.path(), key, 100, Box::new(|_| TierSlot::NONE)).unwrap();
        set.is_ready()
    };
    assert!(open(model.digest_key.clone()));
    assert!(!open(DigestKey::from_bytes([1; 32])));

    // The same when another one comes over the stream.
    let set = model.open(made.path());
    set.adopt_digest_key(model.digest_key.clone()).unwrap();
    assert!(set.is_ready());
    set.adopt_digest_key(DigestKey::from_bytes([1; 32])).unwrap();
    assert!(!set.is_ready());
    assert_eq!(set.position().revision, 0);
}

#[test]
fn few_files_that_were_set_aside_are_kept() {
    let (model, made) = (Model::new(), folder());
    for _ in 0..5 {
        let set = model.open(made.path());
        model.snapshot(&set, 30).unwrap();
        drop(set);
        fs::remove_file(made.path().join("acknowledged")).unwrap();
    }
    drop(model.open(made.path()));
    let names = fs::read_dir(made.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let aside = names
        .filter(|name| name.to_string_lossy().starts_with("damaged-"))
        .count();
    assert!((1..=3).contains(&aside), "{aside}");
}

#[test]
fn damage_under_a_running_gateway_is_no_answer_and_asks_for_a_snapshot() {
    let (model, made) = (Model::new(), folder());
    let set = model.open(made.path());
    model.snapshot(&set, 30).unwrap();
    for (name, mut bytes) in read(made.path()) {
        if name.ends_with(".base") {
            bytes[8..].iter_mut().for_each(|byte| *byte ^= 1);
            fs::write(made.path().join(name), bytes).unwrap();
        }
    }
    let found = set
        .find_digest(&model.digest(1), &mut Recent::with_capacity(64))
        .0;
    assert!(matches!(found, Lookup::Unavailable), "{found:?}");
    assert!(set.set_aside().is_some());
    assert_eq!(set.resumes_at().revision, 0);
    assert!(
        model.change(&set, 31).is_err(),
        "a change would hide what is missing"
    );
    model.snapshot(&set, 31).unwrap();
    assert_eq!((set.set_aside(), set.resumes_at().revision), (None, 31));
    model.verify(&set).unwrap();
}

#[test]
fn a_second_process_is_kept_out() {
    let (model, made) = (Model::new(), folder());
    let set = model.open(made.path());
    let second = KeySet::open(made.path(), 100, Box::new(|_| TierSlot::NONE)).unwrap_err();
    assert!(second.to_string().contains("another process"), "{second}");
    drop(set);
    drop(model.open(made.path()));
}
