//! One pass over everything that gateways are told, as it was at one moment, while changes go on.
//!
//! It has a connection of its own with the database's own driver, and reads every table once, from one end to the
//! other: with `sqlx::Any`, in pages, the same takes several times as long. SQLite's driver pays for every column of every
//! row, so there a key is one column. Rows become records in a task of their own, a bounded number of them ahead of
//! who takes them.

use std::borrow::Cow;
use std::collections::HashMap;

use futures_util::TryStreamExt;
use keyward_contract::{AccountId, Grant, KeyRecord, Record, UnixMillis};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{PgConnection, Row, SqliteConnection};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{AccountColumns, AccountRecord, KeyColumns, narrow};
use crate::domain::grant;
use crate::store::changes::{Place, named};
use crate::store::{Alone, Result, Store, StoreError};

/// As many records come together at most.
pub const TOGETHER: usize = 1_000;
/// As many batches are read ahead.
const AHEAD: usize = 4;

/// A pass under way. Dropped, its reading stops.
#[derive(Debug)]
pub struct Walk {
    /// The newest change that it sees.
    pub place: Place,
    /// How many records there are.
    pub records: u64,
    batches: mpsc::Receiver<Result<Vec<Record>>>,
    _reading: AbortOnDropHandle<()>,
}

impl Walk {
    /// Begins one, of what is now committed. `now` says which grants still count.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin(store: &Store, now: UnixMillis) -> Result<Self> {
        let mut alone = store.connect_alone().await?;
        let Seen {
            revision,
            history,
            records,
        } = match &mut alone {
            Alone::Sqlite(connection) => sqlite::begin(connection).await?,
            Alone::Postgres(connection) => postgres::begin(connection).await?,
        };
        let (sender, batches) = mpsc::channel(AHEAD);
        let reading = tokio::spawn(async move {
            let mut out = Batches {
                batch: Vec::with_capacity(TOGETHER),
                sender,
            };
            let read = match &mut alone {
                Alone::Sqlite(connection) => sqlite::read(connection, now, &mut out).await,
                Alone::Postgres(connection) => postgres::read(connection, now, &mut out).await,
            };
            match read {
                Ok(()) => out.send().await,
                Err(error) => drop(out.sender.send(Err(error)).await),
            }
        });
        Ok(Self {
            place: Place {
                revision: narrow(revision)?,
                history: named(history),
            },
            records: narrow(records)?,
            batches,
            _reading: AbortOnDropHandle::new(reading),
        })
    }

    /// The next records, accounts before keys; `None` after the last ones or an error.
    pub async fn next(&mut self) -> Option<Result<Vec<Record>>> {
        self.batches.recv().await
    }
}

/// What the first statement of a pass says.
#[derive(sqlx::FromRow)]
struct Seen {
    revision: i64,
    history: Option<Vec<u8>>,
    records: i64,
}

/// Records on their way out.
struct Batches {
    batch: Vec<Record>,
    sender: mpsc::Sender<Result<Vec<Record>>>,
}

impl Batches {
    async fn add(&mut self, record: Record) {
        self.batch.push(record);
        if self.batch.len() >= TOGETHER {
            self.send().await;
        }
    }

    /// When nobody takes it any more the task is about to end.
    async fn send(&mut self) {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(TOGETHER));
        if !batch.is_empty() {
            let _ = self.sender.send(Ok(batch)).await;
        }
    }
}

type Granted = HashMap<AccountId, Vec<Grant>>;

fn add_grant(granted: &mut Granted, (account, at, validations): (String, i64, i64)) -> Result<()> {
    let account = account.parse().map_err(StoreError::corrupt)?;
    granted.entry(account).or_default().push(Grant {
        at: UnixMillis(at),
        validations: narrow(validations)?,
    });
    Ok(())
}

/// The head is read first: it fixes what the transaction sees.
const SEEN: &str = "SELECT h.revision, c.history, (SELECT COUNT(*) FROM accounts) + (SELECT COUNT(*) FROM api_keys) \
     AS records FROM change_head h LEFT JOIN changes c ON c.revision = h.revision WHERE h.id = 1";
