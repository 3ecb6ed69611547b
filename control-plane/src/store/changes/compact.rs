//! What of the change log is removed: by number, by age, and never what somebody is about to be sent.
//!
//! A few rows at a time, so that the writer is held briefly. The newest change always stays: the next one's history is
//! made of its.

use keyward_contract::UnixMillis;

use super::super::{Purpose, Result, Store};

/// What stays in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// So many of the newest changes, as far as they are not too old.
    pub newest: u64,
    /// None that is older, in milliseconds.
    pub longest_ms: i64,
    /// Every one that is younger, however many, in milliseconds: whoever is sent a snapshot has so long to take it.
    pub shortest_ms: i64,
    /// Everything after this revision.
    pub after: u64,
}

impl Keep {
    /// How many of the oldest changes can go. Each is a revision and when it was committed, in order.
    fn removable(&self, oldest: &[(u64, i64)], head: u64, now: UnixMillis) -> usize {
        let goes = |(revision, committed_at): &(u64, i64)| {
            let age = now.0.saturating_sub(*committed_at);
            // A clock that was set back may have stamped changes with a time to come: those are no younger than others.
            let is_young = (0..self.shortest_ms).contains(&age);
            let is_beyond = *revision <= head.saturating_sub(self.newest) || age > self.longest_ms;
            is_beyond && !is_young && *revision < head && *revision <= self.after
        };
        oldest.iter().take_while(|change| goes(change)).count()
    }
}

/// Removes up to `limit` of the oldest changes, as far as they need not be kept; answers how many went.
///
/// # Errors
/// When the database fails.
pub async fn compact(store: &Store, keep: Keep, now: UnixMillis, limit: u32) -> Result<u64> {
    let head = super::head(store).await?;
    let rows: Vec<(i64, i64)> =
        sqlx::query_as("SELECT revision, committed_at FROM changes ORDER BY revision LIMIT $1")
            .bind(i64::from(limit))
            .fetch_all(store.readers())
            .await?;
    let oldest: Vec<(u64, i64)> = rows
        .iter()
        .map(|(revision, at)| (u64::try_from(*revision).unwrap_or_default(), *at))
        .collect();
    let removable = keep.removable(&oldest, head, now);
    let Some((last, _)) = removable.checked_sub(1).and_then(|last| rows.get(last)) else {
        return Ok(0);
    };
    let mut tx = store.begin(Purpose::Other).await?;
    let removed = sqlx::query("DELETE FROM changes WHERE revision <= $1")
        .bind(*last)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(removed.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);
    const KEEP: Keep = Keep {
        newest: 4,
        longest_ms: 10_000,
        shortest_ms: 100,
        after: u64::MAX,
    };

    fn removable(keep: Keep, ages: &[i64]) -> usize {
        let changes: Vec<(u64, i64)> = (1..).zip(ages.iter().map(|age| NOW.0 - age)).collect();
        keep.removable(&changes, ages.len() as u64, NOW)
    }

    #[test]
    fn what_goes_is_beyond_the_number_or_too_old_and_never_young() {
        // By number.
        assert_eq!(removable(KEEP, &[500; 10]), 6);
        assert_eq!(removable(KEEP, &[500; 4]), 0);
        // By age, but for the newest of all.
        assert_eq!(removable(KEEP, &[20_000, 20_000, 500]), 2);
        assert_eq!(removable(KEEP, &[20_000, 20_000, 20_000]), 2);
        // The young stay, however many.
        assert_eq!(removable(KEEP, &[50; 10]), 0);
        assert_eq!(removable(KEEP, &[500, 500, 50, 50, 50, 50, 50, 50]), 2);
        // From the future, by a clock that was set back.
        assert_eq!(removable(KEEP, &[-5_000; 10]), 6);
        // What a snapshot goes on from.
        assert_eq!(removable(Keep { after: 3, ..KEEP }, &[500; 10]), 3);
    }
}
