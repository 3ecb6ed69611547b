//! Why the replica can't be read or written, and which of it is damage.

use std::io::ErrorKind;
use std::path::PathBuf;

/// The replica can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// A file operation failed.
    #[error("replica file {path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// What is on disk is not what was written there, or older than it must be.
    #[error("replica: {0}")]
    Damaged(String),
    /// A stored record can't be read back, or not be stored.
    #[error("replica record: {0}")]
    Record(String),
    /// Another process has it open.
    #[error("another process uses the replica in {0}")]
    InUse(PathBuf),
    /// Nothing is kept without the key of its tags.
    #[error("the digest key is not known yet")]
    NoDigestKey,
    /// A change came before the first snapshot.
    #[error("no snapshot has come yet")]
    Empty,
}

pub(super) type Result<T> = std::result::Result<T, ReplicaError>;

impl ReplicaError {
    /// Whether the files are to blame, and another try would end the same: then they are set aside. What is in the way of
    /// every file (rights, a full disk, too many open files) says nothing about these.
    #[must_use]
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Record(_) => true,
            Self::File { error, .. } => {
                !matches!(
                    error.kind(),
                    ErrorKind::PermissionDenied
                        | ErrorKind::ReadOnlyFilesystem
                        | ErrorKind::StorageFull
                        | ErrorKind::QuotaExceeded
                        | ErrorKind::FileTooLarge
                        | ErrorKind::OutOfMemory
                        | ErrorKind::Interrupted
                ) && !matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
            }
            Self::InUse(_) | Self::NoDigestKey | Self::Empty => false,
        }
    }
}
