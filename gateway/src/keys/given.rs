//! A key set that goes over to another process: who writes to the folder, and what the buckets held.
//!
//! Between [`KeySet::give_away`] and its end this process still decides, by what it is told ([`KeySet::apply`]), and writes
//! nothing. [`KeySet::shut`] is for when it can't be told everything: from then on nobody is let in.

use std::fs::File;
use std::sync::Arc;

use keyward_contract::Environment;

use super::{AccountCell, CustomerCell, KeySet};
use crate::handover::HeldTokens;

/// So many buckets are told of: about 10 MB. Those beyond begin full.
const MOST: usize = 100_000;

impl KeySet {
    /// Writes nothing to the folder any more; answers a descriptor of its lock for who will.
    ///
    /// # Errors
    /// When there are no descriptors left; then nothing has changed.
    pub fn give_away(&self) -> std::io::Result<File> {
        let _one = self.changing.lock();
        self.replica.give_away()
    }

    /// Writes to the folder again: nobody else does, and nothing has changed meanwhile.
    pub fn take_back(&self) {
        let _one = self.changing.lock();
        self.replica.take_back();
    }

    /// From when this returns no look-up that begins finds a key.
    pub fn shut(&self) {
        let _one = self.changing.lock();
        self.replica.hide();
        self.fence.generations().raise_all();
    }

    /// Gives what the buckets in this process hold to another one, all but an eighth, which has to do for the calls that are
    /// still here: nothing is added to it any more. So both together never give more than one bucket would have.
    pub fn give_tokens(&self, now_ms: u64) -> Vec<HeldTokens> {
        let mut given = Vec::new();
        for cell in &self.accounts {
            let limits = cell.policy().record.limits;
            for environment in Environment::ALL {
                let held = cell.allowance(environment).bucket.give(now_ms, limits);
                given.push(HeldTokens::new(cell.id(), environment, None, held));
            }
        }
        for cell in &self.customers {
            let (account, environment, id) = cell.key();
            let held = cell.allowance.bucket.give(now_ms, cell.present_limits());
            given.push(HeldTokens::new(*account, *environment, Some(id), held));
        }
        given.truncate(MOST);
        given
    }

    /// Takes back what was given: nobody has it any more.
    pub fn take_tokens_back(&self, given: &[HeldTokens], now_ms: u64) {
        for held in given {
            self.with_bucket(held, |bucket| bucket.take_back(now_ms, held.millitokens()));
        }
    }

    /// Begins with what another process gave.
    pub fn inherit_tokens(&self, given: &[HeldTokens], now_ms: u64) {
        for held in given {
            self.with_bucket(held, |bucket| bucket.hold(now_ms, held.millitokens()));
        }
    }

    fn with_bucket(&self, held: &HeldTokens, work: impl FnOnce(&crate::limits::bucket::Bucket)) {
        let (Some((id, environment, customer)), Some(view)) = (held.holder(), self.replica.view()) else {
            return;
        };
        // One that can't be read now begins as a new one does.
        let Ok(account): Result<Arc<AccountCell>, _> = self.account(id, &view) else {
            return;
        };
        match customer {
            None => work(&account.allowance(environment).bucket),
            Some(customer) => {
                let cell = self.customers.entry((id, environment, customer));
                let cell = cell.or_insert_with(|| Arc::new(CustomerCell::new(customer, account)));
                work(&cell.allowance.bucket);
            }
        }
    }
}
