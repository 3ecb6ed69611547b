//! The data folder: made when it is absent, for its owner alone, and used by one process at a time.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::Context;

/// A data folder that no other process uses. The system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DataFolder {
    _lock: File,
}

impl DataFolder {
    /// Makes the folder and takes it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(path)
            .with_context(|| format!("can't make the data folder {} (--data-dir)", path.display()))?;
        let file = path.join("lock");
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&file)
            .with_context(|| format!("can't write in the data folder: {}", file.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => anyhow::bail!(
                "the data folder {} is in use by another keyward{}; stop that one, or give this one a folder of its own with --data-dir",
                path.display(),
                holder(&mut lock)
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("can't lock {}", file.display()));
            }
        }
        note_holder(&mut lock).with_context(|| format!("can't write {}", file.display()))?;
        Ok(Self { _lock: lock })
    }
}

fn note_holder(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

/// ` (process 123)`, as far as it is known.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    match lock
        .take(32)
        .read_to_string(&mut text)
        .map(|_| text.trim().parse::<u32>())
    {
        Ok(Ok(id)) => format!(" (process {id})"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_used_by_one_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/data");
        let first = DataFolder::open(&path).unwrap();
        let message = DataFolder::open(&path).unwrap_err().to_string();
        let expected = format!(
            "the data folder {} is in use by another keyward (process {}); stop that one, or give this one a folder of its own with --data-dir",
            path.display(),
            std::process::id()
        );
        assert_eq!(message, expected);
        drop(first);
        assert!(DataFolder::open(&path).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_new_folder_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let _folder = DataFolder::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let message = DataFolder::open(&file.path().join("data"))
            .unwrap_err()
            .to_string();
        assert!(message.starts_with("can't make the data folder "), "{message}");
    }
}
