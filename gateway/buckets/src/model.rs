//! What the scripts do, in Rust: the same arithmetic, on buckets in memory and a clock that is an argument.
//!
//! Tests of whoever asks run on it without a server, and laws are easier to test here. A property test gives the same
//! questions to this and to the scripts on a real server, and wants the same answers and the same state.

mod bucket;
#[cfg(test)]
mod laws;
mod quota;

use std::collections::{BTreeMap, HashMap};

use crate::ask::{
    Answer, Ask, BucketName, ChargeAnswer, ChargeAsk, LeaseAnswer, LeaseAsk, QuotaName, RefundAsk,
};
use crate::{BucketState, number};
use bucket::{Bucket, Settled, grant};
use keyward_contract::Limits;
use quota::Quota;

/// How long a holding lasts unless it is renewed.
pub const LEASE_MS: i64 = 1000;
/// How long a quota that was made anew grants nothing.
pub const REBUILD_MS: i64 = 1000;
/// How long a bucket is kept after it is certainly full.
const MARGIN_MS: i64 = 1000;

/// Buckets and quotas in memory.
#[derive(Clone, Debug, Default)]
pub struct Model {
    buckets: HashMap<BucketName, Bucket>,
    quotas: HashMap<QuotaName, Quota>,
}

/// One question's moment and asker.
#[derive(Clone, Copy)]
struct Moment<'a> {
    now_us: i64,
    now: i64,
    gateway: &'a str,
}

impl Model {
    /// Answers one question of this gateway, at this moment in microseconds on the server's clock.
    pub fn answer(&mut self, now_us: u64, gateway: &str, ask: &Ask) -> Answer {
        let moment = Moment::new(now_us, gateway);
        self.forget_full_buckets(moment.now);
        match ask {
            Ask::Lease(ask) => Answer::Lease(self.lease(moment, ask)),
            Ask::Quota(ask) => {
                let mut counted = self.counted(moment, ask);
                let granted = counted.slice(moment.now, ask);
                let answer = counted.take(moment, granted);
                self.quotas.insert(ask.quota, counted);
                Answer::Quota(answer)
            }
            Ask::Charge(ask) => Answer::Charge(self.charge(moment, ask)),
            Ask::Refund(ask) => {
                self.refund(moment, ask);
                Answer::Refunded
            }
        }
    }

    /// What is in a bucket at this moment; `None`: it isn't there, and therefore full.
    #[must_use]
    pub fn read(&self, now_us: u64, bucket: &BucketName, limits: Limits) -> Option<BucketState> {
        let moment = Moment::new(now_us, "");
        let bucket = self.buckets.get(bucket)?;
        (bucket.expires >= moment.now).then(|| bucket.read(moment.now, limits))
    }

    /// Forgets everything, as `FLUSHALL` does.
    pub fn flush(&mut self) {
        *self = Self::default();
    }

    #[cfg(test)]
    pub(crate) fn bucket(&self, name: &BucketName) -> Option<&Bucket> {
        self.buckets.get(name)
    }

    #[cfg(test)]
    pub(crate) fn quota(&self, name: &QuotaName) -> Option<&Quota> {
        self.quotas.get(name)
    }

    #[cfg(test)]
    pub(crate) fn forget(&mut self, name: &BucketName) {
        self.buckets.remove(name);
    }

    fn lease(&mut self, moment: Moment, ask: &LeaseAsk) -> LeaseAnswer {
        let mut settled = self.settled(moment, ask);
        let granted = grant(
            settled.bucket.level,
            number::amount(ask.least),
            number::amount(ask.most),
        );
        settled.bucket.level -= granted;
        settled.bucket.held += granted;
        settled.own += granted;
        let own = settled.own;
        let bucket = settled.stored(moment, ask);
        let answer = LeaseAnswer {
            granted: granted.unsigned_abs(),
            level: bucket.level,
            held_elsewhere: (bucket.held - own).unsigned_abs(),
            born: bucket.born.unsigned_abs(),
        };
        self.buckets.insert(ask.bucket, bucket);
        answer
    }

    fn charge(&mut self, moment: Moment, ask: &ChargeAsk) -> ChargeAnswer {
        let asks: Vec<&LeaseAsk> = std::iter::once(&ask.account).chain(&ask.customer).collect();
        let mut buckets: Vec<Settled> = asks.iter().map(|ask| self.settled(moment, ask)).collect();
        let mut counted = ask.quota.as_ref().map(|ask| self.counted(moment, ask));
        let mut charged = asks
            .iter()
            .zip(&buckets)
            .all(|(ask, settled)| settled.bucket.level >= number::amount(ask.most));
        let mut granted = 0;
        if let Some((ask, counted)) = ask.quota.as_ref().zip(counted.as_ref()) {
            granted = counted.slice(moment.now, ask);
            charged &= granted >= number::amount(ask.most);
        }
        let mut answers = Vec::new();
        for (ask, mut settled) in asks.into_iter().zip(buckets.drain(..)) {
            if charged {
                settled.bucket.level -= number::amount(ask.most);
            }
            let bucket = settled.stored(moment, ask);
            answers.push(bucket.charged());
            self.buckets.insert(ask.bucket, bucket);
        }
        let quota = ask.quota.as_ref().zip(counted.as_mut()).map(|(ask, counted)| {
            let answer = counted.take(moment, if charged { granted } else { 0 });
            self.quotas.insert(ask.quota, counted.clone());
            answer
        });
        let mut answers = answers.into_iter();
        ChargeAnswer {
            charged,
            account: answers.next().unwrap_or_default(),
            customer: answers.next(),
            quota,
        }
    }

    fn refund(&mut self, moment: Moment, ask: &RefundAsk) {
        for (name, limits) in &ask.buckets {
            // One that isn't there is full.
            if let Some(bucket) = self.buckets.get_mut(name) {
                bucket.refund(moment.now, *limits, number::amount(ask.thousandths));
            }
        }
    }

    fn settled(&self, moment: Moment, ask: &LeaseAsk) -> Settled {
        Settled::new(self.buckets.get(&ask.bucket), moment, ask)
    }

    fn counted(&self, moment: Moment, ask: &crate::QuotaAsk) -> Quota {
        Quota::counted(self.quotas.get(&ask.quota), moment, ask)
    }

    fn forget_full_buckets(&mut self, now: i64) {
        self.buckets.retain(|_, bucket| bucket.expires >= now);
    }
}

impl<'a> Moment<'a> {
    fn new(now_us: u64, gateway: &'a str) -> Self {
        let now_us = number::instant(now_us);
        Self {
            now_us,
            now: now_us.div_euclid(1000),
            gateway,
        }
    }
}

/// Who holds or took how much, by gateway id.
type ByGateway<T> = BTreeMap<String, T>;
