//! Puts a changed catalogue in force: when the numbers of a tier were changed in the configuration, every account
//! on it is published anew, all in one revision.

use keyward_contract::Record;
use serde_json::json;

use super::change::{Change, Entry};
use super::{Actor, Registry, Result};
use crate::store::accounts;

const BATCH: i64 = 1_000;

/// Compares every account with the catalogue, and publishes those whose numbers are others now. Answers how many.
///
/// # Errors
/// When the database fails: then no account was changed.
pub async fn publish(registry: &Registry) -> Result<usize> {
    let actor = Actor::system("configuration");
    let mut change = Change::begin(registry, &actor).await?;
    let mut records = Vec::new();
    for tier in registry.catalogue.tiers() {
        let mut after = String::new();
        loop {
            let batch = accounts::of_tier(&mut change.tx, &tier.key, &after, BATCH).await?;
            let Some(last) = batch.last() else { break };
            after = last.id.to_string();
            for mut account in batch {
                let terms = registry
                    .catalogue
                    .terms(&account.tier, account.overrides.as_ref())?;
                if (account.limits, account.annual_limit) != (terms.limits, terms.annual_limit) {
                    account.apply(terms);
                    account.updated_at = change.now;
                    accounts::save(&mut change.tx, &account).await?;
                    records.push(Record::Account(account.record()));
                }
            }
        }
    }
    if records.is_empty() {
        return Ok(0);
    }
    let entry = Entry {
        action: "catalogue.changed",
        target: ("catalogue", "tiers".to_owned()),
        account: None,
        before: None,
        after: Some(json!({"accounts": records.len()})),
    };
    change.commit(entry, &records).await?;
    Ok(records.len())
}
