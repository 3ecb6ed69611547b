//! Statements over many rows at once: a merge touches thousands, and each statement costs a round trip.

use sqlx::any::AnyRow;
use sqlx::{Any, AnyPool, AssertSqlSafe, Transaction};

use super::super::Result;
use super::report::{MOST_SUM, Values};

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

/// How rows go into a table: `head VALUES (…), (…) tail`. Both are texts of this crate.
pub(super) struct Into {
    pub(super) head: String,
    pub(super) tail: String,
}

impl Into {
    /// Into a table of counts, where a row that is there already becomes the new one.
    pub(super) fn replacing(table: &str, keys: &[&str]) -> Self {
        let set = Values::NAMES.map(|name| format!("{name} = excluded.{name}"));
        Self::counts(table, keys, &set)
    }

    /// Into a table of counts, where a row that is there already counts on.
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
/// `head` and `tail` are texts of this crate; every value is bound.
pub(super) async fn write(
    tx: &mut Transaction<'static, Any>,
    head: &str,
    rows: &[Vec<Cell>],
    tail: &str,
) -> Result<()> {
    for chunk in rows.chunks(ROWS_A_STATEMENT) {
        let mut next = 1;
        let mut values = Vec::with_capacity(chunk.len());
        for row in chunk {
            values.push(format!("({})", placeholders(next, row.len())));
            next += row.len();
        }
        let sql = format!("{head} VALUES {} {tail}", values.join(", "));
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(chunk.len() == ROWS_A_STATEMENT);
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
    pub(super) fn text(&mut self, text: impl std::convert::Into<String>) -> String {
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
