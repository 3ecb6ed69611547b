//! A key set of any size, made from nothing but numbers: the same record for the same number, so that none is held.
//!
//! The first keys are account keys that can be called with; the rest belong to end customers, and nobody knows
//! their text. Digests come in no order, as those of a real control plane do, which sends keys in the order in which
//! they were made.

use keyward_contract::{AccountRecord, DigestKey, Environment, KeyId, KeyKind, PlainKey, Record, feed};

use crate::replica::account;

/// Keys of one account.
const TO_AN_ACCOUNT: u64 = 1_000;

/// A key set.
pub struct Generated {
    digest_key: DigestKey,
    accounts: Vec<AccountRecord>,
    callable: Vec<PlainKey>,
    ids: Vec<KeyId>,
    keys: u64,
}

impl Generated {
    /// So many keys, the first `callable` of which can be called with.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn new(keys: u64, callable: u64) -> anyhow::Result<Self> {
        let callable = callable.min(keys);
        let plain = || PlainKey::mint(KeyKind::Account, Environment::Production);
        Ok(Self {
            digest_key: DigestKey::random()?,
            accounts: (0..keys.div_ceil(TO_AN_ACCOUNT))
                .map(|_| account())
                .collect::<Result<_, _>>()?,
            callable: (0..callable).map(|_| plain()).collect::<Result<_, _>>()?,
            ids: (0..callable).map(|_| KeyId::new()).collect(),
            keys,
        })
    }

    /// The key of all digests.
    #[must_use]
    pub fn digest_key(&self) -> &DigestKey {
        &self.digest_key
    }

    /// Accounts and keys.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.accounts.len() as u64 + self.keys
    }

    /// How many keys there are.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// The keys that can be called with.
    #[must_use]
    pub fn callable(&self) -> &[PlainKey] {
        &self.callable
    }

    /// The record of this number: accounts first, then keys.
    #[must_use]
    pub fn record(&self, number: u64) -> feed::Record {
        let account = usize::try_from(number)
            .ok()
            .and_then(|index| self.accounts.get(index));
        match account {
            Some(account) => feed::Record::from(&Record::Account(account.clone())),
            None => self.key(number - self.accounts.len() as u64, 0),
        }
    }

    /// A key as it is after so many changes. A change moves the version that it is pinned to, so that it is accepted
    /// before and after.
    #[must_use]
    pub fn key(&self, number: u64, changes: u64) -> feed::Record {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let account = usize::try_from(number / TO_AN_ACCOUNT)
            .ok()
            .and_then(|index| self.accounts.get(index));
        let (digest, key_id, customer_id) = match (self.callable.get(index), self.ids.get(index)) {
            (Some(plain), Some(id)) => {
                let digest = self.digest_key.digest(plain.expose().as_bytes());
                (digest, id.as_uuid().as_bytes().to_vec(), String::new())
            }
            _ => {
                let digest = self.digest_key.digest(&number.to_le_bytes());
                let id = digest.as_bytes().get(..16).unwrap_or_default().to_vec();
                (digest, id, format!("c{number:0>24}"))
            }
        };
        let key = feed::Key {
            digest: digest.as_bytes().to_vec(),
            key_id,
            account_id: account
                .map(|account| account.id.as_uuid().as_bytes().to_vec())
                .unwrap_or_default(),
            environment: feed::Environment::Production.into(),
            customer_id,
            state: feed::KeyState::Active.into(),
            api_version: if changes.is_multiple_of(2) {
                "2026-11-01"
            } else {
                "2026-05-01"
            }
            .to_owned(),
            ..feed::Key::default()
        };
        feed::Record {
            record: Some(feed::record::Record::Key(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_one_that_a_gateway_takes() {
        let generated = Generated::new(2_500, 1_200).unwrap();
        assert_eq!((generated.accounts.len(), generated.records()), (3, 2_503));
        let records =
            (0..generated.records()).map(|number| Record::try_from(generated.record(number)).unwrap());
        let mut digests: Vec<_> = records
            .filter_map(|record| match record {
                Record::Key(key) => Some(key.digest),
                Record::Account(_) => None,
            })
            .collect();
        let plain = generated.callable()[1_100].expose().as_bytes();
        assert_eq!(digests[1_100], generated.digest_key().digest(plain));
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 2_500);
    }
}
