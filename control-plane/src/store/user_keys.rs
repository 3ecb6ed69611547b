//! Users' keys: those of surface 4 as it shows them, and all of one user's when the user goes. Each list is one read
//! of an index that holds no other keys.

use keyward_contract::{AccountId, Environment, KeyMask, KeyRecord, KeyState, UnixMillis, UserId};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, Executor, Row};

use super::keys::instant;
use super::records::{address_list, digest, environment, key_state};
use super::{Result, StoreError, Tx};
use crate::domain::text::Name;
use crate::domain::user_key::UserKey;

/// Whose keys somebody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// This user's.
    User(UserId),
    /// Those of this account's users.
    Account(AccountId),
    /// Everybody's.
    All,
}

/// What is seen: whose keys, of which kind of environment, living at which instant.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Whose.
    pub owners: Owners,
    /// Where they are valid.
    pub environment: Environment,
    /// Keys whose rotation grace is over by then are gone.
    pub now: UnixMillis,
}

// What an operator revoked, itself or by rotating it, is gone here; so is what belongs to an account that is gone.
macro_rules! select_user_key {
    ($rest:literal) => {
        concat!(
            "SELECT k.id, k.number, k.account_id, k.name, k.mask, k.state, k.expires_at, k.created_by, k.created_at, ",
            "a.company_name, u.sub FROM api_keys k JOIN accounts a ON a.id = k.account_id ",
            "JOIN users u ON u.id = k.user_id WHERE k.origin = 'user-keys' AND k.environment = $1 ",
            "AND k.state IN ('active', 'disabled') AND (k.rotated_at IS NULL OR k.expires_at > $2) ",
            "AND a.status <> 'cancelled' ",
            $rest
        )
    };
}

/// The keys that are seen, newest first.
///
/// # Errors
/// When the database fails.
pub async fn list(pool: &AnyPool, seen: Seen) -> Result<Vec<UserKey>> {
    // A text for each, so that each finds its index.
    let query = match seen.owners {
        Owners::User(_) => select_user_key!("AND k.user_id = $3 ORDER BY k.number DESC"),
        Owners::Account(_) => select_user_key!("AND k.account_id = $3 ORDER BY k.number DESC"),
        Owners::All => select_user_key!("ORDER BY k.number DESC"),
    };
    let query = sqlx::query(query)
        .bind(seen.environment.as_str())
        .bind(seen.now.0);
    let query = match seen.owners {
        Owners::User(id) => query.bind(id.to_string()),
        Owners::Account(id) => query.bind(id.to_string()),
        Owners::All => query,
    };
    query.fetch_all(pool).await?.iter().map(user_key).collect()
}

/// The key with this number, when it is seen.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &mut Tx, seen: Seen, number: i64) -> Result<Option<UserKey>> {
    let (user, account) = match seen.owners {
        Owners::User(id) => (Some(id.to_string()), None),
        Owners::Account(id) => (None, Some(id.to_string())),
        Owners::All => (None, None),
    };
    let row = sqlx::query(select_user_key!(
        "AND k.number = $3 AND (CAST($4 AS TEXT) IS NULL OR k.user_id = $4) \
         AND (CAST($5 AS TEXT) IS NULL OR k.account_id = $5)"
    ))
    .bind(seen.environment.as_str())
    .bind(seen.now.0)
    .bind(number)
    .bind(user)
    .bind(account)
    .fetch_optional(&mut **tx)
    .await?;
    row.as_ref().map(user_key).transpose()
}

const USED: &str = "SELECT COUNT(*) FROM api_keys WHERE account_id = $1 AND environment = $2 \
     AND origin = 'user-keys' AND user_id IS NOT NULL AND state IN ('active', 'disabled') \
     AND (rotated_at IS NULL OR expires_at > $3)";

/// How many keys of users an account's environment has.
///
/// # Errors
/// When the database fails.
pub async fn used<'e>(
    on: impl Executor<'e, Database = Any>,
    account: AccountId,
    environment: Environment,
    now: UnixMillis,
) -> Result<i64> {
    let (count,) = sqlx::query_as(USED)
        .bind(account.to_string())
        .bind(environment.as_str())
        .bind(now.0)
        .fetch_one(on)
        .await?;
    Ok(count)
}

/// The same as the transaction sees it.
///
/// # Errors
/// When the database fails.
pub async fn load_used(
    tx: &mut Tx,
    account: AccountId,
    environment: Environment,
    now: UnixMillis,
) -> Result<i64> {
    used(&mut **tx, account, environment, now).await
}

/// Revokes every key of a user, whatever surface it was made on, in one statement; answers what gateways must be
/// told, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn revoke_all(tx: &mut Tx, user: UserId, now: UnixMillis) -> Result<Vec<KeyRecord>> {
    let rows = sqlx::query(
        "UPDATE api_keys SET state = 'revoked', revoked_at = $2, updated_at = $2 \
         WHERE user_id = $1 AND state IN ('active', 'disabled') \
         RETURNING number, id, account_id, environment, digest, expires_at, allowed_ips, api_version, rotated_at",
    )
    .bind(user.to_string())
    .bind(now.0)
    .fetch_all(&mut **tx)
    .await?;
    let mut revoked = rows
        .iter()
        .map(|row| Ok((row.try_get::<i64, _>("number")?, revoked_record(row)?)))
        .collect::<Result<Vec<_>>>()?;
    revoked.sort_unstable_by_key(|(number, _)| *number);
    Ok(revoked.into_iter().map(|(_, record)| record).collect())
}

fn revoked_record(row: &AnyRow) -> Result<KeyRecord> {
    Ok(KeyRecord {
        digest: digest(&row.try_get::<Vec<u8>, _>("digest")?)?,
        id: id(row, "id")?,
        account: id(row, "account_id")?,
        environment: environment(&row.try_get::<String, _>("environment")?)?,
        customer: None,
        state: KeyState::Revoked,
        expires_at: instant(row, "expires_at")?,
        allowed_ips: address_list(row.try_get("allowed_ips")?)?,
        api_version: row.try_get("api_version")?,
        rotated_at: instant(row, "rotated_at")?,
        customer_limits: None,
    })
}

/// Every key that is made here has a name and an end. One that came from elsewhere may lack them: it is shown under its
/// mask, and to the end of time.
fn user_key(row: &AnyRow) -> Result<UserKey> {
    let mask: String = row.try_get("mask")?;
    let name: Option<String> = row.try_get("name")?;
    Ok(UserKey {
        id: id(row, "id")?,
        number: row.try_get("number")?,
        account: id(row, "account_id")?,
        organisation: Name::from_stored(row.try_get("company_name")?),
        owner: row
            .try_get::<String, _>("sub")?
            .parse()
            .map_err(StoreError::corrupt)?,
        created_by: row.try_get("created_by")?,
        name: Name::from_stored(name.unwrap_or_else(|| mask.clone())),
        mask: KeyMask::from_stored(mask),
        state: key_state(&row.try_get::<String, _>("state")?)?,
        expires_at: instant(row, "expires_at")?.unwrap_or(UnixMillis(i64::MAX)),
        created_at: UnixMillis(row.try_get("created_at")?),
    })
}

fn id<T>(row: &AnyRow, column: &str) -> Result<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.try_get::<String, _>(column)?
        .parse()
        .map_err(StoreError::corrupt)
}
