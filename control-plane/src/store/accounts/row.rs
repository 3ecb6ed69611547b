//! An account as its row says it, and as it is written.

use keyward_contract::{Contract, EnvironmentId, Limits, UnixMillis};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::domain::account::{Account, EnvironmentSettings, Environments, Metadata, status_from_str};
use crate::domain::text::Name;
use crate::store::records::narrow;
use crate::store::{Result, StoreError};

pub(super) fn account(row: &AnyRow) -> Result<Account> {
    let overrides: Option<String> = row.try_get("overrides")?;
    let metadata: String = row.try_get("metadata")?;
    Ok(Account {
        id: row
            .try_get::<String, _>("account_id")?
            .parse()
            .map_err(StoreError::corrupt)?,
        company_name: Name::from_stored(row.try_get("company_name")?),
        contact_email: row.try_get("contact_email")?,
        tier: row.try_get("tier")?,
        status: status_from_str(&row.try_get::<String, _>("account_status")?).map_err(StoreError::corrupt)?,
        contract: Contract {
            start: row.try_get::<Option<i64>, _>("contract_start")?.map(UnixMillis),
            end: row.try_get::<Option<i64>, _>("contract_end")?.map(UnixMillis),
        },
        overrides: overrides
            .map(|text| serde_json::from_str(&text).map_err(StoreError::corrupt))
            .transpose()?,
        metadata: Metadata::from_stored(serde_json::from_str(&metadata).map_err(StoreError::corrupt)?),
        limits: Limits {
            rate: narrow(row.try_get("rate_limit")?)?,
            burst: narrow(row.try_get("burst_limit")?)?,
        },
        annual_limit: narrow(row.try_get("annual_limit")?)?,
        environments: Environments {
            test: environment(row, "test_id", "test_user_keys")?,
            production: environment(row, "production_id", "production_user_keys")?,
        },
        created_at: UnixMillis(row.try_get("account_created_at")?),
        updated_at: UnixMillis(row.try_get("account_updated_at")?),
    })
}

fn environment(row: &AnyRow, id: &str, user_key_limit: &str) -> Result<EnvironmentSettings> {
    Ok(EnvironmentSettings {
        id: row
            .try_get::<String, _>(id)?
            .parse::<EnvironmentId>()
            .map_err(StoreError::corrupt)?,
        user_key_limit: narrow(row.try_get(user_key_limit)?)?,
    })
}

pub(super) fn overrides_text(account: &Account) -> Result<Option<String>> {
    account
        .overrides
        .map(|overrides| serde_json::to_string(&overrides).map_err(StoreError::corrupt))
        .transpose()
}

pub(super) fn metadata_text(account: &Account) -> Result<String> {
    serde_json::to_string(account.metadata.as_map()).map_err(StoreError::corrupt)
}

pub(super) fn search_text(account: &Account) -> String {
    format!("{}\n{}", account.company_name, account.contact_email).to_lowercase()
}
