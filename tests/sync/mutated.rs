//! What no peer would send, what no disk should hold: frames of the stream with fields changed at any depth, and files
//! of the replica with bytes damaged. Nothing of it may panic a gateway or a control plane; what is refused leaves the
//! last good in force; what is in force can be true.
//!
//! `KEYWARD_MUTATIONS=n` tries so many frames instead of those that fit into the suite, `KEYWARD_MUTATION_SEED=n` begins
//! elsewhere. A panic names its seed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyward_contract::feed::{
    self, Change, ControlFrame, QuotaUsage, SnapshotBegin, SnapshotChunk, SnapshotEnd, control_frame::Frame,
    gateway_frame,
};
use keyward_contract::{AccountId, AccountRecord, DigestKey, KeyDigest, KeyRecord, Limits, Record};
use keyward_gateway::keys::{KeySet, Lookup, Loss, Position, Recent, RefusedRecord, SnapshotWriter};
use keyward_gateway::sync::SyncError;
use keyward_gateway::sync::apply::{Applier, Event, Ground};
use keyward_gateway::telemetry::TierSlot;
use prost::Message;
use tokio::sync::mpsc;

use crate::chance::Chance;
use crate::simulation::number;
use crate::store::{EPOCH, Store};
use crate::wire::mutate;

mod control_plane;

/// Mutated frames in the normal suite.
const FRAMES: u64 = 30_000;
/// Damaged files of a replica in the normal suite.
const FILES: u64 = 200;
/// Streams before the gateway is restarted.
const STREAMS_A_START: u64 = 50;

/// How many things panicked in this process, seen by the hook that also prints them.
static PANICS: AtomicU64 = AtomicU64::new(0);

fn watch_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        print(panic);
    }));
}

/// Says where it was when something panics.
struct At<'w>(&'w str, u64);

impl Drop for At<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: KEYWARD_MUTATION_SEED={}", self.0, self.1);
        }
    }
}

/// A folder in memory, where there is one: half of the time of these tests would else be waiting for a disk.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn open(folder: &Path) -> Arc<KeySet> {
    let keys = KeySet::open(folder, 100, Box::new(|_| TierSlot::NONE)).unwrap();
    if !keys.digest_key_known() {
        keys.adopt_digest_key(DigestKey::from_bytes([9; 32])).unwrap();
    }
    keys
}

/// The key set, and beside it what should be in force.
struct Bare {
    keys: Arc<KeySet>,
    expected: RefCell<Expected>,
    refusals: Cell<u64>,
}

#[derive(Clone, Default)]
struct Expected {
    keys: HashMap<KeyDigest, KeyRecord>,
    accounts: HashMap<AccountId, AccountRecord>,
}

impl Expected {
    /// Takes what can be true; answers the digests. A key of no known account can't.
    fn take(&mut self, wire: &[feed::Record]) -> Vec<KeyDigest> {
        let valid = || wire.iter().filter_map(|wire| Record::try_from(wire.clone()).ok());
        for record in valid() {
            if let Record::Account(account) = record {
                self.accounts.insert(account.id, account);
            }
        }
        let mut taken = Vec::new();
        for record in valid() {
            if let Record::Key(key) = record
                && self.accounts.contains_key(&key.account)
            {
                taken.push(key.digest);
                self.keys.insert(key.digest, key);
            }
        }
        taken
    }

    /// Whether a look-up says of this key what it should.
    fn check(&self, keys: &KeySet, digest: &KeyDigest) {
        let found = keys.find_digest(digest, &mut Recent::with_capacity(64)).0;
        match (self.keys.get(digest), found) {
            (None, Lookup::Unknown) => {}
            (Some(expected), Lookup::Known(held)) => {
                assert_eq!(held.entry().record, *expected);
                assert_eq!(
                    held.entry().account.policy().record,
                    self.accounts[&expected.account]
                );
            }
            (expected, found) => panic!("{digest:?} is {found:?} where {expected:?} should be in force"),
        }
    }

