//! The database: opening it, its pools, and a transaction that writes. All SQL is below this module.
//!
//! One text of every query serves SQLite and (later) PostgreSQL: `sqlx`'s `Any` driver, `$1` placeholders,
//! and only columns of 64-bit integers, text and bytes. Writes go through a pool of one connection on SQLite,
//! which has one writer anyway; reads have a pool of their own and never wait for a writer (WAL).

use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyPool, Transaction};

pub mod accounts;
pub mod admin_keys;
pub mod audit;
pub mod changes;
pub mod customers;
pub mod idempotency;
pub mod keys;
pub mod records;
pub mod settings;
pub mod usage;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// The database can't be reached, is broken, or refused a statement. What it says is for logs alone.
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(#[from] sqlx::Error);

impl StoreError {
    /// A stored value is none that we ever write.
    pub(crate) fn corrupt(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(sqlx::Error::Decode(reason.into()))
    }

    /// Whether the database is away (unreachable, locked, full, read-only) rather than at odds with us: worth
    /// trying again later.
    #[must_use]
    pub fn is_away(&self) -> bool {
        match &self.0 {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => true,
            // SQLite's primary result codes: busy, locked, readonly, ioerr, corrupt, full, cantopen, notadb.
            sqlx::Error::Database(error) => error
                .code()
                .and_then(|code| code.parse::<u32>().ok())
                .is_some_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 11 | 13 | 14 | 26)),
            _ => false,
        }
    }

    /// Whether a row with these unique values is there already.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        matches!(&self.0, sqlx::Error::Database(error) if error.is_unique_violation())
    }
}

/// What every function of the store answers.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The open database. Cloning shares its pools.
#[derive(Clone, Debug)]
pub struct Store {
    readers: AnyPool,
    writer: AnyPool,
}

impl Store {
    /// Opens a database, makes it when it is an absent SQLite file, and brings its schema up to date.
    ///
    /// # Errors
    /// When it can't be reached or a migration fails.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        sqlx::any::install_default_drivers();
        if let Some(path) = url
            .strip_prefix("sqlite://")
            .filter(|path| !path.starts_with(':'))
        {
            let path = path.split('?').next().unwrap_or(path);
            make_private(std::path::Path::new(path))?;
        }
        let separator = if url.contains('?') { '&' } else { '?' };
        let options = AnyConnectOptions::from_str(&format!("{url}{separator}mode=rwc"))?;
        let pool = |connections| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(Duration::from_secs(5))
                .after_connect(|connection, _| {
                    Box::pin(async move {
                        for pragma in [
                            "PRAGMA busy_timeout = 5000",
                            "PRAGMA journal_mode = WAL",
                            // Durable before a change is acknowledged: a revocation outlives a power cut.
                            "PRAGMA synchronous = FULL",
                            "PRAGMA foreign_keys = ON",
                        ] {
                            sqlx::query(pragma).execute(&mut *connection).await?;
                        }
                        Ok(())
                    })
                })
        };
        let writer = pool(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&writer).await?;
        sqlx::query(
            "INSERT INTO settings (name, value) VALUES ('feed_epoch', $1) ON CONFLICT (name) DO NOTHING",
        )
        .bind(uuid::Uuid::now_v7().to_string())
        .execute(&writer)
        .await?;
        let readers = pool(8).connect_with(options).await?;
        Ok(Self { readers, writer })
    }

    /// The pool for reads that need no transaction.
    #[must_use]
    pub fn readers(&self) -> &AnyPool {
        &self.readers
    }

    /// Begins a transaction that may write. Dropping it rolls it back.
    ///
    /// # Errors
    /// When the database can't be reached or stays locked.
    pub async fn begin(&self) -> Result<Transaction<'static, Any>> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Begins a transaction that sees one state of the database throughout, for snapshots.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn begin_reading(&self) -> Result<Transaction<'static, Any>> {
        Ok(self.readers.begin().await?)
    }
}

/// Makes an absent database file with its folder, for its owner alone; SQLite gives its log the same mode.
fn make_private(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fresh_database_is_made_with_its_folder_and_schema() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/deep/cp.db", folder.path().display());
        for _ in 0..2 {
            let store = Store::open(&url).await.unwrap();
            let (revision,): (i64,) = sqlx::query_as("SELECT revision FROM change_head")
                .fetch_one(store.readers())
                .await
                .unwrap();
            assert_eq!(revision, 0);
            let mut tx = store.begin().await.unwrap();
            let (next,): (i64,) =
                sqlx::query_as("UPDATE change_head SET revision = revision + $1 RETURNING revision")
                    .bind(1i64)
                    .fetch_one(&mut *tx)
                    .await
                    .unwrap();
            assert_eq!(next, 1);
            tx.rollback().await.unwrap();
        }
    }
}
