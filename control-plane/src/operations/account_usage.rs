//! What an account used: the sums of its contract year, month and year, and a series over time when asked.

use std::collections::HashMap;

use keyward_contract::{AccountId, CustomerId, Environment, KeyId, QuotaPeriod, UnixMillis};

use super::{Registry, Result, grants};
use crate::domain::account::Account;
use crate::domain::refusal::{InvalidField, Missing};
use crate::domain::series::{Granularity, Span};
use crate::store::usage::{AccountUsage, Counted, Grouping, Selection, Stretch};
use crate::store::{accounts, usage};

/// Which time is wanted; what is absent is the usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Time {
    /// The first instant.
    pub from: Option<UnixMillis>,
    /// The first instant after it; now, when absent.
    pub to: Option<UnixMillis>,
    /// How long each entry is; a day, when absent.
    pub granularity: Option<Granularity>,
}

impl Time {
    /// Whether any time is wanted at all.
    #[must_use]
    pub fn is_some(self) -> bool {
        self.from.is_some() || self.to.is_some() || self.granularity.is_some()
    }

    /// The time that is meant.
    #[must_use]
    pub fn span(self, now: UnixMillis) -> Span {
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

/// Which calls are looked at over time; what is absent is the usual.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// When.
    pub time: Time,
    /// Where; production, when absent.
    pub environment: Option<Environment>,
    /// Of one end customer alone.
    pub customer: Option<CustomerId>,
    /// With one key alone, of the account or of an end customer.
    pub key: Option<KeyId>,
    /// On one route alone.
    pub route: Option<String>,
    /// Summed up by this.
    pub group_by: Option<Grouping>,
}

impl Wanted {
    /// Whether anything over time is wanted at all.
    fn is_some(&self) -> bool {
        self.time.is_some()
            || self.environment.is_some()
            || self.customer.is_some()
            || self.key.is_some()
            || self.route.is_some()
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
    /// The wanted calls over time, when they were asked for.
    pub series: Option<Series>,
    /// The same by key, end customer or route, the most accepted first, when that was asked for; what had none has no
    /// name.
    pub groups: Option<Vec<(Option<String>, Counted)>>,
    /// When this was read.
    pub now: UnixMillis,
}

/// Usage over time.
#[derive(Clone, Debug)]
pub struct Series {
    /// By hour, day or month, without gaps.
    pub entries: Vec<(UnixMillis, Counted)>,
    /// The first instant that is kept so finely, when the series begins before it: entries before it are empty.
    pub kept_from: Option<UnixMillis>,
}

/// What an account used.
///
/// # Errors
/// When there is none with this id, what is wanted isn't of it, the time is none or too long, or the database fails.
pub async fn used(registry: &Registry, id: AccountId, wanted: Wanted) -> Result<Used> {
    let now = registry.clock.now();
    let span = wanted.time.span(now);
    // Whatever of it is looked at, it must be a time.
    let starts = span.starts()?;
    let account = accounts::by_id(registry.store.readers(), id)
        .await?
        .ok_or(Missing::Account)?;
    let of = selection(registry, id, &wanted).await?;
    let groups = match wanted.group_by {
        Some(by) => Some(groups(registry, &of, by, span).await?),
        None => None,
    };
    let series = match wanted.is_some() {
        true => Some(series(registry, &of, span, starts).await?),
        false => None,
    };
    let period = QuotaPeriod::at(now, account.contract.start);
    let granted = grants::granted(registry, &account, period).await?;
    // Last: it is never behind a series that ends now.
    let usage = usage::account_usage(&registry.store, id, period, now).await?;
    Ok(Used {
        account,
        usage,
        period,
        granted,
        series,
        groups,
        now,
    })
}

/// What an end customer used over time.
///
/// # Errors
/// When the time is none or too long, or the database fails.
pub async fn of_end_customer(
    registry: &Registry,
    (account, environment): (AccountId, Environment),
    customer: CustomerId,
    time: Time,
) -> Result<Series> {
    let span = time.span(registry.clock.now());
    let of = Selection {
        account,
        environment,
        customer: Some(customer),
        key: None,
        route: None,
    };
    let starts = span.starts()?;
    series(registry, &of, span, starts).await
}

/// Whose calls are meant. What is named must be the account's, in that environment: a mistyped id is told, and not
/// shown as one that used nothing.
async fn selection(registry: &Registry, account: AccountId, wanted: &Wanted) -> Result<Selection> {
    let environment = wanted.environment.unwrap_or(Environment::Production);
    let store = &registry.store;
    if let Some(customer) = wanted.customer
        && !usage::end_customer_is_known(store, account, environment, customer).await?
    {
        return Err(Missing::EndCustomer.into());
    }
    let key = match wanted.key {
        None => None,
        Some(key) => {
            let known = usage::key(store, account, environment, key).await?;
            Some(known.ok_or(Missing::Key)?)
        }
    };
    Ok(Selection {
        account,
        environment,
        customer: wanted.customer,
        key,
        route: wanted.route.clone(),
    })
}

async fn series(registry: &Registry, of: &Selection, span: Span, starts: Vec<UnixMillis>) -> Result<Series> {
    let (stretch, kept_from) = kept(registry, span);
    let counted = usage::series(&registry.store, of, stretch).await?;
    let counted: HashMap<UnixMillis, Counted> = counted.into_iter().collect();
    let entries = starts
        .into_iter()
        .map(|start| (start, counted.get(&start).copied().unwrap_or_default()))
        .collect();
    Ok(Series { entries, kept_from })
}

async fn groups(
    registry: &Registry,
    of: &Selection,
    by: Grouping,
    span: Span,
) -> Result<Vec<(Option<String>, Counted)>> {
    let (stretch, _) = kept(registry, span);
    let groups = usage::groups(&registry.store, of, by, stretch).await?;
    Ok(groups
        .into_iter()
        .map(|(name, counted)| (Some(name).filter(|name| !name.is_empty()), counted))
        .collect())
}

/// The part of a time that is kept in its granularity, and where that begins when it begins later than the time.
pub(super) fn kept(registry: &Registry, span: Span) -> (Stretch, Option<UnixMillis>) {
    let horizon = registry.usage_horizon();
    let granularity = span.granularity;
    let kept_from = match granularity {
        Granularity::Hour => Some(horizon.hours),
        Granularity::Day => Some(horizon.days),
        Granularity::Month => None,
    };
    let kept_from = kept_from
        .map(|at| granularity.start_of(at))
        .filter(|kept| granularity.start_of(span.from) < *kept);
    let from = kept_from.unwrap_or(span.from);
    (Stretch::new(granularity, from, span.to), kept_from)
}

/// Refuses what would be too much to hand out at once.
///
/// # Errors
/// When it ends before it begins, or has too many entries.
pub(super) fn checked(span: Span, most: u64) -> std::result::Result<Span, InvalidField> {
    if span.to <= span.from {
        return Err(InvalidField::new("to", "must be after from"));
    }
    if Stretch::new(span.granularity, span.from, span.to).len() > most {
        let reason =
            format!("gives more than {most} entries: ask for a shorter time or a coarser granularity");
        return Err(InvalidField::new("from", reason));
    }
    Ok(span)
}
