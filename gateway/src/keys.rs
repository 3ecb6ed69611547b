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
    AccountId, CustomerId, DigestKey, Environment, InvalidRecord, KeyDigest, KeyRecord, UnixMillis, feed,
};
use parking_lot::Mutex;

use crate::telemetry::TierSlot;

pub mod account;
pub mod cells;
mod change;
pub mod entry;
pub mod fence;
pub mod generations;
mod given;
mod maps;
pub mod recent;
mod replica;
mod restrict;
mod snapshot;
/// The atomics of the fence: in its model (`tests/fence_under_loom.rs`) they are loom's.
mod sync {
    pub(super) use std::sync::atomic;
}

pub use account::{AccountCell, AccountPolicy, CustomerCell};
pub use entry::KeyEntry;
use fence::{Cached, Fence, Reading};
use generations::{Generations, Stamp};
pub use recent::{HeldKey, Recent};
pub use replica::{Position, ReplicaError};
use replica::{Replica, View};
pub use snapshot::{Loss, SnapshotWriter};

/// Digests that are known to be unknown: enough for an honest mistake repeated, little for a flood.
const UNKNOWN_ENTRIES: u64 = 16_384;
/// A key that was not looked for here for so long is let go, and with it what its customer and account hold in memory.
const IDLE: std::time::Duration = std::time::Duration::from_secs(600);

/// Names a tier's place in the metrics.
pub type TierSlots = Box<dyn Fn(&str) -> TierSlot + Send + Sync>;

type Known = moka::sync::Cache<KeyDigest, (Arc<KeyEntry>, Stamp)>;
type Unknown = moka::sync::Cache<KeyDigest, Stamp>;

/// All keys of all accounts, as of one revision.
pub struct KeySet {
    folder: PathBuf,
    replica: Arc<Replica>,
    /// Changes and snapshots are put in force one after the other.
    changing: Mutex<()>,
    position: ArcSwap<Position>,
    fence: Fence<Known, Unknown>,
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
        Self::open_under(folder, replica::digest_key(folder), entries, tier_slots, None)
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
        Self::open_under(folder, Some(key), entries, tier_slots, None)
    }

    /// [`Self::open`], or [`Self::open_with_key`] where the operator has one, in a folder whose lock another process gave.
    ///
    /// # Errors
    /// When the folder or a file in it can't be used.
    pub fn inherit(
        folder: &Path,
        key: Option<DigestKey>,
        entries: u64,
        tier_slots: TierSlots,
        lock: std::fs::File,
    ) -> Result<Arc<Self>, ReplicaError> {
        let key = key.or_else(|| replica::digest_key(folder));
        Self::open_under(folder, key, entries, tier_slots, Some(lock))
    }

    fn open_under(
        folder: &Path,
        key: Option<DigestKey>,
        entries: u64,
        tier_slots: TierSlots,
        lock: Option<std::fs::File>,
    ) -> Result<Arc<Self>, ReplicaError> {
        let replica = match lock {
            Some(lock) => Replica::open_locked(folder, key.as_ref(), lock)?,
            None => Replica::open(folder, key.as_ref())?,
        };
        Ok(Arc::new(Self {
            folder: folder.to_owned(),
            position: ArcSwap::from_pointee(replica.position()),
            replica,
            changing: Mutex::default(),
            fence: Fence::new(
                moka::sync::Cache::builder()
                    .max_capacity(entries)
                    .time_to_idle(IDLE)
                    .build(),
                moka::sync::Cache::new(UNKNOWN_ENTRIES),
            ),
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

    /// The revision in force: one load.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.position.load().revision
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
        self.fence.known().entry_count() + self.fence.unknown().entry_count()
    }

    /// Buckets in memory, about.
    #[must_use]
    pub fn bucket_count(&self) -> usize {
        self.accounts.len() * 2 + self.customers.len()
    }

    /// The fence, to ask whether a held key is current.
    #[must_use]
    pub fn generations(&self) -> &Generations {
        self.fence.generations()
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
        self.fence.generations().raise_all();
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
        if let Some(key) = recent.find(digest, self.fence.generations()) {
            return (Lookup::Known(key), Layer::Recent);
        }
        let (answer, layer) = self.find_shared(digest);
        if let Lookup::Known(key) = &answer {
            recent.remember(key);
        }
        (answer, layer)
    }

    fn find_shared(&self, digest: &KeyDigest) -> (Lookup, Layer) {
        match self.fence.look(digest) {
            Cached::Known(entry, stamp) => (Lookup::Known(HeldKey::new(entry, stamp)), Layer::Shared),
            Cached::Unknown => (Lookup::Unknown, Layer::Shared),
            Cached::No(reading) => (self.find_on_disk(digest, reading), Layer::Replica),
        }
    }

    fn find_on_disk(&self, digest: &KeyDigest, reading: Reading) -> Lookup {
        let Some(view) = self.replica.view() else {
            return Lookup::Unavailable;
        };
        let read = || {
            let record = view.key(digest)?;
            record.map(|record| self.entry(record, &view)).transpose()
        };
        match read() {
            Ok(Some(entry)) => {
                let stamp = self.fence.keep_known(digest, reading, Arc::clone(&entry));
                Lookup::Known(HeldKey::new(entry, stamp))
            }
            Ok(None) => {
                self.fence.keep_unknown(digest, reading);
                Lookup::Unknown
            }
            Err(error) => {
                tracing::error!(%error, "a key can't be read from the replica");
                self.replica.found(&error);
                Lookup::Unavailable
            }
        }
    }

    fn entry(&self, record: KeyRecord, view: &Arc<View>) -> Result<Arc<KeyEntry>, ReplicaError> {
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

    /// The cell of an account, made of the newest view when there is none (see [`cells`]).
    fn account(&self, id: AccountId, view: &Arc<View>) -> Result<Arc<AccountCell>, ReplicaError> {
        let newest = || self.replica.view().unwrap_or_else(|| Arc::clone(view));
        cells::find_or_make(&self.accounts, id, newest, |view| {
            let record = view.account(id)?;
            let record = record.ok_or_else(|| ReplicaError::Record(format!("account {id} is missing")))?;
            let slot = (self.tier_slots)(&record.tier);
            let contract_start = record.contract.start;
            let cell = Arc::new(AccountCell::new(AccountPolicy::new(record, slot)));
            recall_quota(&cell, contract_start, &view);
            Ok(cell)
        })
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

impl Drop for KeySet {
    fn drop(&mut self) {
        self.replica.stop();
    }
}

#[cfg(test)]
mod tests;
