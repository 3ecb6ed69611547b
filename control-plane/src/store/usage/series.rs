//! Usage over time, and by whom. An account's and an account key's is one range of `usage_totals`; of anything else it
//! is one range of each of its subjects: an end customer has as many as keys and routes it was called with.

use keyward_contract::{AccountId, CustomerId, Environment, KeyId, UnixMillis};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::report::Values;
use super::rows::Question;
use super::units::{number, start, unit};
use super::{UsageCounts, count};
use crate::domain::series::Granularity;
use crate::store::{Result, Store};

/// So many groups are shown at most.
pub const MOST_GROUPS: i64 = 1_000;

/// Whose calls.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Of this account.
    pub account: AccountId,
    /// In this environment.
    pub environment: Environment,
    /// Of this end customer alone.
    pub customer: Option<CustomerId>,
    /// With this key alone.
    pub key: Option<UsedKey>,
    /// On this route alone.
    pub route: Option<String>,
}

/// A key that calls were made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsedKey {
    /// An account's.
    Account(KeyId),
    /// An end customer's.
    Customer(KeyId, CustomerId),
}

/// Everything that is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Sent to an upstream.
    pub accepted: u64,
    /// Refused for a rate.
    pub rate_limited: u64,
    /// Refused for the quota.
    pub quota_refused: u64,
    /// Refused for the key, the customer or the account.
    pub refused: u64,
    /// Accepted, and beyond a limit in shadow mode.
    pub would_limit: u64,
    /// Answers by class, 1xx to 5xx.
    pub answers: [u64; 5],
    /// Bytes of requests.
    pub bytes_in: u64,
    /// Bytes of answers.
    pub bytes_out: u64,
    /// Microseconds that accepted calls took together.
    pub latency_us: u64,
}

impl Counted {
    pub(super) fn of(values: &Values) -> Self {
        let [
            accepted,
            rate_limited,
            quota_refused,
            refused,
            would_limit,
            a1,
            a2,
            a3,
            a4,
            a5,
            bytes_in,
            bytes_out,
            latency_us,
            ..,
        ] = values.0.map(count);
        Self {
            accepted,
            rate_limited,
            quota_refused,
            refused,
            would_limit,
            answers: [a1, a2, a3, a4, a5],
            bytes_in,
            bytes_out,
            latency_us,
        }
    }

    /// The three numbers that every answer shows.
    #[must_use]
    pub fn counts(&self) -> UsageCounts {
        UsageCounts {
            accepted: self.accepted,
            limited: self.rate_limited.saturating_add(self.quota_refused),
            refused: self.refused,
        }
    }
}

/// Whole hours, days or months that follow each other: from the one of an instant to the last that begins before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    granularity: Granularity,
    from: i64,
    to: i64,
}

impl Stretch {
    /// Of these instants.
    #[must_use]
    pub fn new(granularity: Granularity, from: UnixMillis, to: UnixMillis) -> Self {
        let last = number(granularity, UnixMillis(to.0.saturating_sub(1)));
        Self {
            granularity,
            from: number(granularity, from),
            to: last.saturating_add(1),
        }
    }

    /// So many there are.
    #[must_use]
    pub fn len(self) -> u64 {
        u64::try_from(self.to - self.from).unwrap_or_default()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.to <= self.from
    }

    /// The first instant of one of them.
    pub(super) fn start(self, number: i64) -> UnixMillis {
        start(self.granularity, number)
    }

    pub(super) fn granularity(self) -> Granularity {
        self.granularity
    }

    /// The first, and the one after the last.
    pub(super) fn numbers(self) -> (i64, i64) {
        (self.from, self.to)
    }

    pub(super) fn is_by_hour(self) -> bool {
        self.granularity == Granularity::Hour
    }

    /// The same time in pieces that are as coarse as can be: the months in its middle are read as months.
    fn pieces(self) -> Vec<Self> {
        let coarser = match self.granularity {
            Granularity::Hour => Granularity::Day,
            Granularity::Day => Granularity::Month,
            Granularity::Month => return vec![self],
        };
        let (from, to) = (self.start(self.from), self.start(self.to));
        // The first that begins within, and the last that ends within.
        let first = number(coarser, UnixMillis(from.0.saturating_sub(1))) + 1;
        let last = number(coarser, to);
        if last <= first {
            return vec![self];
        }
        let fine = |from, to| Self { from, to, ..self };
        let middle = Self {
            granularity: coarser,
            from: first,
            to: last,
        };
        let mut pieces = middle.pieces();
        pieces.push(fine(self.from, number(self.granularity, start(coarser, first))));
        pieces.push(fine(number(self.granularity, start(coarser, last)), self.to));
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

/// What was counted in each hour, day or month of a stretch that has anything.
///
/// # Errors
/// When the database fails.
pub async fn series(store: &Store, of: &Selection, stretch: Stretch) -> Result<Vec<(UnixMillis, Counted)>> {
    let mut question = Question::default();
    let inner = match of {
        Selection {
            customer: None,
            route: None,
            key: None,
            ..
        } => totals(&mut question, of, "", stretch),
        Selection {
            customer: None,
            route: None,
            key: Some(UsedKey::Account(key)),
            ..
        } => totals(&mut question, of, &key.to_string(), stretch),
        _ => subjects(&mut question, of, NamedBy::Start, stretch),
    };
    let rows = question.ask(store.readers(), summed(&inner, "")).await?;
    rows.iter()
        .map(|row| Ok((stretch.start(row.try_get(0)?), read(row)?)))
        .collect()
}

/// By what usage is grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// By the account key, or by the end customer's where there was none.
    Key,
    /// By end customer.
    EndCustomer,
    /// By route.
    Route,
}

/// What was counted in a stretch of each key, end customer or route, the most accepted first; what had none has the
/// empty text.
///
/// # Errors
/// When the database fails.
pub async fn groups(
    store: &Store,
    of: &Selection,
    by: Grouping,
    stretch: Stretch,
) -> Result<Vec<(String, Counted)>> {
    let mut question = Question::default();
    let pieces: Vec<String> = stretch
        .pieces()
        .into_iter()
        .map(|piece| subjects(&mut question, of, NamedBy::Group(by), piece))
        .collect();
    let most = format!(" ORDER BY 2 DESC, 1 LIMIT {MOST_GROUPS}");
    let sql = summed(&pieces.join(" UNION ALL "), &most);
    let rows = question.ask(store.readers(), sql).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, read(row)?))).collect()
}

