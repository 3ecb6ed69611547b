//! How any page of a long list is found at once: the living end customers of an environment, by the instants of
//! their making, are cut into ranges, and each range knows how many it holds.
//!
//! A range begins at its instant and ends where the next begins; together they cover all time, so that every
//! instant lies in exactly one. A new range begins only at an instant later than that of every living customer,
//! so that equal instants are never cut apart; an earlier instant, of a control plane whose clock is behind, goes
//! into the range that holds it. Ranges that emptied are joined to a neighbour, so that there are never many more
//! of them than customers need.
//!
//! Adding or taking a customer costs one statement, inside its own change; a page costs one sum over the ranges
//! (about a thousand for a million customers) and a skip over at most one range.

use keyward_contract::{AccountId, Environment, UnixMillis};
use sqlx::Row;

use super::super::{Result, StoreError, Tx};

/// How finely a list is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// A range with so many takes no more, once a later instant comes.
    pub(super) full: i64,
    /// Two neighbours that hold no more than this together become one.
    pub(super) sparse: i64,
}

/// About as many ranges as customers in each, for a million customers.
pub(super) const CUT: Cut = Cut {
    full: 1_000,
    sparse: 500,
};

/// Whose list it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) account: AccountId,
    pub(super) environment: Environment,
}

/// Where the customer at an offset of the list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// How many customers there are in all.
    pub(super) total: i64,
    /// The instant before which its range ends.
    pub(super) ends_at: i64,
    /// How many customers of that range come before it.
    pub(super) skip: i64,
}

macro_rules! range_of {
    ($rest:literal) => {
        concat!(
            "WHERE account_id = $1 AND environment = $2 AND start_at = (SELECT MAX(start_at) FROM ",
            "end_customer_chunks WHERE account_id = $1 AND environment = $2 AND start_at <= $3) ",
            $rest
        )
    };
}

/// Counts so many new customers in that were made at one instant. Called before their rows are stored.
///
/// # Errors
/// When the database fails.
pub(super) async fn count_in(
    tx: &mut Tx,
    place: Place,
    (made, customers): (UnixMillis, i64),
    cut: Cut,
) -> Result<()> {
    let counted: Option<(i64, i64)> = sqlx::query_as(concat!(
        "UPDATE end_customer_chunks SET live = live + $4 ",
        range_of!("RETURNING start_at, live")
    ))
    .bind(place.account.to_string())
    .bind(place.environment.as_str())
    .bind(made.0)
    .bind(customers)
    .fetch_optional(&mut **tx)
    .await?;
    match counted {
        None => begin(tx, place, (made.0.min(0), customers)).await,
        Some((start_at, live)) if live > cut.full && newest(tx, place).await? < Some(made.0) => {
            add(tx, place, start_at, -customers).await?;
            begin(tx, place, (made.0, customers)).await
        }
        Some(_) => Ok(()),
    }
}

/// Counts a customer out that lives no more.
///
/// # Errors
/// When the database fails, or never counted it in.
pub(super) async fn count_out(tx: &mut Tx, place: Place, made: UnixMillis, cut: Cut) -> Result<()> {
    let counted: Option<(i64, i64)> = sqlx::query_as(concat!(
        "UPDATE end_customer_chunks SET live = live - 1 ",
        range_of!("RETURNING start_at, live")
    ))
    .bind(place.account.to_string())
    .bind(place.environment.as_str())
    .bind(made.0)
    .fetch_optional(&mut **tx)
    .await?;
    let range = counted.ok_or_else(|| StoreError::corrupt("an end customer was never counted"))?;
    if range.1 > cut.sparse {
        return Ok(());
    }
    if let Some(older) = beside(tx, place, range.0, OLDER).await?
        && older.1 + range.1 <= cut.sparse
    {
        join(tx, place, older.0, range).await
    } else if let Some(newer) = beside(tx, place, range.0, NEWER).await?
        && newer.1 + range.1 <= cut.sparse
    {
        join(tx, place, range.0, newer).await
    } else {
        Ok(())
    }
}

