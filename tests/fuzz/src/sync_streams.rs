//! A stream of the sync protocol, put in force: the position never goes back, only what is valid is in force, and what
//! is in force is what a restart finds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyward_contract::feed::{self, ControlFrame, control_frame::Frame};
use keyward_contract::{KeyDigest, KeyRecord, Record};
use keyward_gateway::keys::{KeySet, Lookup, Position, Recent, ReplicaError};
use prost::Message;

use super::{folder, key_set};

/// Frames, each with its length before it.
pub fn check(bytes: &[u8]) {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while frames.len() < 40
        && let Ok(ControlFrame { frame: Some(frame) }) = ControlFrame::decode_length_delimited(&mut rest)
    {
        frames.push(frame);
    }
    if frames.is_empty() {
        return;
    }
    let folder = folder("stream");
    let keys = key_set::open(folder.path());
    key_set::fill(&keys);
    let mut digests: BTreeSet<KeyDigest> = (0..key_set::KEYS).map(key_set::digest).collect();
    for frame in frames {
        digests.extend(digests_in(&frame));
        // What was looked at is also in memory, and must change there too.
        in_force(&keys, &digests);
        if !take(&keys, frame) {
            return;
        }
    }
    let (position, before) = (keys.position(), in_force(&keys, &digests));
    drop(keys);
    let keys = key_set::open(folder.path());
    assert_eq!(keys.position(), position);
    assert_eq!(in_force(&keys, &digests), before);
}

/// Whether it can go on.
fn take(keys: &Arc<KeySet>, frame: Frame) -> bool {
    let before = keys.position().revision;
    match frame {
        // The one order that the applier lets through.
        Frame::Change(change) => {
            let change = feed::Change {
                revision: before + 1,
                ..change
            };
            let records = change.records.clone();
            if keys.apply(vec![change]).is_ok_and(|refused| refused.is_empty()) {
                are_in_force(keys, records);
            }
        }
        Frame::SnapshotChunk(chunk) => {
            if !snapshot(keys, before + 1, chunk.records) {
                return false;
            }
        }
        Frame::QuotaUsage(usage) => drop(keys.put_quota_usage(&usage)),
        Frame::SnapshotBegin(_)
        | Frame::SnapshotEnd(_)
        | Frame::Heartbeat(_)
        | Frame::Welcome(_)
        | Frame::UsageAcknowledged(_) => {}
    }
    assert!(keys.position().revision >= before, "the position went back");
    true
}

/// Whether it can go on.
fn snapshot(keys: &Arc<KeySet>, revision: u64, records: Vec<feed::Record>) -> bool {
    let Ok(mut writer) = keys.begin_snapshot(Position::new(key_set::EPOCH, revision)) else {
        return true;
    };
    if writer.add(records).is_ok() && writer.complete().is_ok() && writer.mass_deletion().is_ok() {
        // A key lies where its account does when its digest is made for that, which takes the secret of the digests: the
        // stream is at its end then.
        return match writer.finish() {
            Ok(()) => true,
            Err(ReplicaError::Record(_)) => false,
            Err(error) => panic!("{error}"),
        };
    }
    true
}

/// The last word on each key of a change that was taken.
fn are_in_force(keys: &KeySet, records: Vec<feed::Record>) {
    let records = records
        .into_iter()
        .filter_map(|record| match Record::try_from(record) {
            Ok(Record::Key(key)) => Some((key.digest, key)),
            _ => None,
        });
    let last: BTreeMap<KeyDigest, KeyRecord> = records.collect();
    let digests: BTreeSet<KeyDigest> = last.keys().copied().collect();
    let found = in_force(keys, &digests);
    if keys.is_ready() {
        assert_eq!(found, last.into_values().map(Some).collect::<Vec<_>>());
    }
}

fn digests_in(frame: &Frame) -> Vec<KeyDigest> {
    let records = match frame {
        Frame::Change(change) => &change.records,
        Frame::SnapshotChunk(chunk) => &chunk.records,
        _ => return Vec::new(),
    };
    let valid = records
        .iter()
        .filter_map(|record| match Record::try_from(record.clone()) {
            Ok(Record::Key(key)) => Some(key.digest),
            _ => None,
        });
    valid.collect()
}

fn in_force(keys: &KeySet, digests: &BTreeSet<KeyDigest>) -> Vec<Option<KeyRecord>> {
    let mut recent = Recent::with_capacity(64);
    let looked = digests
        .iter()
        .map(|digest| match keys.find_digest(digest, &mut recent).0 {
            Lookup::Known(held) => {
                let record = held.entry().record.clone();
                assert_eq!(record.digest, *digest);
                Some(record)
            }
            _ => None,
        });
    looked.collect()
}
