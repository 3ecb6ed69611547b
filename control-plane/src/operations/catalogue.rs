//! Puts a changed catalogue in force: when the numbers of a tier were changed in the configuration, or what its limits
//! do, every account on it is published anew, up to a thousand in one revision. Each of these is a change of its own: one
//! that is cut short is taken up where it ended at the next start. An unchanged catalogue costs one look at the accounts
//! of each tier, and no change.
//!
//! Numbers are kept with each account, since it may have negotiated its own. What the limits do is kept with the tier: the
//! first of these changes says so for every record that is made from then on, and how far the accounts were published.

use keyward_contract::Record;
use serde_json::{Value, json};

use super::change::{Change, Entry};
use super::{Actor, Registry, Result};
use crate::domain::account::Account;
use crate::domain::grant;
use crate::domain::tier::{Policy, Terms, fallback_as_str, mode_as_str};
use crate::store::accounts::{self, Promised};
use crate::store::policies::{self, Published};
use crate::store::{StoreError, grants};

/// Records a revision at most: a gateway takes each in one frame.
const BATCH: i64 = 1_000;

/// Compares every account with the catalogue, and publishes those whose numbers are others now. Answers how many.
///
/// # Errors
/// When the database fails: then the revisions before stand, and the next start goes on from there.
pub async fn publish(registry: &Registry) -> Result<usize> {
    let mut published = 0;
    for tier in registry.catalogue.tiers() {
        published += publish_policy(registry, &tier.key).await?;
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
    let mut saved = Vec::new();
    let batch = accounts::promised_otherwise(&mut *change.tx, tier, promised(terms), after, BATCH).await?;
    for account in batch {
        if account.id.to_string().as_str() > until {
            break;
        }
        if let Some(mut account) = adapted(registry, account) {
            account.updated_at = change.now;
            accounts::save(&mut change.tx, &account).await?;
            saved.push(account);
        }
    }
    if saved.is_empty() {
        return Ok(0);
    }
    let policy = policies::of(&mut *change.tx, tier).await?.policy;
    let records = records(&mut change, policy, after, saved).await?;
    let entry = entry(json!({"tier": tier, "accounts": records.len()}));
    change.commit(entry, &records).await?;
    Ok(records.len())
}

/// Publishes what the limits of a tier do, when that is not what gateways were told.
async fn publish_policy(registry: &Registry, tier: &str) -> Result<usize> {
    let Some(policy) = registry.catalogue.policy(tier) else {
        return Ok(0);
    };
    // Looked at without the lock of all changes, which is taken only when there is something to change.
    let settled = Published {
        policy,
        told_until: None,
    };
    if policies::of(registry.store.readers(), tier).await? == settled {
        return Ok(0);
    }
    let mut step = Step::Begin;
    let mut published = 0;
    while let Some(accounts) = publish_policy_batch(registry, tier, policy, step).await? {
        published += accounts;
        step = Step::GoOn;
    }
    Ok(published)
}

/// Whether a batch is the first of a publication.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// What stands is replaced, whatever it is.
    Begin,
    /// Only what was begun is gone on with.
    GoOn,
}

/// Publishes the next accounts of a tier, and notes how far it has come; `None` when nothing is left to do. Another
/// control plane may be about the same: it goes on where this one stopped. Of two that say otherwise, the one that
/// began later wins: that is decided under the lock of all changes, since two that each began anew would never end.
async fn publish_policy_batch(
    registry: &Registry,
    tier: &str,
    policy: Policy,
    step: Step,
) -> Result<Option<usize>> {
    let actor = Actor::system("configuration");
    let mut change = Change::begin(registry, &actor).await?;
    let before = policies::of(&mut *change.tx, tier).await?;
    let after = match before.told_until {
        None if before.policy == policy => return Ok(None),
        Some(until) if before.policy == policy => until,
        _ if step == Step::GoOn => {
            tracing::warn!(
                tier,
                "another control plane says otherwise what the limits of this tier do"
            );
            return Ok(None);
        }
        _ => String::new(),
    };
    let batch = accounts::on_tier(&mut change.tx, tier, &after, BATCH).await?;
    // A page that isn't full is the last one.
    let is_full = i64::try_from(batch.len()).is_ok_and(|accounts| accounts == BATCH);
    let last = batch.last().filter(|_| is_full);
    let told_until = last.map(|last| last.id.to_string());
    policies::put(&mut change.tx, tier, &Published { policy, told_until }).await?;
    if batch.is_empty() {
        change.tx.commit().await.map_err(StoreError::from)?;
        return Ok(Some(0));
    }
    let records = records(&mut change, policy, &after, batch).await?;
    let entry = entry(json!({
        "tier": tier,
        "accounts": records.len(),
        "mode": mode_as_str(policy.limit_mode),
        "fallback": policy.fallback.map(fallback_as_str),
    }));
    change.commit(entry, &records).await?;
    Ok(Some(records.len()))
}

/// What gateways are told of some accounts, which come after an id in the order of their ids.
async fn records(
    change: &mut Change<'_>,
    policy: Policy,
    after: &str,
    accounts: Vec<Account>,
) -> Result<Vec<Record>> {
    let now = change.now;
    let until = accounts
        .last()
        .map_or(String::new(), |account| account.id.to_string());
    let range = (after, until.as_str());
    let mut granted = grants::of_range(&mut change.tx, range, grant::earliest_told(now)).await?;
    Ok(accounts
        .into_iter()
        .map(|account| {
            let granted = granted.remove(&account.id).unwrap_or_default();
            let granted = grant::told(granted, now, account.contract.start);
            Record::Account(account.record(policy, granted))
        })
        .collect())
}

fn entry(after: Value) -> Entry {
    Entry {
        action: "catalogue.changed",
        target: ("catalogue", "tiers".to_owned()),
        account: None,
        before: None,
        after: Some(after),
    }
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
