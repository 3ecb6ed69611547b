//! The key set: which keys there are and what they may do.
//!
//! Three layers answer a look-up, each stamped by the fence of [`generations`]: the worker's own recent keys,
//! one moka cache shared by all workers (and a small one of digests known to be unknown), and the replica on
//! disk. None of them ever calls the control plane. A hit in the first costs about as much as two cache misses;
//! a hit in the second some hundred nanoseconds; the replica a few microseconds. Memory is bounded by
//! `cache.entries`, whatever is asked for.
//!
//! Changes are put on disk first, then into the cells of accounts, then the fence is raised. When
//! [`KeySet::apply`] has returned, no look-up that begins later sees what was before.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use keyward_contract::{
    AccountId, CustomerId, DigestKey, Environment, InvalidRecord, KeyDigest, KeyRecord, Record, UnixMillis,
    feed,
};
use parking_lot::Mutex;

use crate::telemetry::TierSlot;

pub mod account;
pub mod entry;
pub mod generations;
pub mod recent;
mod replica;

pub use account::{AccountCell, AccountPolicy, CustomerCell};
pub use entry::KeyEntry;
use generations::{Generations, Stamp};
pub use recent::{HeldKey, Recent};
pub use replica::{Position, ReplicaError};
use replica::{Replica, Stored, View};

/// Digests that are known to be unknown: enough for an honest mistake repeated, little for a flood.
const UNKNOWN_ENTRIES: u64 = 16_384;
/// A key that was not looked for here for so long is let go, and with it what its customer and account hold in memory.
const IDLE: std::time::Duration = std::time::Duration::from_secs(600);

/// Names a tier's place in the metrics.
pub type TierSlots = Box<dyn Fn(&str) -> TierSlot + Send + Sync>;

/// All keys of all accounts, as of one revision.
pub struct KeySet {
    folder: PathBuf,
    replica: Arc<Replica>,
    /// Changes and snapshots are put in force one after the other.
    changing: Mutex<()>,
    position: ArcSwap<Position>,
    generations: Generations,
    known: moka::sync::Cache<KeyDigest, (Arc<KeyEntry>, Stamp)>,
    unknown: moka::sync::Cache<KeyDigest, Stamp>,
    accounts: DashMap<AccountId, Arc<AccountCell>>,
    customers: DashMap<(AccountId, Environment, CustomerId), Arc<CustomerCell>>,
    digest_key: Arc<ArcSwapOption<DigestKey>>,
    tier_slots: TierSlots,
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySet")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// The answer of a look-up.
#[derive(Debug)]
pub enum Lookup {
    /// There is such a key, in whatever state.
    Known(HeldKey),
    /// There is none.
    Unknown,
    /// It can't be said: no key set has come yet, or the disk failed.
    Unavailable,
}

/// Where a look-up was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The worker's own recent keys.
    Recent,
    /// The shared cache.
    Shared,
    /// The replica on disk.
    Replica,
}

/// One record that was not put in force, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    /// The revision it came in.
    pub revision: u64,
    /// What is wrong with it.
    pub error: InvalidRecord,
}

impl KeySet {
    /// Opens the key set in `folder`; it may be empty. `entries` bounds the shared cache. The digest key is the one that
    /// came over the stream, if one did.
    ///
    /// # Errors
    /// When the folder or a file in it can't be used.
    pub fn open(folder: &Path, entries: u64, tier_slots: TierSlots) -> Result<Arc<Self>, ReplicaError> {
        Self::open_under(folder, replica::digest_key(folder), entries, tier_slots)
    }

    /// [`Self::open`] under a digest key of the operator's, which is not kept.
    ///
    /// # Errors
    /// When the folder or a file in it can't be used.
    pub fn open_with_key(
        folder: &Path,
        key: DigestKey,
        entries: u64,
        tier_slots: TierSlots,
    ) -> Result<Arc<Self>, ReplicaError> {
        Self::open_under(folder, Some(key), entries, tier_slots)
    }