    fn check_all(&self, keys: &KeySet) {
        self.keys.keys().for_each(|digest| self.check(keys, digest));
    }
}

impl Ground for Bare {
    /// And all that came for it.
    type Snapshot = (SnapshotWriter, Vec<feed::Record>);

    fn source(&self) -> (&str, &str) {
        (EPOCH, "")
    }

    fn position(&self) -> Position {
        self.keys.position()
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<RefusedRecord>, SyncError> {
        let before = self.keys.position().revision;
        let mut touched = Vec::new();
        let mut expected = self.expected.borrow_mut();
        for change in &changes {
            touched.extend(expected.take(&change.records));
        }
        let refused = self.keys.apply(changes)?;
        assert!(self.keys.position().revision > before, "the position went back");
        touched
            .iter()
            .for_each(|digest| expected.check(&self.keys, digest));
        self.refusals.set(self.refusals.get() + refused.len() as u64);
        Ok(refused)
    }

    async fn begin(&self, position: Position) -> Result<Self::Snapshot, SyncError> {
        Ok((self.keys.begin_snapshot(position)?, Vec::new()))
    }

    async fn add(
        &self,
        (mut writer, mut came): Self::Snapshot,
        records: Vec<feed::Record>,
    ) -> Result<(Self::Snapshot, Vec<RefusedRecord>), SyncError> {
        came.extend(records.iter().cloned());
        let refused = writer.add(records)?;
        self.refusals.set(self.refusals.get() + refused.len() as u64);
        Ok(((writer, came), refused))
    }

    async fn restrict(&self, records: Vec<Record>) -> Result<(), SyncError> {
        Ok(self.keys.restrict(&records).map(drop)?)
    }

    async fn complete(
        &self,
        (mut writer, came): Self::Snapshot,
    ) -> Result<(Self::Snapshot, Vec<RefusedRecord>), SyncError> {
        let refused = writer.complete()?;
        Ok(((writer, came), refused))
    }

    async fn loss(
        &self,
        (writer, came): Self::Snapshot,
    ) -> Result<(Self::Snapshot, Option<Loss>), SyncError> {
        let loss = writer.mass_deletion()?;
        Ok(((writer, came), loss))
    }

    async fn take_away(&self, (writer, _): Self::Snapshot) -> Result<usize, SyncError> {
        Ok(writer.take_away()?)
    }

    async fn finish(&self, (writer, came): Self::Snapshot) -> Result<(), SyncError> {
        writer.finish()?;
        let mut expected = Expected::default();
        expected.take(&came);
        expected.check_all(&self.keys);
        *self.expected.borrow_mut() = expected;
        Ok(())
    }

    async fn passed(&self) {}

    async fn send(&self, _: gateway_frame::Frame) -> Result<(), SyncError> {
        Ok(())
    }

    fn note(&self, _: Event) {}
}

/// Valid frames of a stream that goes on after `position`.
fn frames(position: u64, chance: &mut Chance) -> Vec<Frame> {
    let mut store = Store::new();
    let mut frames = Vec::new();
    let mut revision = position;
    if position == 0 || chance.once_in(8) {
        revision = position.max(store.head());
        let records: Vec<feed::Record> = store.snapshot().into_iter().map(richer).collect();
        let count = records.len() as u64;
        frames.push(Frame::SnapshotBegin(SnapshotBegin {
            revision,
            records: count,
            history: vec![7; 32],
            confirmed: chance.once_in(2),
        }));
        for records in records.chunks(3) {
            let records = records.to_vec();
            frames.push(Frame::SnapshotChunk(SnapshotChunk { records }));
        }
        let records = count;
        frames.push(Frame::SnapshotEnd(SnapshotEnd { revision, records }));
    }
    for _ in 0..chance.between(5, 30) {
        revision += 1;
        let (subject, effective) = store.any_change(chance);
        let at = store.commit(subject, effective);
        let records = store.after(at - 1, 1).unwrap_or_default();
        let mut change = records[0].as_ref().clone();
        change.records = change.records.into_iter().map(richer).collect();
        if chance.once_in(3) {
            let all = store.snapshot();
            change.records.extend(all.into_iter().map(richer));
        }
        change.revision = revision;
        frames.push(Frame::Change(change));
        if chance.once_in(5) {
            frames.push(Frame::Heartbeat(feed::ControlHeartbeat {
                revision,
                live_gateways: 3,
                sent_at_ms: 1,
                echo_ms: chance.below(5_000),
            }));
            frames.push(Frame::QuotaUsage(quota(chance)));
        }
    }
    frames
}

/// The same record with every field set.
fn richer(mut record: feed::Record) -> feed::Record {
    match &mut record.record {
        Some(feed::record::Record::Key(key)) => {
            key.customer_id = "clx8f2k9h0001qr5tgvwxyz12".into();
            key.expires_at_ms = Some(4_000_000_000_000);
            key.allowed_ips = vec!["192.0.2.0/24".into(), "2001:db8::1".into()];
            key.rotated_at_ms = Some(1);
            key.customer_limits = Some(Limits { rate: 3, burst: 5 }.into());
        }
        Some(feed::record::Record::Account(account)) => {
            account.contract_start_ms = Some(0);
            account.contract_end_ms = Some(4_000_000_000_000);
            account.grants = vec![feed::Grant {
                at_ms: 5,
                validations: 7,
            }];
        }
        None => {}
    }
    record
}

fn quota(chance: &mut Chance) -> QuotaUsage {
    QuotaUsage {
        account_id: vec![chance.below(2) as u8; 16],
        period_start_ms: 1,
        used_elsewhere: 10,
        used_here_before: 3,
        gateways: vec![feed::GatewayUsage {
            gateway_id: "edge-2".into(),
            used: 4,
        }],
        used_by_others: 3,
    }
}

/// Some of these frames mutated, those that are frames at all; and how many were.
fn mutated(frames: Vec<Frame>, chance: &mut Chance) -> (Vec<Frame>, u64) {
    let mut count = 0;
    let frames = frames.into_iter().filter_map(|frame| {
        if chance.once_in(2) {
            return Some(frame);
        }
        count += 1;
        let valid = ControlFrame { frame: Some(frame) }.encode_to_vec();
        ControlFrame::decode(mutate(&valid, chance).as_slice())
            .ok()?
            .frame
    });
    (frames.collect(), count)
}

#[test]
fn no_frame_of_a_control_plane_can_panic_a_gateway_or_put_in_force_what_can_t_be_true() {
    let many = number("KEYWARD_MUTATIONS").unwrap_or(FRAMES);
    let mut seed = number("KEYWARD_MUTATION_SEED").unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut tried, mut refused, mut applied) = (0, 0, 0);
    while tried < many {
        // A start has its own folder, so that its seed alone says what happens.
        let folder = folder();
        let at = At("frames", seed);
        let chance = &mut Chance::new(seed);
        let mut ground = Bare {
            keys: open(folder.path()),
            expected: RefCell::default(),
            refusals: Cell::new(0),
        };
        for _ in 0..STREAMS_A_START {
            let position = ground.keys.position().revision;
            let (frames, count) = mutated(frames(position, chance), chance);
            tried += count;
            runtime.block_on(one_stream(&ground, frames));
            applied += ground.keys.position().revision.saturating_sub(position);
        }
        refused += ground.refusals.get();
        // What is on the disk is what was in force.
        let position = ground.keys.position();
        let expected = ground.expected.borrow().clone();
        drop(ground.keys);
        ground.keys = open(folder.path());
        assert_eq!(ground.keys.position(), position);
        expected.check_all(&ground.keys);
        drop(at);
        seed += 1;
    }
    println!("{tried} mutated frames: {refused} records refused");
    assert!(
        refused > 0 && applied > 0,
        "a test in which nothing happens proves nothing"
    );
}

