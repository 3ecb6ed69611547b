//! The quota book: what each account has spent in its period and which gateway counted how much of it, in memory.
//!
//! Only the intake writes it, in the order of its merges, and what other control planes merged it reads again. Streams
//! read what changed since they last looked, all parts of an account's number at one moment, so it goes to a stream at
//! most as often as that stream asks, whatever is reported.
//!
//! Costs some 32 bytes for each account and gateway that served it this year and was heard in the last day; what all
//! others counted is one number.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use keyward_contract::{AccountId, QuotaPeriod, UnixMillis, feed};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::watch;

use crate::store::usage::{GatewayCounted, Spent};

mod account;
mod gateways;
#[cfg(test)]
mod tests;

use account::Account;
use gateways::Kept;
pub(super) use gateways::MOST_KEPT;

/// What is told at once is no larger than this, but for one account's.
const BYTES_AT_ONCE: usize = 256 * 1024;

/// One start of one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Boot {
    pub(super) gateway_id: String,
    pub(super) epoch: u64,
}

#[derive(Debug, Default)]
pub(super) struct QuotaBook {
    book: Mutex<Book>,
    /// The newest change of any account.
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Book {
    accounts: HashMap<AccountId, Account>,
    kept: Kept,
    /// Accounts in the order of their last change.
    order: BTreeMap<u64, AccountId>,
    version: u64,
    /// Contract starts that the feed told of, not yet looked at.
    contracts: HashMap<AccountId, Option<UnixMillis>>,
    /// Accounts whose sums other control planes moved.
    elsewhere: BTreeSet<AccountId>,
    /// Others may have moved any.
    all_elsewhere: bool,
}

/// How far a stream has read the book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// All that others changed up to here was told.
    told: u64,
    /// Up to here accounts were looked at since then.
    looked: u64,
}

impl Seen {
    /// Up to here there is nothing to be looked at.
    pub(super) fn looked(self) -> u64 {
        self.looked
    }
}

/// The sums that other control planes moved since they were last asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// These accounts'.
    Of(Vec<AccountId>),
    /// Any account's: something may not have been heard.
    Unknown,
}

/// How an account is to be loaded: the sums over this period are to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) account: AccountId,
    pub(super) contract_start: Option<UnixMillis>,
    pub(super) period: QuotaPeriod,
}

impl Wanted {
    pub(super) fn new(account: AccountId, contract_start: Option<UnixMillis>, now: UnixMillis) -> Self {
        Self {
            account,
            contract_start,
            period: QuotaPeriod::at(now, contract_start),
        }
    }
}

impl QuotaBook {
    /// The number of the newest change, as it moves: a stream that has seen less has something to tell.
    pub(super) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// The feed saw an account's record.
    pub(super) fn contract_changed(&self, account: AccountId, contract_start: Option<UnixMillis>) {
        self.book.lock().contracts.insert(account, contract_start);
    }

    /// Another control plane merged usage of these accounts.
    pub(super) fn moved_elsewhere(&self, accounts: impl IntoIterator<Item = AccountId>) {
        self.book.lock().elsewhere.extend(accounts);
    }

    /// Other control planes may have merged anything.
    pub(super) fn all_moved_elsewhere(&self) {
        self.book.lock().all_elsewhere = true;
    }

    /// Whose sums are to be read again because of other control planes, at most `limit` of them at a time.
    pub(super) fn take_elsewhere(&self, limit: usize) -> Elsewhere {
        let mut book = self.book.lock();
        if std::mem::take(&mut book.all_elsewhere) {
            book.elsewhere.clear();
            return Elsewhere::Unknown;
        }
        let some = std::iter::from_fn(|| book.elsewhere.pop_first());
        Elsewhere::Of(some.take(limit).collect())
    }

    /// The accounts whose period is over or whose contract was changed: their sums are others now.
    pub(super) fn outdated(&self, now: UnixMillis) -> Vec<Wanted> {
        let mut book = self.book.lock();
        let contracts = std::mem::take(&mut book.contracts);
        let entries = book.accounts.iter();
        entries
            .filter_map(|(account, entry)| {
                let is_over = now < entry.period.start || entry.period.end <= now;
                let start = match contracts.get(account) {
                    Some(start) if is_over || *start != entry.contract_start => *start,
                    None if is_over => entry.contract_start,
                    _ => return None,
                };
                let wanted = Wanted::new(*account, start, now);
                // Before its start a contract's period is its first one: that is over for as long.
                (wanted.period != entry.period || start != entry.contract_start).then_some(wanted)
            })
            .collect()
    }