const GRANTS: &str =
    "SELECT account_id, at, validations FROM quota_grants WHERE at >= $1 ORDER BY account_id, at, id";

/// The same for each driver: their rows have nothing in common but the names of their methods.
macro_rules! pass {
    ($name:ident, $connection:ty, $begin:expr, $keys:expr, $key:expr) => {
        mod $name {
            use super::*;

            pub(super) async fn begin(connection: &mut $connection) -> Result<Seen> {
                for statement in $begin {
                    sqlx::query(statement).execute(&mut *connection).await?;
                }
                Ok(sqlx::query_as(SEEN).fetch_one(connection).await?)
            }

            pub(super) async fn read(
                connection: &mut $connection,
                now: UnixMillis,
                out: &mut Batches,
            ) -> Result<()> {
                let mut granted = Granted::new();
                let grants = sqlx::query_as(GRANTS).bind(grant::earliest_told(now).0);
                let mut rows = grants.fetch(&mut *connection);
                while let Some(row) = rows.try_next().await? {
                    add_grant(&mut granted, row)?;
                }
                drop(rows);
                let mut rows = sqlx::query(concat!(accounts!(), " ORDER BY a.id")).fetch(&mut *connection);
                while let Some(row) = rows.try_next().await? {
                    let mut account: AccountRecord = account_columns!(row).record()?;
                    if let Some(grants) = granted.remove(&account.id) {
                        account.grants = grant::told(grants, now, account.contract.start);
                    }
                    out.add(Record::Account(account)).await;
                }
                drop(rows);
                let mut rows = sqlx::query($keys).fetch(&mut *connection);
                while let Some(row) = rows.try_next().await? {
                    out.add(Record::Key($key(&row)?)).await;
                }
                Ok(())
            }
        }
    };
}

pass!(
    sqlite,
    SqliteConnection,
    ["BEGIN"],
    keys!(
        "json_array(k.id, k.account_id, k.environment, k.customer_id, hex(k.digest), k.state, k.expires_at, \
         k.allowed_ips, k.api_version, k.rotated_at, c.rate_limit, c.burst_limit)",
        "INDEXED BY end_customers_limited"
    ),
    key_of_sqlite
);
pass!(
    postgres,
    PgConnection,
    [
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        // Nobody waits for it, and it may go as slowly as a gateway takes it.
        "SET LOCAL statement_timeout = '600s'",
        "SET LOCAL idle_in_transaction_session_timeout = '330s'",
    ],
    keys!(""),
    key_of_postgres
);

fn key_of_postgres(row: &PgRow) -> Result<KeyRecord> {
    key_columns!(row).record()
}

/// The columns of a key as one JSON list.
#[derive(serde::Deserialize)]
struct Listed<'r>(
    &'r str,
    &'r str,
    &'r str,
    Option<&'r str>,
    &'r str,
    &'r str,
    Option<i64>,
    #[serde(borrow)] Option<Cow<'r, str>>,
    #[serde(borrow)] Cow<'r, str>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
);

fn key_of_sqlite(row: &SqliteRow) -> Result<KeyRecord> {
    let list = serde_json::from_str(row.try_get(0)?).map_err(StoreError::corrupt)?;
    let Listed(
        id,
        account,
        environment,
        customer,
        digest,
        state,
        expires_at,
        allowed_ips,
        api_version,
        rotated_at,
        rate,
        burst,
    ) = list;
    let digest = blake3::Hash::from_hex(digest).map_err(StoreError::corrupt)?;
    let columns = KeyColumns {
        id,
        account,
        environment,
        customer,
        digest: digest.as_bytes(),
        state,
        expires_at,
        allowed_ips,
        api_version,
        rotated_at,
        customer_limits: (rate, burst),
    };
    columns.record()
}

#[cfg(test)]
mod tests;
