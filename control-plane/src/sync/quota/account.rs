//! What one account has spent in its period, in parts by gateway.

use std::collections::HashSet;

use keyward_contract::{AccountId, QuotaPeriod, UnixMillis, feed};

use super::Wanted;
use super::gateways::{Kept, MOST_KEPT};
use crate::store::usage::{GatewayCounted, Spent};

const DAY_MS: i64 = 86_400_000;

#[derive(Debug)]
pub(super) struct Account {
    pub(super) contract_start: Option<UnixMillis>,
    pub(super) period: QuotaPeriod,
    /// In the order of the gateways' numbers.
    parts: Vec<Part>,
    /// GatewayCounted by all gateways that are not kept.
    rest: u64,
    changes: Changes,
}

/// What one gateway counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    gateway: u32,
    /// In all its starts together.
    all: u64,
    /// The start that has a stream.
    boot: u64,
    /// What that one counted of it.
    own: u64,
}

/// When the account was changed, and by whose counting: a gateway knows what it counts itself.
#[derive(Clone, Copy, Debug, Default)]
struct Changes {
    last: u64,
    /// `None`: by more than one gateway's counting, or by none.
    by: Option<u32>,
    /// The last change that was not by that one.
    before: u64,
}

impl Changes {
    fn note(&mut self, version: u64, by: Option<u32>) {
        if by != self.by {
            self.before = self.last;
            self.by = by;
        }
        self.last = version;
    }

    /// The last one that is news to this gateway.
    fn of_others(self, gateway: u32) -> u64 {
        if self.by == Some(gateway) {
            self.before
        } else {
            self.last
        }
    }
}

impl Account {
    pub(super) fn new(wanted: Wanted, counted: &GatewayCounted, kept: &Kept) -> Self {
        let mut account = Self {
            contract_start: wanted.contract_start,
            period: wanted.period,
            parts: Vec::new(),
            rest: 0,
            changes: Changes::default(),
        };
        let mut attributed = 0u64;
        for (gateway, epoch, accepted) in &counted.boots {
            attributed = attributed.saturating_add(*accepted);
            match kept.number(gateway) {
                Some(number) => account.count(number, (*epoch, *accepted), kept),
                None => account.rest = account.rest.saturating_add(*accepted),
            }
        }
        let unattributed = counted.total.saturating_sub(attributed);
        account.rest = account.rest.saturating_add(unattributed);
        account.parts.shrink_to_fit();
        account
    }

    /// Whether a day belongs to its period.
    pub(super) fn counts(&self, day: i64) -> bool {
        let start = UnixMillis(day.saturating_mul(DAY_MS));
        self.period.start <= start && start < self.period.end
    }

    /// Adds what a merge added. Answers which gateway knows it already.
    pub(super) fn add(&mut self, spent: &Spent, kept: &Kept) -> Option<u32> {
        let Some(number) = kept.number(&spent.gateway_id) else {
            self.rest = self.rest.saturating_add(spent.accepted);
            return None;
        };
        self.count(number, (spent.boot_epoch, spent.accepted), kept);
        (kept.boot(number) == Some(spent.boot_epoch)).then_some(number)
    }

    /// This start of a gateway has a stream, and counted so much. The sums may be older than that, until what others
    /// merged is read again; whether they were.
    pub(super) fn set_own(&mut self, gateway: u32, boot: u64, own: u64) -> bool {
        let at = self.parts.binary_search_by_key(&gateway, |part| part.gateway);
        let known = at.map_or(0, |at| self.parts.get(at).map_or(0, |part| part.all));
        let all = own.max(known);
        let part = Part {
            gateway,
            all,
            boot,
            own,
        };
        match at.map(|at| self.parts.get_mut(at)) {
            Ok(Some(old)) => *old = part,
            Ok(None) => {}
            Err(at) => self.parts.insert(at, part),
        }
        all > known
    }

    /// What these gateways counted is no longer kept apart.
    pub(super) fn join_rest(&mut self, gone: &HashSet<u32>) {
        let rest = &mut self.rest;
        self.parts.retain(|part| {
            let stays = !gone.contains(&part.gateway);
            if !stays {
                *rest = rest.saturating_add(part.all);
            }
            stays
        });
    }

    /// Whether every stream would be told the same.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        (self.contract_start, self.period, self.rest) == (other.contract_start, other.period, other.rest)
            && self.parts == other.parts
    }

    /// Takes another's sums, and stays where it is in the order of changes.
    pub(super) fn replace(&mut self, other: Self) {
        *self = Self {
            changes: self.changes,
            ..other
        };
    }

    pub(super) fn version(&self) -> u64 {
        self.changes.last
    }

    pub(super) fn changed(&mut self, version: u64, by: Option<u32>) {
        self.changes.note(version, by);
    }

    /// Whether anything but its own counting has changed it since.
    pub(super) fn is_news(&self, gateway: u32, told: u64) -> bool {
        self.changes.of_others(gateway) > told
    }

    /// What a boot is told: the parts, and what they come to.
    pub(super) fn told(&self, id: AccountId, (asker, boot): (u32, u64), kept: &Kept) -> feed::QuotaUsage {
        let (mut here_before, mut by_others) = (0, self.rest);
        let mut named: Vec<&Part> = Vec::with_capacity(self.parts.len());
        for part in self.parts.iter().filter(|part| part.all > 0) {
            if part.gateway == asker {
                let own = if part.boot == boot { part.own } else { 0 };
                here_before = part.all.saturating_sub(own);
            } else {
                named.push(part);
            }
        }
        if named.len() > MOST_KEPT {
            named.sort_by_key(|part| std::cmp::Reverse(part.all));
            let unnamed = named.drain(MOST_KEPT..);
            by_others = unnamed.fold(by_others, |sum, part| sum.saturating_add(part.all));
        }
        let mut gateways = Vec::with_capacity(named.len());
        for part in named {
            match kept.name(part.gateway) {
                Some(name) => gateways.push(feed::GatewayUsage {
                    gateway_id: name.to_owned(),
                    used: part.all,
                }),
                None => by_others = by_others.saturating_add(part.all),
            }
        }
        let not_named = here_before.saturating_add(by_others);
        let used_elsewhere = gateways
            .iter()
            .fold(not_named, |sum, gateway| sum.saturating_add(gateway.used));
        feed::QuotaUsage {
            account_id: id.as_uuid().as_bytes().to_vec(),
            period_start_ms: self.period.start.0,
            used_elsewhere,
            used_here_before: here_before,
            gateways,
            used_by_others: by_others,
        }
    }

    fn count(&mut self, gateway: u32, counted: (u64, u64), kept: &Kept) {
        let streams = kept.boot(gateway);
        let at = self.parts.binary_search_by_key(&gateway, |part| part.gateway);
        match at.map(|at| self.parts.get_mut(at)) {
            Ok(Some(part)) => part.count(counted, streams),
            Ok(None) => {}
            Err(at) => {
                let mut part = Part {
                    gateway,
                    all: 0,
                    boot: 0,
                    own: 0,
                };
                part.count(counted, streams);
                self.parts.insert(at, part);
            }
        }
    }
}

impl Part {
    fn count(&mut self, (epoch, accepted): (u64, u64), streams: Option<u64>) {
        if let Some(boot) = streams.filter(|boot| *boot != self.boot) {
            (self.boot, self.own) = (boot, 0);
        }
        self.all = self.all.saturating_add(accepted);
        if self.boot == epoch {
            self.own = self.own.saturating_add(accepted);
        }
    }
}
