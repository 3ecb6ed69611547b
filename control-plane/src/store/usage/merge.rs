//! Merging reports: the greatest value of every counter, and the sums that follow from it.
//!
//! One transaction a batch. It costs about one read and one write per hundred counters that changed, and as
//! much again for the sums; a repeated report costs the reads alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use keyward_contract::AccountId;
use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::report::{Report, Subject, Values};
use super::rows::{Cell, ROWS_A_STATEMENT, write};
use crate::store::{Engine, Purpose, Result, Store};

/// How many subjects' ids are remembered before all are forgotten.
const REMEMBERED: usize = 200_000;

/// Accepted production calls that a merge added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Whose.
    pub account: AccountId,
    /// Which gateway counted them.
    pub gateway_id: String,
    /// Under which boot epoch.
    pub boot_epoch: u64,
    /// On which day since 1970.
    pub day: i64,
    /// How many more than before.
    pub accepted: u64,
}

/// Where control planes on PostgreSQL hear which accounts another one's merge moved: the name of who merged, a space, and
/// the accounts' ids between commas.
pub const MERGED: &str = "keyward_usage";
/// What can be told at once is bounded to 8000 bytes.
const TOLD_AT_ONCE: usize = 200;

/// Merges reports into the store. Remembers the store's short ids, so one of these should live long.
#[derive(Debug, Default)]
pub struct Merger {
    /// Who merges.
    name: String,
    boots: HashMap<(String, i64), i64>,
    subjects: HashMap<Subject, i64>,
}

/// What one batch wants to write, by the store's short ids: subject, hour, boot.
type Counters = BTreeMap<(i64, i64, i64), Values>;

impl Merger {
    /// One that others know by this name, which is a word.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Merges a batch in one transaction: after this all of it is kept, or, after an error, nothing.
    ///
    /// # Errors
    /// When the database fails; the same batch may be given again.
    pub async fn merge(&mut self, store: &Store, reports: &[Report]) -> Result<Vec<Spent>> {
        let merged = self.try_merge(store, reports).await;
        if merged.is_err() || self.subjects.len() > REMEMBERED {
            // Ids that were given in a transaction that failed were never given.
            self.boots.clear();
            self.subjects.clear();
        }
        merged
    }

    async fn try_merge(&mut self, store: &Store, reports: &[Report]) -> Result<Vec<Spent>> {
        let mut tx = store.begin(Purpose::Usage).await?;
        let (counters, subjects) = self.resolve(&mut tx, reports).await?;
        let boots: HashMap<i64, (String, i64)> =
            self.boots.iter().map(|(boot, id)| (*id, boot.clone())).collect();
        lock(&mut tx, counters.keys().map(|(_, _, boot)| *boot).collect()).await?;
        let before = read(&mut tx, &counters).await?;

        let mut sums = Sums::default();
        let mut changed = Vec::new();
        for (key, reported) in counters {
            let old = before.get(&key).copied().unwrap_or_default();
            let new = old.greatest(reported);
            if new != old
                && let Some(subject) = subjects.get(&key.0)
            {
                sums.add(subject, key, old, new);
                changed.push(counter_row(key, new));
            }
        }
        write(&mut tx, COUNTERS.0, &changed, COUNTERS.1).await?;
        sums.write(&mut tx).await?;
        write_buckets(&mut tx, reports).await?;
        let spent = sums.spent(&boots);
        self.tell(&mut tx, &spent).await?;
        tx.commit().await?;
        store.signals().spent(spent.iter().map(|spent| spent.account));
        Ok(spent)
    }

    /// Tells other control planes whose sums moved, once this is committed.
    async fn tell(&self, tx: &mut Transaction<'static, Any>, spent: &[Spent]) -> Result<()> {
        if Engine::of(tx) == Engine::Sqlite {
            return Ok(());
        }
        let accounts: BTreeSet<String> = spent.iter().map(|spent| spent.account.to_string()).collect();
        let accounts: Vec<String> = accounts.into_iter().collect();
        for some in accounts.chunks(TOLD_AT_ONCE) {
            sqlx::query("SELECT pg_notify($1, $2)")
                .bind(MERGED)
                .bind(format!("{} {}", self.name, some.join(",")))
                .execute(&mut **tx)
                .await?;
        }
        Ok(())
    }

