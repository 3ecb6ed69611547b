//! What comes over the stream put in force: changes, what a held snapshot takes away, and whole snapshots.
//!
//! The disk comes first, then the cells of accounts, then the fence. One at a time; look-ups wait for none of it.

use std::collections::HashSet;
use std::sync::Arc;

use keyward_contract::{AccountId, InvalidRecord, Record, feed};

use super::replica::{View, Whole};
use super::{
    AccountPolicy, KeySet, Position, RefusedRecord, ReplicaError, SnapshotWriter, restrict, snapshot,
};

/// No transaction of a control plane changes as many; a change of more is refused whole.
const MOST_RECORDS: usize = 100_000;

impl KeySet {
    /// Puts changes in force, all of them at once, and answers the records that could not be. Waits for the
    /// disk.
    ///
    /// # Errors
    /// When the disk fails; then nothing of it is in force.
    pub fn apply(&self, changes: Vec<feed::Change>) -> Result<Vec<RefusedRecord>, ReplicaError> {
        let _one = self.changing.lock();
        if self.replica.view().is_none() {
            return Ok(Vec::new());
        }
        let mut position = self.position();
        let (mut accounts, mut refused) = (HashSet::new(), Vec::new());
        let (mut records, mut stored) = (Vec::new(), Vec::new());
        for change in changes {
            // A repeat after a reconnection is no news.
            let revision = change.revision;
            if revision <= position.revision {
                continue;
            }
            position.revision = revision;
            position.history.clone_from(&change.history);
            let mut came = self.check(change, &mut accounts, &mut refused);
            stored.extend(self.replica.store(&mut came, revision, &mut refused));
            records.extend(came);
        }
        self.replica.change(&stored, &position)?;
        self.put_in_force(records);
        self.position.store(Arc::new(position));
        Ok(refused)
    }

    /// Checks a change: what is wrong with it is refused alone, and so is a key of no known account. `accounts` are those
    /// that came with it or just before it.
    fn check(
        &self,
        change: feed::Change,
        accounts: &mut HashSet<AccountId>,
        refused: &mut Vec<RefusedRecord>,
    ) -> Vec<Record> {
        let mut records = Vec::new();
        if change.records.len() > MOST_RECORDS {
            refused.push(RefusedRecord {
                revision: change.revision,
                error: InvalidRecord {
                    record: "change".into(),
                    reason: format!("records has {} entries", change.records.len()),
                },
            });
            return records;
        }
        check(change.records, change.revision, &mut records, refused);
        accounts.extend(records.iter().filter_map(|record| match record {
            Record::Account(account) => Some(account.id),
            Record::Key(_) => None,
        }));
        let view = self.replica.view();
        let is_held = |id| match view.as_deref() {
            _ if self.accounts.contains_key(&id) => true,
            // What can't be read now is not the record's fault.
            Some(view) => !matches!(view.account(id), Ok(None)),
            None => false,
        };
        records.retain(|record| match record {
            Record::Key(key) if !accounts.contains(&key.account) && !is_held(key.account) => {
                refused.push(snapshot::without_account(change.revision, key));
                false
            }
            Record::Key(_) | Record::Account(_) => true,
        });
        records
    }

    /// Puts in force what these records take away of what is held, and nothing that they give; the position stays as
    /// it is. Answers how many held records it was. Durable when it returns.
    ///
    /// # Errors
    /// When the disk fails; then nothing of it is in force.
    pub fn restrict(&self, news: &[Record]) -> Result<usize, ReplicaError> {
        let _one = self.changing.lock();
        let Some(held) = self.replica.view() else {
            return Ok(0);
        };
        let mut records = Vec::new();
        for record in news {
            records.extend(match record {
                Record::Key(key) => held
                    .key(&key.digest)?
                    .and_then(|held| restrict::key(&held, key))
                    .map(Record::Key),
                Record::Account(account) => held
                    .account(account.id)?
                    .and_then(|held| restrict::account(&held, account))
                    .map(Record::Account),
            });
        }
        let many = records.len();
        if many > 0 {
            let position = self.position();
            let stored = self
                .replica
                .store(&mut records, position.revision, &mut Vec::new());
            self.replica.change(&stored, &position)?;
            self.put_in_force(records);
        }
        Ok(many)
    }

    /// What the replica's view shows already.
    fn put_in_force(&self, records: Vec<Record>) {
        let (mut accounts, mut digests) = (Vec::new(), Vec::with_capacity(records.len()));
        for record in records {
            match record {
                Record::Account(account) => accounts.push(account),
                Record::Key(key) => digests.push(key.digest),
            }
        }
        let replace_policies = || {
            for account in accounts {
                if let Some(cell) = self.accounts.get(&account.id) {
                    let slot = (self.tier_slots)(&account.tier);
                    cell.replace_policy(AccountPolicy::new(account, slot));
                }
            }
        };
        self.fence.change(|| {}, replace_policies, &digests);
    }

    /// Notes, durably, that the revision in force is about to be acknowledged: a replica that is older is not
    /// served from after it. Waits for the disk.
    ///
    /// # Errors
    /// When the disk fails; then it must not be acknowledged.
    pub fn acknowledge(&self) -> Result<(), ReplicaError> {
        self.replica.acknowledge(&self.position())
    }

    /// Begins to take over a snapshot. What was held stays in force until its end has come.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn begin_snapshot(self: &Arc<Self>, position: Position) -> Result<SnapshotWriter, ReplicaError> {
        let draft = self.replica.begin()?;
        Ok(SnapshotWriter::new(Arc::clone(self), draft, position))
    }

    pub(super) fn take_over(&self, whole: Whole) -> Result<(), ReplicaError> {
        let _one = self.changing.lock();
        let position = self.replica.take_over(whole)?;
        if let Some(view) = self.replica.view() {
            self.fence.change_all(|| {}, || self.replace_policies(&view))?;
        }
        self.position.store(Arc::new(position));
        Ok(())
    }

    fn replace_policies(&self, view: &View) -> Result<(), ReplicaError> {
        // Collected first: replacing a policy under the map's own iteration could wait for itself.
        let cells: Vec<_> = self.accounts.iter().map(|cell| Arc::clone(&cell)).collect();
        for cell in cells {
            match view.account(cell.id())? {
                Some(record) => {
                    let slot = (self.tier_slots)(&record.tier);
                    cell.replace_policy(AccountPolicy::new(record, slot));
                }
                None => drop(self.accounts.remove(&cell.id())),
            }
        }
        Ok(())
    }
}

/// Checks what arrived; what is wrong is refused alone.
pub(super) fn check(
    wire: Vec<feed::Record>,
    revision: u64,
    records: &mut Vec<Record>,
    refused: &mut Vec<RefusedRecord>,
) {
    for record in wire {
        match Record::try_from(record) {
            Ok(record) => records.push(record),
            Err(error) => refused.push(RefusedRecord { revision, error }),
        }
    }
}
