//! Statements over many rows at once: a merge touches thousands, and each statement costs a round trip.

use std::sync::Arc;

use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, AssertSqlSafe, Transaction};

use super::report::{MOST_SUM, Values};
use crate::store::{Engine, Result};

/// How many rows one statement carries: far below every database's bound on placeholders.
pub(super) const ROWS_A_STATEMENT: usize = 100;

/// One value of a row.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    /// A whole number.
    Int(i64),
    /// A text.
    Text(String),
}

/// A row of a table of counts: what it is of, then what was counted.
pub(super) fn counted(keys: &[i64], values: Values) -> Vec<Cell> {
    keys.iter().copied().chain(values.0).map(Cell::Int).collect()
}

/// How rows go into a table of counts: `head VALUES (…), (…) tail`. Both are texts of this crate.
pub(super) struct Table {
    pub(super) head: String,
    pub(super) tail: String,
}

impl Table {
    /// Table a table of counts, where a row that is there already becomes the new one.
    pub(super) fn replacing(table: &str, keys: &[&str]) -> Self {
        let set = Values::NAMES.map(|name| format!("{name} = excluded.{name}"));
        Self::counts(table, keys, &set)
    }

    /// Table a table of counts, where a row that is there already counts on.
    pub(super) fn adding(table: &str, keys: &[&str]) -> Self {
        let mut at = 0;
        let set = Values::NAMES.map(|name| {
            at += 1;
            let (old, new) = (format!("{table}.{name}"), format!("excluded.{name}"));
            if at <= Values::SUMS {
                format!("{name} = CASE WHEN {old} < {MOST_SUM} THEN {old} + {new} ELSE {old} END")
            } else {
                format!("{name} = CASE WHEN {new} > {old} THEN {new} ELSE {old} END")
            }
        });
        Self::counts(table, keys, &set)
    }

    fn counts(table: &str, keys: &[&str], set: &[String]) -> Self {
        let (keys, names) = (keys.join(", "), Values::NAMES.join(", "));
        Self {
            head: format!("INSERT INTO {table} ({keys}, {names})"),
            tail: format!("ON CONFLICT ({keys}) DO UPDATE SET {}", set.join(", ")),
        }
    }

    pub(super) async fn write(&self, tx: &mut Transaction<'static, Any>, rows: &[Vec<Cell>]) -> Result<()> {
        write(tx, &self.head, rows, &self.tail).await
    }
}

/// Writes rows in as few statements as fit: `head VALUES (…), (…) tail`.
///
/// `head` and `tail` are texts of this crate; every value is bound. All rows are of one width.
pub(super) async fn write(
    tx: &mut Transaction<'static, Any>,
    head: &str,
    rows: &[Vec<Cell>],
    tail: &str,
) -> Result<()> {
    let width = rows.first().map_or(0, Vec::len);
    let engine = Engine::of(tx);
    let text = |many: usize| {
        let values = (0..many).map(|at| format!("({})", in_order(engine, at * width + 1, width)));
        let values: Vec<String> = values.collect();
        Arc::<str>::from(format!("{head} VALUES {} {tail}", values.join(", ")))
    };
    // All but the last have the same text.
    let full = (rows.len() >= ROWS_A_STATEMENT).then(|| text(ROWS_A_STATEMENT));
    for chunk in rows.chunks(ROWS_A_STATEMENT) {
        let full = full.clone().filter(|_| chunk.len() == ROWS_A_STATEMENT);
        let is_full = full.is_some();
        let sql = full.unwrap_or_else(|| text(chunk.len()));
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(is_full);
        for cell in chunk.iter().flatten() {
            query = match cell {
                Cell::Int(number) => query.bind(*number),
                Cell::Text(text) => query.bind(text.clone()),
            };
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// The placeholders of a statement's values, in the order in which they are bound. SQLite takes `$1` for a name, and
/// goes through all names for each: with a thousand of them that takes longer than the writing.
pub(super) fn in_order(engine: Engine, first: usize, many: usize) -> String {
    match engine {
        Engine::Sqlite => vec!["?"; many].join(", "),
        Engine::Postgres => placeholders(first, many),
    }
}

/// `$first, $first+1, …`: so many placeholders.
pub(super) fn placeholders(first: usize, many: usize) -> String {
    let names: Vec<String> = (first..first + many).map(|at| format!("${at}")).collect();
    names.join(", ")
}

/// A question that is put together of texts of this crate; every value is bound.
#[derive(Default)]
pub(super) struct Question {
    cells: Vec<Cell>,
}

impl Question {
    /// The placeholder of a number.
    pub(super) fn int(&mut self, number: i64) -> String {
        self.bound(Cell::Int(number))
    }

    /// The placeholder of a text.
    pub(super) fn text(&mut self, text: impl Into<String>) -> String {
        self.bound(Cell::Text(text.into()))
    }

    fn bound(&mut self, cell: Cell) -> String {
        self.cells.push(cell);
        format!("${}", self.cells.len())
    }

    /// Asks `sql`, whose placeholders this gave.
    pub(super) async fn ask(self, pool: &AnyPool, sql: String) -> Result<Vec<AnyRow>> {
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for cell in self.cells {
            query = match cell {
                Cell::Int(number) => query.bind(number),
                Cell::Text(text) => query.bind(text),
            };
        }
        Ok(query.fetch_all(pool).await?)
    }
}
