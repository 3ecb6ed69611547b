//! The database: opening it, its pools, and a transaction that writes. All SQL is below this module.
//!
//! One text of every query serves SQLite and PostgreSQL: `sqlx`'s `Any` driver, `$1` placeholders, and only columns
//! of 64-bit integers, text and bytes. What can't be the same (migrations, how a transaction begins, where key
//! numbers come from) asks [`Engine`].
//!
//! Changes happen one after the other on both: SQLite has one writer anyway, and on PostgreSQL a change first takes
//! an advisory lock that all control planes share. So operations may read, decide and write without meeting another
//! change half-way, and revisions follow the commits. Reads have a pool of their own and never wait for a writer; what
//! control planes tell each other (`gateways`) has one too, and waits for nobody.
//!
//! On PostgreSQL a control plane has at most 21 connections: 8 to read, 8 to write, 2 to say that it lives, 1 to listen,
//! and 2 while snapshots are read.

use std::fmt;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Any, AnyPool, ConnectOptions, PgConnection, SqliteConnection, Transaction};

pub mod accounts;
pub mod admin_keys;
pub mod audit;
pub mod changes;
pub mod crossings;
pub mod customers;
mod error;
pub mod expiring;
pub mod exports;
pub mod gateway_access;
pub mod gateways;
pub mod grants;
pub mod idempotency;
pub mod imports;
pub mod jobs;
pub mod keys;
mod opening;
pub mod policies;
pub mod records;
pub mod settings;
pub mod signals;
pub mod signing_keys;
pub mod usage;
pub mod user_keys;
pub mod users;
pub mod webhooks;

pub use error::{Result, StoreError};

/// A transaction. Dropping it rolls it back.
pub type Tx = Transaction<'static, Any>;

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A file.
    Sqlite,
    /// A server, which several control planes may share.
    Postgres,
}

impl Engine {
    /// The one that this URL names.
    #[must_use]
    pub fn of_url(url: &str) -> Self {
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Self::Postgres
        } else {
            Self::Sqlite
        }
    }

    /// The one that this transaction runs on.
    #[must_use]
    pub fn of(tx: &Tx) -> Self {
        if tx.backend_name() == "PostgreSQL" {
            Self::Postgres
        } else {
            Self::Sqlite
        }
    }
}

/// What a transaction shuts out while it runs: others of the same purpose, in all control planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A change that ends in the change log.
    Change,
    /// Merging usage.
    Usage,
    /// Something of its own, that its statements alone keep apart.
    Other,
}

impl Purpose {
    /// The number of the advisory lock: the ASCII letters `keyw`, then a number of our own.
    fn lock(self) -> Option<i64> {
        const OURS: i64 = 0x6b65_7977 << 32;
        match self {
            Self::Change => Some(OURS | 1),
            Self::Usage => Some(OURS | 2),
            Self::Other => None,
        }
    }
}

/// The open database. Cloning shares its pools.
#[derive(Clone, Debug)]
pub struct Store {
    readers: AnyPool,
    writer: AnyPool,
    /// For what control planes tell each other: never waits behind calls.
    coordination: Option<AnyPool>,
    more: Connecting,
    engine: Engine,
    signals: signals::Signals,
}

/// How to connect once more, to listen or to read everything. Can't be printed: it may know a password.
#[derive(Clone)]
enum Connecting {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
}

/// A connection that is in no pool, with its database's own driver.
pub(crate) enum Alone {
    /// To a file.
    Sqlite(SqliteConnection),
    /// To a server.
    Postgres(PgConnection),
}

impl fmt::Debug for Connecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Rows that SQLite's thread reads ahead of who takes them, so that neither wakes the other for each.
const ROWS_AHEAD: usize = 1_024;

impl Store {
    /// Which database it is.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// What was just committed in this process.
    #[must_use]
    pub fn signals(&self) -> &signals::Signals {
        &self.signals
    }

    /// The pool for reads that need no transaction.
    #[must_use]
    pub fn readers(&self) -> &AnyPool {
        &self.readers
    }

    /// Begins a transaction that may write, alone among those of its purpose. Dropping it rolls it back.
    ///
    /// # Errors
    /// When the database can't be reached or stays locked.
    pub async fn begin(&self, purpose: Purpose) -> Result<Tx> {
        match self.engine {
            Engine::Sqlite => Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?),
            Engine::Postgres => {
                let mut tx = self.writer.begin().await?;
                if let Some(lock) = purpose.lock() {
                    sqlx::query("SELECT pg_advisory_xact_lock($1)")
                        .bind(lock)
                        .execute(&mut *tx)
                        .await?;
                }
                Ok(tx)
            }
        }
    }

    /// The connections for what control planes tell each other.
    fn coordination(&self) -> Result<&AnyPool> {
        self.coordination.as_ref().ok_or_else(|| {
            let none = "control planes that tell each other something share a PostgreSQL";
            StoreError(sqlx::Error::Configuration(none.into()))
        })
    }

    /// Begins a transaction for what control planes tell each other.
    async fn begin_coordinating(&self) -> Result<Tx> {
        Ok(self.coordination()?.begin().await?)
    }

    /// A connection that hears what is told on these channels; `None` on SQLite, where nobody else could tell anything.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn listen(&self, channels: &[&str]) -> Result<Option<PgListener>> {
        let Connecting::Postgres(options) = &self.more else {
            return Ok(None);
        };
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options.clone().application_name("keyward listening"))
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen_all(channels.iter().copied()).await?;
        Ok(Some(listener))
    }

    /// A connection outside of the pools, for one long reading with the database's own driver.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub(crate) async fn connect_alone(&self) -> Result<Alone> {
        Ok(match &self.more {
            Connecting::Sqlite(options) => {
                let options = options
                    .clone()
                    .busy_timeout(Duration::from_secs(5))
                    .row_buffer_size(ROWS_AHEAD);
                Alone::Sqlite(options.disable_statement_logging().connect().await?)
            }
            Connecting::Postgres(options) => {
                let options = options.clone().application_name("keyward snapshot");
                let connecting = options.disable_statement_logging();
                let connected = tokio::time::timeout(Duration::from_secs(5), connecting.connect()).await;
                Alone::Postgres(connected.map_err(|_| StoreError::too_slow())??)
            }
        })
    }

    /// The folder of the database, where it is a file.
    #[must_use]
    pub fn folder(&self) -> Option<&std::path::Path> {
        match &self.more {
            Connecting::Sqlite(options) => options.get_filename().parent(),
            Connecting::Postgres(_) => None,
        }
    }

    /// Begins a transaction that sees one state of the database throughout, for snapshots.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn begin_reading(&self) -> Result<Tx> {
        Ok(match self.engine {
            Engine::Sqlite => self.readers.begin().await?,
            Engine::Postgres => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                let mut tx = self.readers.begin_with(begin).await?;
                // Nobody waits for it, and a snapshot goes as fast as its gateway takes it.
                sqlx::query("SET LOCAL idle_in_transaction_session_timeout = '330s'")
                    .execute(&mut *tx)
                    .await?;
                tx
            }
        })
    }
}

#[cfg(test)]
mod tests;
