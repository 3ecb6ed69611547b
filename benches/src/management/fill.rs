//! Fills a database with more than anybody has, straight with SQL: a million rows take some ten seconds.
//!
//! What is made is as the control plane would have made it, but for the keys: nobody knows them.

use anyhow::Context;
use keyward_control_plane::store::{Engine, Purpose, Store};
use sqlx::AssertSqlSafe;

/// How many rows one statement makes: a server ends statements that take too long.
const PIECE: u64 = 50_000;
/// The instant of the first; each later one is so many milliseconds later, and three share an instant.
const FIRST_AT: u64 = 1_700_000_000_000;
const STEP_MS: u64 = 1_000;

/// Gives an account so many end customers in production, each with a key.
///
/// # Errors
/// When the database fails.
pub async fn end_customers(store: &Store, account: &str, count: u64) -> anyhow::Result<()> {
    let words = Words::of(store.engine());
    let (id, name, at) = (words.padded("c", "i", 24), "'Filled ' || i", instant());
    pieces(
        store,
        count,
        &format!(
            "INSERT INTO end_customers (account_id, environment, id, name, status, created_at, updated_at) \
         SELECT '{account}', 'production', {id}, {name}, 'active', {at}, {at} FROM series"
        ),
    )
    .await?;
    let (key, digest) = (words.uuid("c", "i"), words.digest("'c' || i"));
    let sealed = words.sealed();
    pieces(store, count, &format!(
        "INSERT INTO api_keys (id, number, account_id, environment, customer_id, origin, mask, digest, sealed, state, \
         api_version, api_version_changed_at, created_by, created_at, updated_at) \
         SELECT {key}, 100000000 + i, '{account}', 'production', {id}, 'portal', 'ck_live_ab…xyz', {digest}, {sealed}, \
         'active', '2026-11-01', {at}, 'fill', {at}, {at} FROM series"
    ))
    .await?;
    count_ranges(store).await
}

/// Makes so many accounts over the tiers, one in a hundred suspended and one in twenty cancelled, each with a key and
/// an audit row.
///
/// # Errors
/// When the database fails.
pub async fn accounts(store: &Store, count: u64) -> anyhow::Result<()> {
    let words = Words::of(store.engine());
    let (id, at) = (words.uuid("a", "i"), instant());
    pieces(store, count, &format!(
        "INSERT INTO accounts (id, company_name, contact_email, tier, status, metadata, search, rate_limit, \
         burst_limit, annual_limit, created_at, updated_at) \
         SELECT {id}, 'Filled Company ' || i, 'it-' || i || '@filled.example', \
         CASE i % 5 WHEN 0 THEN 'starter' WHEN 1 THEN 'growth' WHEN 2 THEN 'scale' WHEN 3 THEN 'enterprise' \
         ELSE 'custom' END, \
         CASE WHEN i % 100 = 7 THEN 'suspended' WHEN i % 20 = 3 THEN 'cancelled' ELSE 'active' END, '{{}}', \
         'filled company ' || i || {newline} || 'it-' || i || '@filled.example', 100, 200, 10000000, {at}, {at} \
         FROM series",
        newline = words.newline(),
    ))
    .await?;
    for (kind, letter) in [("test", "1"), ("production", "2")] {
        let environment = words.padded(letter, "i", 15);
        pieces(
            store,
            count,
            &format!(
                "INSERT INTO environments (id, account_id, kind, user_key_limit) \
             SELECT {environment}, {id}, '{kind}', 20 FROM series"
            ),
        )
        .await?;
    }
    let (key, digest) = (words.uuid("b", "i"), words.digest("'a' || i"));
    pieces(store, count, &format!(
        "INSERT INTO api_keys (id, number, account_id, environment, origin, mask, digest, state, api_version, \
         api_version_changed_at, created_by, created_at, updated_at) \
         SELECT {key}, 200000000 + i, {id}, 'production', 'admin', 'pk_live_ab…xyz', {digest}, 'active', \
         '2026-11-01', {at}, 'fill', {at}, {at} FROM series"
    ))
    .await?;
    let event = words.uuid("e", "i");
    pieces(store, count, &format!(
        "INSERT INTO audit (number, id, at, actor_kind, actor_id, action, target_kind, target_id, account_id, \
         request_id, address, hash) \
         SELECT (SELECT COALESCE(MAX(number), 0) FROM audit) + i - FIRST + 1, {event}, {at}, 'admin_key', \
         'actor-' || i % 20, CASE WHEN i % 1000 = 0 THEN 'account.suspended' ELSE 'account.created' END, 'account', \
         {id}, {id}, 'fill', '127.0.0.1', 'none' FROM series"
    ))
    .await
}