    fn open_under(
        folder: &Path,
        key: Option<DigestKey>,
        entries: u64,
        tier_slots: TierSlots,
    ) -> Result<Arc<Self>, ReplicaError> {
        let replica = Replica::open(folder, key.as_ref())?;
        Ok(Arc::new(Self {
            folder: folder.to_owned(),
            position: ArcSwap::from_pointee(replica.position()),
            replica,
            changing: Mutex::default(),
            generations: Generations::default(),
            known: moka::sync::Cache::builder()
                .max_capacity(entries)
                .time_to_idle(IDLE)
                .build(),
            unknown: moka::sync::Cache::new(UNKNOWN_ENTRIES),
            accounts: DashMap::new(),
            customers: DashMap::new(),
            digest_key: Arc::new(ArcSwapOption::from_pointee(key)),
            tier_slots,
        }))
    }

    /// Whether a whole key set and the key of its digests are here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.replica.view().is_some() && self.digest_key_known()
    }

    /// Up to where it follows the change log.
    #[must_use]
    pub fn position(&self) -> Position {
        Position::clone(&self.position.load())
    }

    /// Up to where the next stream may go on: from nothing, when the replica was found damaged.
    #[must_use]
    pub fn resumes_at(&self) -> Position {
        if self.replica.is_damaged() {
            Position::default()
        } else {
            self.position()
        }
    }

    /// Keys held on disk: one load.
    #[must_use]
    pub fn key_count(&self) -> u64 {
        self.replica.key_count()
    }

    /// Bytes on disk, of the keys and of the changes since they were last written together: one load.
    #[must_use]
    pub fn bytes_on_disk(&self) -> u64 {
        self.replica.bytes()
    }

    /// Why the files of the replica are not believed, until a snapshot took their place.
    #[must_use]
    pub fn set_aside(&self) -> Option<String> {
        self.replica.set_aside()
    }

    /// Keys held in the shared cache, about.
    #[must_use]
    pub fn cached_count(&self) -> u64 {
        self.known.entry_count() + self.unknown.entry_count()
    }

    /// Buckets in memory, about.
    #[must_use]
    pub fn bucket_count(&self) -> usize {
        self.accounts.len() * 2 + self.customers.len()
    }

    /// The fence, to ask whether a held key is current.
    #[must_use]
    pub fn generations(&self) -> &Generations {
        &self.generations
    }

    /// Whether digests can be computed.
    #[must_use]
    pub fn digest_key_known(&self) -> bool {
        self.digest_key.load().is_some()
    }

    /// Takes over the digest key that came over the stream, and keeps it. With another one than before nothing that was held
    /// can be found any more: it is set aside, and a snapshot is needed.
    ///
    /// # Errors
    /// When it can't be kept beside the replica.
    pub fn adopt_digest_key(&self, key: DigestKey) -> Result<(), ReplicaError> {
        let _one = self.changing.lock();
        replica::keep_digest_key(&self.folder, &key)?;
        self.replica.use_key(&key)?;
        self.position.store(Arc::new(self.replica.position()));
        self.digest_key.store(Some(Arc::new(key)));
        self.generations.raise_all();
        Ok(())
    }

    /// Finds a key by its text: one keyed BLAKE3, then the layers in turn.
    pub fn find(&self, text: &[u8], recent: &mut Recent) -> (Lookup, Layer) {
        match recent.digest(&self.digest_key, text) {
            Some(digest) => self.find_digest(&digest, recent),
            None => (Lookup::Unavailable, Layer::Recent),
        }
    }

    /// Finds a key by its digest.
    pub fn find_digest(&self, digest: &KeyDigest, recent: &mut Recent) -> (Lookup, Layer) {
        if let Some(key) = recent.find(digest, &self.generations) {
            return (Lookup::Known(key), Layer::Recent);
        }
        let (answer, layer) = self.find_shared(digest);
        if let Lookup::Known(key) = &answer {
            recent.remember(key);
        }
        (answer, layer)
    }

    fn find_shared(&self, digest: &KeyDigest) -> (Lookup, Layer) {
        let stamp = self.generations.stamp(digest);
        if let Some((entry, stamped)) = self.known.get(digest)
            && stamped == stamp
        {
            return (Lookup::Known(HeldKey::new(entry, stamp)), Layer::Shared);
        }
        if self.unknown.get(digest) == Some(stamp) {
            return (Lookup::Unknown, Layer::Shared);
        }
        (self.find_on_disk(digest, stamp), Layer::Replica)
    }

    fn find_on_disk(&self, digest: &KeyDigest, stamp: Stamp) -> Lookup {
        let Some(view) = self.replica.view() else {
            return Lookup::Unavailable;
        };
        match view
            .key(digest)
            .and_then(|record| record.map(|record| self.entry(record, &view)).transpose())
        {
            Ok(Some(entry)) => {
                self.known.insert(*digest, (Arc::clone(&entry), stamp));
                Lookup::Known(HeldKey::new(entry, stamp))
            }
            Ok(None) => {
                self.unknown.insert(*digest, stamp);
                Lookup::Unknown
            }
            Err(error) => {
                tracing::error!(%error, "a key can't be read from the replica");
                self.replica.found(&error);
                Lookup::Unavailable
            }
        }
    }

    fn entry(&self, record: KeyRecord, view: &View) -> Result<Arc<KeyEntry>, ReplicaError> {
        let account = self.account(record.account, view)?;
        let customer = record.customer.map(|id| {
            let cell = self.customers.entry((record.account, record.environment, id));
            let cell =
                Arc::clone(&cell.or_insert_with(|| Arc::new(CustomerCell::new(id, Arc::clone(&account)))));
            cell.set_own_limits(record.customer_limits);
            cell
        });
        Ok(Arc::new(KeyEntry::new(record, account, customer)))
    }

    /// The cell of an account. While it is made its shard is locked, so a change that is applied meanwhile
    /// finds either no cell (and the cell will read the change) or the finished one (and replaces its policy).
    fn account(&self, id: AccountId, view: &View) -> Result<Arc<AccountCell>, ReplicaError> {
        if let Some(cell) = self.accounts.get(&id) {
            return Ok(Arc::clone(&cell));
        }
        match self.accounts.entry(id) {
            dashmap::Entry::Occupied(cell) => Ok(Arc::clone(cell.get())),
            dashmap::Entry::Vacant(place) => {
                // The view of the caller may be older than a change that found no cell: look again, inside.
                let newest = self.replica.view();
                let record = newest.as_deref().unwrap_or(view).account(id)?;
                let record =
                    record.ok_or_else(|| ReplicaError::Record(format!("account {id} is missing")))?;
                let slot = (self.tier_slots)(&record.tier);
                let contract_start = record.contract.start;
                let cell = Arc::new(AccountCell::new(AccountPolicy::new(record, slot)));
                recall_quota(&cell, contract_start, newest.as_deref().unwrap_or(view));
                place.insert(Arc::clone(&cell));
                Ok(cell)
            }
        }
    }

    /// Takes over what the control plane says of an account's quota.
    ///
    /// # Errors
    /// When it can't be kept on disk; it is in force all the same.
    pub fn put_quota_usage(&self, usage: &feed::QuotaUsage) -> Result<(), ReplicaError> {
        // On disk first: a cell that is made meanwhile recalls it from there.
        let kept = self.replica.keep_quota(usage);
        if let Ok(id) = AccountId::from_slice(&usage.account_id)
            && let Some(cell) = self.accounts.get(&id)
        {
            cell.quota().turn(
                UnixMillis(usage.period_start_ms),
                cell.policy().record.contract.start,
            );
            cell.quota().hear(usage);
        }
        kept
    }

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
        let mut checked = Checked::default();
        for change in changes {
            // A repeat after a reconnection is no news.
            if change.revision <= position.revision {
                continue;
            }
            position.revision = change.revision;
            position.history = change.history;
            self.check(change.records, change.revision, &mut checked);
        }
        self.replica.change(&checked.stored, &position)?;
        self.put_in_force(checked.records);
        self.position.store(Arc::new(position));
        Ok(checked.refused)
    }

    /// Checks what arrived; what is wrong is refused alone.
    fn check(&self, wire: Vec<feed::Record>, revision: u64, checked: &mut Checked) {
        for record in wire {
            let record = Record::try_from(record)
                .and_then(|record| self.replica.stored(&record).map(|stored| (record, stored)));
            match record {
                Ok((record, stored)) => {
                    checked.records.push(record);
                    checked.stored.extend(stored);
                }
                Err(error) => checked.refused.push(RefusedRecord { revision, error }),
            }
        }
    }

    /// Notes, durably, that the revision in force is about to be acknowledged: a replica that is older is not
    /// served from after it. Waits for the disk.
    ///
    /// # Errors
    /// When the disk fails; then it must not be acknowledged.
    pub fn acknowledge(&self) -> Result<(), ReplicaError> {
        self.replica.acknowledge(&self.position())
    }

    fn put_in_force(&self, records: Vec<Record>) {
        let mut digests = Vec::with_capacity(records.len());
        for record in records {
            match record {
                Record::Account(account) => {
                    if let Some(cell) = self.accounts.get(&account.id) {
                        let slot = (self.tier_slots)(&account.tier);
                        cell.replace_policy(AccountPolicy::new(account, slot));
                    }
                }
                Record::Key(key) => digests.push(key.digest),
            }
        }
        for digest in digests {
            self.generations.raise(&digest);
            self.known.invalidate(&digest);
            self.unknown.invalidate(&digest);
        }
    }

    /// Begins to take over a snapshot. What was held stays in force until its end has come.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn begin_snapshot(self: &Arc<Self>, position: Position) -> Result<SnapshotWriter, ReplicaError> {
        Ok(SnapshotWriter {
            draft: self.replica.begin()?,
            set: Arc::clone(self),
            position,
        })
    }

    fn take_over(&self, draft: replica::Draft, position: Position) -> Result<(), ReplicaError> {
        let _one = self.changing.lock();
        self.replica.take_over(draft, &position)?;
        let Some(view) = self.replica.view() else {
            return Ok(());
        };
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
        self.generations.raise_all();
        self.known.invalidate_all();
        self.unknown.invalidate_all();
        self.position.store(Arc::new(position));
        Ok(())
    }

    /// Forgets cells that no key holds any more and that say nothing: their bucket is full again, their quota
    /// untouched. To be called now and then; idle state vanishes by it.
    pub fn forget_idle(&self, now_ms: u64) {
        self.customers
            .retain(|_, cell| Arc::strong_count(cell) > 1 || !cell.is_idle(now_ms));
        self.accounts
            .retain(|_, cell| Arc::strong_count(cell) > 1 || !cell.is_idle(now_ms));
    }
}

