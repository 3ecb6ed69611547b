//! One key in memory, with everything that a call needs made ready.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use keyward_contract::KeyRecord;

use super::account::{AccountCell, CustomerCell};
use crate::ledger::Counter;

/// A known key: its record, its account and end customer, and its ready-made headers.
#[derive(Debug)]
pub struct KeyEntry {
    /// As the control plane sent it.
    pub record: KeyRecord,
    /// Whose it is.
    pub account: Arc<AccountCell>,
    /// The end customer of a customer key.
    pub customer: Option<Arc<CustomerCell>>,
    /// `Keyward-Key-Id`.
    pub key_id_header: HeaderValue,
    /// `Keyward-Api-Version`, when it is pinned to one.
    pub api_version_header: Option<HeaderValue>,
    /// The usage counter that the last call with this key used: nearly always the next one's too.
    pub last_counter: ArcSwapOption<Counter>,
}

impl KeyEntry {
    pub(super) fn new(record: KeyRecord, account: Arc<AccountCell>, customer: Option<Arc<CustomerCell>>) -> Self {
        let visible = |text: &str| HeaderValue::from_str(text).ok();
        Self {
            key_id_header: visible(&record.id.to_string()).unwrap_or(HeaderValue::from_static("-")),
            api_version_header: visible(&record.api_version).filter(|_| !record.api_version.is_empty()),
            last_counter: ArcSwapOption::empty(),
            record,
            account,
            customer,
        }
    }
}
