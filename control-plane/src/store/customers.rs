//! End customers of accounts. Their list answers any page at any depth in the same time (`chunks`).

use keyward_contract::{AccountId, CustomerId, Environment, KeyId, Limits, UnixMillis};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, AssertSqlSafe, Executor, Row, Transaction};

use self::chunks::{CUT, Cut, Place};
use super::keys::instant;
use super::records::{environment, narrow};
use super::{Result, StoreError};
use crate::domain::customer::EndCustomer;
use crate::domain::text::Name;

mod chunks;

/// Rows that one statement inserts at most; each takes eight parameters.
const ROWS_A_STATEMENT: usize = 100;

macro_rules! select_customer {
    ($rest:literal) => {
        concat!(
            "SELECT account_id, environment, id, name, rate_limit, burst_limit, created_at, updated_at ",
            "FROM end_customers WHERE account_id = $1 AND environment = $2 AND status = 'active' ",
            $rest
        )
    };
}

const BY_ID: &str = select_customer!("AND id = $3");

/// The living end customer with this id.
///
/// # Errors
/// When the database fails.
pub async fn by_id<'e>(
    on: impl Executor<'e, Database = Any>,
    account: AccountId,
    environment: Environment,
    id: CustomerId,
) -> Result<Option<EndCustomer>> {
    let row = sqlx::query(BY_ID)
        .bind(account.to_string())
        .bind(environment.as_str())
        .bind(id.as_str())
        .fetch_optional(on)
        .await?;
    row.as_ref().map(customer).transpose()
}

/// A living end customer with what is shown of its keys.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The customer.
    pub customer: EndCustomer,
    /// Its newest key that is not dead for good: the id, and the text when it was sealed.
    pub key: Option<(KeyId, Option<Vec<u8>>)>,
    /// When any of its keys was last used.
    pub last_used_at: Option<UnixMillis>,
}

/// The living end customer with this id and what is shown of its keys, by one statement.
///
/// # Errors
/// When the database fails.
pub async fn shown(
    pool: &AnyPool,
    account: AccountId,
    environment: Environment,
    id: CustomerId,
) -> Result<Option<Shown>> {
    let row = sqlx::query(
        "SELECT c.account_id, c.environment, c.id, c.name, c.rate_limit, c.burst_limit, c.created_at, \
         c.updated_at, k.id AS key_id, k.sealed, (SELECT MAX(u.last_used_at) FROM api_keys o \
         JOIN usage_keys u ON u.key_id = o.id WHERE o.account_id = $1 AND o.environment = $2 \
         AND o.customer_id = $3) AS last_used_at \
         FROM end_customers c LEFT JOIN api_keys k ON k.number = (SELECT MAX(l.number) FROM api_keys l \
         WHERE l.account_id = $1 AND l.environment = $2 AND l.customer_id = $3 \
         AND l.state IN ('active', 'disabled')) \
         WHERE c.account_id = $1 AND c.environment = $2 AND c.status = 'active' AND c.id = $3",
    )
    .bind(account.to_string())
    .bind(environment.as_str())
    .bind(id.as_str())
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        let key: Option<String> = row.try_get("key_id")?;
        Ok(Shown {
            customer: customer(&row)?,
            key: match key {
                Some(id) => Some((id.parse().map_err(StoreError::corrupt)?, row.try_get("sealed")?)),
                None => None,
            },
            last_used_at: instant(&row, "last_used_at")?,
        })
    })
    .transpose()
}

/// The living end customer with this id, as the transaction sees it.
///
/// # Errors
/// When the database fails.
pub async fn load(
    tx: &mut Transaction<'static, Any>,
    account: AccountId,
    environment: Environment,
    id: CustomerId,
) -> Result<Option<EndCustomer>> {
    by_id(&mut **tx, account, environment, id).await
}

/// Which piece of a list is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// How many at most.
    pub limit: i64,
    /// How many are skipped.
    pub offset: i64,
}

/// The living end customers of an environment, newest first, and how many there are in all; one state of the
/// database answers both. The depth of the page makes no difference.
///
/// # Errors
/// When the database fails.
pub async fn list(
    tx: &mut Transaction<'static, Any>,
    account: AccountId,
    environment: Environment,
    page: Page,
) -> Result<(Vec<EndCustomer>, i64)> {
    let place = Place { account, environment };
    let found = chunks::find(tx, place, page.offset).await?;
    let Some(found) = found.filter(|found| page.offset < found.total) else {
        return Ok((Vec::new(), found.map_or(0, |found| found.total)));
    };
    let rows = sqlx::query(select_customer!(
        "AND created_at < $3 ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5"
    ))
    .bind(account.to_string())
    .bind(environment.as_str())
    .bind(found.ends_at)
    .bind(page.limit)
    .bind(found.skip)
    .fetch_all(&mut **tx)
    .await?;
    let customers = rows.iter().map(customer).collect::<Result<_>>()?;
    Ok((customers, found.total))
}

/// Whether a living end customer of this environment has this name.
///
/// # Errors
/// When the database fails.
pub async fn name_is_taken(
    tx: &mut Transaction<'static, Any>,
    account: AccountId,
    environment: Environment,
    name: &Name,
) -> Result<bool> {
    let row = sqlx::query(select_customer!("AND name = $3"))
        .bind(account.to_string())
        .bind(environment.as_str())
        .bind(name.as_str())
        .fetch_optional(&mut **tx)
        .await?;
    Ok(row.is_some())
}

/// Stores a new end customer.
///
/// # Errors
/// When the database fails; [`StoreError::is_duplicate`] when the name was taken meanwhile.
pub async fn insert(tx: &mut Transaction<'static, Any>, customer: &EndCustomer) -> Result<()> {
    insert_cut(tx, customer, CUT).await
}

