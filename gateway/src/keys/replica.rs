//! The key set on disk: what a gateway serves by when the control plane is away.
//!
//! One redb file a snapshot, in `<path>/`; the file named in `current` is in force. Every change is committed
//! durably before it counts, so an acknowledged revocation outlives a crash. A half-written snapshot is a file
//! that nothing names, removed at the next start. Holds digests and policy, never a raw key. Reads cost a few
//! microseconds from the page cache and never wait for a writer.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyward_contract::{AccountId, AccountRecord, KeyDigest, KeyRecord, Record, feed};
use prost::Message;
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition};

const KEYS: TableDefinition<'static, [u8; 32], &[u8]> = TableDefinition::new("keys");
const ACCOUNTS: TableDefinition<'static, [u8; 16], &[u8]> = TableDefinition::new("accounts");
const QUOTAS: TableDefinition<'static, [u8; 16], &[u8]> = TableDefinition::new("quotas");
const META: TableDefinition<'static, &str, &str> = TableDefinition::new("meta");

/// Pages that redb keeps in this process; the operating system's page cache holds the rest.
const PAGE_CACHE_BYTES: usize = 8 << 20;

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
    /// The store failed.
    #[error("replica store: {0}")]
    Store(#[from] redb::Error),
    /// A stored record can't be read back.
    #[error("replica record: {0}")]
    Record(String),
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for ReplicaError {
            fn from(error: $error) -> Self {
                Self::Store(error.into())
            }
        }
    )*};
}
from_redb!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::SetDurabilityError
);

type Result<T> = std::result::Result<T, ReplicaError>;

/// Up to where a replica follows the change log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The history that the revision belongs to; empty when nothing is held.
    pub feed_epoch: String,
    /// The last revision in force; 0 when nothing is held.
    pub revision: u64,
    /// What the control plane calls the history up to that revision; empty when it said nothing.
    pub history: Vec<u8>,
    /// Under which scope it was sent: which accounts and environments this gateway gets.
    pub scope: String,
}

impl Position {
    /// This revision of this history, under the scope of everything.
    #[must_use]
    pub fn new(feed_epoch: &str, revision: u64) -> Self {
        Self {
            feed_epoch: feed_epoch.to_owned(),
            revision,
            ..Self::default()
        }
    }
}

/// One whole key set on disk.
pub(super) struct Replica {
    database: Database,
    file: PathBuf,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// What a replica held at one moment; readers share it without locks.
pub(super) struct View {
    keys: ReadOnlyTable<[u8; 32], &'static [u8]>,
    accounts: ReadOnlyTable<[u8; 16], &'static [u8]>,
    quotas: ReadOnlyTable<[u8; 16], &'static [u8]>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View")
    }
}

impl View {
    /// The key with this digest.
    ///
    /// # Errors
    /// When the disk fails or the stored record is broken.
    pub(super) fn key(&self, digest: &KeyDigest) -> Result<Option<KeyRecord>> {
        let Some(stored) = self.keys.get(digest.as_bytes())? else {
            return Ok(None);
        };
        let wire = feed::Key::decode(stored.value()).map_err(|e| ReplicaError::Record(e.to_string()))?;
        KeyRecord::try_from(wire)
            .map(Some)
            .map_err(|error| ReplicaError::Record(error.to_string()))
    }

    /// The account with this id.
    ///
    /// # Errors
    /// When the disk fails or the stored record is broken.
    pub(super) fn account(&self, id: AccountId) -> Result<Option<AccountRecord>> {
        let Some(stored) = self.accounts.get(id.as_uuid().as_bytes())? else {
            return Ok(None);
        };
        let wire = feed::Account::decode(stored.value()).map_err(|e| ReplicaError::Record(e.to_string()))?;
        AccountRecord::try_from(wire)
            .map(Some)
            .map_err(|error| ReplicaError::Record(error.to_string()))
    }
}

impl View {
    /// The digest of every key, in order.
    ///
    /// # Errors
    /// When the disk fails; so may every step.
    pub(super) fn digests(&self) -> Result<impl Iterator<Item = Result<KeyDigest>> + '_> {
        use redb::ReadableTable;
        let stored = self.keys.iter()?;
        Ok(stored.map(|entry| Ok(KeyDigest::from_bytes(entry?.0.value()))))
    }

    /// Every account.
    ///
    /// # Errors
    /// When the disk fails; so may every step, also for a stored record that is broken.
    pub(super) fn accounts(&self) -> Result<impl Iterator<Item = Result<AccountRecord>> + '_> {
        use redb::ReadableTable;
        let stored = self.accounts.iter()?;
        Ok(stored.map(|entry| {
            let wire = feed::Account::decode(entry?.1.value());
            let wire = wire.map_err(|error| ReplicaError::Record(error.to_string()))?;
            AccountRecord::try_from(wire).map_err(|error| ReplicaError::Record(error.to_string()))
        }))
    }

    /// What was last kept of an account's quota; `None` also when it can't be read.
    pub(super) fn quota(&self, account: AccountId) -> Option<feed::QuotaUsage> {
        let stored = self.quotas.get(account.as_uuid().as_bytes()).ok()??;
        feed::QuotaUsage::decode(stored.value()).ok()
    }
}