    /// Finds or gives the short ids, and puts what came twice together.
    async fn resolve<'r>(
        &mut self,
        tx: &mut Transaction<'static, Any>,
        reports: &'r [Report],
    ) -> Result<(Counters, HashMap<i64, &'r Subject>)> {
        let mut counters = Counters::new();
        let mut subjects = HashMap::new();
        for report in reports {
            for counter in &report.counters {
                let boot = self.boot(tx, &report.gateway_id, counter.boot_epoch).await?;
                let subject = self.subject(tx, &counter.subject).await?;
                subjects.insert(subject, &counter.subject);
                let values = counters.entry((subject, counter.hour, boot)).or_default();
                *values = values.greatest(counter.values);
            }
        }
        Ok((counters, subjects))
    }

    async fn boot(&mut self, tx: &mut Transaction<'static, Any>, gateway: &str, epoch: i64) -> Result<i64> {
        let boot = (gateway.to_owned(), epoch);
        if let Some(id) = self.boots.get(&boot) {
            return Ok(*id);
        }
        sqlx::query(
            "INSERT INTO usage_boots (id, gateway_id, boot_epoch, reports) \
             SELECT COALESCE(MAX(id), 0) + 1, $1, $2, 0 FROM usage_boots WHERE true ON CONFLICT DO NOTHING",
        )
        .bind(gateway.to_owned())
        .bind(epoch)
        .execute(&mut **tx)
        .await?;
        let (id,): (i64,) =
            sqlx::query_as("SELECT id FROM usage_boots WHERE gateway_id = $1 AND boot_epoch = $2")
                .bind(gateway.to_owned())
                .bind(epoch)
                .fetch_one(&mut **tx)
                .await?;
        self.boots.insert(boot, id);
        Ok(id)
    }

    async fn subject(&mut self, tx: &mut Transaction<'static, Any>, subject: &Subject) -> Result<i64> {
        if let Some(id) = self.subjects.get(subject) {
            return Ok(*id);
        }
        sqlx::query(
            "INSERT INTO usage_subjects \
             (id, account_id, environment, customer_id, account_key_id, customer_key_id, route) \
             SELECT COALESCE(MAX(id), 0) + 1, $1, $2, $3, $4, $5, $6 FROM usage_subjects WHERE true \
             ON CONFLICT DO NOTHING",
        )
        .bind(subject.account.to_string())
        .bind(subject.environment)
        .bind(subject.customer.clone())
        .bind(subject.account_key.clone())
        .bind(subject.customer_key.clone())
        .bind(subject.route.clone())
        .execute(&mut **tx)
        .await?;
        let (id,): (i64,) = sqlx::query_as(
            "SELECT id FROM usage_subjects WHERE account_id = $1 AND environment = $2 AND customer_id = $3 \
             AND account_key_id = $4 AND customer_key_id = $5 AND route = $6",
        )
        .bind(subject.account.to_string())
        .bind(subject.environment)
        .bind(subject.customer.clone())
        .bind(subject.account_key.clone())
        .bind(subject.customer_key.clone())
        .bind(subject.route.clone())
        .fetch_one(&mut **tx)
        .await?;
        self.subjects.insert(subject.clone(), id);
        Ok(id)
    }
}