async fn insert_cut(tx: &mut Transaction<'static, Any>, customer: &EndCustomer, cut: Cut) -> Result<()> {
    insert_all_cut(tx, std::slice::from_ref(customer), cut).await
}

/// Stores many new end customers, for bulk loads: those of one place and instant must lie together.
///
/// # Errors
/// When the database fails.
pub async fn insert_all(tx: &mut Transaction<'static, Any>, customers: &[EndCustomer]) -> Result<()> {
    insert_all_cut(tx, customers, CUT).await
}

async fn insert_all_cut(
    tx: &mut Transaction<'static, Any>,
    customers: &[EndCustomer],
    cut: Cut,
) -> Result<()> {
    let together = |a: &EndCustomer, b: &EndCustomer| {
        (a.account, a.environment, a.created_at) == (b.account, b.environment, b.created_at)
    };
    for group in customers.chunk_by(together) {
        let Some(first) = group.first() else { continue };
        let count = i64::try_from(group.len()).map_err(StoreError::corrupt)?;
        chunks::count_in(tx, place(first), (first.created_at, count), cut).await?;
        for rows in group.chunks(ROWS_A_STATEMENT) {
            insert_rows(tx, rows).await?;
        }
    }
    Ok(())
}

/// Counts a living customer in whose row is about to be stored by others than [`insert`].
pub(super) async fn count_in(tx: &mut Transaction<'static, Any>, customer: &EndCustomer) -> Result<()> {
    chunks::count_in(tx, place(customer), (customer.created_at, 1), CUT).await
}

async fn insert_rows(tx: &mut Transaction<'static, Any>, customers: &[EndCustomer]) -> Result<()> {
    let rows: Vec<_> = (0..customers.len())
        .map(|row| {
            let [a, b, c, d, e, f, g, h] = std::array::from_fn(|column| row * 8 + column + 1);
            format!("(${a}, ${b}, ${c}, ${d}, 'active', ${e}, ${f}, ${g}, ${h})")
        })
        .collect();
    let text = format!(
        "INSERT INTO end_customers (account_id, environment, id, name, status, rate_limit, burst_limit, \
         created_at, updated_at) VALUES {}",
        rows.join(", ")
    );
    // Nothing but our own placeholders is put into the text.
    let mut query = sqlx::query(AssertSqlSafe(text));
    for customer in customers {
        query = query
            .bind(customer.account.to_string())
            .bind(customer.environment.as_str())
            .bind(customer.id.to_string())
            .bind(customer.name.as_str().to_owned())
            .bind(customer.limits.map(|limits| i64::from(limits.rate)))
            .bind(customer.limits.map(|limits| i64::from(limits.burst)))
            .bind(customer.created_at.0)
            .bind(customer.updated_at.0);
    }
    query.execute(&mut **tx).await?;
    Ok(())
}

/// Saves an end customer's name.
///
/// # Errors
/// When the database fails; [`StoreError::is_duplicate`] when the name was taken meanwhile.
pub async fn save(tx: &mut Transaction<'static, Any>, customer: &EndCustomer) -> Result<()> {
    sqlx::query(
        "UPDATE end_customers SET name = $4, updated_at = $5 WHERE account_id = $1 AND environment = $2 AND id = $3",
    )
    .bind(customer.account.to_string())
    .bind(customer.environment.as_str())
    .bind(customer.id.as_str())
    .bind(customer.name.as_str())
    .bind(customer.updated_at.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Marks an end customer as deleted: its name is free again, its row stays.
///
/// # Errors
/// When the database fails.
pub async fn bury(tx: &mut Transaction<'static, Any>, customer: &EndCustomer, now: UnixMillis) -> Result<()> {
    bury_cut(tx, customer, now, CUT).await
}

async fn bury_cut(
    tx: &mut Transaction<'static, Any>,
    customer: &EndCustomer,
    now: UnixMillis,
    cut: Cut,
) -> Result<()> {
    let buried = sqlx::query(
        "UPDATE end_customers SET status = 'deleted', updated_at = $4, deleted_at = $4 \
         WHERE account_id = $1 AND environment = $2 AND id = $3 AND status = 'active'",
    )
    .bind(customer.account.to_string())
    .bind(customer.environment.as_str())
    .bind(customer.id.as_str())
    .bind(now.0)
    .execute(&mut **tx)
    .await?;
    if buried.rows_affected() > 0 {
        chunks::count_out(tx, place(customer), customer.created_at, cut).await?;
    }
    Ok(())
}

fn place(customer: &EndCustomer) -> Place {
    Place {
        account: customer.account,
        environment: customer.environment,
    }
}

pub(super) fn customer(row: &AnyRow) -> Result<EndCustomer> {
    let rate: Option<i64> = row.try_get("rate_limit")?;
    let burst: Option<i64> = row.try_get("burst_limit")?;
    let limits = match (rate, burst) {
        (Some(rate), Some(burst)) => Some(Limits {
            rate: narrow(rate)?,
            burst: narrow(burst)?,
        }),
        _ => None,
    };
    Ok(EndCustomer {
        account: row
            .try_get::<String, _>("account_id")?
            .parse()
            .map_err(StoreError::corrupt)?,
        environment: environment(&row.try_get::<String, _>("environment")?)?,
        id: row
            .try_get::<String, _>("id")?
            .parse()
            .map_err(StoreError::corrupt)?,
        name: Name::from_stored(row.try_get("name")?),
        limits,
        created_at: UnixMillis(row.try_get("created_at")?),
        updated_at: UnixMillis(row.try_get("updated_at")?),
    })
}
