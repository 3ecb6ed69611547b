//! Whether a gateway's replica is what its control plane's database holds: every record of it, byte for byte.
//!
//! It is read as the gateway reads it, through its key set. An account is seen by its keys, so one without a key is not
//! compared.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context;
use keyward_contract::{AccountId, AccountRecord, KeyRecord, UnixMillis, feed};
use keyward_control_plane::store::{Store, changes, records};
use keyward_gateway::keys::{KeySet, Lookup, Recent};
use keyward_gateway::telemetry::TierSlot;
use prost::Message;

const AT_ONCE: i64 = 1_000;
/// So many differences are told, and no more are looked for.
const MOST: usize = 10;

/// A database as it stands.
#[derive(Debug)]
pub struct Held {
    revision: u64,
    epoch: String,
    accounts: HashMap<AccountId, AccountRecord>,
    keys: Vec<KeyRecord>,
}

impl Held {
    /// Reads it, all of it at one revision.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn by(store: &Store, now: UnixMillis) -> anyhow::Result<Self> {
        let epoch = records::feed_epoch(store).await?;
        let mut tx = store.begin_reading().await?;
        let revision = changes::head_in(&mut tx).await?;
        let (mut accounts, mut keys) = (HashMap::new(), Vec::new());
        let mut after = None;
        loop {
            let page = records::account_records(&mut tx, after, AT_ONCE, now).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.to_string());
            accounts.extend(page.into_iter().map(|account| (account.id, account)));
        }
        let mut after = i64::MIN;
        loop {
            let page = records::key_records(&mut tx, after, AT_ONCE).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            keys.extend(page.into_iter().map(|(_, key)| key));
        }
        tx.rollback().await?;
        Ok(Self {
            revision,
            epoch,
            accounts,
            keys,
        })
    }

    /// How many keys it holds.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// How the replica in this folder differs, at most ten of all differences. Its gateway must have ended.
    ///
    /// # Errors
    /// When the replica can't be opened.
    pub fn differences(&self, replica: &Path) -> anyhow::Result<Vec<String>> {
        let set = KeySet::open(replica, 1_000, Box::new(|_| TierSlot::NONE)).context("the replica")?;
        let mut differences = Vec::new();
        let position = set.position();
        if (position.revision, &position.feed_epoch) != (self.revision, &self.epoch) {
            differences.push(format!(
                "it is at {position:?}, the database at {}",
                self.revision
            ));
        }
        if set.key_count() != self.keys.len() as u64 {
            differences.push(format!(
                "it has {} keys, the database {}",
                set.key_count(),
                self.keys.len()
            ));
        }
        let mut recent = Recent::with_capacity(1);
        let more = self
            .keys
            .iter()
            .filter_map(|key| self.difference(&set, &mut recent, key));
        differences.extend(more.take(MOST));
        Ok(differences)
    }

    fn difference(&self, set: &KeySet, recent: &mut Recent, key: &KeyRecord) -> Option<String> {
        let Lookup::Known(held) = set.find_digest(&key.digest, recent).0 else {
            return Some(format!("key {} is missing", key.id));
        };
        let entry = held.entry();
        if bytes(&entry.record) != bytes(key) {
            return Some(format!("key {}: {:?} and not {key:?}", key.id, entry.record));
        }
        let (here, there) = (&entry.account.policy().record, self.accounts.get(&key.account));
        (there.map(account_bytes) != Some(account_bytes(here))).then(|| format!("{here:?} and not {there:?}"))
    }
}

fn bytes(key: &KeyRecord) -> Vec<u8> {
    feed::Key::from(key).encode_to_vec()
}

fn account_bytes(account: &AccountRecord) -> Vec<u8> {
    feed::Account::from(account).encode_to_vec()
}
