//! Starts of gateways that are known for good: no usage of theirs is still to be reported.
//!
//! A gateway says which of its starts is the oldest one that may still report (`hear`). Counters of older starts are
//! folded, some at a time, into those of one more "start" of the gateway, and their rows are deleted (`fold`); what is
//! reported of them from then on is a repeat, and is not even looked up (`Settled`). No sum changes by folding, and
//! what a gateway counted in all stays known. Without this, every start of every gateway would keep its own row of
//! every hour.
//!
//! Merging and folding shut each other out; hearing doesn't need to: a merge that begins after it sees it.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use keyward_contract::UnixMillis;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::ids::boot_id;
use super::report::Values;
use super::rows::{ROWS_A_STATEMENT, Table, counted, placeholders};
use super::sums::{boot_day, write_boot_days};
use crate::store::{Purpose, Result, Store};

/// The epoch of the "start" that stands for all that are settled. No gateway has it.
pub(super) const ALL_SETTLED: i64 = -1;
/// So many rows are folded in one transaction: a merge that waits for it waits milliseconds.
const ROWS_AT_ONCE: i64 = 500;

/// Which starts are settled, of some gateways.
#[derive(Debug, Default)]
pub(super) struct Settled(HashMap<String, i64>);

impl Settled {
    /// As it is in this transaction.
    pub(super) async fn of(
        tx: &mut Transaction<'static, Any>,
        gateways: impl Iterator<Item = &str>,
    ) -> Result<Self> {
        let gateways: BTreeSet<&str> = gateways.collect();
        let gateways: Vec<&str> = gateways.into_iter().collect();
        let mut settled = Self::default();
        for some in gateways.chunks(ROWS_A_STATEMENT) {
            let sql = format!(
                "SELECT gateway_id, settled_before FROM usage_gateways WHERE gateway_id IN ({})",
                placeholders(1, some.len())
            );
            let mut query = sqlx::query_as(AssertSqlSafe(sql)).persistent(some.len() == 1);
            for gateway in some {
                query = query.bind((*gateway).to_owned());
            }
            let rows: Vec<(String, i64)> = query.fetch_all(&mut **tx).await?;
            settled.0.extend(rows);
        }
        Ok(settled)
    }

    /// Whether everything that this start counted is known for good.
    pub(super) fn holds(&self, gateway: &str, epoch: i64) -> bool {
        self.0.get(gateway).is_some_and(|before| epoch < *before)
    }
}

/// What a gateway says of its starts.
#[derive(Clone, Copy, Debug)]
pub struct Starts {
    /// The one that says it.
    pub present: u64,
    /// No earlier one has anything to report; 0: not said. Greater than the present one when it has nothing either.
    pub oldest: u64,
}

