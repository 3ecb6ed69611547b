//! A small key set with one account, for the targets that read a replica or a stream.

use std::path::Path;
use std::sync::Arc;

use keyward_contract::feed::{self, Change};
use keyward_contract::{DigestKey, KeyDigest, KeyRecord, Limits, Record};
use keyward_gateway::keys::{KeySet, Position};
use keyward_gateway::telemetry::TierSlot;

/// How many keys there are.
pub(crate) const KEYS: u8 = 6;
/// The history that their revisions belong to.
pub(crate) const EPOCH: &str = "epoch";

pub(crate) fn try_open(folder: &Path) -> Result<Arc<KeySet>, String> {
    let keys = KeySet::open(folder, 100, Box::new(|_| TierSlot::NONE)).map_err(|error| error.to_string())?;
    if !keys.digest_key_known() {
        keys.adopt_digest_key(DigestKey::from_bytes([9; 32]))
            .map_err(|error| error.to_string())?;
    }
    Ok(keys)
}

pub(crate) fn open(folder: &Path) -> Arc<KeySet> {
    try_open(folder).unwrap_or_else(|error| panic!("{error}"))
}

/// A snapshot of all keys at revision 10, and changes after it.
pub(crate) fn fill(keys: &Arc<KeySet>) {
    let filled = || -> Result<(), String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let mut writer = keys
            .begin_snapshot(Position::new(EPOCH, 10))
            .map_err(|error| said(&error))?;
        let records = std::iter::once(account()).chain((0..KEYS).map(|number| key(number, 0)));
        writer.add(records.collect()).map_err(|error| said(&error))?;
        writer.complete().map_err(|error| said(&error))?;
        writer.finish().map_err(|error| said(&error))?;
        keys.apply((11..15).map(|revision| change(revision, 1)).collect())
            .map_err(|error| said(&error))?;
        Ok(())
    };
    assert_eq!(filled(), Ok(()));
}

pub(crate) fn digest(number: u8) -> KeyDigest {
    KeyDigest::from_bytes([number + 1; 32])
}

/// A change of one key to this generation.
pub(crate) fn change(revision: u64, generation: u8) -> Change {
    Change {
        revision,
        records: vec![key((revision % u64::from(KEYS)) as u8, generation)],
        ..Change::default()
    }
}

/// Whether a key has looked so at any time.
pub(crate) fn was_in_force(number: u8, record: &KeyRecord) -> bool {
    (0..2).any(|generation| Record::try_from(key(number, generation)) == Ok(Record::Key(record.clone())))
}

pub(crate) fn account() -> feed::Record {
    let account = feed::Account {
        account_id: vec![1; 16],
        status: feed::AccountStatus::Active.into(),
        tier: "growth".into(),
        limits: Some(Limits { rate: 10, burst: 20 }.into()),
        annual_limit: 1_000,
        test_environment_id: vec![1; 8],
        production_environment_id: vec![2; 8],
        ..feed::Account::default()
    };
    feed::Record {
        record: Some(feed::record::Record::Account(account)),
    }
}

pub(crate) fn key(number: u8, generation: u8) -> feed::Record {
    let key = feed::Key {
        digest: vec![number + 1; 32],
        key_id: vec![number + 1; 16],
        account_id: vec![1; 16],
        environment: feed::Environment::Production.into(),
        state: feed::KeyState::Active.into(),
        api_version: format!("v{generation}"),
        allowed_ips: vec!["192.0.2.0/24".into()],
        ..feed::Key::default()
    };
    feed::Record {
        record: Some(feed::record::Record::Key(key)),
    }
}
