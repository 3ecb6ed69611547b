//! What a bill says of an account beside its usage.

use std::collections::{BTreeSet, HashMap};

use sqlx::AssertSqlSafe;

use super::count;
use super::rows::{ROWS_A_STATEMENT, placeholders};
use crate::store::{Result, Store};

/// An account as a bill names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Billed {
    /// The company.
    pub company_name: String,
    /// Its tier.
    pub tier: String,
    /// Its validations a contract year.
    pub annual_limit: u64,
}

/// The accounts with these ids, by id.
///
/// # Errors
/// When the database fails.
pub async fn billed(store: &Store, ids: &BTreeSet<&str>) -> Result<HashMap<String, Billed>> {
    let ids: Vec<&str> = ids.iter().copied().collect();
    let mut found = HashMap::with_capacity(ids.len());
    for some in ids.chunks(ROWS_A_STATEMENT) {
        let sql = format!(
            "SELECT id, company_name, tier, annual_limit FROM accounts WHERE id IN ({})",
            placeholders(1, some.len())
        );
        let mut query = sqlx::query_as(AssertSqlSafe(sql)).persistent(false);
        for id in some {
            query = query.bind((*id).to_owned());
        }
        let rows: Vec<(String, String, String, i64)> = query.fetch_all(store.readers()).await?;
        for (id, company_name, tier, annual_limit) in rows {
            let billed = Billed {
                company_name,
                tier,
                annual_limit: count(annual_limit),
            };
            found.insert(id, billed);
        }
    }
    Ok(found)
}
