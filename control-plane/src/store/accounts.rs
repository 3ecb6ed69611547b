//! Accounts and their environments.
//!
//! A page of the list is one statement, whatever its depth: every filter that may stand alone has an index in the
//! list's order. Searching for a text walks the list, in its index alone, until the page is full, and so to its
//! end when hardly anything matches: that grows with the number of accounts.

use keyward_contract::{AccountId, KeyDigest, Limits, UnixMillis};
use sqlx::{Any, AnyPool, AssertSqlSafe, Executor, Row, Transaction};

use super::{Result, StoreError, keys};
use crate::domain::account::{Account, EnvironmentSettings, status_as_str};
use crate::domain::key::ApiKey;

mod row;

use row::{account, metadata_text, overrides_text, search_text};

/// Which accounts a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// On this tier.
    pub tier: Option<String>,
    /// With this status.
    pub status: Option<String>,
    /// Whose name or e-mail contains this, without regard to case.
    pub query: Option<String>,
    /// Older than this one: creation and id.
    pub before: Option<(UnixMillis, String)>,
}

/// Under names of their own, so that an account can be read out of a row that holds other things too.
macro_rules! account_columns {
    () => {
        concat!(
            "a.id AS account_id, a.company_name, a.contact_email, a.tier, a.status AS account_status, ",
            "a.contract_start, a.contract_end, a.overrides, a.metadata, a.rate_limit, a.burst_limit, ",
            "a.annual_limit, a.created_at AS account_created_at, a.updated_at AS account_updated_at, ",
            "t.id AS test_id, t.user_key_limit AS test_user_keys, ",
            "p.id AS production_id, p.user_key_limit AS production_user_keys "
        )
    };
}

macro_rules! environments_of_account {
    () => {
        concat!(
            " JOIN environments t ON t.account_id = a.id AND t.kind = 'test' ",
            "JOIN environments p ON p.account_id = a.id AND p.kind = 'production' "
        )
    };
}

macro_rules! select_account {
    ($rest:literal) => {
        concat!(
            "SELECT ",
            account_columns!(),
            "FROM accounts a",
            environments_of_account!(),
            $rest
        )
    };
}

const BY_ID: &str = select_account!("WHERE a.id = $1");

/// The account with this id.
///
/// # Errors
/// When the database fails.
pub async fn by_id(pool: &AnyPool, id: AccountId) -> Result<Option<Account>> {
    let row = sqlx::query(BY_ID)
        .bind(id.to_string())
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(account).transpose()
}

/// The account with this id, as the transaction sees it.
///
/// # Errors
/// When the database fails.
pub async fn load(tx: &mut Transaction<'static, Any>, id: AccountId) -> Result<Option<Account>> {
    let row = sqlx::query(BY_ID)
        .bind(id.to_string())
        .fetch_optional(&mut **tx)
        .await?;
    row.as_ref().map(account).transpose()
}

/// The account key with this digest and its account, by one statement: whose credential it is.
///
/// # Errors
/// When the database fails.
pub async fn by_key_digest(pool: &AnyPool, digest: KeyDigest) -> Result<Option<(ApiKey, Account)>> {
    // `SELECT k.*` repeats the inner list, which names every column.
    let row = sqlx::query(concat!(
        "SELECT k.*, ",
        account_columns!(),
        "FROM (",
        keys::select_key!("WHERE digest = $1"),
        ") k JOIN accounts a ON a.id = k.account_id",
        environments_of_account!()
    ))
    .bind(digest.as_bytes().to_vec())
    .fetch_optional(pool)
    .await?;
    row.as_ref()
        .map(|row| Ok((keys::key(row)?, account(row)?)))
        .transpose()
}

