//! What a filter of usage may name: whatever an account ever had, deleted end customers and revoked keys too.

use keyward_contract::{AccountId, CustomerId, Environment, KeyId};

use super::series::UsedKey;
use crate::store::{Result, Store, StoreError};

/// Whether an account ever had this end customer in this environment.
///
/// # Errors
/// When the database fails.
pub async fn end_customer_is_known(
    store: &Store,
    account: AccountId,
    environment: Environment,
    id: CustomerId,
) -> Result<bool> {
    let found: Option<(i64,)> = sqlx::query_as(
        "SELECT created_at FROM end_customers WHERE account_id = $1 AND environment = $2 AND id = $3",
    )
    .bind(account.to_string())
    .bind(environment.as_str())
    .bind(id.as_str())
    .fetch_optional(store.readers())
    .await?;
    Ok(found.is_some())
}

/// The key with this id that an account, or an end customer of it, ever had in this environment.
///
/// # Errors
/// When the database fails.
pub async fn key(
    store: &Store,
    account: AccountId,
    environment: Environment,
    id: KeyId,
) -> Result<Option<UsedKey>> {
    let found: Option<(Option<String>,)> = sqlx::query_as(
        "SELECT customer_id FROM api_keys WHERE id = $1 AND account_id = $2 AND environment = $3",
    )
    .bind(id.to_string())
    .bind(account.to_string())
    .bind(environment.as_str())
    .fetch_optional(store.readers())
    .await?;
    match found {
        None => Ok(None),
        Some((None,)) => Ok(Some(UsedKey::Account(id))),
        Some((Some(customer),)) => {
            let customer = customer.parse().map_err(StoreError::corrupt)?;
            Ok(Some(UsedKey::Customer(id, customer)))
        }
    }
}