/// Two merges of one boot's counters must not both see the old values. SQLite has one writer anyway.
async fn lock(tx: &mut Transaction<'static, Any>, boots: BTreeSet<i64>) -> Result<()> {
    for boot in boots {
        sqlx::query("UPDATE usage_boots SET reports = reports + 1 WHERE id = $1")
            .bind(boot)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

async fn read(
    tx: &mut Transaction<'static, Any>,
    wanted: &Counters,
) -> Result<HashMap<(i64, i64, i64), Values>> {
    let keys: Vec<(i64, i64, i64)> = wanted.keys().copied().collect();
    let mut found = HashMap::with_capacity(keys.len());
    for chunk in keys.chunks(ROWS_A_STATEMENT) {
        let terms: Vec<String> = (0..chunk.len())
            .map(|at| {
                let first = at * 3 + 1;
                format!(
                    "(subject = ${first} AND hour = ${} AND boot = ${})",
                    first + 1,
                    first + 2
                )
            })
            .collect();
        let sql = format!("SELECT * FROM usage_counters WHERE {}", terms.join(" OR "));
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == ROWS_A_STATEMENT);
        for (subject, hour, boot) in chunk {
            query = query.bind(*subject).bind(*hour).bind(*boot);
        }
        for row in query.fetch_all(&mut **tx).await? {
            found.insert((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?), values(&row)?);
        }
    }
    Ok(found)
}

fn values(row: &AnyRow) -> Result<Values> {
    let mut values = Values::default();
    for (at, value) in values.0.iter_mut().enumerate() {
        *value = row.try_get(at + 3)?;
    }
    Ok(values)
}

const COUNTERS: (&str, &str) = (
    "INSERT INTO usage_counters (subject, hour, boot, accepted, rate_limited, quota_refused, auth_refused, \
     answers_1xx, answers_2xx, answers_3xx, answers_4xx, answers_5xx, bytes_in, bytes_out, latency_us, \
     last_accepted_at, last_refused_at)",
    "ON CONFLICT (subject, hour, boot) DO UPDATE SET accepted = excluded.accepted, \
     rate_limited = excluded.rate_limited, quota_refused = excluded.quota_refused, \
     auth_refused = excluded.auth_refused, answers_1xx = excluded.answers_1xx, \
     answers_2xx = excluded.answers_2xx, answers_3xx = excluded.answers_3xx, \
     answers_4xx = excluded.answers_4xx, answers_5xx = excluded.answers_5xx, bytes_in = excluded.bytes_in, \
     bytes_out = excluded.bytes_out, latency_us = excluded.latency_us, \
     last_accepted_at = excluded.last_accepted_at, last_refused_at = excluded.last_refused_at",
);

fn counter_row((subject, hour, boot): (i64, i64, i64), values: Values) -> Vec<Cell> {
    [subject, hour, boot]
        .into_iter()
        .chain(values.0)
        .map(Cell::Int)
        .collect()
}

/// The differences of one batch, by the rows of the derived tables that they move.
#[derive(Default)]
struct Sums {
    customers: BTreeMap<(AccountId, &'static str, String, i64), [i64; 4]>,
    accounts: BTreeMap<(AccountId, &'static str, i64), [i64; 3]>,
    boots: BTreeMap<(i64, AccountId, i64), i64>,
    keys: BTreeMap<String, i64>,
}

impl Sums {
    fn add(&mut self, subject: &Subject, (_, hour, boot): (i64, i64, i64), old: Values, new: Values) {
        let day = hour.div_euclid(24);
        let more = [
            new.accepted() - old.accepted(),
            new.limited() - old.limited(),
            new.refused() - old.refused(),
        ];
        let (account, environment) = (subject.account, subject.environment);
        let sum = self.accounts.entry((account, environment, day)).or_default();
        add(sum, more);
        if !subject.customer.is_empty() {
            let row = (account, environment, subject.customer.clone(), day);
            let [accepted, limited, refused, last] = self.customers.entry(row).or_default();
            *accepted += more[0];
            *limited += more[1];
            *refused += more[2];
            *last = (*last).max(new.last_request_at());
        }
        if environment == "production" && more[0] > 0 {
            *self.boots.entry((boot, account, day)).or_default() += more[0];
        }
        if new.last_accepted_at() > old.last_accepted_at() {
            for key in [&subject.account_key, &subject.customer_key] {
                if !key.is_empty() {
                    let last = self.keys.entry(key.clone()).or_default();
                    *last = (*last).max(new.last_accepted_at());
                }
            }
        }
    }

    async fn write(&self, tx: &mut Transaction<'static, Any>) -> Result<()> {
        let customers: Vec<_> = self.customers.iter().map(customer_row).collect();
        write(tx, CUSTOMERS.0, &customers, CUSTOMERS.1).await?;
        let accounts: Vec<_> = self.accounts.iter().map(account_row).collect();
        write(tx, ACCOUNTS.0, &accounts, ACCOUNTS.1).await?;
        let boots: Vec<_> = self
            .boots
            .iter()
            .map(|((boot, account, day), accepted)| {
                vec![
                    Cell::Int(*boot),
                    Cell::Text(account.to_string()),
                    Cell::Int(*day),
                    Cell::Int(*accepted),
                ]
            })
            .collect();
        write(tx, BOOTS.0, &boots, BOOTS.1).await?;
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|(key, last)| vec![Cell::Text(key.clone()), Cell::Int(*last)])
            .collect();
        write(tx, KEYS.0, &keys, KEYS.1).await
    }

    fn spent(self, boots: &HashMap<i64, (String, i64)>) -> Vec<Spent> {
        self.boots
            .into_iter()
            .filter_map(|((boot, account, day), accepted)| {
                let (gateway_id, boot_epoch) = boots.get(&boot)?.clone();
                Some(Spent {
                    account,
                    gateway_id,
                    boot_epoch: u64::try_from(boot_epoch).ok()?,
                    day,
                    accepted: u64::try_from(accepted).ok()?,
                })
            })
            .collect()
    }
}

fn add<const N: usize>(sum: &mut [i64; N], more: [i64; N]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

const CUSTOMERS: (&str, &str) = (
    "INSERT INTO usage_customer_days \
     (account_id, environment, customer_id, day, accepted, limited, refused, last_request_at)",
    "ON CONFLICT (account_id, environment, customer_id, day) DO UPDATE SET \
     accepted = usage_customer_days.accepted + excluded.accepted, \
     limited = usage_customer_days.limited + excluded.limited, \
     refused = usage_customer_days.refused + excluded.refused, \
     last_request_at = CASE WHEN excluded.last_request_at > usage_customer_days.last_request_at \
     THEN excluded.last_request_at ELSE usage_customer_days.last_request_at END",
);

fn customer_row(
    ((account, environment, customer, day), sums): (&(AccountId, &'static str, String, i64), &[i64; 4]),
) -> Vec<Cell> {
    let mut row = vec![
        Cell::Text(account.to_string()),
        Cell::Text((*environment).to_owned()),
        Cell::Text(customer.clone()),
        Cell::Int(*day),
    ];
    row.extend(sums.iter().copied().map(Cell::Int));
    row
}

const ACCOUNTS: (&str, &str) = (
    "INSERT INTO usage_account_days (account_id, environment, day, accepted, limited, refused)",
    "ON CONFLICT (account_id, environment, day) DO UPDATE SET \
     accepted = usage_account_days.accepted + excluded.accepted, \
     limited = usage_account_days.limited + excluded.limited, \
     refused = usage_account_days.refused + excluded.refused",
);

fn account_row(
    ((account, environment, day), sums): (&(AccountId, &'static str, i64), &[i64; 3]),
) -> Vec<Cell> {
    let mut row = vec![
        Cell::Text(account.to_string()),
        Cell::Text((*environment).to_owned()),
        Cell::Int(*day),
    ];
    row.extend(sums.iter().copied().map(Cell::Int));
    row
}

const BOOTS: (&str, &str) = (
    "INSERT INTO usage_boot_days (boot, account_id, day, accepted)",
    "ON CONFLICT (boot, account_id, day) DO UPDATE SET \
     accepted = usage_boot_days.accepted + excluded.accepted",
);

const KEYS: (&str, &str) = (
    "INSERT INTO usage_keys (key_id, last_used_at)",
    "ON CONFLICT (key_id) DO UPDATE SET last_used_at = CASE WHEN excluded.last_used_at > \
     usage_keys.last_used_at THEN excluded.last_used_at ELSE usage_keys.last_used_at END",
);

const BUCKETS: (&str, &str) = (
    "INSERT INTO usage_buckets (account_id, environment, customer_id, millitokens, at)",
    "ON CONFLICT (account_id, environment, customer_id) DO UPDATE SET \
     millitokens = CASE WHEN excluded.at > usage_buckets.at THEN excluded.millitokens \
     ELSE usage_buckets.millitokens END, \
     at = CASE WHEN excluded.at > usage_buckets.at THEN excluded.at ELSE usage_buckets.at END",
);

/// Keeps the newest sight of every end customer's bucket.
async fn write_buckets(tx: &mut Transaction<'static, Any>, reports: &[Report]) -> Result<()> {
    let mut newest: BTreeMap<(AccountId, &'static str, &str), (i64, i64)> = BTreeMap::new();
    for counter in reports.iter().flat_map(|report| &report.counters) {
        let Some((millitokens, at)) = counter.bucket else {
            continue;
        };
        let subject = &counter.subject;
        let seen = newest
            .entry((subject.account, subject.environment, &subject.customer))
            .or_insert((millitokens, at));
        if at > seen.1 {
            *seen = (millitokens, at);
        }
    }
    let rows: Vec<_> = newest
        .into_iter()
        .filter(|((_, _, customer), _)| !customer.is_empty())
        .map(|((account, environment, customer), (millitokens, at))| {
            vec![
                Cell::Text(account.to_string()),
                Cell::Text(environment.to_owned()),
                Cell::Text(customer.to_owned()),
                Cell::Int(millitokens),
                Cell::Int(at),
            ]
        })
        .collect();
    write(tx, BUCKETS.0, &rows, BUCKETS.1).await
}
