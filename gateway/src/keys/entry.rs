//! One key in memory, with everything that a call needs made ready.

use std::sync::Arc;

use keyward_contract::{KeyRecord, Limits};

use super::account::{AccountCell, CustomerCell};
use crate::onward::lines;

/// A known key: its record, its account and end customer, and its ready-made headers.
#[derive(Debug)]
pub struct KeyEntry {
    /// As the control plane sent it.
    pub record: KeyRecord,
    /// Whose it is.
    pub account: Arc<AccountCell>,
    /// The end customer of a customer key.
    pub customer: Option<Arc<CustomerCell>>,
    /// The lines `Keyward-Key-Id` and, when it is pinned to one, `Keyward-Api-Version` of a forwarded head.
    pub identity: Box<[u8]>,
}

impl KeyEntry {
    pub(super) fn new(
        record: KeyRecord,
        account: Arc<AccountCell>,
        customer: Option<Arc<CustomerCell>>,
    ) -> Self {
        let id = record.id.to_string();
        let identity = match record.api_version.as_str() {
            "" => lines(&[("keyward-key-id", &id)]),
            version => lines(&[("keyward-key-id", &id), ("keyward-api-version", version)]),
        };
        Self {
            identity,
            record,
            account,
            customer,
        }
    }

    /// The limits of its end customer: the account's, or lower ones of its own. They are the key's own words, so the
    /// fence holds for them, too: a slow read of an older record changes nothing for who has read the newer one.
    #[must_use]
    pub fn customer_limits(&self, of_account: Limits) -> Limits {
        self.record.customer_limits.map_or(of_account, |own| Limits {
            rate: own.rate.min(of_account.rate),
            burst: own.burst.min(of_account.burst),
        })
    }
}
