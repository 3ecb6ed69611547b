//! The boot epoch: a number on disk that grows at every start, and a lock that keeps a second process out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

const EPOCH: &str = "boot-epoch";

/// Why the ledger can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The folder or a file in it can't be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{} is in use by another gateway", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
}

/// This start of the gateway. While it is held, no other process can begin one in the same folder.
#[derive(Debug)]
pub(super) struct Boot {
    epoch: u64,
    lock: File,
    /// Another process holds it too: it is not ours to open.
    is_shared: AtomicBool,
}

impl Boot {
    /// Takes the folder and counts its epoch up, durably.
    pub(super) fn begin(folder: &Path, inherited: Option<File>) -> Result<Self, LedgerError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LedgerError::Io { path, source }
        };
        fs::create_dir_all(folder).map_err(failed(folder))?;
        if let Some(lock) = inherited {
            return Self::count_up(folder, lock);
        }
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LedgerError::InUse {
                    path: folder.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(&lock_path)(source)),
        }
        Self::count_up(folder, lock)
    }

    fn count_up(folder: &Path, lock: File) -> Result<Self, LedgerError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LedgerError::Io { path, source }
        };
        let file = folder.join(EPOCH);
        let last = last(&file).map_err(failed(&file))?;
        // A folder of usage outlives a file that was lost.
        let newest = newest_folder(folder).map_err(failed(folder))?;
        let epoch = next(last.max(newest), wall_clock_ms());
        keep(folder, EPOCH, epoch.to_string().as_bytes())
            .or_else(|error| keep_in_place(&file, epoch).map_err(|_| error))
            .map_err(failed(&file))?;
        let is_shared = AtomicBool::new(false);
        Ok(Self {
            epoch,
            lock,
            is_shared,
        })
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A descriptor of the lock for another process: the folder is taken as long as either lives.
    pub(super) fn share(&self) -> io::Result<File> {
        let lock = self.lock.try_clone()?;
        self.is_shared.store(true, Ordering::Relaxed);
        Ok(lock)
    }
}

impl Drop for Boot {
    fn drop(&mut self) {
        // Closing is not enough: a process that is being started may still have a copy.
        if !self.is_shared.load(Ordering::Relaxed) {
            let _ = self.lock.unlock();
        }
    }
}

/// At least the milliseconds since 1970, so that a folder that was lost begins above what it had before.
fn next(last: u64, wall_clock_ms: u64) -> u64 {
    // The control plane keeps it as a signed number.
    last.saturating_add(1)
        .max(wall_clock_ms)
        .min(i64::MAX.unsigned_abs())
}

/// The epoch of the last start; 0 where there was none.
fn last(file: &Path) -> io::Result<u64> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(text.trim().parse().unwrap_or_else(|_| {
            tracing::warn!(file = %file.display(), "the boot epoch is unreadable; the clock gives the next one");
            0
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// The last start that has a folder; 0 where there is none.
fn newest_folder(folder: &Path) -> io::Result<u64> {
    let mut newest = 0;
    for entry in fs::read_dir(folder)? {
        let epoch = entry?.file_name().to_str().and_then(super::recovery::epoch_of);
        newest = newest.max(epoch.unwrap_or_default());
    }
    Ok(newest)
}

/// Writes a small file so that it is there whole or as before, whatever happens meanwhile.
pub(super) fn keep(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let (file, fresh) = (folder.join(name), folder.join(format!("{name}.new")));
    let mut writing = File::create(&fresh)?;
    writing.write_all(content)?;
    writing.sync_all()?;
    fs::rename(&fresh, &file)?;
    File::open(folder)?.sync_all()
}

/// On a disk that is full there is no room for a new file, but there is for one as long as the old one.
fn keep_in_place(file: &Path, epoch: u64) -> io::Result<()> {
    let mut writing = OpenOptions::new().write(true).open(file)?;
    writing.write_all(epoch.to_string().as_bytes())?;
    writing.sync_all()
}

fn wall_clock_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_grows_at_every_start_also_when_the_clock_went_back() {
        let folder = tempfile::tempdir().unwrap();
        let first = Boot::begin(folder.path(), None).unwrap().epoch();
        let second = Boot::begin(folder.path(), None).unwrap().epoch();
        assert!(second > first);
        let far_ahead = u64::MAX >> 8;
        fs::write(folder.path().join("boot-epoch"), far_ahead.to_string()).unwrap();
        assert_eq!(Boot::begin(folder.path(), None).unwrap().epoch(), far_ahead + 1);
        assert_eq!(
            (next(5, 3), next(5, 9), next(u64::MAX, 3)),
            (6, 9, i64::MAX.unsigned_abs())
        );
    }

    #[test]
    fn an_unreadable_epoch_stops_no_gateway() {
        let folder = tempfile::tempdir().unwrap();
        let first = Boot::begin(folder.path(), None).unwrap().epoch();
        fs::write(folder.path().join("boot-epoch"), "what").unwrap();
        assert!(Boot::begin(folder.path(), None).unwrap().epoch() >= first);
    }

    #[test]
    fn a_folder_belongs_to_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let held = Boot::begin(folder.path(), None).unwrap();
        assert!(matches!(
            Boot::begin(folder.path(), None),
            Err(LedgerError::InUse { .. })
        ));
        drop(held);
        assert!(Boot::begin(folder.path(), None).is_ok());
    }
}
