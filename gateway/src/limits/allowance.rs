//! What an account or an end customer may still spend at this gateway: a bucket of its own, or a part of one that all
//! gateways share.

use std::sync::{Arc, OnceLock};

use keyward_buckets::BucketName;
use keyward_contract::Limits;

use super::bucket::Bucket;
use super::lease::Lease;

/// The tokens of one account and environment, or of one end customer. A lease is made when it is first asked for.
#[derive(Debug, Default)]
pub struct Allowance {
    /// The bucket in this process, when there is no shared one.
    pub bucket: Bucket,
    lease: OnceLock<Arc<Lease>>,
}

impl Allowance {
    /// Its part of the shared bucket of this name.
    pub fn lease(&self, name: impl FnOnce() -> BucketName) -> &Arc<Lease> {
        self.lease.get_or_init(|| Arc::new(Lease::new(name())))
    }

    /// Whether it says nothing that a fresh one would not say.
    #[must_use]
    pub fn is_idle(&self, now_ms: u64, limits: Limits) -> bool {
        match self.lease.get() {
            Some(lease) => lease.is_idle(now_ms),
            None => self.bucket.is_full(now_ms, limits),
        }
    }
}