/// Notes what a gateway says of its starts, and that it was heard.
///
/// # Errors
/// When the database fails.
pub async fn hear(store: &Store, gateway_id: &str, starts: Starts, now: UnixMillis) -> Result<()> {
    let wide = |epoch: u64| i64::try_from(epoch).unwrap_or(i64::MAX - 1);
    let (present, oldest) = (wide(starts.present), wide(starts.oldest));
    let oldest = oldest.min(present.saturating_add(1));
    let mut tx = store.begin(Purpose::Other).await?;
    // A start that is settled and speaks lives: the gateway was given up, or lost its disk and its clock went back.
    // It counts from now on, and no earlier one does again.
    sqlx::query(
        "INSERT INTO usage_gateways (gateway_id, settled_before, heard_at) VALUES ($1, $2, $3) \
         ON CONFLICT (gateway_id) DO UPDATE SET heard_at = excluded.heard_at, settled_before = \
         CASE WHEN excluded.settled_before > $4 THEN excluded.settled_before \
         WHEN usage_gateways.settled_before > $4 THEN $4 \
         WHEN usage_gateways.settled_before > excluded.settled_before THEN usage_gateways.settled_before \
         ELSE excluded.settled_before END",
    )
    .bind(gateway_id.to_owned())
    .bind(oldest)
    .bind(now.0)
    .bind(present)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

/// Gives up gateways that were not heard of since an instant: all their starts are settled, and what they may yet
/// report of them is not counted. How many there were.
///
/// # Errors
/// When the database fails.
pub async fn give_up(store: &Store, since: UnixMillis) -> Result<u64> {
    let mut tx = store.begin(Purpose::Other).await?;
    let given_up = sqlx::query(
        "UPDATE usage_gateways SET settled_before = $1 WHERE heard_at < $2 AND settled_before < $1",
    )
    .bind(i64::MAX)
    .bind(since.0)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(given_up.rows_affected())
}

/// Folds some counters of one settled start, in one small transaction; `false` when there is nothing to fold.
///
/// # Errors
/// When the database fails; nothing is folded then.
pub async fn fold(store: &Store) -> Result<bool> {
    // Most of the time there is none, and no merge has to wait to hear so.
    if settled_start(&mut *store.readers().acquire().await?)
        .await?
        .is_none()
    {
        return Ok(false);
    }
    let mut tx = store.begin(Purpose::Usage).await?;
    let Some((boot, gateway)) = settled_start(&mut tx).await? else {
        return Ok(false);
    };
    let all = boot_id(&mut tx, &(gateway, ALL_SETTLED)).await?;
    if !fold_counters(&mut tx, boot, all).await? && !fold_days(&mut tx, boot, all).await? {
        sqlx::query("DELETE FROM usage_boots WHERE id = $1")
            .bind(boot)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// One start that is settled and not folded.
async fn settled_start(connection: &mut sqlx::AnyConnection) -> Result<Option<(i64, String)>> {
    Ok(sqlx::query_as(
        "SELECT b.id, b.gateway_id FROM usage_gateways g JOIN usage_boots b ON b.gateway_id = g.gateway_id \
         AND b.boot_epoch >= 0 AND b.boot_epoch < g.settled_before LIMIT 1",
    )
    .fetch_optional(connection)
    .await?)
}

async fn fold_counters(tx: &mut Transaction<'static, Any>, boot: i64, all: i64) -> Result<bool> {
    let sql = format!(
        "SELECT subject, hour, {} FROM usage_counters WHERE boot = $1 ORDER BY hour, subject LIMIT $2",
        Values::NAMES.join(", ")
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(boot)
        .bind(ROWS_AT_ONCE)
        .fetch_all(&mut **tx)
        .await?;
    let mut folded = Vec::with_capacity(rows.len());
    for row in &rows {
        let (subject, hour): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        folded.push(counted(&[subject, hour, all], Values::of_row(row, 2)?));
    }
    COUNTERS.write(tx, &folded).await?;
    // The same rows: nothing else writes counters while this runs.
    sqlx::query(
        "DELETE FROM usage_counters WHERE (subject, hour, boot) IN (SELECT subject, hour, boot \
         FROM usage_counters WHERE boot = $1 ORDER BY hour, subject LIMIT $2)",
    )
    .bind(boot)
    .bind(ROWS_AT_ONCE)
    .execute(&mut **tx)
    .await?;
    Ok(!rows.is_empty())
}

async fn fold_days(tx: &mut Transaction<'static, Any>, boot: i64, all: i64) -> Result<bool> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT account_id, day, accepted FROM usage_boot_days WHERE boot = $1 ORDER BY account_id, day LIMIT $2",
    )
    .bind(boot)
    .bind(ROWS_AT_ONCE)
    .fetch_all(&mut **tx)
    .await?;
    let folded: Vec<_> = rows
        .into_iter()
        .map(|(account, day, accepted)| boot_day(all, account, day, accepted))
        .collect();
    write_boot_days(tx, &folded).await?;
    sqlx::query(
        "DELETE FROM usage_boot_days WHERE boot = $1 AND (account_id, day) IN (SELECT account_id, day \
         FROM usage_boot_days WHERE boot = $1 ORDER BY account_id, day LIMIT $2)",
    )
    .bind(boot)
    .bind(ROWS_AT_ONCE)
    .execute(&mut **tx)
    .await?;
    Ok(!folded.is_empty())
}

static COUNTERS: LazyLock<Table> =
    LazyLock::new(|| Table::adding("usage_counters", &["subject", "hour", "boot"]));
