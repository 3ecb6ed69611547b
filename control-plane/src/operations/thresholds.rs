//! Saying of accounts that they have used 80, 95 or 100 % of their contract year's validations, those granted included:
//! once for each account, year and threshold, as an audit row, an event and a metric. A threshold that a grant lifts above
//! what was used can be crossed, and is told, again.
//!
//! Who merged usage looks at the accounts that it was of; the sum is read after the merge, so that of two control
//! planes that merge at once the later one sees all. Once an hour, and at the start, all accounts that were used are
//! looked at, for what was lost with a process. What is noted stays noted: neither two control planes nor a tier that
//! goes up and down again say it twice.

use std::collections::HashMap;

use keyward_contract::{AccountId, QuotaPeriod, UnixMillis};
use serde_json::json;

use super::change::{Change, Entry};
use super::{Actor, Registry, Result};
use crate::store::{Tx, accounts, crossings, grants, usage};

const YEAR_MS: i64 = 366 * 86_400_000;
const CROSSINGS_A_CHANGE: usize = 100;

/// A share of the annual limit and what was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Threshold {
    /// 80 %.
    Eighty,
    /// 95 %.
    NinetyFive,
    /// All of it.
    All,
}

impl Threshold {
    const RISING: [Self; 3] = [Self::Eighty, Self::NinetyFive, Self::All];

    /// In per cent.
    #[must_use]
    pub fn percent(self) -> u8 {
        match self {
            Self::Eighty => 80,
            Self::NinetyFive => 95,
            Self::All => 100,
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::Eighty => "quota.80",
            Self::NinetyFive => "quota.95",
            Self::All => "quota.100",
        }
    }

    fn is_reached(self, used: u64, limit: u64) -> bool {
        limit > 0 && u128::from(used) * 100 >= u128::from(limit) * u128::from(self.percent())
    }
}

/// What is known to be told, so that an account beyond its threshold costs no more than others. By the year and the
/// number that the threshold is a share of: with another number the database is asked.
#[derive(Debug, Default)]
pub struct Told(HashMap<AccountId, (UnixMillis, u64, Threshold)>);

#[derive(Debug)]
struct Crossing {
    account: AccountId,
    period: QuotaPeriod,
    used: u64,
    annual_limit: u64,
    granted: u64,
    highest: Threshold,
}

impl Crossing {
    fn limit(&self) -> u64 {
        self.annual_limit.saturating_add(self.granted)
    }
}

/// Looks at some accounts and tells what they have newly crossed. Costs three reads an account.
///
/// # Errors
/// When the database fails: then they are to be looked at again.
pub async fn look(
    registry: &Registry,
    told: &mut Told,
    accounts: impl IntoIterator<Item = AccountId>,
) -> Result<Vec<Threshold>> {
    let mut crossings = Vec::new();
    for id in accounts {
        if let Some(crossing) = crossing(registry, told, id).await? {
            crossings.push(crossing);
        }
    }
    let mut newly = Vec::new();
    for some in crossings.chunks(CROSSINGS_A_CHANGE) {
        newly.extend(note(registry, some).await?);
        let known = some
            .iter()
            .map(|one| (one.account, (one.period.start, one.limit(), one.highest)));
        told.0.extend(known);
    }
    Ok(newly)
}

/// Looks at every account that was used in the last year.
///
/// # Errors
/// When the database fails.
pub async fn look_at_all(registry: &Registry, told: &mut Told) -> Result<Vec<Threshold>> {
    let since = UnixMillis(registry.clock.now().0.saturating_sub(YEAR_MS));
    let used = usage::accounts_in_use(&registry.store, since).await?;
    look(registry, told, used.into_iter().map(|(account, _)| account)).await
}

