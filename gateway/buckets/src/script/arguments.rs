//! Questions as the script reads them: flat whole numbers, in the order in which `bucket.lua` and `quota.lua` take them.

use std::collections::HashSet;

use keyward_contract::Limits;
use redis::Cmd;

use crate::ask::{ChargeAsk, LeaseAsk, QuotaAsk, QuotaSpent, RefundAsk};
use crate::number;

/// How long a quota is kept after its period.
const KEPT_MS: i64 = 7 * 86_400_000;
/// How many gateways a rebuilt quota names; the rest counts as others. Lua passes on no more than some thousand values.
const NAMED: usize = 1000;

/// The arguments of one question.
#[derive(Debug, Default)]
pub(crate) struct Arguments(Vec<Argument>);

#[derive(Debug)]
enum Argument {
    Number(i64),
    Text(String),
}

impl Arguments {
    /// How many they are, and they themselves.
    pub(super) fn append_to(&self, command: &mut Cmd) {
        command.arg(self.0.len());
        for argument in &self.0 {
            match argument {
                Argument::Number(number) => command.arg(*number),
                Argument::Text(text) => command.arg(text),
            };
        }
    }

    pub(super) fn limits(&mut self, limits: Limits) {
        self.numbers(&[number::rate(limits), number::burst(limits)]);
    }

    pub(super) fn lease(&mut self, ask: &LeaseAsk) {
        // No bucket was born before 1970.
        let (born, level) = ask.known.map_or((-1, 0), |known| {
            (number::instant(known.born), number::signed(known.level))
        });
        self.limits(ask.limits);
        self.numbers(&[
            number::amount(ask.holding),
            number::amount(ask.returning),
            number::amount(ask.debt),
            number::amount(ask.least),
            number::amount(ask.most),
            born,
            level,
        ]);
    }

    pub(super) fn quota(&mut self, ask: &QuotaAsk) {
        let (since, spent) = match ask.spent {
            QuotaSpent::InAll(count) => (0, number::amount(count)),
            QuotaSpent::Since(more) => (1, number::signed(more)),
        };
        let mut seen = HashSet::new();
        let listed = ask.rebuild.gateways.iter();
        let listed: Vec<_> = listed.filter(|(gateway, _)| seen.insert(gateway)).collect();
        let (named, rest) = listed.split_at(listed.len().min(NAMED));
        let rest: u64 = rest.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count));
        self.numbers(&[
            number::amount(ask.limit),
            since,
            spent,
            number::amount(ask.least),
            number::amount(ask.most),
            i64::from(ask.sharers.max(1)),
            ask.quota.period_end.0.saturating_add(KEPT_MS).max(0),
            number::amount(ask.rebuild.others.saturating_add(rest)),
            named.len() as i64,
        ]);
        for (gateway, count) in named {
            self.0.push(Argument::Text(format!("g:{gateway}")));
            self.numbers(&[number::amount(*count)]);
        }
    }

    pub(super) fn charge(&mut self, ask: &ChargeAsk) {
        let buckets = 1 + i64::from(ask.customer.is_some());
        self.numbers(&[buckets, i64::from(ask.quota.is_some())]);
        self.lease(&ask.account);
        if let Some(customer) = &ask.customer {
            self.lease(customer);
        }
        if let Some(quota) = &ask.quota {
            self.quota(quota);
        }
    }

    pub(super) fn refund(&mut self, ask: &RefundAsk) {
        let buckets = i64::try_from(ask.buckets.len()).unwrap_or(i64::MAX);
        self.numbers(&[number::amount(ask.thousandths), buckets]);
        for (_, limits) in &ask.buckets {
            self.limits(*limits);
        }
    }

    fn numbers(&mut self, numbers: &[i64]) {
        self.0
            .extend(numbers.iter().map(|number| Argument::Number(*number)));
    }
}
