//! What was last heard of each account's quota, for a restart without the control plane.
//!
//! It comes many times a second and old news is only less exact, so it is neither synced nor counted in the
//! replica's position: each piece has a tag of its own, and one that fails is forgotten, as is all behind it. In memory is where each
//! account's last one lies: about 60 bytes for an account.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dashmap::DashMap;
use keyward_contract::{AccountId, feed};
use parking_lot::Mutex;
use prost::Message;

use super::Result;
use super::folder::{self, at};
use super::record::Bytes;
use super::tag::{Kind, TagKey};

const TAG: usize = 32;
/// The file is written anew when it is this long, and twice as long as it needs to be.
const WORTH_IT: u64 = 1 << 20;
/// A longer one was not written by us.
const LONGEST: u64 = 1 << 30;

/// Where the last news of each account lies.
#[derive(Debug)]
pub(super) struct Quotas {
    places: DashMap<AccountId, (u64, u32)>,
    file: Mutex<Appended>,
    path: PathBuf,
}

#[derive(Debug)]
struct Appended {
    file: File,
    length: u64,
    live: u64,
}

impl Quotas {
    /// Reads what is there, up to the first piece that fails.
    pub(super) fn open(folder: &Path, key: &TagKey) -> Result<Self> {
        let path = folder.join(folder::QUOTAS);
        let file = folder::options().open(&path).map_err(|error| at(&path, error))?;
        let quotas = Self {
            places: DashMap::new(),
            file: Mutex::new(Appended {
                file,
                length: 0,
                live: 0,
            }),
            path,
        };
        let mut appended = quotas.file.lock();
        let length = appended.file.metadata().map_or(0, |metadata| metadata.len());
        let bytes = if length > LONGEST {
            Vec::new()
        } else {
            std::fs::read(&quotas.path).unwrap_or_default()
        };
        let mut rest = Bytes(&bytes);
        while let Some((usage, length)) = piece(&mut rest, key) {
            let start = appended.length;
            quotas.place(&mut appended, &usage, start, length);
            appended.length += u64::from(length);
        }
        drop(appended);
        Ok(quotas)
    }

    fn place(&self, appended: &mut Appended, usage: &feed::QuotaUsage, offset: u64, length: u32) {
        if let Ok(account) = AccountId::from_slice(&usage.account_id) {
            appended.live += u64::from(length);
            if let Some((_, old)) = self.places.insert(account, (offset, length)) {
                appended.live = appended.live.saturating_sub(old.into());
            }
        }
    }

    /// Keeps the newest.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn keep(&self, usage: &feed::QuotaUsage, key: &TagKey) -> Result<()> {
        let body = usage.encode_to_vec();
        let mut written = (body.len() as u32).to_le_bytes().to_vec();
        written.extend_from_slice(&body);
        written.extend_from_slice(&key.tag(Kind::Quota, &[&body]));
        let mut appended = self.file.lock();
        if appended.length > WORTH_IT && appended.length > appended.live.saturating_mul(2) {
            self.write_anew(&mut appended)?;
        }
        let start = appended.length;
        appended
            .file
            .write_all_at(&written, start)
            .map_err(|error| at(&self.path, error))?;
        self.place(&mut appended, usage, start, written.len() as u32);
        appended.length += written.len() as u64;
        Ok(())
    }

    fn write_anew(&self, appended: &mut Appended) -> Result<()> {
        let draft = self.path.with_extension("draft");
        let failed = |error| at(&draft, error);
        let file = folder::options().truncate(true).open(&draft).map_err(failed)?;
        let mut places = Vec::with_capacity(self.places.len());
        let mut length = 0;
        for place in &self.places {
            let (offset, count) = *place.value();
            let mut bytes = vec![0; count as usize];
            appended.file.read_exact_at(&mut bytes, offset).map_err(failed)?;
            file.write_all_at(&bytes, length).map_err(failed)?;
            places.push((*place.key(), (length, count)));
            length += u64::from(count);
        }
        std::fs::rename(&draft, &self.path).map_err(failed)?;
        *appended = Appended {
            file,
            length,
            live: length,
        };
        self.places.clear();
        for (account, place) in places {
            self.places.insert(account, place);
        }
        Ok(())
    }

    /// What was last heard; `None` also when it can't be read.
    pub(super) fn of(&self, account: AccountId, key: &TagKey) -> Option<feed::QuotaUsage> {
        let appended = self.file.lock();
        let (offset, length) = *self.places.get(&account)?;
        let mut bytes = vec![0; length as usize];
        appended.file.read_exact_at(&mut bytes, offset).ok()?;
        piece(&mut Bytes(&bytes), key).map(|(usage, _)| usage)
    }
}

fn piece(rest: &mut Bytes<'_>, key: &TagKey) -> Option<(feed::QuotaUsage, u32)> {
    let length = u32::from_le_bytes(rest.array()?);
    let body = rest.take(length as usize)?;
    let tag = rest.take(TAG)?;
    if !key.is_tag(Kind::Quota, &[body], tag) {
        return None;
    }
    let usage = feed::QuotaUsage::decode(body).ok()?;
    Some((usage, length.checked_add(4 + TAG as u32)?))
}
