//! What readers see of a replica: a base, and the changes since.

use std::path::PathBuf;
use std::sync::Arc;

use keyward_contract::{AccountId, AccountRecord, KeyDigest, KeyRecord, feed};

use super::base::Base;
use super::merge::{BaseRecords, OverlayRecords, Source, step};
use super::overlay::Overlay;
use super::record::{self, Place};
use super::{Keyed, ReplicaError, Result, Stored, folder};

/// What is in force; readers share it without locks. It sees changes as they come, and never a part of a record.
#[derive(Debug)]
pub(in crate::keys) struct View {
    pub(super) base: Arc<Base>,
    pub(super) frozen: Option<Arc<Overlay>>,
    pub(super) active: Arc<Overlay>,
    pub(super) keyed: Arc<Keyed>,
}

/// A key set that came whole, on disk and not in force. Dropped, it is removed, unless it took over.
#[derive(Debug)]
pub(in crate::keys) struct Whole {
    pub(super) view: View,
    pub(super) name: String,
    pub(super) folder: PathBuf,
}

impl Whole {
    /// What it holds.
    pub(in crate::keys) fn view(&self) -> &View {
        &self.view
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if folder::current(&self.folder).ok().flatten().as_deref() != Some(&self.name) {
            let _ = std::fs::remove_file(self.view.base.path());
        }
    }
}

impl View {
    fn value(&self, place: &Place) -> Result<Option<Box<[u8]>>> {
        let changed = self.active.value(place);
        match changed.or_else(|| self.frozen.as_ref()?.value(place)) {
            Some(value) => Ok(Some(value)),
            None => self.base.value(place, &self.keyed.key),
        }
    }

    fn holds(&self, place: &Place) -> bool {
        self.active.holds(place)
            || self.frozen.as_ref().is_some_and(|frozen| frozen.holds(place))
            || matches!(self.base.value(place, &self.keyed.key), Ok(Some(_)))
    }

    /// The key with this digest.
    ///
    /// # Errors
    /// When the disk fails or holds other bytes than were written.
    pub(in crate::keys) fn key(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>> {
        let Some(stored) = self.value(digest.as_bytes())? else {
            return Ok(None);
        };
        record::decode_key(*digest, &stored)
            .map(Some)
            .ok_or_else(|| ReplicaError::Record("a key can't be read".into()))
    }

    /// The account with this id.
    ///
    /// # Errors
    /// When the disk fails or holds other bytes than were written.
    pub(in crate::keys) fn account(&self, id: AccountId) -> Result<Option<AccountRecord>> {
        let Some(stored) = self.value(&self.keyed.key.place_of(id))? else {
            return Ok(None);
        };
        record::decode_account(&stored)
            .filter(|account| account.id == id)
            .map(Some)
            .ok_or_else(|| ReplicaError::Record(format!("account {id} can't be read")))
    }

    /// Everything, in the order of the places.
    pub(super) fn records(&self) -> Result<impl Iterator<Item = Result<(Place, Box<[u8]>)>> + '_> {
        let mut sources: Vec<Box<dyn Source + '_>> =
            vec![Box::new(BaseRecords::new(&self.base, &self.keyed.key)?)];
        for overlay in self.frozen.iter().chain([&self.active]) {
            sources.push(Box::new(OverlayRecords::new(Arc::clone(overlay))));
        }
        Ok(std::iter::from_fn(move || step(&mut sources).transpose()))
    }

    /// The digest of every key, in order.
    ///
    /// # Errors
    /// When the disk fails; so may every step.
    pub(in crate::keys) fn digests(&self) -> Result<impl Iterator<Item = Result<KeyDigest>> + '_> {
        let keys = self.records()?.filter_map(|record| match record {
            Ok((place, value)) if value.first() == Some(&record::KEY) => {
                Some(Ok(KeyDigest::from_bytes(place)))
            }
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        Ok(keys)
    }

    /// Every account.
    ///
    /// # Errors
    /// When the disk fails; so may every step, also for a stored record that is broken.
    pub(in crate::keys) fn accounts(&self) -> Result<impl Iterator<Item = Result<AccountRecord>> + '_> {
        let accounts = self.records()?.filter_map(|record| match record {
            Ok((_, value)) if value.first() == Some(&record::ACCOUNT) => Some(
                record::decode_account(&value)
                    .ok_or_else(|| ReplicaError::Record("an account can't be read".into())),
            ),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        Ok(accounts)
    }

    /// What was last kept of an account's quota; `None` also when it can't be read.
    pub(in crate::keys) fn quota(&self, account: AccountId) -> Option<feed::QuotaUsage> {
        self.keyed.quotas.of(account, &self.keyed.key)
    }

    /// How many keys of a change are not held yet.
    pub(super) fn new_keys(&self, records: &[Stored]) -> u64 {
        let mut seen = rustc_hash::FxHashSet::default();
        let new = records.iter().filter(|(place, value)| {
            value.first() == Some(&record::KEY) && !self.holds(place) && seen.insert(place)
        });
        new.count() as u64
    }
}
