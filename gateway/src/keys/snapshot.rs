//! A snapshot that is coming in: kept beside what is held until it is whole, then put in its place.
//!
//! A record that can't be true is refused alone. So is a key whose account is not in the snapshot, whichever of
//! them comes first: nothing could be decided by it. Of two records with one digest the later holds, as of two
//! changes; two keys with one id are two keys, each decided by its own record.
//!
//! Memory: the ids of the snapshot's accounts, and the keys that came before their accounts, a bounded number.

use std::collections::HashSet;
use std::sync::Arc;

use keyward_contract::{AccountId, InvalidRecord, KeyRecord, Record, feed};

use super::change::check;
use super::replica::{Draft, Position, ReplicaError, View, Whole};
use super::{KeySet, RefusedRecord};

/// As many keys may come before their accounts; a control plane sends the accounts first.
const MOST_EARLY: usize = 10_000;
/// As many records are looked at together when only what they take away is put in force.
const TOGETHER: usize = 10_000;

/// Takes a snapshot piece by piece. Dropped before its end, it leaves everything as it was.
#[derive(Debug)]
pub struct SnapshotWriter {
    set: Arc<KeySet>,
    /// What has come, until all has.
    draft: Option<Draft>,
    /// All of it, sorted and on disk.
    whole: Option<Whole>,
    position: Position,
    accounts: HashSet<AccountId>,
    /// Keys whose accounts have not come.
    early: Vec<KeyRecord>,
}

/// What putting a snapshot in force would drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Keys that are held.
    pub held: u64,
    /// Those of them that the snapshot has not.
    pub dropped: u64,
}

impl SnapshotWriter {
    pub(super) fn new(set: Arc<KeySet>, draft: Draft, position: Position) -> Self {
        Self {
            set,
            draft: Some(draft),
            whole: None,
            position,
            accounts: HashSet::new(),
            early: Vec::new(),
        }
    }

    /// Adds records; answers those that were refused.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn add(&mut self, wire: Vec<feed::Record>) -> Result<Vec<RefusedRecord>, ReplicaError> {
        let (mut records, mut refused) = (Vec::with_capacity(wire.len()), Vec::new());
        check(wire, self.position.revision, &mut records, &mut refused);
        self.accounts
            .extend(records.iter().filter_map(|record| match record {
                Record::Account(account) => Some(account.id),
                Record::Key(_) => None,
            }));
        let (accounts, early) = (&self.accounts, &mut self.early);
        records.retain(|record| match record {
            Record::Key(key) if !accounts.contains(&key.account) => {
                if early.len() < MOST_EARLY {
                    early.push(key.clone());
                } else {
                    refused.push(without_account(self.position.revision, key));
                }
                false
            }
            Record::Key(_) | Record::Account(_) => true,
        });
        self.put(&mut records, &mut refused)?;
        Ok(refused)
    }

    fn put(
        &mut self,
        records: &mut Vec<Record>,
        refused: &mut Vec<RefusedRecord>,
    ) -> Result<(), ReplicaError> {
        if let Some(draft) = &mut self.draft {
            for stored in self.set.replica.store(records, self.position.revision, refused) {
                draft.add(&stored)?;
            }
        }
        Ok(())
    }

    /// Everything has come: keys that were before their accounts are added; answers those without any.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn complete(&mut self) -> Result<Vec<RefusedRecord>, ReplicaError> {
        let (known, orphans): (Vec<_>, Vec<_>) = std::mem::take(&mut self.early)
            .into_iter()
            .partition(|key| self.accounts.contains(&key.account));
        let refuse = |key: &KeyRecord| without_account(self.position.revision, key);
        let mut refused: Vec<_> = orphans.iter().map(refuse).collect();
        let mut known: Vec<_> = known.into_iter().map(Record::Key).collect();
        self.put(&mut known, &mut refused)?;
        if let Some(draft) = self.draft.take() {
            // From here on it can be read.
            self.whole = Some(self.set.replica.seal(draft, &self.position)?);
        }
        Ok(refused)
    }

    /// What it would drop, when that is more than half of the keys that are held; after [`Self::complete`]. Walks through
    /// both until half was found again.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn mass_deletion(&self) -> Result<Option<Loss>, ReplicaError> {
        let (Some(whole), Some(before)) = (&self.whole, self.set.replica.view()) else {
            return Ok(None);
        };
        let held = self.set.key_count();
        let kept = kept(&before, whole.view(), held.div_ceil(2))?;
        let dropped = held.saturating_sub(kept);
        Ok((dropped > held / 2).then_some(Loss { held, dropped }))
    }

    /// Puts in force only what it takes away of what is held, and forgets the rest; answers how many held records it
    /// was.
    ///
    /// # Errors
    /// When the disk fails; what was taken away until then stays away.
    pub fn take_away(self) -> Result<usize, ReplicaError> {
        let Some(whole) = &self.whole else {
            return Ok(0);
        };
        let view = whole.view();
        let keys = view.digests()?.filter_map(|digest| {
            let key = digest.and_then(|digest| view.key(&digest)).transpose()?;
            Some(key.map(Record::Key))
        });
        let (mut many, mut together) = (0, Vec::new());
        for record in view
            .accounts()?
            .map(|account| account.map(Record::Account))
            .chain(keys)
        {
            together.push(record?);
            if together.len() == TOGETHER {
                many += self.set.restrict(&together)?;
                together.clear();
            }
        }
        Ok(many + self.set.restrict(&together)?)
    }

    /// Puts the whole in force in place of what was held.
    ///
    /// # Errors
    /// When the disk fails; what was held stays in force.
    pub fn finish(mut self) -> Result<(), ReplicaError> {
        self.complete()?;
        match self.whole.take() {
            Some(whole) => self.set.take_over(whole),
            None => Ok(()),
        }
    }
}

pub(super) fn without_account(revision: u64, key: &KeyRecord) -> RefusedRecord {
    RefusedRecord {
        revision,
        error: InvalidRecord {
            record: format!("key {}", key.id),
            reason: format!("account_id names no account that is known: {}", key.account),
        },
    }
}

/// How many digests are in both, as far as that is below `enough`.
fn kept(before: &View, after: &View, enough: u64) -> Result<u64, ReplicaError> {
    let (mut before, mut after) = (before.digests()?, after.digests()?);
    let (mut one, mut other) = (before.next().transpose()?, after.next().transpose()?);
    let mut kept = 0;
    while let (Some(held), Some(offered)) = (&one, &other)
        && kept < enough
    {
        let order = held.as_bytes().cmp(offered.as_bytes());
        kept += u64::from(order.is_eq());
        if order.is_le() {
            one = before.next().transpose()?;
        }
        if order.is_ge() {
            other = after.next().transpose()?;
        }
    }
    Ok(kept)
}
