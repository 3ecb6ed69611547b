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
use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::error::DatabaseError;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgListener, PgPoolOptions};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{
    Any, AnyConnection, AnyPool, ConnectOptions, Connection, PgConnection, SqliteConnection, Transaction,
};

pub mod accounts;
pub mod admin_keys;
pub mod audit;
pub mod changes;
pub mod crossings;
pub mod customers;
pub mod expiring;
pub mod exports;
pub mod gateway_access;
pub mod gateways;
pub mod grants;
pub mod idempotency;
pub mod imports;
pub mod jobs;
pub mod keys;
pub mod policies;
pub mod records;
pub mod settings;
pub mod signals;
pub mod signing_keys;
pub mod usage;
pub mod user_keys;
pub mod users;
pub mod webhooks;

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");
static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");

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

/// The database can't be reached, is broken, or refused a statement. What it says is for logs alone.
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(#[from] sqlx::Error);

impl StoreError {
    /// A stored value is none that we ever write.
    pub(crate) fn corrupt(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(sqlx::Error::Decode(reason.into()))
    }

    /// A call whose claim another control plane has taken over must not act.
    pub(crate) fn overtaken() -> Self {
        Self(sqlx::Error::Io(std::io::Error::other(
            "this control plane was taken for dead, and the call may have been made by another",
        )))
    }

    /// The database took longer than was left.
    pub(crate) fn too_slow() -> Self {
        Self(sqlx::Error::PoolTimedOut)
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
            sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => postgres_is_away(error.code()),
                None => sqlite_is_away(error.as_ref()),
            },
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

/// SQLite's primary result codes: busy, locked, readonly, ioerr, corrupt, full, cantopen, notadb.
fn sqlite_is_away(error: &dyn DatabaseError) -> bool {
    error
        .code()
        .and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 11 | 13 | 14 | 26))
}

/// PostgreSQL's classes of errors: connection, resources, operator's intervention (shutdown, cancelled by a time
/// limit), system, a transaction that was rolled back for another's sake, who may connect and whereto, broken files;
/// and a lock that took too long, a read-only server (a failed-over one), a transaction that idled too long.
fn postgres_is_away(code: &str) -> bool {
    ["08", "53", "57", "58", "40", "28", "3D"]
        .iter()
        .any(|class| code.starts_with(class))
        || matches!(code, "55P03" | "25006" | "25P03" | "XX001" | "XX002")
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

/// What every connection is told first.
const SQLITE_SETTINGS: &[&str] = &[
    "PRAGMA busy_timeout = 5000",
    "PRAGMA journal_mode = WAL",
    // Durable before a change is acknowledged: a revocation outlives a power cut.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
];
const POSTGRES_SETTINGS: &[&str] = &[
    "SET application_name = 'keyward'",
    "SET lock_timeout = '5s'",
    "SET statement_timeout = '30s'",
    // A control plane that hangs with the lock of all changes loses it.
    "SET idle_in_transaction_session_timeout = '15s'",
    "SET synchronous_commit = on",
];
/// Rows that SQLite's thread reads ahead of who takes them, so that neither wakes the other for each.
const ROWS_AHEAD: usize = 1_024;
/// What control planes tell each other is told in time or not at all.
const COORDINATION_SETTINGS: &[&str] = &[
    "SET application_name = 'keyward coordination'",
    "SET lock_timeout = '1s'",
    "SET statement_timeout = '2s'",
    "SET idle_in_transaction_session_timeout = '5s'",
    "SET synchronous_commit = on",
];

impl Store {
    /// Opens a database, makes it when it is an absent SQLite file, and brings its schema up to date.
    ///
    /// # Errors
    /// When it can't be reached or a migration fails.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        sqlx::any::install_default_drivers();
        let engine = Engine::of_url(url);
        let (settings, migrations, writers) = match engine {
            Engine::Sqlite => (SQLITE_SETTINGS, &SQLITE_MIGRATIONS, 1),
            Engine::Postgres => (POSTGRES_SETTINGS, &POSTGRES_MIGRATIONS, 8),
        };
        let options = options(engine, url)?;
        migrate(engine, &options, migrations).await?;
        let writer = pool(engine, writers, settings)
            .connect_with(options.clone())
            .await?;
        sqlx::query(
            "INSERT INTO settings (name, value) VALUES ('feed_epoch', $1) ON CONFLICT (name) DO NOTHING",
        )
        .bind(uuid::Uuid::now_v7().to_string())
        .execute(&writer)
        .await?;
        let readers = pool(engine, 8, settings).connect_with(options.clone()).await?;
        let (coordination, more) = match engine {
            Engine::Sqlite => (None, Connecting::Sqlite(SqliteConnectOptions::from_str(url)?)),
            Engine::Postgres => (
                Some(pool(engine, 2, COORDINATION_SETTINGS).connect_lazy_with(options)),
                Connecting::Postgres(PgConnectOptions::from_str(url)?),
            ),
        };
        Ok(Self {
            readers,
            writer,
            coordination,
            more,
            engine,
            signals: signals::Signals::default(),
        })
    }

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

/// A pool whose connections are told these settings first.
fn pool(engine: Engine, connections: u32, settings: &'static [&'static str]) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        // A server may have closed a connection; a file doesn't, and the question costs as much as a read.
        .test_before_acquire(engine == Engine::Postgres)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                for statement in settings {
                    sqlx::query(*statement).execute(&mut *connection).await?;
                }
                Ok(())
            })
        })
}

/// Brings the schema up to date, one program after the other. It may take longer than any call: on a connection of its
/// own, without the bounds that calls have.
async fn migrate(engine: Engine, options: &AnyConnectOptions, migrations: &Migrator) -> anyhow::Result<()> {
    let mut connection = AnyConnection::connect_with(options).await?;
    if engine == Engine::Sqlite {
        for statement in SQLITE_SETTINGS {
            sqlx::query(*statement).execute(&mut connection).await?;
        }
    }
    migrations.run(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

fn options(engine: Engine, url: &str) -> anyhow::Result<AnyConnectOptions> {
    if engine == Engine::Postgres {
        return Ok(AnyConnectOptions::from_str(url)?);
    }
    if let Some(path) = url
        .strip_prefix("sqlite://")
        .filter(|path| !path.starts_with(':'))
    {
        let path = path.split('?').next().unwrap_or(path);
        make_private(std::path::Path::new(path))?;
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    Ok(AnyConnectOptions::from_str(&format!("{url}{separator}mode=rwc"))?)
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

    #[test]
    fn a_server_that_is_away_is_told_from_one_that_is_at_odds_with_us() {
        for away in [
            "57P01", "57P02", "57P03", "57014", "08006", "53300", "53100", "40001", "40P01", "55P03",
            "25006", "28P01", "3D000",
        ] {
            assert!(postgres_is_away(away), "{away}");
        }
        for at_odds in [
            "23505", "23503", "42P01", "42703", "22021", "25P02", "P0001", "0A000",
        ] {
            assert!(!postgres_is_away(at_odds), "{at_odds}");
        }
    }

    #[test]
    fn a_store_never_shows_the_address_that_it_would_listen_at() {
        let options = PgConnectOptions::from_str("postgres://u:secret@db.example/x").unwrap();
        assert_eq!(format!("{:?}", Connecting::Postgres(options)), "…");
    }

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
            let mut tx = store.begin(Purpose::Change).await.unwrap();
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
