//! Pages of the account keys of one environment, newest first, by ranges of their numbers.
//!
//! A key's number is given under the lock of all changes and never changes, so numbers are a strict order in which
//! keys only ever appear at the new end: a page that begins beside a cursor stays the same whatever is made or
//! ended meanwhile. A page costs its own rows and those of the other standing that lie between; the total costs one
//! walk over an index.

use keyward_contract::{AccountId, Environment, KeyId, UnixMillis};
use sqlx::{Any, Executor};

use super::key;
use crate::domain::key::{ApiKey, Standing};
use crate::store::{Result, Tx};

/// Which keys.
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    /// Of this account.
    pub account: AccountId,
    /// In this environment.
    pub environment: Environment,
    /// That stand like this.
    pub standing: Standing,
    /// At this instant.
    pub now: UnixMillis,
}

/// Where a page lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// After so many of the newest.
    Offset(i64),
    /// The nearest ones older than the key of this number.
    OlderThan(i64),
    /// The nearest ones newer than the key of this number.
    NewerThan(i64),
}

/// One text for keys that may be used and one for those that may not: each is answered from an index of its own.
type Texts = [&'static str; 2];

macro_rules! whole_keys {
    ($rest:literal) => {
        [
            select_key!(concat!(
                "WHERE account_id = $1 AND environment = $2 AND customer_id IS NULL AND state = 'active' ",
                "AND (expires_at IS NULL OR expires_at > $3) ",
                $rest
            )),
            select_key!(concat!(
                "WHERE account_id = $1 AND environment = $2 AND customer_id IS NULL ",
                "AND (state <> 'active' OR expires_at <= $3) ",
                $rest
            )),
        ]
    };
}

macro_rules! numbers {
    ($what:literal, $rest:literal) => {
        [
            concat!(
                "SELECT ",
                $what,
                " FROM api_keys WHERE account_id = $1 AND environment = $2 AND customer_id IS NULL ",
                "AND state = 'active' AND (expires_at IS NULL OR expires_at > $3) ",
                $rest
            ),
            concat!(
                "SELECT ",
                $what,
                " FROM api_keys WHERE account_id = $1 AND environment = $2 AND customer_id IS NULL ",
                "AND (state <> 'active' OR expires_at <= $3) ",
                $rest
            ),
        ]
    };
}

const COUNT: Texts = numbers!("COUNT(*)", "");
const ANY_NEWER: Texts = numbers!("number", "AND number > $4 ORDER BY number LIMIT 1");
const ANY_OLDER: Texts = numbers!("number", "AND number < $4 ORDER BY number DESC LIMIT 1");
const FROM_OFFSET: Texts = whole_keys!("ORDER BY number DESC LIMIT $4 OFFSET $5");
const OLDER: Texts = whole_keys!("AND number < $5 ORDER BY number DESC LIMIT $4");
const NEWER: Texts = whole_keys!("AND number > $5 ORDER BY number LIMIT $4");

impl Selection {
    fn text(&self, [active, inactive]: Texts) -> &'static str {
        match self.standing {
            Standing::Active => active,
            Standing::Inactive => inactive,
        }
    }
}

/// How many keys there are in all.
///
/// # Errors
/// When the database fails.
pub async fn total(tx: &mut Tx, selection: &Selection) -> Result<i64> {
    let (total,): (i64,) = sqlx::query_as(selection.text(COUNT))
        .bind(selection.account.to_string())
        .bind(selection.environment.as_str())
        .bind(selection.now.0)
        .fetch_one(&mut **tx)
        .await?;
    Ok(total)
}

/// At most `limit` keys from this place, newest first.
///
/// # Errors
/// When the database fails.
pub async fn page(tx: &mut Tx, selection: &Selection, place: Place, limit: i64) -> Result<Vec<ApiKey>> {
    let (text, at) = match place {
        Place::Offset(offset) => (FROM_OFFSET, offset),
        Place::OlderThan(number) => (OLDER, number),
        Place::NewerThan(number) => (NEWER, number),
    };
    let rows = sqlx::query(selection.text(text))
        .bind(selection.account.to_string())
        .bind(selection.environment.as_str())
        .bind(selection.now.0)
        .bind(limit)
        .bind(at)
        .fetch_all(&mut **tx)
        .await?;
    let mut keys: Vec<ApiKey> = rows.iter().map(key).collect::<Result<_>>()?;
    if let Place::NewerThan(_) = place {
        keys.reverse();
    }
    Ok(keys)
}

/// Whether there are keys newer than the one of this number.
///
/// # Errors
/// When the database fails.
pub async fn any_newer(tx: &mut Tx, selection: &Selection, number: i64) -> Result<bool> {
    any(tx, selection, ANY_NEWER, number).await
}

/// Whether there are keys older than the one of this number.
///
/// # Errors
/// When the database fails.
pub async fn any_older(tx: &mut Tx, selection: &Selection, number: i64) -> Result<bool> {
    any(tx, selection, ANY_OLDER, number).await
}

async fn any(tx: &mut Tx, selection: &Selection, text: Texts, number: i64) -> Result<bool> {
    let found = sqlx::query(selection.text(text))
        .bind(selection.account.to_string())
        .bind(selection.environment.as_str())
        .bind(selection.now.0)
        .bind(number)
        .fetch_optional(&mut **tx)
        .await?;
    Ok(found.is_some())
}

/// The account key of this environment with this id, in whatever state.
///
/// # Errors
/// When the database fails.
pub async fn one<'e>(
    database: impl Executor<'e, Database = Any>,
    (account, environment): (AccountId, Environment),
    id: KeyId,
) -> Result<Option<ApiKey>> {
    let row = sqlx::query(select_key!(
        "WHERE id = $1 AND account_id = $2 AND environment = $3 AND customer_id IS NULL"
    ))
    .bind(id.to_string())
    .bind(account.to_string())
    .bind(environment.as_str())
    .fetch_optional(database)
    .await?;
    row.as_ref().map(key).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    /// SQLite alone says how it will go about it without being filled first.
    #[tokio::test]
    async fn pages_and_totals_are_read_in_the_order_of_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/cp.db", folder.path().display());
        let store = Store::open(&url).await.unwrap();
        let indexes = ["api_keys_of_company_active", "api_keys_of_company "];
        for (texts, is_covered) in [
            (COUNT, true),
            (ANY_NEWER, true),
            (ANY_OLDER, true),
            (FROM_OFFSET, false),
            (OLDER, false),
            (NEWER, false),
        ] {
            for (text, index) in texts.into_iter().zip(indexes) {
                let plan: Vec<(i64, i64, i64, String)> =
                    sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}")))
                        .fetch_all(store.readers())
                        .await
                        .unwrap();
                let plan: Vec<_> = plan.into_iter().map(|(_, _, _, step)| step + " ").collect();
                assert_eq!(plan.len(), 1, "{text}: {plan:?}");
                assert!(plan[0].contains(index), "{text}: {plan:?}");
                assert_eq!(plan[0].contains("COVERING"), is_covered, "{text}: {plan:?}");
            }
        }
    }
}