impl Replica {
    /// Opens the replica in force in this folder, and removes what a crash left of others.
    ///
    /// # Errors
    /// When the folder can't be used or the file is broken beyond redb's own recovery.
    pub(super) fn open(folder: &Path) -> Result<Option<Self>> {
        // Digests tell nothing without their key, but they are nobody else's business.
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(folder).map_err(|error| at(folder, error))?;
        let current = match fs::read_to_string(folder.join("current")) {
            Ok(name) => Some(name.trim().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(&folder.join("current"), error)),
        };
        for entry in fs::read_dir(folder).map_err(|error| at(folder, error))?.flatten() {
            let name = entry.file_name();
            let stale = name
                .to_str()
                .is_some_and(|name| name.ends_with(".redb") && Some(name) != current.as_deref());
            if stale {
                let _ = fs::remove_file(entry.path());
            }
        }
        let Some(name) = current else { return Ok(None) };
        let file = folder.join(name);
        if !file.exists() {
            return Ok(None);
        }
        let database = Database::builder().set_cache_size(PAGE_CACHE_BYTES).open(&file)?;
        Ok(Some(Self { database, file }))
    }

    /// Begins an empty replica beside the one in force.
    pub(super) fn begin(folder: &Path, name: &str) -> Result<Self> {
        let file = folder.join(name);
        let database = Database::builder()
            .set_cache_size(PAGE_CACHE_BYTES)
            .create(&file)?;
        Ok(Self { database, file })
    }

    /// Makes this replica the one in force: durable from here on.
    pub(super) fn make_current(&self, folder: &Path, position: &Position) -> Result<()> {
        self.commit(&[], Some(position), Durability::Immediate)?;
        let name = self
            .file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        write_durably(folder, "current", name.as_bytes())
    }

    /// Adds records of a snapshot. Not durable before [`Replica::make_current`].
    pub(super) fn add(&self, records: &[Record]) -> Result<()> {
        self.commit(records, None, Durability::None)
    }

    /// Puts a change on disk.
    pub(super) fn change(&self, records: &[Record], position: &Position) -> Result<()> {
        self.commit(records, Some(position), Durability::Immediate)
    }

    fn commit(&self, records: &[Record], position: Option<&Position>, durability: Durability) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        {
            let mut keys = transaction.open_table(KEYS)?;
            let mut accounts = transaction.open_table(ACCOUNTS)?;
            for record in records {
                match record {
                    Record::Key(key) => {
                        let wire = feed::Key::from(key).encode_to_vec();
                        keys.insert(key.digest.as_bytes(), wire.as_slice())?;
                    }
                    Record::Account(account) => {
                        let wire = feed::Account::from(account).encode_to_vec();
                        accounts.insert(account.id.as_uuid().as_bytes(), wire.as_slice())?;
                    }
                }
            }
            transaction.open_table(QUOTAS)?;
            let mut meta = transaction.open_table(META)?;
            if let Some(position) = position {
                meta.insert("feed_epoch", position.feed_epoch.as_str())?;
                meta.insert("revision", position.revision.to_string().as_str())?;
                meta.insert("history", hex(&position.history).as_str())?;
                meta.insert("scope", position.scope.as_str())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Keeps what the control plane said of an account's quota, for a restart without it.
    pub(super) fn keep_quota(&self, usage: &feed::QuotaUsage) -> Result<()> {
        let Ok(account) = AccountId::from_slice(&usage.account_id) else {
            return Ok(());
        };
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::None)?;
        transaction
            .open_table(QUOTAS)?
            .insert(account.as_uuid().as_bytes(), usage.encode_to_vec().as_slice())?;
        transaction.commit()?;
        Ok(())
    }

    /// Up to where this replica follows the log.
    pub(super) fn position(&self) -> Result<Position> {
        let meta = self.database.begin_read()?.open_table(META)?;
        let text = |name| -> Result<String> {
            Ok(meta
                .get(name)?
                .map(|stored| stored.value().to_owned())
                .unwrap_or_default())
        };
        let revision = text("revision")?.parse().unwrap_or_default();
        Ok(Position {
            feed_epoch: text("feed_epoch")?,
            revision,
            history: unhex(&text("history")?).unwrap_or_default(),
            scope: text("scope")?,
        })
    }

    /// What it holds now.
    pub(super) fn view(&self) -> Result<Arc<View>> {
        let transaction = self.database.begin_read()?;
        Ok(Arc::new(View {
            keys: transaction.open_table(KEYS)?,
            accounts: transaction.open_table(ACCOUNTS)?,
            quotas: transaction.open_table(QUOTAS)?,
        }))
    }

    /// Number of keys.
    pub(super) fn key_count(&self) -> Result<u64> {
        use redb::ReadableTableMetadata;
        Ok(self.database.begin_read()?.open_table(KEYS)?.len()?)
    }

    /// Where it lies.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

/// Writes a small file so that after a crash it holds either its old content or the new one.
pub(super) fn write_durably(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    let (path, draft) = (folder.join(name), folder.join(format!("{name}.new")));
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| at(&path, error))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `None` when it is no hexadecimal text.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let pairs = digits?;
    (pairs.len() % 2 == 0).then(|| {
        pairs
            .chunks(2)
            .map(|pair| (pair[0] << 4 | pair[1]) as u8)
            .collect()
    })
}

fn at(path: &Path, error: std::io::Error) -> ReplicaError {
    ReplicaError::File {
        path: path.to_owned(),
        error,
    }
}