/// Sums rows of `named` and counts by their names.
fn summed(inner: &str, end: &str) -> String {
    let sums = Values::NAMES.map(|name| format!("CAST(SUM({name}) AS BIGINT)"));
    let sums = sums.get(..Values::SUMS).unwrap_or_default().join(", ");
    format!("SELECT named, {sums} FROM ({inner}) AS counted GROUP BY named{end}")
}

fn read(row: &AnyRow) -> Result<Counted> {
    let mut values = Values::default();
    for (at, value) in values.0.iter_mut().take(Values::SUMS).enumerate() {
        *value = row.try_get(at + 1)?;
    }
    Ok(Counted::of(&values))
}

/// The columns that are summed, of a table called `t`.
fn columns() -> String {
    let names = Values::NAMES.map(|name| format!("t.{name} AS {name}"));
    names.get(..Values::SUMS).unwrap_or_default().join(", ")
}

// A CROSS JOIN is one like any other, but that SQLite begins with what stands first: of itself it would rather look at
// what everybody used in that time.

fn totals(question: &mut Question, of: &Selection, key: &str, stretch: Stretch) -> String {
    format!(
        "SELECT t.start AS named, {columns} FROM usage_owners o CROSS JOIN usage_totals t WHERE t.owner = o.id \
         AND o.account_id = {account} AND o.environment = {environment} AND o.account_key_id = {key} \
         AND t.unit = {unit} AND t.start >= {from} AND t.start < {to}",
        columns = columns(),
        account = question.text(of.account.to_string()),
        environment = question.text(of.environment.as_str()),
        key = question.text(key),
        unit = question.int(unit(stretch.granularity)),
        from = question.int(stretch.from),
        to = question.int(stretch.to),
    )
}

#[derive(Clone, Copy)]
enum NamedBy {
    Start,
    Group(Grouping),
}

fn subjects(question: &mut Question, of: &Selection, named: NamedBy, stretch: Stretch) -> String {
    let mut conditions = vec![
        format!("s.account_id = {}", question.text(of.account.to_string())),
        format!("s.environment = {}", question.text(of.environment.as_str())),
    ];
    if let Some(customer) = of.customer {
        conditions.push(format!("s.customer_id = {}", question.text(customer.as_str())));
    }
    match of.key {
        None => {}
        Some(UsedKey::Account(key)) => {
            conditions.push(format!("s.account_key_id = {}", question.text(key.to_string())));
        }
        // Whose it is, is what an index finds it by.
        Some(UsedKey::Customer(key, customer)) => {
            conditions.push(format!("s.customer_id = {}", question.text(customer.as_str())));
            conditions.push(format!("s.customer_key_id = {}", question.text(key.to_string())));
        }
    }
    if let Some(route) = &of.route {
        conditions.push(format!("s.route = {}", question.text(route.as_str())));
    }
    let (table, start) = if stretch.is_by_hour() {
        ("usage_counters", "t.hour")
    } else {
        conditions.push(format!("t.unit = {}", question.int(unit(stretch.granularity))));
        ("usage_subject_sums", "t.start")
    };
    conditions.push(format!("{start} >= {}", question.int(stretch.from)));
    conditions.push(format!("{start} < {}", question.int(stretch.to)));
    let named = match named {
        NamedBy::Start => start,
        NamedBy::Group(Grouping::EndCustomer) => "s.customer_id",
        NamedBy::Group(Grouping::Route) => "s.route",
        NamedBy::Group(Grouping::Key) => {
            "CASE WHEN s.account_key_id <> '' THEN s.account_key_id ELSE s.customer_key_id END"
        }
    };
    format!(
        "SELECT {named} AS named, {} FROM usage_subjects s CROSS JOIN {table} t WHERE t.subject = s.id AND {}",
        columns(),
        conditions.join(" AND ")
    )
}

#[cfg(test)]
mod tests;