/// What was known of the quota before this start, until the control plane says more.
fn recall_quota(cell: &AccountCell, contract_start: Option<UnixMillis>, view: &View) {
    if let Some(kept) = view.quota(cell.id()) {
        // The kept period decides until a call's own clock turns it over.
        cell.quota()
            .turn(UnixMillis(kept.period_start_ms), contract_start);
        cell.quota().hear(&kept);
    }
}

/// What arrived, checked.
#[derive(Debug, Default)]
struct Checked {
    records: Vec<Record>,
    stored: Vec<Stored>,
    refused: Vec<RefusedRecord>,
}

/// Takes a snapshot piece by piece. Dropped before its end, it leaves everything as it was. Its memory is bounded,
/// whatever the snapshot's size.
#[derive(Debug)]
pub struct SnapshotWriter {
    set: Arc<KeySet>,
    draft: replica::Draft,
    position: Position,
}

impl SnapshotWriter {
    /// Adds records; answers those that were refused.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn add(&mut self, wire: Vec<feed::Record>) -> Result<Vec<RefusedRecord>, ReplicaError> {
        let mut checked = Checked::default();
        self.set.check(wire, self.position.revision, &mut checked);
        for stored in &checked.stored {
            self.draft.add(stored)?;
        }
        Ok(checked.refused)
    }

    /// Puts the whole in force in place of what was held.
    ///
    /// # Errors
    /// When the disk fails; what was held stays in force.
    pub fn finish(self) -> Result<(), ReplicaError> {
        self.set.take_over(self.draft, self.position)
    }
}

impl Drop for KeySet {
    fn drop(&mut self) {
        self.replica.stop();
    }
}

#[cfg(test)]
mod tests;
