//! What goes wrong with the database, and whether it is worth trying again.

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

/// The database can't be reached, is broken, or refused a statement. What it says is for logs alone.
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(#[from] pub(super) sqlx::Error);

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
pub(super) fn postgres_is_away(code: &str) -> bool {
    ["08", "53", "57", "58", "40", "28", "3D"]
        .iter()
        .any(|class| code.starts_with(class))
        || matches!(code, "55P03" | "25006" | "25P03" | "XX001" | "XX002")
}
