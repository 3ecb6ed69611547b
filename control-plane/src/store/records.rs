//! What gateways are told: accounts and keys as feed records, read whole for snapshots or one by one for changes.
//!
//! The walks are ordered and cut into batches, so that a snapshot of any size holds one batch in memory; each
//! batch is one indexed range read, and one more for what was granted to its accounts. A stored row that no gateway could decide by is an error, never skipped.

use keyward_contract::{
    AccountRecord, AddressList, Contract, EnvironmentId, KeyDigest, KeyRecord, KeyState, Limits, UnixMillis,
};
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

use super::{Result, Store, StoreError, grants, policies};
use crate::domain::account::status_from_str;
use crate::domain::grant;

/// The accounts after `after` (an account id; `None`: from the first), in the order of their ids, each with what was
/// granted to it for the contract year that runs at `now` and later.
///
/// # Errors
/// When the database fails or holds a row that is no account.
pub async fn account_records(
    tx: &mut Transaction<'static, Any>,
    after: Option<String>,
    limit: i64,
    now: UnixMillis,
) -> Result<Vec<AccountRecord>> {
    let after = after.unwrap_or_default();
    let rows = sqlx::query(
        "SELECT a.id, a.status, a.tier, a.rate_limit, a.burst_limit, a.annual_limit, a.contract_start, \
         a.contract_end, t.id AS test_id, p.id AS production_id, y.limit_mode, y.fallback FROM accounts a \
         JOIN environments t ON t.account_id = a.id AND t.kind = 'test' \
         JOIN environments p ON p.account_id = a.id AND p.kind = 'production' \
         LEFT JOIN tier_policies y ON y.tier = a.tier \
         WHERE a.id > $1 ORDER BY a.id LIMIT $2",
    )
    .bind(after.clone())
    .bind(limit)
    .fetch_all(&mut **tx)
    .await?;
    let mut records: Vec<AccountRecord> = rows.iter().map(account_record).collect::<Result<_>>()?;
    let Some(last) = records.last() else {
        return Ok(records);
    };
    let until = last.id.to_string();
    let mut granted = grants::of_range(tx, (&after, &until), grant::earliest_told(now)).await?;
    for record in &mut records {
        if let Some(grants) = granted.remove(&record.id) {
            record.grants = grant::told(grants, now, record.contract.start);
        }
    }
    Ok(records)
}

/// The keys whose number is above `after_number`, in the order of their numbers, dead ones included: a dead key
/// must be answered as revoked, not as unknown.
///
/// # Errors
/// When the database fails or holds a row that is no key.
pub async fn key_records(
    tx: &mut Transaction<'static, Any>,
    after_number: i64,
    limit: i64,
) -> Result<Vec<(i64, KeyRecord)>> {
    let rows = sqlx::query(
        "SELECT k.number, k.id, k.account_id, k.environment, k.customer_id, k.digest, k.state, k.expires_at, \
         k.allowed_ips, k.api_version, k.rotated_at, c.rate_limit, c.burst_limit FROM api_keys k \
         LEFT JOIN end_customers c ON c.account_id = k.account_id AND c.environment = k.environment \
         AND c.id = k.customer_id \
         WHERE k.number > $1 ORDER BY k.number LIMIT $2",
    )
    .bind(after_number)
    .bind(limit)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get("number")?, key_record(row)?)))
        .collect()
}

/// The name of this database's history, made when it was first opened. Revisions of another epoch can't be
/// compared with ours.
///
/// # Errors
/// When the database fails.
pub async fn feed_epoch(store: &Store) -> Result<String> {
    let (epoch,): (String,) = sqlx::query_as("SELECT value FROM settings WHERE name = 'feed_epoch'")
        .fetch_one(store.readers())
        .await?;
    Ok(epoch)
}

fn account_record(row: &AnyRow) -> Result<AccountRecord> {
    let environment = |column: &str| -> Result<EnvironmentId> {
        let text: String = row.try_get(column)?;
        text.parse().map_err(StoreError::corrupt)
    };
    let policy = policies::policy(row.try_get("limit_mode")?, row.try_get("fallback")?)?;
    Ok(AccountRecord {
        id: row
            .try_get::<String, _>("id")?
            .parse()
            .map_err(StoreError::corrupt)?,
        status: status_from_str(&row.try_get::<String, _>("status")?).map_err(StoreError::corrupt)?,
        tier: row.try_get("tier")?,
        limits: Limits {
            rate: narrow(row.try_get("rate_limit")?)?,
            burst: narrow(row.try_get("burst_limit")?)?,
        },
        annual_limit: narrow(row.try_get("annual_limit")?)?,
        contract: Contract {
            start: row.try_get::<Option<i64>, _>("contract_start")?.map(UnixMillis),
            end: row.try_get::<Option<i64>, _>("contract_end")?.map(UnixMillis),
        },
        test_environment: environment("test_id")?,
        production_environment: environment("production_id")?,
        limit_mode: policy.limit_mode,
        fallback: policy.fallback,
        grants: Vec::new(),
    })
}

fn key_record(row: &AnyRow) -> Result<KeyRecord> {
    let customer: Option<String> = row.try_get("customer_id")?;
    let limits = match (
        row.try_get::<Option<i64>, _>("rate_limit")?,
        row.try_get::<Option<i64>, _>("burst_limit")?,
    ) {
        (Some(rate), Some(burst)) => Some(Limits {
            rate: narrow(rate)?,
            burst: narrow(burst)?,
        }),
        _ => None,
    };
    Ok(KeyRecord {
        digest: digest(&row.try_get::<Vec<u8>, _>("digest")?)?,
        id: row
            .try_get::<String, _>("id")?
            .parse()
            .map_err(StoreError::corrupt)?,
        account: row
            .try_get::<String, _>("account_id")?
            .parse()
            .map_err(StoreError::corrupt)?,
        environment: environment(&row.try_get::<String, _>("environment")?)?,
        customer: customer
            .map(|id| id.parse().map_err(StoreError::corrupt))
            .transpose()?,
        state: key_state(&row.try_get::<String, _>("state")?)?,
        expires_at: row.try_get::<Option<i64>, _>("expires_at")?.map(UnixMillis),
        allowed_ips: address_list(row.try_get("allowed_ips")?)?,
        api_version: row.try_get("api_version")?,
        rotated_at: row.try_get::<Option<i64>, _>("rotated_at")?.map(UnixMillis),
        customer_limits: limits,
    })
}

/// Reads a whole number that was stored as a 64-bit one.
pub(super) fn narrow<T: TryFrom<i64>>(number: i64) -> Result<T> {
    T::try_from(number).map_err(|_| StoreError::corrupt(format!("{number} is out of range")))
}

pub(super) fn digest(bytes: &[u8]) -> Result<KeyDigest> {
    let bytes = bytes
        .try_into()
        .map_err(|_| StoreError::corrupt("a digest is not 32 bytes"))?;
    Ok(KeyDigest::from_bytes(bytes))
}

pub(super) fn environment(text: &str) -> Result<keyward_contract::Environment> {
    text.parse()
        .map_err(|()| StoreError::corrupt(format!("environment `{text}`")))
}

pub(super) fn key_state(text: &str) -> Result<KeyState> {
    crate::domain::key::state_from_str(text).map_err(StoreError::corrupt)
}

pub(super) fn address_list(json: Option<String>) -> Result<Option<AddressList>> {
    let Some(json) = json else { return Ok(None) };
    let entries: Vec<String> = serde_json::from_str(&json).map_err(StoreError::corrupt)?;
    AddressList::parse(&entries)
        .map(Some)
        .map_err(StoreError::corrupt)
}