async fn one_stream(ground: &Bare, frames: Vec<Frame>) {
    let (sort, sorted) = mpsc::channel(frames.len().max(1));
    for frame in frames {
        match frame {
            Frame::QuotaUsage(usage) => drop(ground.keys.put_quota_usage(&usage)),
            Frame::Welcome(_) | Frame::UsageAcknowledged(_) => {}
            frame => drop(sort.try_send(frame)),
        }
    }
    drop(sort);
    let ended = Applier::new(ground).run(sorted).await;
    assert!(ended.is_err(), "it ends with the frames");
}

#[test]
fn no_byte_of_a_replica_can_panic_a_gateway() {
    let many = number("KEYWARD_MUTATIONS").map_or(FILES, |frames| frames / 100);
    let from = number("KEYWARD_MUTATION_SEED").unwrap_or(1);
    let original = folder();
    let digests = fill(original.path());
    let (mut opened, mut unusable) = (0, 0);
    for seed in from..from + many {
        let (copy, chance) = (folder(), &mut Chance::new(seed));
        let _at = At("files", seed);
        copy_mutated(original.path(), copy.path(), chance);
        match KeySet::open(copy.path(), 100, Box::new(|_| TierSlot::NONE)) {
            Ok(keys) => {
                opened += 1;
                for digest in &digests {
                    let _ = keys.find_digest(digest, &mut Recent::with_capacity(64));
                }
                let change = Change {
                    revision: keys.position().revision.saturating_add(1),
                    ..Change::default()
                };
                // The follower's tasks: when the store itself gives up there, the stream ends and nothing else.
                let quota = quota(chance);
                let _ = catch_unwind(AssertUnwindSafe(|| keys.apply(vec![change])));
                let _ = catch_unwind(AssertUnwindSafe(|| keys.put_quota_usage(&quota)));
            }
            Err(_) => unusable += 1,
        }
    }
    println!("{many} damaged replicas: {opened} opened, {unusable} told to be unusable");
}