/// Where the list goes on after `offset` customers, newest first; `None` of an empty list.
///
/// # Errors
/// When the database fails.
pub(super) async fn find(tx: &mut Tx, place: Place, offset: i64) -> Result<Option<Found>> {
    let row = sqlx::query(
        "SELECT above, ends_at, (SELECT CAST(SUM(live) AS BIGINT) FROM end_customer_chunks \
         WHERE account_id = $1 AND environment = $2) AS total FROM ( \
         SELECT start_at, CAST(SUM(live) OVER (ORDER BY start_at DESC) AS BIGINT) - live AS above, \
         LAG(start_at) OVER (ORDER BY start_at DESC) AS ends_at FROM end_customer_chunks \
         WHERE account_id = $1 AND environment = $2) AS summed \
         WHERE above <= $3 ORDER BY above DESC, start_at LIMIT 1",
    )
    .bind(place.account.to_string())
    .bind(place.environment.as_str())
    .bind(offset)
    .fetch_optional(&mut **tx)
    .await?;
    row.map(|row| {
        Ok(Found {
            total: row.try_get("total")?,
            ends_at: row.try_get::<Option<i64>, _>("ends_at")?.unwrap_or(i64::MAX),
            skip: offset - row.try_get::<i64, _>("above")?,
        })
    })
    .transpose()
}

async fn begin(tx: &mut Tx, place: Place, (start_at, live): (i64, i64)) -> Result<()> {
    sqlx::query(
        "INSERT INTO end_customer_chunks (account_id, environment, start_at, live) VALUES ($1, $2, $3, $4)",
    )
    .bind(place.account.to_string())
    .bind(place.environment.as_str())
    .bind(start_at)
    .bind(live)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

async fn add(tx: &mut Tx, place: Place, start_at: i64, more: i64) -> Result<()> {
    sqlx::query(
        "UPDATE end_customer_chunks SET live = live + $4 \
         WHERE account_id = $1 AND environment = $2 AND start_at = $3",
    )
    .bind(place.account.to_string())
    .bind(place.environment.as_str())
    .bind(start_at)
    .bind(more)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Joins a range to the one before it.
async fn join(tx: &mut Tx, place: Place, into: i64, (start_at, live): (i64, i64)) -> Result<()> {
    sqlx::query(
        "DELETE FROM end_customer_chunks WHERE account_id = $1 AND environment = $2 AND start_at = $3",
    )
    .bind(place.account.to_string())
    .bind(place.environment.as_str())
    .bind(start_at)
    .execute(&mut **tx)
    .await?;
    add(tx, place, into, live).await
}

const OLDER: &str = "SELECT start_at, live FROM end_customer_chunks WHERE account_id = $1 AND environment = $2 \
                     AND start_at < $3 ORDER BY start_at DESC LIMIT 1";
const NEWER: &str = "SELECT start_at, live FROM end_customer_chunks WHERE account_id = $1 AND environment = $2 \
                     AND start_at > $3 ORDER BY start_at LIMIT 1";

/// The range beside this one: its start, and how many it holds.
async fn beside(tx: &mut Tx, place: Place, start_at: i64, which: &'static str) -> Result<Option<(i64, i64)>> {
    Ok(sqlx::query_as(which)
        .bind(place.account.to_string())
        .bind(place.environment.as_str())
        .bind(start_at)
        .fetch_optional(&mut **tx)
        .await?)
}

/// When the newest living customer was made.
async fn newest(tx: &mut Tx, place: Place) -> Result<Option<i64>> {
    let row: Option<(i64,)> = sqlx::query_as(
        "SELECT created_at FROM end_customers WHERE account_id = $1 AND environment = $2 \
         AND status = 'active' ORDER BY created_at DESC, id DESC LIMIT 1",
    )
    .bind(place.account.to_string())
    .bind(place.environment.as_str())
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|(at,)| at))
}

#[cfg(test)]
mod tests;
