//! What gateways are told: accounts and keys as feed records.
//!
//! [`walk`] is one pass over all of them, for snapshots; the others read a page inside a transaction. A stored row that
//! no gateway could decide by is an error, never skipped.

use std::borrow::Cow;

use keyward_contract::{
    AccountRecord, AddressList, Contract, EnvironmentId, KeyDigest, KeyRecord, KeyState, Limits, UnixMillis,
};
use sqlx::{Any, Row, Transaction};

use super::{Result, Store, StoreError, grants, policies};
use crate::domain::account::status_from_str;
use crate::domain::grant;

/// Every account with what stands elsewhere of it; in the order of [`account_columns`].
macro_rules! accounts {
    () => {
        "SELECT a.id, a.status, a.tier, a.rate_limit, a.burst_limit, a.annual_limit, a.contract_start, \
         a.contract_end, t.id, p.id, y.limit_mode, y.fallback FROM accounts a \
         JOIN environments t ON t.account_id = a.id AND t.kind = 'test' \
         JOIN environments p ON p.account_id = a.id AND p.kind = 'production' \
         LEFT JOIN tier_policies y ON y.tier = a.tier"
    };
}

/// Every key with its end customer's own limits, which few have: they have an index to themselves, and the database may
/// need to be told so. By default in the order of [`key_columns`].
macro_rules! keys {
    ($by:literal) => {
        keys!(
            "k.id, k.account_id, k.environment, k.customer_id, k.digest, k.state, k.expires_at, k.allowed_ips, \
             k.api_version, k.rotated_at, c.rate_limit, c.burst_limit, k.number",
            $by
        )
    };
    ($columns:literal, $by:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM api_keys k LEFT JOIN end_customers c ",
            $by,
            " ON c.account_id = k.account_id AND c.environment = k.environment \
             AND c.id = k.customer_id AND c.rate_limit IS NOT NULL"
        )
    };
}

/// A row of any driver as [`AccountColumns`].
macro_rules! account_columns {
    ($row:expr) => {
        AccountColumns {
            id: $row.try_get(0)?,
            status: $row.try_get(1)?,
            tier: $row.try_get(2)?,
            limits: ($row.try_get(3)?, $row.try_get(4)?),
            annual_limit: $row.try_get(5)?,
            contract: ($row.try_get(6)?, $row.try_get(7)?),
            environments: ($row.try_get(8)?, $row.try_get(9)?),
            policy: ($row.try_get(10)?, $row.try_get(11)?),
        }
    };
}

/// A row of any driver as [`KeyColumns`].
macro_rules! key_columns {
    ($row:expr) => {
        KeyColumns {
            id: $row.try_get(0)?,
            account: $row.try_get(1)?,
            environment: $row.try_get(2)?,
            customer: $row.try_get(3)?,
            digest: $row.try_get(4)?,
            state: $row.try_get(5)?,
            expires_at: $row.try_get(6)?,
            allowed_ips: $row.try_get::<Option<&str>, _>(7)?.map(Cow::Borrowed),
            api_version: Cow::Borrowed($row.try_get(8)?),
            rotated_at: $row.try_get(9)?,
            customer_limits: ($row.try_get(10)?, $row.try_get(11)?),
        }
    };
}

pub mod walk;

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
    let rows = sqlx::query(concat!(accounts!(), " WHERE a.id > $1 ORDER BY a.id LIMIT $2"))
        .bind(after.clone())
        .bind(limit)
        .fetch_all(&mut **tx)
        .await?;
    let mut records: Vec<AccountRecord> = rows
        .iter()
        .map(|row| -> Result<AccountRecord> { account_columns!(row).record() })
        .collect::<Result<_>>()?;
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
    let rows = sqlx::query(concat!(
        keys!(""),
        " WHERE k.number > $1 ORDER BY k.number LIMIT $2"
    ))
    .bind(after_number)
    .bind(limit)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter()
        .map(|row| -> Result<(i64, KeyRecord)> { Ok((row.try_get(12)?, key_columns!(row).record()?)) })
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

/// What stands in an account's row, whatever driver read it.
struct AccountColumns<'r> {
    id: &'r str,
    status: &'r str,
    tier: &'r str,
    limits: (i64, i64),
    annual_limit: i64,
    contract: (Option<i64>, Option<i64>),
    environments: (&'r str, &'r str),
    policy: (Option<String>, Option<String>),
}

impl AccountColumns<'_> {
    /// Without what was granted.
    fn record(self) -> Result<AccountRecord> {
        let environment = |id: &str| -> Result<EnvironmentId> { id.parse().map_err(StoreError::corrupt) };
        let policy = policies::policy(self.policy.0, self.policy.1)?;
        Ok(AccountRecord {
            id: self.id.parse().map_err(StoreError::corrupt)?,
            status: status_from_str(self.status).map_err(StoreError::corrupt)?,
            tier: self.tier.to_owned(),
            limits: Limits {
                rate: narrow(self.limits.0)?,
                burst: narrow(self.limits.1)?,
            },
            annual_limit: narrow(self.annual_limit)?,
            contract: Contract {
                start: self.contract.0.map(UnixMillis),
                end: self.contract.1.map(UnixMillis),
            },
            test_environment: environment(self.environments.0)?,
            production_environment: environment(self.environments.1)?,
            limit_mode: policy.limit_mode,
            fallback: policy.fallback,
            grants: Vec::new(),
        })
    }
}

/// What stands in a key's row, whatever driver read it.
struct KeyColumns<'r> {
    id: &'r str,
    account: &'r str,
    environment: &'r str,
    customer: Option<&'r str>,
    digest: &'r [u8],
    state: &'r str,
    expires_at: Option<i64>,
    allowed_ips: Option<Cow<'r, str>>,
    api_version: Cow<'r, str>,
    rotated_at: Option<i64>,
    customer_limits: (Option<i64>, Option<i64>),
}

impl KeyColumns<'_> {
    fn record(self) -> Result<KeyRecord> {
        let customer_limits = match self.customer_limits {
            (Some(rate), Some(burst)) => Some(Limits {
                rate: narrow(rate)?,
                burst: narrow(burst)?,
            }),
            _ => None,
        };
        Ok(KeyRecord {
            digest: digest(self.digest)?,
            id: self.id.parse().map_err(StoreError::corrupt)?,
            account: self.account.parse().map_err(StoreError::corrupt)?,
            environment: environment(self.environment)?,
            customer: self
                .customer
                .map(|id| id.parse().map_err(StoreError::corrupt))
                .transpose()?,
            state: key_state(self.state)?,
            expires_at: self.expires_at.map(UnixMillis),
            allowed_ips: self.allowed_ips.as_deref().map(listed).transpose()?,
            api_version: self.api_version.into_owned(),
            rotated_at: self.rotated_at.map(UnixMillis),
            customer_limits,
        })
    }
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
    json.as_deref().map(listed).transpose()
}

fn listed(json: &str) -> Result<AddressList> {
    let entries: Vec<String> = serde_json::from_str(json).map_err(StoreError::corrupt)?;
    AddressList::parse(&entries).map_err(StoreError::corrupt)
}
