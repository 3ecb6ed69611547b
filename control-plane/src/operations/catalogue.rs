//! Puts a changed catalogue in force: when the numbers of a tier were changed in the configuration, every account
//! on it is published anew, up to a thousand in one revision. Each of these is a change of its own: one that is cut
//! short is taken up where it ended at the next start. An unchanged catalogue costs one look at the accounts of
//! each tier, and no change.

use keyward_contract::Record;
use serde_json::json;

use super::change::{Change, Entry};
use super::{Actor, Registry, Result};
use crate::domain::account::Account;
use crate::domain::tier::Terms;
use crate::store::accounts::{self, Promised};

/// Records a revision at most: a gateway takes each in one frame.
const BATCH: i64 = 1_000;

/// Compares every account with the catalogue, and publishes those whose numbers are others now. Answers how many.
///
/// # Errors
/// When the database fails: then the revisions before stand, and the next start goes on from there.
pub async fn publish(registry: &Registry) -> Result<usize> {
    let mut published = 0;
    for tier in registry.catalogue.tiers() {
        let terms = registry.catalogue.terms(&tier.key, None)?;
        let mut after = String::new();
        // Looked for without the lock of all changes, which is taken only when there is something to change.
        loop {
            let pool = registry.store.readers();
            let batch = accounts::promised_otherwise(pool, &tier.key, promised(terms), &after, BATCH).await?;
            let Some(last) = batch.last() else { break };
            let until = last.id.to_string();
            if batch
                .into_iter()
                .any(|account| adapted(registry, account).is_some())
            {
                published += publish_batch(registry, (&tier.key, terms), (&after, &until)).await?;
            }
            after = until;
        }
    }
    Ok(published)
}

/// Publishes what is to be changed among the accounts after one id and up to another.
async fn publish_batch(
    registry: &Registry,
    (tier, terms): (&str, Terms),
    (after, until): (&str, &str),
) -> Result<usize> {
    let actor = Actor::system("configuration");
    let mut change = Change::begin(registry, &actor).await?;
    let mut records = Vec::new();
    let batch = accounts::promised_otherwise(&mut *change.tx, tier, promised(terms), after, BATCH).await?;
    for account in batch {
        if account.id.to_string().as_str() > until {
            break;
        }
        if let Some(mut account) = adapted(registry, account) {
            account.updated_at = change.now;
            accounts::save(&mut change.tx, &account).await?;
            records.push(Record::Account(account.record()));
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
        after: Some(json!({"tier": tier, "accounts": records.len()})),
    };
    change.commit(entry, &records).await?;
    Ok(records.len())
}

/// The account under the terms of today; `None` when it has them already.
fn adapted(registry: &Registry, mut account: Account) -> Option<Account> {
    let terms = registry
        .catalogue
        .terms(&account.tier, account.overrides.as_ref());
    match terms {
        Ok(terms) if (account.limits, account.annual_limit) != (terms.limits, terms.annual_limit) => {
            account.apply(terms);
            Some(account)
        }
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(account = %account.id, %error, "an account keeps the terms that it had");
            None
        }
    }
}

fn promised(terms: Terms) -> Promised {
    Promised {
        limits: terms.limits,
        annual_limit: terms.annual_limit,
    }
}