/// Makes the statistics by which a server plans, as it does by itself after some minutes.
///
/// # Errors
/// When the database fails.
pub async fn settle(store: &Store) -> anyhow::Result<()> {
    let mut connection = store.readers().acquire().await?;
    if store.engine() == Engine::Postgres {
        sqlx::query("SET statement_timeout = 0")
            .execute(&mut *connection)
            .await?;
        sqlx::query("VACUUM ANALYZE").execute(&mut *connection).await?;
        sqlx::query("SET statement_timeout = '30s'")
            .execute(&mut *connection)
            .await?;
    } else {
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// The ranges of the lists of end customers, by the migration's own statement.
async fn count_ranges(store: &Store) -> anyhow::Result<()> {
    let migration = include_str!("../../../control-plane/migrations/sqlite/0008_lists.sql");
    let fill = migration
        .split(';')
        .find(|statement| statement.contains("INSERT INTO"))
        .context("the migration fills nothing")?;
    let mut tx = store.begin(Purpose::Other).await?;
    sqlx::query("DELETE FROM end_customer_chunks")
        .execute(&mut *tx)
        .await?;
    sqlx::query(fill).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

/// Runs a statement over `series`, the numbers from 1 to `count` as `i`.
async fn pieces(store: &Store, count: u64, statement: &str) -> anyhow::Result<()> {
    let (mut first, insert) = (1, statement.split_once("SELECT").context("no SELECT")?);
    while first <= count {
        let last = count.min(first + PIECE - 1);
        let series = match store.engine() {
            Engine::Sqlite => format!(
                "WITH RECURSIVE series (i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM series WHERE i < {last})"
            ),
            Engine::Postgres => format!(
                "WITH series AS (SELECT CAST(i AS BIGINT) AS i FROM generate_series({first}, {last}) AS all_of(i))"
            ),
        };
        let text = format!("{} {series} SELECT{}", insert.0, insert.1).replace("FIRST", &first.to_string());
        let mut tx = store.begin(Purpose::Change).await?;
        // Our own texts, numbers, and an id that the control plane gave.
        sqlx::query(AssertSqlSafe(text))
            .persistent(false)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        first = last + 1;
    }
    Ok(())
}

fn instant() -> String {
    format!("{FIRST_AT} + i / 3 * {STEP_MS}")
}

/// The instant and the id of the account with this number, as the list's cursor holds them.
#[must_use]
pub fn account_at(number: u64) -> (u64, String) {
    (
        FIRST_AT + number / 3 * STEP_MS,
        format!("a0000000-0000-7000-8000-{number:012}"),
    )
}

/// What the two say differently.
struct Words(Engine);

impl Words {
    fn of(engine: Engine) -> Self {
        Self(engine)
    }

    /// A prefix, and a number with leading zeros.
    fn padded(&self, prefix: &str, number: &str, width: usize) -> String {
        match self.0 {
            Engine::Sqlite => format!("printf('{prefix}%0{width}d', {number})"),
            Engine::Postgres => format!("'{prefix}' || lpad(CAST({number} AS TEXT), {width}, '0')"),
        }
    }

    fn uuid(&self, first: &str, number: &str) -> String {
        self.padded(&format!("{first}0000000-0000-7000-8000-"), number, 12)
    }

    fn digest(&self, text: &str) -> String {
        match self.0 {
            Engine::Sqlite => "randomblob(32)".to_owned(),
            Engine::Postgres => format!("sha256(CAST({text} AS BYTEA))"),
        }
    }

    /// As long as a sealed key.
    fn sealed(&self) -> &'static str {
        match self.0 {
            Engine::Sqlite => "randomblob(80)",
            Engine::Postgres => {
                "sha256('a') || sha256('b') || decode('00112233445566778899aabbccddeeff', 'hex')"
            }
        }
    }

    fn newline(&self) -> &'static str {
        match self.0 {
            Engine::Sqlite => "char(10)",
            Engine::Postgres => "chr(10)",
        }
    }
}
