//! What was just committed in this process, for the jobs that act on it without waiting for their next look: a hint
//! and no more. What is lost with the process, the jobs find in the database.

use std::collections::HashSet;
use std::sync::Arc;

use keyward_contract::AccountId;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Signals(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    deliveries: Notify,
    gateway_access: Notify,
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
        self.0.gateway_access.notify_one();
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