    /// These gateways were heard: what they count is kept apart. Answers those of which it was not: if they counted
    /// anything before, all sums are to be read again.
    pub(super) fn heard(&self, gateways: impl IntoIterator<Item = String>, now: Instant) -> Vec<String> {
        let mut book = self.book.lock();
        let heard = gateways.into_iter();
        heard.filter(|id| book.kept.heard(id, now)).collect()
    }

    /// What gateways counted that were not heard for a day is no longer kept apart.
    pub(super) fn forget_silent(&self, now: Instant) {
        let mut book = self.book.lock();
        let gone = book.kept.forget_silent(now);
        if gone.is_empty() {
            return;
        }
        for account in book.accounts.values_mut() {
            account.join_rest(&gone);
        }
    }

    /// Puts an account's sums in.
    pub(super) fn put(&self, wanted: Wanted, counted: &GatewayCounted) {
        let book = &mut *self.book.lock();
        let account = Account::new(wanted, counted, &book.kept);
        if let Some(old) = book.accounts.get_mut(&wanted.account) {
            if old.says_the_same(&account) {
                return;
            }
            old.replace(account);
        } else {
            book.accounts.insert(wanted.account, account);
        }
        book.touch(wanted.account, None);
        self.newest.send_replace(book.version);
    }

    /// Adds what a merge added. Answers the accounts that were not in the book: their sums are to be read.
    pub(super) fn add(&self, spent: &[Spent]) -> BTreeSet<AccountId> {
        let book = &mut *self.book.lock();
        let mut unknown = BTreeSet::new();
        for spent in spent {
            let Some(account) = book.accounts.get_mut(&spent.account) else {
                unknown.insert(spent.account);
                continue;
            };
            if account.counts(spent.day) {
                let by = account.add(spent, &book.kept);
                book.touch(spent.account, by);
            }
        }
        self.newest.send_replace(book.version);
        unknown
    }

    /// Sets what a boot whose stream has begun counted by itself, by account and day. Before this nothing is told to it,
    /// and after it nothing to earlier boots of its gateway.
    pub(super) fn open(&self, boot: &Boot, counted: &[(AccountId, i64, u64)], now: Instant) {
        let book = &mut *self.book.lock();
        book.kept.heard(&boot.gateway_id, now);
        let Some(gateway) = book.kept.open(boot) else {
            return;
        };
        let mut own: HashMap<AccountId, u64> = HashMap::new();
        for (account, day, accepted) in counted {
            if book.accounts.get(account).is_some_and(|entry| entry.counts(*day)) {
                *own.entry(*account).or_default() += accepted;
            }
        }
        for (id, own) in own {
            let account = book.accounts.get_mut(&id);
            if account.is_some_and(|account| account.set_own(gateway, boot.epoch, own)) {
                book.touch(id, None);
            }
        }
        self.newest.send_replace(book.version);
    }

    /// What to tell a boot's stream of accounts that others changed since it has seen them, looking at `limit` of them
    /// at most, oldest change first; and what it has seen then.
    ///
    /// An account's own changes move it to the end of that order: what others changed before is told however far the
    /// stream has come, until it has come to the end.
    pub(super) fn changed(&self, boot: &Boot, seen: Seen, limit: usize) -> (Vec<feed::QuotaUsage>, Seen) {
        let book = self.book.lock();
        let Some(asker) = book.kept.opened(boot) else {
            return (Vec::new(), seen);
        };
        let (mut told, mut bytes, mut looked) = (Vec::new(), 0, seen.looked);
        for (at, (version, id)) in book.order.range(seen.looked + 1..).enumerate() {
            if at == limit || bytes >= BYTES_AT_ONCE {
                return (told, Seen { looked, ..seen });
            }
            looked = *version;
            let account = book.accounts.get(id);
            if let Some(account) = account.filter(|account| account.is_news(asker, seen.told)) {
                let usage = account.told(*id, (asker, boot.epoch), &book.kept);
                bytes += usage.encoded_len();
                told.push(usage);
            }
        }
        let all = Seen {
            told: book.version,
            looked: book.version,
        };
        (told, all)
    }
}

impl Book {
    fn touch(&mut self, id: AccountId, by: Option<u32>) {
        self.version += 1;
        let version = self.version;
        if let Some(account) = self.accounts.get_mut(&id) {
            self.order.remove(&account.version());
            account.changed(version, by);
            self.order.insert(version, id);
        }
    }
}
