//! The gateway's replica itself, through its key set: records are checked as they come, and every file is authenticated.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use keyward_contract::{
    AccountId, AccountRecord, AccountStatus, Contract, DigestKey, Environment, EnvironmentId, KeyDigest,
    KeyId, KeyRecord, KeyState, LimitMode, Limits, Record, feed,
};
use keyward_gateway::keys::{KeySet, Lookup, Position, Recent};
use keyward_gateway::telemetry::TierSlot;

use super::{Entry, Store, Took};

/// Records that come in one chunk of a snapshot.
const TOGETHER: usize = 4_000;

/// A key set that caches next to nothing, so that look-ups reach the disk.
#[derive(Debug)]
pub struct Own {
    set: Arc<KeySet>,
    recent: Recent,
}

impl Own {
    fn wire((digest, value): &Entry) -> feed::Record {
        let id = value.get(..16).unwrap_or_default();
        let record = KeyRecord {
            digest: KeyDigest::from_bytes(*digest),
            id: KeyId::from_slice(id).unwrap_or_default(),
            account: account(),
            environment: Environment::Production,
            customer: None,
            state: KeyState::Active,
            expires_at: None,
            allowed_ips: None,
            api_version: "2026-11-01".into(),
            rotated_at: None,
            customer_limits: None,
        };
        (&Record::Key(record)).into()
    }
}

fn account() -> AccountId {
    AccountId::from_slice(&[7; 16]).unwrap_or_default()
}

impl Store for Own {
    fn open(folder: &Path) -> Result<Self> {
        let key = DigestKey::from_bytes([9; 32]);
        let set = KeySet::open_with_key(folder, key, 1, Box::new(|_| TierSlot::NONE))?;
        Ok(Self {
            set,
            recent: Recent::with_capacity(64),
        })
    }

    fn load(&mut self, chunks: &mut dyn Iterator<Item = Vec<Entry>>) -> Result<Took> {
        let mut writer = self.set.begin_snapshot(Position::new("benchmark", 1))?;
        let environment = |byte: u8| EnvironmentId::from_slice(&[byte; 8]);
        let record = Record::Account(AccountRecord {
            id: account(),
            status: AccountStatus::Active,
            tier: "growth".into(),
            limits: Limits {
                rate: 100,
                burst: 200,
            },
            annual_limit: 1_000,
            contract: Contract::default(),
            test_environment: environment(1)?,
            production_environment: environment(2)?,
            limit_mode: LimitMode::Enforce,
            fallback: None,
            grants: Vec::new(),
        });
        ensure!(writer.add(vec![(&record).into()])?.is_empty(), "refused");
        let mut took = Took::default();
        for chunk in chunks {
            for together in chunk.chunks(TOGETHER) {
                let wire = together.iter().map(Self::wire).collect();
                let refused = took.add(|| writer.add(wire))?;
                ensure!(refused.is_empty(), "refused");
            }
        }
        took.add(|| writer.finish().and_then(|()| self.set.acknowledge()))?;
        Ok(took)
    }

    fn find(&mut self, digest: &[u8; 32]) -> Result<bool> {
        match self
            .set
            .find_digest(&KeyDigest::from_bytes(*digest), &mut self.recent)
            .0
        {
            Lookup::Known(_) => Ok(true),
            Lookup::Unknown => Ok(false),
            Lookup::Unavailable => anyhow::bail!("unavailable"),
        }
    }

    fn change(&mut self, entries: &[Entry]) -> Result<()> {
        let change = feed::Change {
            revision: self.set.position().revision + 1,
            records: entries.iter().map(Self::wire).collect(),
            ..feed::Change::default()
        };
        ensure!(self.set.apply(vec![change])?.is_empty(), "refused");
        Ok(self.set.acknowledge()?)
    }

    /// Opening has read and checked everything.
    fn check(&mut self) -> Result<u64> {
        Ok(self.set.key_count())
    }
}
