//! What an account used: the sums of its contract year, month and year, and a series over time when asked.

use std::collections::HashMap;

use keyward_contract::{AccountId, QuotaPeriod, UnixMillis};

use super::live_buckets::{self, OfAccount};
use super::{Registry, Result, grants};
use crate::domain::account::Account;
use crate::domain::moment;
use crate::domain::refusal::Missing;
use crate::domain::series::{Granularity, Span};
use crate::store::usage::{AccountUsage, UsageCounts};
use crate::store::{accounts, usage};

/// Which series is wanted; what is absent is the usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// The first instant.
    pub from: Option<UnixMillis>,
    /// The first instant after it; now, when absent.
    pub to: Option<UnixMillis>,
    /// How long each entry is; a day, when absent.
    pub granularity: Option<Granularity>,
}

impl Wanted {
    /// Whether any series is wanted at all.
    fn is_some(self) -> bool {
        self.from.is_some() || self.to.is_some() || self.granularity.is_some()
    }

    fn span(self, now: UnixMillis) -> Span {
        let granularity = self.granularity.unwrap_or(Granularity::Day);
        // The present entry is part of a series until now.
        let to = self.to.unwrap_or(UnixMillis(now.0.saturating_add(1)));
        let from = self.from.unwrap_or_else(|| granularity.usual_start(to));
        Span {
            granularity,
            from,
            to,
        }
    }
}

/// What an account used.
#[derive(Debug)]
pub struct Used {
    /// The account.
    pub account: Account,
    /// What it used.
    pub usage: AccountUsage,
    /// Its contract year.
    pub period: QuotaPeriod,
    /// What was granted for that year, beyond its annual limit.
    pub granted: u64,
    /// What is left in its buckets, when that can be known.
    pub buckets: Option<OfAccount>,
    /// Its production calls over time, without gaps, when that was asked for.
    pub series: Option<Vec<(UnixMillis, UsageCounts)>>,
    /// When this was read.
    pub now: UnixMillis,
}

/// What an account used.
///
/// # Errors
/// When there is none with this id, the series is of no time or too long, or the database fails.
pub async fn used(registry: &Registry, id: AccountId, wanted: Wanted) -> Result<Used> {
    let now = registry.clock.now();
    let span = wanted.is_some().then(|| wanted.span(now));
    let starts = span.map(Span::starts).transpose()?;
    let account = accounts::by_id(registry.store.readers(), id)
        .await?
        .ok_or(Missing::Account)?;
    let period = QuotaPeriod::at(now, account.contract.start);
    let usage = usage::account_usage(&registry.store, id, period, now).await?;
    let granted = grants::granted(registry, &account, period).await?;
    let buckets = live_buckets::of_account(registry, &account, now).await;
    let series = match (span, starts) {
        (Some(span), Some(starts)) => Some(series(registry, id, span, starts).await?),
        _ => None,
    };
    Ok(Used {
        account,
        usage,
        period,
        granted,
        buckets,
        series,
        now,
    })
}

async fn series(
    registry: &Registry,
    id: AccountId,
    span: Span,
    starts: Vec<UnixMillis>,
) -> Result<Vec<(UnixMillis, UsageCounts)>> {
    let granularity = span.granularity;
    let from = granularity.start_of(span.from);
    let counted = match granularity {
        Granularity::Hour => usage::account_hours(&registry.store, id, from, span.to).await?,
        // Whole entries: the last day counts to its end, and the last month too.
        Granularity::Day => usage::account_days(&registry.store, id, from, span.to).await?,
        Granularity::Month => {
            let last = starts.last().copied().unwrap_or(from);
            let end = moment::end_of(last.date().last_of_month());
            usage::account_days(&registry.store, id, from, end).await?
        }
    };
    let mut sums: HashMap<UnixMillis, UsageCounts> = HashMap::with_capacity(starts.len());
    for (at, counts) in counted {
        sums.entry(granularity.start_of(at)).or_default().add(counts);
    }
    Ok(starts
        .into_iter()
        .map(|start| (start, sums.get(&start).copied().unwrap_or_default()))
        .collect())
}
