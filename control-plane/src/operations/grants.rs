//! Extra validations that operators grant for the running contract year. They are in force on the gateways, and can be
//! used, when the call that makes them is answered.

use keyward_contract::{AccountId, QuotaPeriod, UnixMillis};
use serde_json::json;
use uuid::Uuid;

use super::accounts::{living, record};
use super::change::{Change, Entry};
use super::{Actor, Changed, Registry, Result, thresholds};
use crate::domain::account::Account;
use crate::domain::grant::{MAX_GRANTS_A_PERIOD, QuotaGrant};
use crate::domain::refusal::{Conflict, Missing};
use crate::domain::text::Name;
use crate::store::{accounts, grants, usage};

/// What an operator grants.
#[derive(Clone, Debug)]
pub struct NewGrant {
    /// How many validations.
    pub validations: u64,
    /// Why.
    pub reason: Option<Name>,
}

/// Which grants a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Years {
    /// Those of the running contract year.
    Running,
    /// All there ever were.
    All,
}

/// A grant with the contract year that it counts in.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The grant.
    pub grant: QuotaGrant,
    /// Its year.
    pub period: QuotaPeriod,
}

/// Grants validations to an account, for the contract year that runs now.
///
/// # Errors
/// When there is no such account, it is cancelled or has as many grants as there may be, or the database fails.
pub async fn grant(
    registry: &Registry,
    actor: &Actor,
    account: AccountId,
    wanted: NewGrant,
) -> Result<Changed<Granted>> {
    let mut change = Change::begin(registry, actor).await?;
    let account = living(&mut change, account).await?;
    let period = QuotaPeriod::at(change.now, account.contract.start);
    let (many, before) = grants::in_period(&mut *change.tx, account.id, period).await?;
    if many >= MAX_GRANTS_A_PERIOD {
        return Err(Conflict::TooManyGrants.into());
    }
    let grant = QuotaGrant {
        id: Uuid::now_v7(),
        account: account.id,
        at: QuotaGrant::instant(change.now, account.contract.start),
        validations: wanted.validations,
        reason: wanted.reason,
        created_at: change.now,
        created_by: change.actor_id().to_owned(),
    };
    grants::insert(&mut change.tx, &grant).await?;
    let used = usage::spent_in(&registry.store, account.id, period).await?;
    let granted = before.saturating_add(grant.validations);
    let limit = account.annual_limit.saturating_add(granted);
    thresholds::lifted(&mut change.tx, account.id, period, (used, limit)).await?;
    let record = record(&mut change, &account).await?;
    let settled = change.commit(entry(&grant, period), &[record]).await?;
    let value = Granted { grant, period };
    Ok(Changed { value, settled })
}

/// The newest grants of an account, older than `before` (creation and id).
///
/// # Errors
/// When there is no such account, or the database fails.
pub async fn list(
    registry: &Registry,
    account: AccountId,
    years: Years,
    before: Option<(UnixMillis, Uuid)>,
    limit: i64,
) -> Result<Vec<Granted>> {
    let pool = registry.store.readers();
    let account = accounts::by_id(pool, account).await?.ok_or(Missing::Account)?;
    let start = account.contract.start;
    let within = match years {
        Years::Running => Some(QuotaPeriod::at(registry.clock.now(), start)),
        Years::All => None,
    };
    let found = grants::list(pool, account.id, within, before, limit).await?;
    Ok(found
        .into_iter()
        .map(|grant| Granted {
            period: grant.period(start),
            grant,
        })
        .collect())
}

/// What was granted to an account for a contract year.
///
/// # Errors
/// When the database fails.
pub async fn granted(registry: &Registry, account: &Account, period: QuotaPeriod) -> Result<u64> {
    let (_, granted) = grants::in_period(registry.store.readers(), account.id, period).await?;
    Ok(granted)
}

fn entry(grant: &QuotaGrant, period: QuotaPeriod) -> Entry {
    Entry {
        action: "quota.granted",
        target: ("quota_grant", grant.id.to_string()),
        account: Some(grant.account),
        before: None,
        after: Some(json!({
            "validations": grant.validations,
            "reason": grant.reason,
            "period_start": period.start.to_rfc3339_seconds(),
            "period_end": period.end.to_rfc3339_seconds(),
        })),
    }
}
