//! All usage of a stretch, row by row: some subjects at a time, in the order of accounts, environments and subjects.
//! Holds a few thousand rows at most, however much there is, and no connection between two steps.

use std::collections::HashMap;

use keyward_contract::{AccountId, Environment, UnixMillis};
use sqlx::Row;

use super::report::Values;
use super::rows::Question;
use super::series::{Counted, Stretch};
use super::units::unit;
use crate::store::{Result, Store};

/// What one subject used in one hour, day or month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// When that began.
    pub start: UnixMillis,
    /// Who called.
    pub caller: Caller,
    /// What was counted.
    pub counted: Counted,
}

/// Who called what; what was absent is the empty text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub account: String,
    /// `test` or `production`.
    pub environment: String,
    /// The end customer.
    pub customer: String,
    /// The account key.
    pub account_key: String,
    /// The end customer's key.
    pub customer_key: String,
    /// The route.
    pub route: String,
}

/// Whose usage is handed out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope {
    /// Of one account alone.
    pub account: Option<AccountId>,
    /// In one environment alone.
    pub environment: Option<Environment>,
}

/// A walk through all usage of a stretch.
#[derive(Clone, Debug)]
pub struct Walk {
    scope: Scope,
    stretch: Stretch,
    /// Account, environment and id of the last subject; `None` once there is no more.
    after: Option<(String, String, i64)>,
}

/// No step reads more subjects.
const MOST_SUBJECTS: u64 = 200;
/// A step reads about so many rows, or one subject.
const ROWS_A_STEP: u64 = 2_000;

impl Walk {
    /// Begins at the first subject.
    #[must_use]
    pub fn new(scope: Scope, stretch: Stretch) -> Self {
        Self {
            scope,
            stretch,
            after: (!stretch.is_empty()).then(Default::default),
        }
    }

    /// The next rows; none when the walk is over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next(&mut self, store: &Store) -> Result<Vec<UsageRow>> {
        while let Some(after) = self.after.clone() {
            let subjects = self.subjects(store, after).await?;
            self.after = subjects
                .last()
                .map(|(id, last)| (last.account.clone(), last.environment.clone(), *id));
            if subjects.is_empty() {
                break;
            }
            let rows = self.rows(store, &subjects).await?;
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
        Ok(Vec::new())
    }

    async fn subjects(&self, store: &Store, after: (String, String, i64)) -> Result<Vec<(i64, Caller)>> {
        let many = (ROWS_A_STEP / self.stretch.len().max(1)).clamp(1, MOST_SUBJECTS);
        let mut question = Question::default();
        let mut conditions = Vec::new();
        if let Some(account) = self.scope.account {
            conditions.push(format!(
                "account_id = {} AND ",
                question.text(account.to_string())
            ));
        }
        if let Some(environment) = self.scope.environment {
            conditions.push(format!(
                "environment = {} AND ",
                question.text(environment.as_str())
            ));
        }
        let sql = format!(
            "SELECT id, account_id, environment, customer_id, account_key_id, customer_key_id, route \
             FROM usage_subjects WHERE {}(account_id, environment, id) > ({}, {}, {}) \
             ORDER BY account_id, environment, id LIMIT {many}",
            conditions.concat(),
            question.text(after.0),
            question.text(after.1),
            question.int(after.2),
        );
        let rows = question.ask(store.readers(), sql).await?;
        rows.iter()
            .map(|row| {
                let caller = Caller {
                    account: row.try_get(1)?,
                    environment: row.try_get(2)?,
                    customer: row.try_get(3)?,
                    account_key: row.try_get(4)?,
                    customer_key: row.try_get(5)?,
                    route: row.try_get(6)?,
                };
                Ok((row.try_get(0)?, caller))
            })
            .collect()
    }

    /// In the order of subjects, and of time within each.
    async fn rows(&self, store: &Store, subjects: &[(i64, Caller)]) -> Result<Vec<UsageRow>> {
        let mut question = Question::default();
        let ids: Vec<String> = subjects.iter().map(|(id, _)| question.int(*id)).collect();
        let sums = Values::NAMES.map(|name| format!("CAST(SUM({name}) AS BIGINT)"));
        let (table, start, of_unit) = if self.stretch.is_by_hour() {
            ("usage_counters", "hour", String::new())
        } else {
            let unit = question.int(unit(self.stretch.granularity()));
            ("usage_subject_sums", "start", format!("AND unit = {unit} "))
        };
        let (from, to) = self.stretch.numbers();
        // Of an hour there is a row of each start of a gateway.
        let sql = format!(
            "SELECT subject, {start}, {} FROM {table} WHERE subject IN ({}) {of_unit}AND {start} >= {} \
             AND {start} < {} GROUP BY subject, {start} ORDER BY subject, {start}",
            sums.join(", "),
            ids.join(", "),
            question.int(from),
            question.int(to),
        );
        let rows = question.ask(store.readers(), sql).await?;
        let mut counted: HashMap<i64, Vec<(i64, Counted)>> = HashMap::new();
        for row in &rows {
            let values = Counted::of(&Values::of_row(row, 2)?);
            counted
                .entry(row.try_get(0)?)
                .or_default()
                .push((row.try_get(1)?, values));
        }
        let mut found = Vec::with_capacity(rows.len());
        for (id, caller) in subjects {
            for (start, counted) in counted.remove(id).into_iter().flatten() {
                found.push(UsageRow {
                    start: self.stretch.start(start),
                    caller: caller.clone(),
                    counted,
                });
            }
        }
        Ok(found)
    }
}
