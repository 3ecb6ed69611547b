//! Opening the database: its schema is brought up to date, and each connection is told first what it needs to know.

use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, Connection};

use super::{Connecting, Engine, Store, signals};

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

/// What control planes tell each other is told in time or not at all.
const COORDINATION_SETTINGS: &[&str] = &[
    "SET application_name = 'keyward coordination'",
    "SET lock_timeout = '1s'",
    "SET statement_timeout = '2s'",
    "SET idle_in_transaction_session_timeout = '5s'",
    "SET synchronous_commit = on",
];

static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");

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
