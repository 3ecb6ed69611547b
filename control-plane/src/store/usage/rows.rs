//! Statements over many rows at once: a merge touches thousands, and each statement costs a round trip.

use sqlx::{Any, AssertSqlSafe, Transaction};

use super::super::Result;

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
