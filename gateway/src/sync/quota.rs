//! What others spent of each account's quota, on its way into the key set.
//!
//! The newest word on each account counts. It waits while a snapshot is under way, and is put in again after
//! one, since a snapshot begins a new replica. Kept apart from changes, so that it never delays one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use keyward_contract::feed::QuotaUsage;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::SyncError;
use super::stream::blocking;
use crate::keys::KeySet;

/// More accounts than this are not kept track of; only a control plane gone wrong tells of so many.
const MOST_ACCOUNTS: usize = 1_000_000;
/// As many go to the replica at once.
const AT_ONCE: usize = 256;

#[derive(Debug, Default)]
pub(super) struct QuotaNews {
    news: Mutex<News>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct News {
    last: HashMap<Vec<u8>, QuotaUsage>,
    waiting: HashSet<Vec<u8>>,
    is_held: bool,
}

impl QuotaNews {
    pub(super) fn heard(&self, usage: QuotaUsage) {
        let mut news = self.news.lock();
        if news.last.len() < MOST_ACCOUNTS || news.last.contains_key(&usage.account_id) {
            news.waiting.insert(usage.account_id.clone());
            news.last.insert(usage.account_id.clone(), usage);
            self.wake.notify_one();
        }
    }

    /// A snapshot has begun: what comes waits for its end.
    pub(super) fn hold(&self) {
        self.news.lock().is_held = true;
    }

    /// The snapshot is in force: everything that was heard is to be put in again.
    pub(super) fn release(&self) {
        let news = &mut *self.news.lock();
        news.is_held = false;
        news.waiting.extend(news.last.keys().cloned());
        self.wake.notify_one();
    }

    fn take(&self) -> Vec<QuotaUsage> {
        let news = &mut *self.news.lock();
        if news.is_held {
            return Vec::new();
        }
        let accounts: Vec<Vec<u8>> = news.waiting.iter().take(AT_ONCE).cloned().collect();
        let taken = accounts.iter().filter_map(|account| {
            news.waiting.remove(account);
            news.last.get(account).cloned()
        });
        taken.collect()
    }

    /// Puts what was heard into the key set; ends only with the stream.
    pub(super) async fn keep(&self, keys: &Arc<KeySet>) -> Result<(), SyncError> {
        loop {
            let usages = self.take();
            if usages.is_empty() {
                self.wake.notified().await;
                continue;
            }
            let keys = Arc::clone(keys);
            let kept =
                blocking(move || usages.iter().try_for_each(|usage| keys.put_quota_usage(usage))).await?;
            if let Err(error) = kept {
                // It is in force; only a restart before the next word would not know it.
                tracing::warn!(%error, "quota usage can't be kept on disk");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(account: u8, used_elsewhere: u64) -> QuotaUsage {
        QuotaUsage {
            account_id: vec![account],
            used_elsewhere,
            ..QuotaUsage::default()
        }
    }

    #[test]
    fn the_newest_word_counts_and_a_snapshot_asks_for_all_again() {
        let news = QuotaNews::default();
        news.hold();
        news.heard(usage(1, 5));
        news.heard(usage(1, 6));
        assert_eq!(news.take(), []);
        news.release();
        assert_eq!(news.take(), [usage(1, 6)]);
        assert_eq!(news.take(), []);
        news.hold();
        news.release();
        assert_eq!(news.take(), [usage(1, 6)]);
    }
}
