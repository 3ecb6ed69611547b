//! Opening the replica: all of it is read and checked once, what a crash left is removed, and what fails is set aside.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use keyward_contract::DigestKey;
use parking_lot::Mutex;

use super::acknowledged::Acknowledged;
use super::base::Base;
use super::compaction::Compaction;
use super::error::Result;
use super::journal::Journal;
use super::overlay::Overlay;
use super::quotas::Quotas;
use super::tag::{Kind, TagKey};
use super::{Keyed, Replica, ReplicaError, Writer, folder};

impl Replica {
    /// Opens the replica in this folder, reads all of it once, and removes what a crash left. What fails is set aside.
    ///
    /// # Errors
    /// When the folder can't be used, or another process uses it.
    pub(in crate::keys) fn open(folder: &Path, digest_key: Option<&DigestKey>) -> Result<Arc<Self>> {
        Self::open_locked(folder, digest_key, folder::take(folder)?)
    }

    /// [`Self::open`] in a folder whose lock is held already.
    ///
    /// # Errors
    /// When the folder can't be used.
    pub(in crate::keys) fn open_locked(
        folder: &Path,
        digest_key: Option<&DigestKey>,
        lock: std::fs::File,
    ) -> Result<Arc<Self>> {
        let began = Instant::now();
        let mut reason = None;
        let loaded = match load(folder, digest_key) {
            Err(error) if error.is_damage() => {
                let aside = folder::set_aside(folder)?;
                tracing::error!(
                    %error, aside = %aside.display(),
                    "the replica is not what was written, and was set aside; a snapshot is needed before any call \
                     is served. If no disk failed and nobody restored an older copy, find out who wrote there"
                );
                reason = Some(error.to_string());
                None
            }
            loaded => loaded?,
        };
        let keyed = match (&loaded, digest_key) {
            (Some((_, keyed)), _) => Some(Arc::clone(keyed)),
            (None, Some(key)) => Some(Arc::new(Keyed::open(folder, key)?)),
            (None, None) => None,
        };
        let replica = Self {
            folder: folder.to_owned(),
            lock,
            is_given_away: AtomicBool::default(),
            keyed: ArcSwapOption::new(keyed),
            view: ArcSwapOption::empty(),
            writer: Mutex::default(),
            compaction: Compaction::default(),
            generation: AtomicU64::default(),
            keys: AtomicU64::default(),
            bytes: AtomicU64::default(),
            set_aside: Mutex::new(reason),
            is_damaged: AtomicBool::default(),
        };
        if let Some((writer, keyed)) = loaded {
            let took = began.elapsed();
            tracing::info!(
                revision = writer.position.revision,
                keys = writer.keys,
                bytes = writer.base.bytes,
                ?took,
                "the replica is whole"
            );
            let mut place = replica.writer.lock();
            replica.show(place.insert(writer), &keyed);
        }
        Ok(Arc::new(replica))
    }

    /// Takes over a digest key. With another one than before nothing that is held can be found any more: it is set aside.
    pub(in crate::keys) fn use_key(&self, key: &DigestKey) -> Result<()> {
        let mut writer = self.writer.lock();
        let probe = |key: &TagKey| key.tag(Kind::Trailer, &[]);
        if let Some(keyed) = &*self.keyed.load()
            && probe(&keyed.key) == probe(&TagKey::new(key))
        {
            return Ok(());
        }
        self.view.store(None);
        if writer.take().is_some() || self.keyed.load().is_some() {
            folder::set_aside(&self.folder)?;
        }
        self.keyed.store(Some(Arc::new(Keyed::open(&self.folder, key)?)));
        Ok(())
    }
}

impl Keyed {
    fn open(folder: &Path, digest_key: &DigestKey) -> Result<Self> {
        let key = TagKey::new(digest_key);
        Ok(Self {
            quotas: Quotas::open(folder, &key)?,
            acknowledged: Mutex::new(Acknowledged::open(folder, &key)?),
            key,
        })
    }
}

/// What is in force in the folder; `None` when nothing is.
///
/// # Errors
/// Those of damage, when it is not what was written, or is older than what was acknowledged.
fn load(folder: &Path, digest_key: Option<&DigestKey>) -> Result<Option<(Writer, Arc<Keyed>)>> {
    let Some(name) = folder::current(folder)? else {
        folder::tidy(folder, None, 0);
        return Ok(None);
    };
    let digest_key =
        digest_key.ok_or_else(|| ReplicaError::Damaged("its digest key is missing or damaged".into()))?;
    let keyed = Keyed::open(folder, digest_key)?;
    let base = Base::open(&folder.join(&name), &keyed.key)?;
    let active = Arc::<Overlay>::default();
    let replayed = Journal::replay(folder, &base.trailer, &active, &keyed.key)?;
    if !keyed.acknowledged.lock().admits(&replayed.position) {
        let revision = replayed.position.revision;
        return Err(ReplicaError::Damaged(format!(
            "revision {revision} is older than what was acknowledged"
        )));
    }
    let mut journal = replayed.journal;
    journal.settle(folder)?;
    folder::tidy(folder, Some(&name), base.trailer.journal);
    let writer = Writer {
        position: replayed.position,
        keys: replayed.keys,
        base: Arc::new(base),
        journal,
        frozen: None,
        active,
    };
    Ok(Some((writer, Arc::new(keyed))))
}
