//! Merging reports: the greatest value of every counter, and the sums that follow from it.
//!
//! One transaction a batch. It costs about one read and one write per hundred counters that changed, and a few times
//! as much for the sums; a repeated report costs the reads alone, and one of a start that is settled not even those.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use keyward_contract::AccountId;
use sqlx::{Any, AssertSqlSafe, Row, Transaction};

use super::ids::{Boot, Ids};
use super::report::{Report, Subject, Values};
use super::rows::{Cell, ROWS_A_STATEMENT, Table, counted, in_order, write};
use super::settled::Settled;
use super::sums::{Place, Sums};
use crate::store::{Engine, Purpose, Result, Store, StoreError};

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
    ids: Ids,
}

/// What one batch wants to write, by the store's short ids: subject, hour, boot.
type Counters = BTreeMap<(i64, i64, i64), Values>;

/// A batch in the store's short ids.
#[derive(Default)]
struct Batch<'r> {
    counters: Counters,
    subjects: HashMap<i64, &'r Subject>,
    boots: HashMap<i64, Boot>,
    /// Counters of starts that are settled.
    repeats: u64,
}

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
        match merged {
            Ok(_) => self.ids.forget_when_many(),
            Err(_) => self.ids.forget(),
        }
        merged
    }

    async fn try_merge(&mut self, store: &Store, reports: &[Report]) -> Result<Vec<Spent>> {
        let mut tx = store.begin(Purpose::Usage).await?;
        let batch = self.resolve(&mut tx, reports).await?;
        lock(&mut tx, &batch.boots).await?;
        let before = read(&mut tx, &batch.counters).await?;

        let mut sums = Sums::default();
        let mut changed = Vec::new();
        for (key, reported) in batch.counters {
            let old = before.get(&key).copied().unwrap_or_default();
            let new = old.greatest(reported);
            if new != old
                && let Some(subject) = batch.subjects.get(&key.0)
            {
                let owners = self.ids.owners(&mut tx, subject).await?;
                let place = Place { subject, owners, key };
                sums.add(&place, old, new);
                changed.push(counted(&[key.0, key.1, key.2], new));
            }
        }
        COUNTERS.write(&mut tx, &changed).await?;
        sums.write(&mut tx).await?;
        write_buckets(&mut tx, reports).await?;
        let spent = sums.spent(&batch.boots);
        self.tell(&mut tx, &spent).await?;
        tx.commit().await?;
        if batch.repeats > 0 {
            metrics::counter!("keyward_usage_counters_settled_total").increment(batch.repeats);
        }
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

    /// Finds or gives the short ids, puts what came twice together, and leaves out what is settled.
    async fn resolve<'r>(
        &mut self,
        tx: &mut Transaction<'static, Any>,
        reports: &'r [Report],
    ) -> Result<Batch<'r>> {
        let gateways = reports.iter().map(|report| report.gateway_id.as_str());
        let settled = Settled::of(tx, gateways).await?;
        let mut batch = Batch::default();
        for report in reports {
            for counter in &report.counters {
                if settled.holds(&report.gateway_id, counter.boot_epoch) {
                    batch.repeats += 1;
                    continue;
                }
                let start = (report.gateway_id.clone(), counter.boot_epoch);
                let boot = self.ids.boot(tx, &start).await?;
                let subject = self.ids.subject(tx, &counter.subject).await?;
                batch.boots.entry(boot).or_insert(start);
                batch.subjects.insert(subject, &counter.subject);
                let values = batch.counters.entry((subject, counter.hour, boot)).or_default();
                *values = values.greatest(counter.values);
            }
        }
        Ok(batch)
    }
}

/// Two merges of one boot's counters must not both see the old values. SQLite has one writer anyway.
async fn lock(tx: &mut Transaction<'static, Any>, boots: &HashMap<i64, Boot>) -> Result<()> {
    // In one order: two that lock the same ones never wait for each other.
    for id in boots.keys().collect::<BTreeSet<_>>() {
        let Some((gateway, epoch)) = boots.get(id) else {
            continue;
        };
        let locked = sqlx::query(
            "UPDATE usage_boots SET reports = reports + 1 WHERE id = $1 AND gateway_id = $2 AND boot_epoch = $3",
        )
        .bind(*id)
        .bind(gateway.clone())
        .bind(*epoch)
        .execute(&mut **tx)
        .await?;
        if locked.rows_affected() == 0 {
            // It was folded, and its id may have been given to another one.
            return Err(StoreError::corrupt(
                "the short id of a gateway's start is out of date",
            ));
        }
    }
    Ok(())
}

async fn read(
    tx: &mut Transaction<'static, Any>,
    wanted: &Counters,
) -> Result<HashMap<(i64, i64, i64), Values>> {
    let keys: Vec<(i64, i64, i64)> = wanted.keys().copied().collect();
    let engine = Engine::of(tx);
    let mut found = HashMap::with_capacity(keys.len());
    for chunk in keys.chunks(ROWS_A_STATEMENT) {
        let terms = (0..chunk.len()).map(|at| {
            let [subject, hour, boot] = [1, 2, 3].map(|column| in_order(engine, at * 3 + column, 1));
            format!("(subject = {subject} AND hour = {hour} AND boot = {boot})")
        });
        let terms: Vec<String> = terms.collect();
        let sql = format!(
            "SELECT subject, hour, boot, {} FROM usage_counters WHERE {}",
            Values::NAMES.join(", "),
            terms.join(" OR ")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == ROWS_A_STATEMENT);
        for (subject, hour, boot) in chunk {
            query = query.bind(*subject).bind(*hour).bind(*boot);
        }
        for row in query.fetch_all(&mut **tx).await? {
            let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            found.insert(key, Values::of_row(&row, 3)?);
        }
    }
    Ok(found)
}

static COUNTERS: LazyLock<Table> =
    LazyLock::new(|| Table::replacing("usage_counters", &["subject", "hour", "boot"]));

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
