//! One quota: script/quota.lua, in Rust.

use super::{ByGateway, Moment, REBUILD_MS};
use crate::ask::{QuotaAnswer, QuotaAsk, QuotaSpent};
use crate::number;

/// What stands in a quota's hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    /// When it was made, in milliseconds.
    pub(crate) made: i64,
    /// What others had taken then.
    pub(crate) base: i64,
    /// Everything together.
    pub(crate) sum: i64,
    /// What each gateway took.
    pub(crate) taken: ByGateway<i64>,
}

impl Quota {
    /// The quota, made if it wasn't there, with what the asking gateway took.
    pub(super) fn counted(before: Option<&Self>, moment: Moment, ask: &QuotaAsk) -> Self {
        let others = number::amount(ask.rebuild.others);
        let mut quota = before.cloned().unwrap_or(Self {
            made: moment.now,
            base: others,
            sum: others,
            taken: ByGateway::new(),
        });
        quota.made = quota.made.min(moment.now);
        for (gateway, count) in &ask.rebuild.gateways {
            if !quota.taken.contains_key(gateway) {
                quota.sum += number::amount(*count);
                quota.taken.insert(gateway.clone(), number::amount(*count));
            }
        }
        let own = quota.taken.get(moment.gateway).copied().unwrap_or(0);
        let now = match ask.spent {
            QuotaSpent::InAll(count) => number::amount(count),
            QuotaSpent::Since(more) => (own + number::signed(more)).max(0),
        };
        quota.taken.insert(moment.gateway.to_owned(), now);
        quota.sum = (quota.sum + now - own).max(0);
        quota
    }

    /// What is granted of it.
    pub(super) fn slice(&self, now: i64, ask: &QuotaAsk) -> i64 {
        let (least, most) = (number::amount(ask.least), number::amount(ask.most));
        let left = (number::amount(ask.limit) - self.sum).max(0);
        if now < self.made + REBUILD_MS || most == 0 || left < least {
            return 0;
        }
        let share = left / (2 * i64::from(ask.sharers.max(1)));
        let granted = most.min(left).min(least.max(share));
        if granted < least { 0 } else { granted }
    }

    pub(super) fn take(&mut self, moment: Moment, granted: i64) -> QuotaAnswer {
        *self.taken.entry(moment.gateway.to_owned()).or_default() += granted;
        self.sum += granted;
        QuotaAnswer {
            granted: granted.unsigned_abs(),
            taken: self.sum.unsigned_abs(),
            rebuilding: moment.now < self.made + REBUILD_MS,
        }
    }
}
