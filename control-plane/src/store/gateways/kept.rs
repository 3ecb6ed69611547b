//! The gateways of the one control plane of a SQLite database, for its next start: which of them may still be serving
//! by what they heard of this one.

use sqlx::Row;

use super::{Stream, count, wide};
use crate::store::{Purpose, Result, Store};

/// A gateway that had a stream and has not said goodbye.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub id: String,
    /// The start of the control plane that wrote it, and which of that start's streams it has.
    pub stream: (String, u64),
    /// Which of its starts it is.
    pub boot_epoch: u64,
    /// Where its proxy listener is.
    pub address: String,
    /// Its version.
    pub version: String,
    /// When it joined, in milliseconds since 1970.
    pub joined_at_ms: i64,
    /// How long it serves without hearing from us; `None`: for ever.
    pub denies_after_ms: Option<i64>,
}

/// Writes down that a gateway is about to have a stream. Durable before this answers.
///
/// # Errors
/// When the database fails.
pub async fn keep(store: &Store, gateway: &Kept) -> Result<()> {
    let mut tx = store.begin(Purpose::Other).await?;
    sqlx::query(
        "INSERT INTO gateways (id, control_plane, session, boot_epoch, address, version, state, revision, refused, \
         heard_at, denies_after_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, '[]', $8, $9) \
         ON CONFLICT (id) DO UPDATE SET control_plane = excluded.control_plane, session = excluded.session, \
         boot_epoch = excluded.boot_epoch, address = excluded.address, version = excluded.version, \
         state = excluded.state, heard_at = excluded.heard_at, denies_after_ms = excluded.denies_after_ms",
    )
    .bind(gateway.id.as_str())
    .bind(gateway.stream.0.as_str())
    .bind(wide(gateway.stream.1)?)
    .bind(wide(gateway.boot_epoch)?)
    .bind(gateway.address.as_str())
    .bind(gateway.version.as_str())
    .bind(Stream::Connected.as_str())
    .bind(gateway.joined_at_ms)
    .bind(gateway.denies_after_ms)
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit().await?)
}

/// Every gateway that was kept and not forgotten.
///
/// # Errors
/// When the database fails.
pub async fn kept(store: &Store) -> Result<Vec<Kept>> {
    let rows = sqlx::query(
        "SELECT id, control_plane, session, boot_epoch, address, version, heard_at, denies_after_ms FROM gateways \
         ORDER BY id",
    )
    .fetch_all(store.readers())
    .await?;
    let kept = rows.iter().map(|row| {
        Ok(Kept {
            id: row.try_get("id")?,
            stream: (row.try_get("control_plane")?, count(row.try_get("session")?)),
            boot_epoch: count(row.try_get("boot_epoch")?),
            address: row.try_get("address")?,
            version: row.try_get("version")?,
            joined_at_ms: row.try_get("heard_at")?,
            denies_after_ms: row.try_get("denies_after_ms")?,
        })
    });
    kept.collect()
}

/// Forgets these, unless they have had another stream since.
///
/// # Errors
/// When the database fails.
pub async fn forget(store: &Store, gateways: &[(String, (String, u64))]) -> Result<()> {
    let mut tx = store.begin(Purpose::Other).await?;
    for (id, (control_plane, session)) in gateways {
        sqlx::query("DELETE FROM gateways WHERE id = $1 AND control_plane = $2 AND session = $3")
            .bind(id.as_str())
            .bind(control_plane.as_str())
            .bind(wide(*session)?)
            .execute(&mut *tx)
            .await?;
    }
    Ok(tx.commit().await?)
}