/// A replica with some keys and changes in it.
fn fill(folder: &Path) -> Vec<KeyDigest> {
    let keys = open(folder);
    let chance = &mut Chance::new(1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ground = Bare {
        keys,
        expected: RefCell::default(),
        refusals: Cell::new(0),
    };
    runtime.block_on(one_stream(&ground, frames(0, chance)));
    let digests: Vec<KeyDigest> = ground.expected.borrow().keys.keys().copied().collect();
    assert!(!digests.is_empty());
    digests
}

fn copy_mutated(from: &Path, to: &Path, chance: &mut Chance) {
    let mut files: Vec<_> = std::fs::read_dir(from).unwrap().flatten().collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    let damaged = chance.below(files.len() as u64) as usize;
    for (number, file) in files.iter().enumerate() {
        if !file.path().is_file() {
            continue;
        }
        let mut bytes = std::fs::read(file.path()).unwrap();
        // Any file once in a while, the greatest part of the time the one that holds the keys.
        let is_store = bytes.len() > 4096;
        if (number == damaged || is_store) && !bytes.is_empty() {
            damage_file(&mut bytes, chance);
        }
        std::fs::write(to.join(file.file_name()), bytes).unwrap();
    }
}

fn damage_file(bytes: &mut Vec<u8>, chance: &mut Chance) {
    // Where something is written: most of a new file is empty.
    let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    for _ in 0..chance.between(1, 8) {
        let at = written[chance.below(written.len() as u64) as usize];
        if at >= bytes.len() {
            continue;
        }
        match chance.below(8) {
            0 => bytes.truncate(at),
            1 => {
                let end = bytes.len().min(at + 512);
                bytes[at..end].fill(0);
            }
            2 => bytes[at] = 0xFF,
            _ => bytes[at] ^= 1 << chance.below(8),
        }
    }
}