async fn crossing(registry: &Registry, told: &Told, id: AccountId) -> Result<Option<Crossing>> {
    let pool = registry.store.readers();
    let Some(account) = accounts::by_id(pool, id).await? else {
        return Ok(None);
    };
    let period = QuotaPeriod::at(registry.clock.now(), account.contract.start);
    let used = usage::spent_in(&registry.store, id, period).await?;
    let (_, granted) = grants::in_period(pool, id, period).await?;
    let limit = account.annual_limit.saturating_add(granted);
    let Some(highest) = highest(used, limit) else {
        return Ok(None);
    };
    if told
        .0
        .get(&id)
        .is_some_and(|(start, of, known)| (*start, *of) == (period.start, limit) && *known >= highest)
    {
        return Ok(None);
    }
    Ok(Some(Crossing {
        account: id,
        period,
        used,
        annual_limit: account.annual_limit,
        granted,
        highest,
    }))
}

fn highest(used: u64, limit: u64) -> Option<Threshold> {
    let reached = |threshold: &Threshold| threshold.is_reached(used, limit);
    Threshold::RISING.into_iter().filter(reached).max()
}

/// A year has more validations now: what was told of thresholds that are above what was used is forgotten.
pub(super) async fn lifted(
    tx: &mut Tx,
    account: AccountId,
    period: QuotaPeriod,
    (used, limit): (u64, u64),
) -> Result<()> {
    let reached = highest(used, limit).map_or(0, Threshold::percent);
    Ok(crossings::forget_above(tx, account, period, i64::from(reached)).await?)
}

/// Notes what was not noted yet, lowest first. After a start most of it was.
async fn note(registry: &Registry, crossings: &[Crossing]) -> Result<Vec<Threshold>> {
    let mut open = Vec::new();
    for crossing in crossings {
        let noted = crossings::noted(registry.store.readers(), crossing.account, crossing.period).await?;
        let reached = Threshold::RISING
            .into_iter()
            .filter(|threshold| *threshold <= crossing.highest);
        open.extend(
            reached
                .filter(|threshold| !noted.contains(&i64::from(threshold.percent())))
                .map(|threshold| (crossing, threshold)),
        );
    }
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let actor = Actor::system("quota");
    let mut change = Change::begin(registry, &actor).await?;
    let (mut entries, mut newly) = (Vec::new(), Vec::new());
    for (crossing, threshold) in open {
        let (now, percent) = (change.now, i64::from(threshold.percent()));
        if crossings::note(&mut change.tx, crossing.account, crossing.period, percent, now).await? {
            entries.push(entry(crossing, threshold));
            newly.push(threshold);
        }
    }
    if entries.is_empty() {
        return Ok(newly);
    }
    change.commit_all(entries, &[]).await?;
    Ok(newly)
}

fn entry(crossing: &Crossing, threshold: Threshold) -> Entry {
    Entry {
        action: threshold.action(),
        target: ("account", crossing.account.to_string()),
        account: Some(crossing.account),
        before: None,
        after: Some(json!({
            "threshold": threshold.percent(),
            "used": crossing.used,
            "annual_limit": crossing.annual_limit,
            "granted": crossing.granted,
            "period_start": crossing.period.start.to_rfc3339_seconds(),
            "period_end": crossing.period.end.to_rfc3339_seconds(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(used: u64, limit: u64, expected: &[Threshold]) {
        let reached: Vec<_> = Threshold::RISING
            .into_iter()
            .filter(|threshold| threshold.is_reached(used, limit))
            .collect();
        assert_eq!(reached, expected, "{used} of {limit}");
    }

    #[test]
    fn a_threshold_is_reached_at_exactly_its_share() {
        use Threshold::{All, Eighty, NinetyFive};
        check(79, 100, &[]);
        check(80, 100, &[Eighty]);
        check(94, 100, &[Eighty]);
        check(95, 100, &[Eighty, NinetyFive]);
        check(99, 100, &[Eighty, NinetyFive]);
        check(100, 100, &[Eighty, NinetyFive, All]);
        check(u64::MAX, 1, &[Eighty, NinetyFive, All]);
        check(2, 3, &[]);
        check(u64::MAX, u64::MAX, &[Eighty, NinetyFive, All]);
        check(5, 0, &[]);
    }
}
