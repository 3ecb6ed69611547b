//! Who does what only one control plane needs to do. A claim keeps others from doing the same work; what must not
//! happen twice is guarded where it happens.

use std::time::Duration;

use keyward_contract::UnixMillis;

use super::{Purpose, Result, Store};

/// Takes a job, or keeps it, for a while; `false` when another holds it.
///
/// # Errors
/// When the database fails.
pub async fn claim(store: &Store, name: &str, holder: &str, now: UnixMillis, span: Duration) -> Result<bool> {
    let span = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    let mut tx = store.begin(Purpose::Other).await?;
    // A claim from a time that is long to come was made by a clock that went wrong.
    let claimed = sqlx::query(
        "INSERT INTO job_claims (name, holder, until) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
         SET holder = excluded.holder, until = excluded.until \
         WHERE job_claims.until <= $4 OR job_claims.holder = excluded.holder OR job_claims.until > $5",
    )
    .bind(name)
    .bind(holder)
    .bind(now.0.saturating_add(span))
    .bind(now.0)
    .bind(now.0.saturating_add(span.saturating_mul(2)))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(claimed.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_is_held_by_one_until_its_claim_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}/cp.db", folder.path().display()))
            .await
            .unwrap();
        let claim = async |holder: &str, now: i64| {
            claim(&store, "tidy", holder, UnixMillis(now), Duration::from_secs(1))
                .await
                .unwrap()
        };
        assert!(claim("a", 10_000).await);
        assert!(!claim("b", 10_999).await);
        assert!(claim("a", 10_500).await);
        assert!(!claim("b", 11_499).await);
        assert!(claim("b", 11_500).await);
        assert!(!claim("a", 12_000).await);
        // A clock that was far ahead holds nothing for long.
        assert!(claim("a", 500).await);
    }
}
