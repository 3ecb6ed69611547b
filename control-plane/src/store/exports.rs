//! Users and end customers as an export takes them: all of them, deleted ones included, page by page in the order of
//! their primary keys.

use keyward_contract::UnixMillis;
use sqlx::Row;

use super::keys::instant;
use super::{Result, Tx, customers, users};
use crate::domain::customer::EndCustomer;
use crate::domain::user::User;

/// The users after an id, each with its end when it has one.
///
/// # Errors
/// When the database fails.
pub async fn users(tx: &mut Tx, after: &str, limit: i64) -> Result<Vec<(User, Option<UnixMillis>)>> {
    let rows = sqlx::query(
        "SELECT id, account_id, sub, name, email, claims, permissions, created_at, updated_at, deleted_at \
         FROM users WHERE id > $1 ORDER BY id LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter()
        .map(|row| Ok((users::user(row)?, instant(row, "deleted_at")?)))
        .collect()
}

/// The end customers after account, environment and id, each with its end when it has one.
///
/// # Errors
/// When the database fails.
pub async fn end_customers(
    tx: &mut Tx,
    after: &(String, String, String),
    limit: i64,
) -> Result<Vec<(EndCustomer, Option<UnixMillis>)>> {
    let rows = sqlx::query(
        "SELECT account_id, environment, id, name, rate_limit, burst_limit, created_at, updated_at, status, \
         deleted_at FROM end_customers WHERE (account_id, environment, id) > ($1, $2, $3) \
         ORDER BY account_id, environment, id LIMIT $4",
    )
    .bind(after.0.as_str())
    .bind(after.1.as_str())
    .bind(after.2.as_str())
    .bind(limit)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter()
        .map(|row| {
            let customer = customers::customer(row)?;
            let deleted = row.try_get::<String, _>("status")? != "active";
            let deleted_at = instant(row, "deleted_at")?.or_else(|| deleted.then_some(customer.updated_at));
            Ok((customer, deleted_at))
        })
        .collect()
}
