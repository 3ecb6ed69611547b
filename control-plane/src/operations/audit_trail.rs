//! Walking the audit trail from its beginning: to hand it out, and to check that nobody has tampered with it. Costs
//! one range of the trail's key a thousand rows, and never holds more of them.

use keyward_contract::UnixMillis;

use super::{Registry, Result};
use crate::store::audit::{self, ChainedEvent, Span, chained};

const ROWS_AT_ONCE: i64 = 1_000;

/// A walk through the trail as it stood when the walk began.
#[derive(Clone, Debug)]
pub struct Walk(Span);

impl Walk {
    /// A walk through what lies in a span of time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin(
        registry: &Registry,
        from: Option<UnixMillis>,
        to: Option<UnixMillis>,
    ) -> Result<Self> {
        let last = audit::newest(registry.store.readers()).await?;
        Ok(Self(Span {
            after: 0,
            last,
            from: from.unwrap_or(UnixMillis(i64::MIN)),
            to: to.unwrap_or(UnixMillis(i64::MAX)),
        }))
    }

    /// The next rows; none when the walk is over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next(&mut self, registry: &Registry) -> Result<Vec<ChainedEvent>> {
        let rows = audit::walk(registry.store.readers(), self.0, ROWS_AT_ONCE).await?;
        self.0.after = rows.last().map_or(self.0.last, |row| row.stored.number);
        Ok(rows)
    }
}

/// What a check of the trail found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many rows are as they were written.
    pub rows: i64,
    /// The hash of the last of them. Whoever noted an earlier one of these elsewhere can tell that the trail was not
    /// made anew as a whole, nor cut off at its end.
    pub last_hash: String,
    /// The first row that is not.
    pub broken: Option<Broken>,
}

/// A row that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its number.
    pub number: i64,
    /// Its id.
    pub id: String,
    /// What is wrong.
    pub reason: &'static str,
}

/// Checks the chain from the first row to the newest.
///
/// # Errors
/// When the database fails.
pub async fn verify(registry: &Registry) -> Result<Verified> {
    let mut walk = Walk::begin(registry, None, None).await?;
    let mut verified = Verified {
        rows: 0,
        last_hash: String::new(),
        broken: None,
    };
    loop {
        let rows = walk.next(registry).await?;
        if rows.is_empty() {
            return Ok(verified);
        }
        for row in rows {
            if let Some(reason) = fault(&verified, &row) {
                verified.broken = Some(Broken {
                    number: row.stored.number,
                    id: row.stored.event.id,
                    reason,
                });
                return Ok(verified);
            }
            verified.rows = row.stored.number;
            verified.last_hash = row.stored.hash;
        }
    }
}

fn fault(so_far: &Verified, row: &ChainedEvent) -> Option<&'static str> {
    if row.stored.number != so_far.rows + 1 {
        Some("rows before it are missing")
    } else if chained(&so_far.last_hash, &row.stored.event) != row.stored.hash {
        Some("its hash is not that of its content and the row before it")
    } else {
        None
    }
}
