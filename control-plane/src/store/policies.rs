//! What the limits of each tier do, as gateways were told: one small table, which every record of an account is made
//! from, in changes and in snapshots, on whatever control plane. So all of them say the same while their
//! configurations differ for a time.

use keyward_contract::{Fallback, LimitMode};
use sqlx::{Any, Executor};

use super::{Result, StoreError, Tx};
use crate::domain::tier::{Policy, fallback_as_str, mode_as_str};

/// What was published of a tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// What its limits do.
    pub policy: Policy,
    /// Only accounts up to this id were told so yet; `None`: all were.
    pub told_until: Option<String>,
}

/// What was published of a tier; of one that has no row, what has always been.
///
/// # Errors
/// When the database fails or holds a row that is none.
pub async fn of<'e>(executor: impl Executor<'e, Database = Any>, tier: &str) -> Result<Published> {
    let row: Option<(String, Option<String>, Option<String>)> =
        sqlx::query_as("SELECT limit_mode, fallback, told_until FROM tier_policies WHERE tier = $1")
            .bind(tier.to_owned())
            .fetch_optional(executor)
            .await?;
    let Some((limit_mode, fallback, told_until)) = row else {
        return Ok(Published::default());
    };
    Ok(Published {
        policy: policy(Some(limit_mode), fallback)?,
        told_until,
    })
}

/// Says what the limits of a tier do from now on, and how far that was published.
///
/// # Errors
/// When the database fails.
pub async fn put(tx: &mut Tx, tier: &str, published: &Published) -> Result<()> {
    sqlx::query(
        "INSERT INTO tier_policies (tier, limit_mode, fallback, told_until) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (tier) DO UPDATE SET limit_mode = excluded.limit_mode, fallback = excluded.fallback, \
         told_until = excluded.told_until",
    )
    .bind(tier.to_owned())
    .bind(mode_as_str(published.policy.limit_mode))
    .bind(published.policy.fallback.map(fallback_as_str))
    .bind(published.told_until.clone())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A policy out of a row; without a mode there was no row.
pub(super) fn policy(limit_mode: Option<String>, fallback: Option<String>) -> Result<Policy> {
    let limit_mode = match limit_mode.as_deref() {
        None | Some("enforce") => LimitMode::Enforce,
        Some("shadow") => LimitMode::Shadow,
        Some(other) => return Err(StoreError::corrupt(format!("`{other}` is no limit mode"))),
    };
    let fallback = match fallback.as_deref() {
        None => None,
        Some("share") => Some(Fallback::Share),
        Some("allow") => Some(Fallback::Allow),
        Some("deny") => Some(Fallback::Deny),
        Some(other) => return Err(StoreError::corrupt(format!("`{other}` is no fallback"))),
    };
    Ok(Policy { limit_mode, fallback })
}
