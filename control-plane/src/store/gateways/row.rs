//! How a gateway stands as its row says it, and as it is written.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Elsewhere, HeldSnapshot, Standing, Stream};
use crate::store::{Result, StoreError};

pub(super) fn row(row: &AnyRow) -> Result<Elsewhere> {
    let (refused, held): (String, String) = (row.try_get("refused")?, row.try_get("held")?);
    Ok(Elsewhere {
        standing: Standing {
            id: row.try_get("id")?,
            session: count(row.try_get("session")?),
            boot_epoch: count(row.try_get("boot_epoch")?),
            address: row.try_get("address")?,
            version: row.try_get("version")?,
            stream: Stream::from_stored(&row.try_get::<String, _>("state")?)?,
            revision: count(row.try_get("revision")?),
            refused: serde_json::from_str(&refused).map_err(StoreError::corrupt)?,
            held: match held.as_str() {
                "" => None,
                held => Some(serde_json::from_str(held).map_err(StoreError::corrupt)?),
            },
            heard_ago_ms: row.try_get("heard_ago")?,
            denies_after_ms: row.try_get("denies_after_ms")?,
        },
        renewed_ago_ms: row.try_get("renewed_ago")?,
    })
}

pub(super) fn written(held: Option<HeldSnapshot>) -> Result<String> {
    let written = held.map(|held| serde_json::to_string(&held)).transpose();
    written
        .map(Option::unwrap_or_default)
        .map_err(StoreError::corrupt)
}

pub(super) fn wide(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(StoreError::corrupt)
}

/// A stored count; a negative one, which nothing writes, counts as none.
pub(super) fn count(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or_default()
}