/// The newest accounts that the filter lets through, each with the id of its oldest production key that lives now
/// and is no user's. One statement for all of them.
///
/// # Errors
/// When the database fails.
pub async fn list(
    pool: &AnyPool,
    filter: Filter,
    now: UnixMillis,
    limit: i64,
) -> Result<Vec<(Account, Option<String>)>> {
    let (before_at, before_id) = filter
        .before
        .map_or((i64::MAX, String::new()), |(at, id)| (at.0, id));
    let pattern = filter.query.map(|query| containing(&query.to_lowercase()));
    // What isn't filtered by is left out of the text, so that an index fits what is left.
    let text = format!(
        concat!(
            "SELECT ",
            account_columns!(),
            ", (SELECT k.id FROM api_keys k WHERE k.account_id = a.id AND k.environment = 'production' ",
            "AND k.customer_id IS NULL AND k.user_id IS NULL AND k.state = 'active' ",
            "AND (k.expires_at IS NULL OR k.expires_at > $7) ORDER BY k.created_at, k.number LIMIT 1) AS key_id ",
            "FROM (SELECT id AS listed FROM accounts WHERE {tier} AND {status} AND {search} ",
            "AND (created_at, id) < ($4, $5) ORDER BY created_at DESC, id DESC LIMIT $6) l ",
            "JOIN accounts a ON a.id = l.listed",
            environments_of_account!(),
            "ORDER BY a.created_at DESC, a.id DESC"
        ),
        tier = given(filter.tier.as_ref(), "tier = $1", "CAST($1 AS TEXT) IS NULL"),
        status = given(filter.status.as_ref(), "status = $2", "CAST($2 AS TEXT) IS NULL"),
        search = given(
            pattern.as_ref(),
            "search LIKE $3 ESCAPE '\\'",
            "CAST($3 AS TEXT) IS NULL"
        ),
    );
    // Nothing but our own texts is put together.
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(filter.tier)
        .bind(filter.status)
        .bind(pattern)
        .bind(before_at)
        .bind(before_id)
        .bind(limit)
        .bind(now.0)
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| Ok((account(row)?, row.try_get("key_id")?)))
        .collect()
}

/// The condition of a filter that is given, or one that always holds.
pub(super) fn given(
    filter: Option<&String>,
    condition: &'static str,
    otherwise: &'static str,
) -> &'static str {
    if filter.is_some() { condition } else { otherwise }
}

/// What accounts of a tier were promised.
#[derive(Clone, Copy, Debug)]
pub struct Promised {
    /// Their rate and burst.
    pub limits: Limits,
    /// Validations a contract year.
    pub annual_limit: u64,
}

/// The accounts on this tier that were promised something else, or negotiated, after an id, in the order of their
/// ids.
///
/// # Errors
/// When the database fails.
pub async fn promised_otherwise<'e>(
    executor: impl Executor<'e, Database = Any>,
    tier: &str,
    promised: Promised,
    after: &str,
    limit: i64,
) -> Result<Vec<Account>> {
    let rows = sqlx::query(select_account!(
        "WHERE a.tier = $1 AND a.id > $2 AND (a.overrides IS NOT NULL OR a.rate_limit <> $3 \
         OR a.burst_limit <> $4 OR a.annual_limit <> $5) ORDER BY a.id LIMIT $6"
    ))
    .bind(tier.to_owned())
    .bind(after.to_owned())
    .bind(i64::from(promised.limits.rate))
    .bind(i64::from(promised.limits.burst))
    .bind(wide(promised.annual_limit)?)
    .bind(limit)
    .fetch_all(executor)
    .await?;
    rows.iter().map(account).collect()
}

