//! What was just committed in this process, for the jobs that act on it without waiting for their next look: a hint
//! and no more. What is lost with the process, the jobs find in the database.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyward_contract::AccountId;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

/// Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Signals(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    deliveries: Notify,
    gateway_access: Notify,
    /// How often that has changed, and up to which change it is known to who follows it; `None`: nobody does.
    gateway_access_changes: AtomicU64,
    gateway_access_known: watch::Sender<Option<u64>>,
    spent: Mutex<HashSet<AccountId>>,
}

impl Signals {
    /// There are messages to deliver.
    pub fn deliveries_are_due(&self) {
        self.0.deliveries.notify_one();
    }

    /// Waits until there are messages to deliver.
    pub async fn deliveries(&self) {
        self.0.deliveries.notified().await;
    }

    /// Other gateways may come in, or be sent something else.
    pub fn gateway_access_changed(&self) {
        self.0.gateway_access_changes.fetch_add(1, Ordering::SeqCst);
        self.0.gateway_access.notify_one();
    }

    /// How often it was told of.
    #[must_use]
    pub fn gateway_access_changes(&self) -> u64 {
        self.0.gateway_access_changes.load(Ordering::SeqCst)
    }

    /// Says that so many changes of it are known where gateways are let in.
    pub fn gateway_access_is_known(&self, changes: u64) {
        self.0.gateway_access_known.send_replace(Some(changes));
    }

    /// Waits until everything that was told of is in force where gateways are let in, at most this long; not at all in a
    /// program that lets none in.
    pub async fn gateway_access_in_force(&self, at_most: Duration) {
        let told = self.gateway_access_changes();
        let mut known = self.0.gateway_access_known.subscribe();
        let in_force = known.wait_for(|known| known.is_none_or(|known| known >= told));
        let _ = tokio::time::timeout(at_most, in_force).await;
    }

    /// Waits until other gateways may come in.
    pub async fn gateway_access(&self) {
        self.0.gateway_access.notified().await;
    }

    /// These accounts used some of their year, or have another year or limit now. As many are remembered as there are
    /// accounts.
    pub fn spent(&self, accounts: impl IntoIterator<Item = AccountId>) {
        self.0.spent.lock().extend(accounts);
    }

    /// The accounts that spent since this was last asked.
    #[must_use]
    pub fn take_spent(&self) -> HashSet<AccountId> {
        std::mem::take(&mut *self.0.spent.lock())
    }
}
