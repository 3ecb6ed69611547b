//! A small key set whose whole content is known for every revision, and what must hold of its files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyward_contract::{
    AccountId, AccountRecord, AccountStatus, Contract, DigestKey, Environment, EnvironmentId, KeyDigest,
    KeyId, KeyRecord, KeyState, LimitMode, Limits, Record, UnixMillis, feed,
};

use super::Position;
use crate::keys::{KeySet, Lookup, Recent};
use crate::telemetry::TierSlot;

mod damage;
mod forged;
mod full;
mod killed;
mod merged;

/// Keys from the beginning; each fifth revision adds one.
const KEYS: u64 = 100;

/// What every revision holds, by arithmetic.
struct Model {
    digest_key: DigestKey,
    account: AccountId,
}

impl Model {
    fn new() -> Self {
        Self {
            digest_key: DigestKey::from_bytes([5; 32]),
            account: AccountId::from_slice(&[6; 16]).unwrap(),
        }
    }

    fn digest(&self, number: u64) -> KeyDigest {
        self.digest_key.digest(&number.to_le_bytes())
    }

    /// Which keys a revision touches.
    fn touched(revision: u64) -> Vec<u64> {
        let mut touched = vec![
            revision % KEYS,
            revision.wrapping_mul(7) % KEYS,
            revision.wrapping_mul(revision) % KEYS,
        ];
        if revision.is_multiple_of(5) {
            touched.push(KEYS + revision / 5);
        }
        touched
    }

    /// Each key's last revision; 0 for one that was there from the beginning.
    fn content(revision: u64) -> Vec<(u64, u64)> {
        let count = KEYS + 1 + revision / 5;
        let mut content: Vec<_> = (0..count).map(|number| (number, 0)).collect();
        for revision in 1..=revision {
            for number in Self::touched(revision) {
                content[number as usize].1 = revision;
            }
        }
        content.retain(|(number, _)| *number != KEYS);
        content
    }

    fn key(&self, number: u64, revision: u64) -> feed::Record {
        (&Record::Key(KeyRecord {
            digest: self.digest(number),
            id: KeyId::from_slice(&(u128::from(number) + 1).to_be_bytes()).unwrap(),
            account: self.account,
            environment: Environment::Production,
            customer: None,
            state: KeyState::Active,
            expires_at: Some(UnixMillis(revision as i64)),
            allowed_ips: None,
            api_version: "2026-11-01".into(),
            rotated_at: None,
            customer_limits: None,
        }))
            .into()
    }

    fn account(&self) -> feed::Record {
        (&Record::Account(AccountRecord {
            id: self.account,
            status: AccountStatus::Active,
            tier: "growth".into(),
            limits: Limits { rate: 1, burst: 1 },
            annual_limit: 1,
            contract: Contract::default(),
            test_environment: EnvironmentId::from_slice(&[1; 8]).unwrap(),
            production_environment: EnvironmentId::from_slice(&[2; 8]).unwrap(),
            limit_mode: LimitMode::Enforce,
            fallback: None,
            grants: Vec::new(),
        }))
            .into()
    }

    fn open(&self, folder: &Path) -> Arc<KeySet> {
        let set = open_once_free(|| KeySet::open(folder, 100, Box::new(|_| TierSlot::NONE)));
        if !set.digest_key_known() {
            set.adopt_digest_key(self.digest_key.clone()).unwrap();
        }
        // A few kilobytes, so that changes are merged all the time.
        set.replica.compaction.least.store(8_000, Ordering::Relaxed);
        set
    }

    fn snapshot(&self, set: &Arc<KeySet>, revision: u64) -> Result<(), super::ReplicaError> {
        let mut writer = set.begin_snapshot(Position::new("epoch", revision))?;
        writer.add(vec![self.account()])?;
        for part in Self::content(revision).chunks(50) {
            let records = part
                .iter()
                .map(|(number, last)| self.key(*number, *last))
                .collect();
            assert!(writer.add(records)?.is_empty());
        }
        writer.finish()
    }

    fn change(&self, set: &KeySet, revision: u64) -> Result<(), super::ReplicaError> {
        let touched = Self::touched(revision).into_iter();
        let change = feed::Change {
            revision,
            records: touched.map(|number| self.key(number, revision)).collect(),
            ..feed::Change::default()
        };
        assert!(set.apply(vec![change])?.is_empty());
        Ok(())
    }

    /// Goes on from where the set is, acknowledging each revision.
    fn go_on(&self, set: &KeySet, to: u64) {
        for revision in set.position().revision + 1..=to {
            self.change(set, revision).unwrap();
            set.acknowledge().unwrap();
        }
    }

    /// The set holds exactly what its revision says.
    fn verify(&self, set: &KeySet) -> Result<(), String> {
        let revision = set.position().revision;
        let mut recent = Recent::with_capacity(64);
        let content = Self::content(revision);
        if set.key_count() != content.len() as u64 {
            return Err(format!("{} keys at revision {revision}", set.key_count()));
        }
        for (number, last) in content {
            let found = match set.find_digest(&self.digest(number), &mut recent).0 {
                Lookup::Known(key) => key.entry().record.expires_at.map(|at| at.0 as u64),
                Lookup::Unknown | Lookup::Unavailable => None,
            };
            if found != Some(last) {
                return Err(format!(
                    "key {number} is {found:?} and not {last} at revision {revision}"
                ));
            }
        }
        let next = KEYS + 1 + revision / 5;
        match set.find_digest(&self.digest(next), &mut recent).0 {
            Lookup::Unknown => Ok(()),
            other => Err(format!("key {next} is {other:?} at revision {revision}")),
        }
    }
}

/// A program that another test of this process starts has every lock until it has begun.
pub(in crate::keys) fn open_once_free(
    open: impl Fn() -> Result<Arc<KeySet>, super::ReplicaError>,
) -> Arc<KeySet> {
    let began = std::time::Instant::now();
    loop {
        match open() {
            Err(super::ReplicaError::InUse(_)) if began.elapsed().as_secs() < 10 => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

/// A folder in memory: thousands of them are made.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

#[test]
fn a_start_finds_exactly_what_was_acknowledged() {
    let (model, folder) = (Model::new(), folder());
    let set = model.open(folder.path());
    model.snapshot(&set, 20).unwrap();
    model.verify(&set).unwrap();
    model.go_on(&set, 60);
    model.verify(&set).unwrap();
    drop(set);
    for _ in 0..2 {
        let set = model.open(folder.path());
        assert_eq!(
            (set.set_aside(), set.position()),
            (None, Position::new("epoch", 60))
        );
        model.verify(&set).unwrap();
    }
}

#[test]
fn of_a_key_that_a_snapshot_has_twice_the_last_counts() {
    let (model, folder) = (Model::new(), folder());
    let set = model.open(folder.path());
    let mut writer = set.begin_snapshot(Position::new("epoch", 9)).unwrap();
    writer.add(vec![model.account()]).unwrap();
    // More than is sorted at once, so that both are in pieces of their own, in one piece, and in memory.
    for revision in 0..4 {
        for number in 0..400 {
            let records = vec![model.key(number, revision), model.key(number, revision + 5)];
            assert!(writer.add(records).unwrap().is_empty());
        }
    }
    writer.finish().unwrap();
    assert_eq!(set.key_count(), 400);
    for number in 0..400 {
        let found = set
            .find_digest(&model.digest(number), &mut Recent::with_capacity(64))
            .0;
        let Lookup::Known(key) = found else {
            panic!("{found:?}")
        };
        assert_eq!(key.entry().record.expires_at, Some(UnixMillis(8)));
    }
}