/// The accounts on this tier after an id, in the order of their ids.
///
/// # Errors
/// When the database fails.
pub async fn on_tier(
    tx: &mut Transaction<'static, Any>,
    tier: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<Account>> {
    let rows = sqlx::query(select_account!(
        "WHERE a.tier = $1 AND a.id > $2 ORDER BY a.id LIMIT $3"
    ))
    .bind(tier.to_owned())
    .bind(after.to_owned())
    .bind(limit)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(account).collect()
}

/// The accounts after an id, in the order of their ids.
///
/// # Errors
/// When the database fails.
pub async fn page(tx: &mut Transaction<'static, Any>, after: &str, limit: i64) -> Result<Vec<Account>> {
    let rows = sqlx::query(select_account!("WHERE a.id > $1 ORDER BY a.id LIMIT $2"))
        .bind(after)
        .bind(limit)
        .fetch_all(&mut **tx)
        .await?;
    rows.iter().map(account).collect()
}

/// Whether there is any account at all.
///
/// # Errors
/// When the database fails.
pub async fn any(tx: &mut Transaction<'static, Any>) -> Result<bool> {
    Ok(sqlx::query("SELECT id FROM accounts LIMIT 1")
        .fetch_optional(&mut **tx)
        .await?
        .is_some())
}

/// Stores a new account with its environments.
///
/// # Errors
/// When the database fails.
pub async fn insert(tx: &mut Transaction<'static, Any>, account: &Account) -> Result<()> {
    sqlx::query(
        "INSERT INTO accounts (id, company_name, contact_email, tier, status, contract_start, contract_end, \
         overrides, metadata, search, rate_limit, burst_limit, annual_limit, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(account.id.to_string())
    .bind(account.company_name.as_str())
    .bind(account.contact_email.as_str())
    .bind(account.tier.as_str())
    .bind(status_as_str(account.status))
    .bind(account.contract.start.map(|at| at.0))
    .bind(account.contract.end.map(|at| at.0))
    .bind(overrides_text(account)?)
    .bind(metadata_text(account)?)
    .bind(search_text(account))
    .bind(i64::from(account.limits.rate))
    .bind(i64::from(account.limits.burst))
    .bind(wide(account.annual_limit)?)
    .bind(account.created_at.0)
    .bind(account.updated_at.0)
    .execute(&mut **tx)
    .await?;
    for (kind, settings) in account.environments.both() {
        sqlx::query(
            "INSERT INTO environments (id, account_id, kind, user_key_limit) VALUES ($1, $2, $3, $4)",
        )
        .bind(settings.id.to_string())
        .bind(account.id.to_string())
        .bind(kind.as_str())
        .bind(i64::from(settings.user_key_limit))
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Saves what can change of an account; its environments are apart.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &mut Transaction<'static, Any>, account: &Account) -> Result<()> {
    sqlx::query(
        "UPDATE accounts SET company_name = $2, contact_email = $3, tier = $4, status = $5, contract_start = $6, \
         contract_end = $7, overrides = $8, metadata = $9, search = $10, rate_limit = $11, burst_limit = $12, \
         annual_limit = $13, updated_at = $14 WHERE id = $1",
    )
    .bind(account.id.to_string())
    .bind(account.company_name.as_str())
    .bind(account.contact_email.as_str())
    .bind(account.tier.as_str())
    .bind(status_as_str(account.status))
    .bind(account.contract.start.map(|at| at.0))
    .bind(account.contract.end.map(|at| at.0))
    .bind(overrides_text(account)?)
    .bind(metadata_text(account)?)
    .bind(search_text(account))
    .bind(i64::from(account.limits.rate))
    .bind(i64::from(account.limits.burst))
    .bind(wide(account.annual_limit)?)
    .bind(account.updated_at.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Saves how many keys an environment may have over all its users.
///
/// # Errors
/// When the database fails.
pub async fn save_environment(
    tx: &mut Transaction<'static, Any>,
    settings: EnvironmentSettings,
) -> Result<()> {
    sqlx::query("UPDATE environments SET user_key_limit = $2 WHERE id = $1")
        .bind(settings.id.to_string())
        .bind(i64::from(settings.user_key_limit))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A `LIKE` pattern for every text that contains this one.
fn containing(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

fn wide(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(StoreError::corrupt)
}
