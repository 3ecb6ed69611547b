//! What there is one of.

use super::{Purpose, Result, Store};

/// The value of a setting.
///
/// # Errors
/// When the database fails.
pub async fn value(store: &Store, name: &str) -> Result<Option<String>> {
    let row: Option<(String,)> = sqlx::query_as("SELECT value FROM settings WHERE name = $1")
        .bind(name)
        .fetch_optional(store.readers())
        .await?;
    Ok(row.map(|(value,)| value))
}

/// Sets a setting that has no value yet; one that has keeps it.
///
/// # Errors
/// When the database fails.
pub async fn set_once(store: &Store, name: &str, value: &str) -> Result<()> {
    let mut tx = store.begin(Purpose::Other).await?;
    sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(name)
        .bind(value)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Sets a setting, whatever it was.
///
/// # Errors
/// When the database fails.
pub async fn set(store: &Store, name: &str, value: &str) -> Result<()> {
    let mut tx = store.begin(Purpose::Other).await?;
    sqlx::query(
        "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name)
    .bind(value)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}
