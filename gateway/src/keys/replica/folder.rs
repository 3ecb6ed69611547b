//! The replica's folder: names, small files that are replaced whole, and what becomes of files that fail.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use keyward_contract::DigestKey;
use zeroize::Zeroizing;

use super::{GENERATION, ReplicaError, Result};

/// Names the base in force.
pub(super) const CURRENT: &str = "current";
/// The highest revision that was acknowledged.
pub(super) const ACKNOWLEDGED: &str = "acknowledged";
/// What was heard of quotas.
pub(super) const QUOTAS: &str = "quotas";
const DIGEST_KEY: &str = "digest-key";
const LOCK: &str = "lock";
/// Begins the names of folders with what failed.
const DAMAGED: &str = "damaged-";
/// So many of them are kept, to be looked at.
const KEPT: usize = 2;
/// What a base is called while it is written, and the parts that it is made of.
pub(super) const DRAFTS: [&str; 2] = ["draft", "runs"];
/// How the names of bases and journals end.
pub(super) const BASE: &str = "base";
pub(super) const JOURNAL: &str = "journal";
/// A file that the format before this one left; it has no tag.
const OLD: &str = "redb";
const CHECK: &str = "keyward 2026-11-22 check of a digest key in its file";

/// Makes the folder, for its owner alone, and locks it as long as the file lives.
pub(super) fn take(folder: &Path) -> Result<File> {
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private.create(folder).map_err(|error| at(folder, error))?;
    let path = folder.join(LOCK);
    let file = options().open(&path).map_err(|error| at(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(ReplicaError::InUse(folder.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(at(&path, error)),
    }
}

/// Read and written by its owner alone; made when it is missing.
pub(super) fn options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options
}

pub(super) fn journal_name(number: u64) -> String {
    format!("{number:016x}.{JOURNAL}")
}

fn number_of(journal: &str) -> Option<u64> {
    u64::from_str_radix(journal.split_once('.')?.0, 16).ok()
}

/// The name of the base in force; `None` when there is none.
///
/// # Errors
/// [`ReplicaError::Damaged`] when it is no name.
pub(super) fn current(folder: &Path) -> Result<Option<String>> {
    let path = folder.join(CURRENT);
    let name = match fs::read(&path) {
        Ok(name) => name,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(&path, error)),
    };
    let name = String::from_utf8(name).ok();
    let is_name = |name: &String| {
        name.strip_suffix(".base")
            .is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    name.filter(is_name)
        .map(Some)
        .ok_or_else(|| ReplicaError::Damaged("`current` names no file".into()))
}

/// Removes a base that another one took the place of, and its journals, of which this is the last. Nothing else: a
/// snapshot may be on its way beside.
pub(super) fn remove_replaced(folder: &Path, base: &Path, last_journal: u64) {
    let _ = fs::remove_file(base);
    let mut number = last_journal;
    while fs::remove_file(folder.join(journal_name(number))).is_ok() {
        number = number.saturating_sub(1);
    }
}

/// Removes what a crash left. Only for a start: what is on its way looks the same.
pub(super) fn tidy(folder: &Path, current: Option<&str>, first_journal: u64) {
    let is_live =
        |number: u64| number >= first_journal && number >> GENERATION == first_journal >> GENERATION;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_over = match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some(BASE) => Some(name) != current,
            Some(JOURNAL) => current.is_none() || !number_of(name).is_some_and(is_live),
            Some(OLD) => true,
            Some(extension) => DRAFTS.contains(&extension),
            None => false,
        };
        if is_over {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Moves everything that belongs to the replica, but not the digest key, out of the way. Keeps the last few such folders.
pub(super) fn set_aside(folder: &Path) -> Result<PathBuf> {
    let aside = folder.join(format!("{DAMAGED}{}", uuid::Uuid::now_v7().simple()));
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&aside)
        .map_err(|error| at(&aside, error))?;
    let mut older = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| at(folder, error))?.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let Some(name) = name.to_str() else { continue };
        if name.starts_with(DAMAGED) {
            older.push(path);
        } else if ![LOCK, DIGEST_KEY].contains(&name) {
            fs::rename(&path, aside.join(name)).map_err(|error| at(&path, error))?;
        }
    }
    // Their names begin with the time.
    older.sort_unstable();
    for path in older.iter().rev().skip(KEPT) {
        let _ = fs::remove_dir_all(path);
    }
    sync(folder)?;
    Ok(aside)
}

/// The digest key that came over the stream before; `None` when there is none, or the file is damaged.
pub(in crate::keys) fn digest_key(folder: &Path) -> Option<DigestKey> {
    let bytes = Zeroizing::new(fs::read(folder.join(DIGEST_KEY)).ok()?);
    let (key, check) = bytes.split_at_checked(32)?;
    let key = DigestKey::from_bytes(key.try_into().ok()?);
    // A wrong one would make every key unknown, for ever.
    (check == blake3::derive_key(CHECK, key.expose())).then_some(key)
}

/// Keeps a digest key that came over the stream.
pub(in crate::keys) fn keep_digest_key(folder: &Path, key: &DigestKey) -> Result<()> {
    let mut bytes = Zeroizing::new(key.expose().to_vec());
    bytes.extend_from_slice(&blake3::derive_key(CHECK, key.expose()));
    write_durably(folder, DIGEST_KEY, &bytes)
}

/// Writes a small file so that after a crash it holds either its old content or the new one.
pub(super) fn write_durably(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    let (path, draft) = (folder.join(name), folder.join(format!("{name}.draft")));
    let write = || -> io::Result<()> {
        let mut file = options().truncate(true).open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, &path)
    };
    write().map_err(|error| at(&path, error))?;
    sync(folder)
}

/// Makes names durable.
pub(super) fn sync(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| at(folder, error))
}

pub(super) fn at(path: &Path, error: io::Error) -> ReplicaError {
    ReplicaError::File {
        path: path.to_owned(),
        error,
    }
}
