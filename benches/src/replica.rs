//! A gateway's replica made directly, so that a benchmark needs no control plane: the gateway then serves from
//! disk as it does when the control plane is away.

use std::path::Path;

use anyhow::{Result, ensure};
use keyward_contract::{
    AccountId, AccountRecord, AccountStatus, Contract, DigestKey, Environment, EnvironmentId, KeyId, KeyKind,
    KeyRecord, KeyState, Limits, PlainKey, Record, feed,
};
use keyward_gateway::keys::{KeySet, Position};
use keyward_gateway::telemetry::TierSlot;

/// Limits that no benchmark reaches.
const UNREACHED: Limits = Limits {
    rate: 1_000_000,
    burst: 4_000_000,
};

/// Makes a replica in `folder` with `count` live production account keys, a hundred to an account, and answers
/// the keys.
///
/// # Errors
/// When the folder can't be written.
pub fn prepare(folder: &Path, count: usize) -> Result<Vec<PlainKey>> {
    let set = KeySet::open(folder, 1_000, Box::new(|_| TierSlot::NONE))?;
    let digest_key = DigestKey::random()?;
    set.adopt_digest_key(digest_key.clone())?;
    let mut writer = set.begin_snapshot(Position::new("benchmark", 1))?;
    let mut keys = Vec::with_capacity(count);
    while keys.len() < count {
        let account = account()?;
        let mut records = Vec::with_capacity(101);
        for _ in 0..100.min(count - keys.len()) {
            let plain = PlainKey::mint(KeyKind::Account, Environment::Production)?;
            records.push(wire(&Record::Key(record(&plain, account.id, &digest_key))));
            keys.push(plain);
        }
        records.push(wire(&Record::Account(account)));
        ensure!(writer.add(records)?.is_empty(), "a record was refused");
    }
    writer.finish()?;
    Ok(keys)
}

fn wire(record: &Record) -> feed::Record {
    feed::Record::from(record)
}

/// An account whose limits no benchmark reaches.
pub(crate) fn account() -> Result<AccountRecord> {
    Ok(AccountRecord {
        id: AccountId::new(),
        status: AccountStatus::Active,
        tier: "enterprise".into(),
        limits: UNREACHED,
        annual_limit: 1_000_000_000_000,
        contract: Contract::default(),
        test_environment: EnvironmentId::random()?,
        production_environment: EnvironmentId::random()?,
        limit_mode: keyward_contract::LimitMode::Enforce,
        fallback: None,
        grants: Vec::new(),
    })
}

fn record(plain: &PlainKey, account: AccountId, digest_key: &DigestKey) -> KeyRecord {
    KeyRecord {
        digest: digest_key.digest(plain.expose().as_bytes()),
        id: KeyId::new(),
        account,
        environment: Environment::Production,
        customer: None,
        state: KeyState::Active,
        expires_at: None,
        allowed_ips: None,
        api_version: "2026-11-01".into(),
        rotated_at: None,
        customer_limits: None,
    }
}
