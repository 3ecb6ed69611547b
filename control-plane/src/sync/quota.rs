//! The quota book: what each account has spent in its period, in memory, and which part one gateway counted.
//!
//! Only the intake writes it, in the order of its merges, and what other control planes merged it reads again; streams read what changed since they last looked, so
//! an account's number goes to a stream at most as often as that stream asks, whatever is reported.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use keyward_contract::{AccountId, QuotaPeriod, UnixMillis, feed};
use parking_lot::Mutex;

use crate::store::usage::Spent;

/// One start of one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Boot {
    pub(super) gateway_id: String,
    pub(super) epoch: u64,
}

#[derive(Debug, Default)]
pub(super) struct QuotaBook(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    accounts: HashMap<AccountId, Entry>,
    boots: HashMap<Boot, Own>,
    /// Accounts in the order of their last change.
    newest: BTreeMap<u64, AccountId>,
    version: u64,
    /// Contract starts that the feed told of, not yet looked at.
    contracts: HashMap<AccountId, Option<UnixMillis>>,
    /// Accounts whose sums other control planes moved.
    elsewhere: BTreeSet<AccountId>,
    /// Others may have moved any.
    all_elsewhere: bool,
}

/// The sums that other control planes moved since they were last asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// These accounts'.
    Of(Vec<AccountId>),
    /// Any account's: something may not have been heard.
    Unknown,
}

/// What a connected boot counted by itself.
#[derive(Debug, Default)]
struct Own {
    /// Its streams: an old one may not have ended when the next one has begun.
    streams: usize,
    /// In the present period of each account; `None` until it was loaded.
    counted: Option<HashMap<AccountId, u64>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    contract_start: Option<UnixMillis>,
    period: QuotaPeriod,
    spent: u64,
    version: u64,
}

/// How an account is to be loaded: the sum over this period is to be asked for.
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
    /// The feed saw an account's record.
    pub(super) fn contract_changed(&self, account: AccountId, contract_start: Option<UnixMillis>) {
        self.0.lock().contracts.insert(account, contract_start);
    }

    /// Another control plane merged usage of these accounts.
    pub(super) fn moved_elsewhere(&self, accounts: impl IntoIterator<Item = AccountId>) {
        self.0.lock().elsewhere.extend(accounts);
    }

    /// Other control planes may have merged anything.
    pub(super) fn all_moved_elsewhere(&self) {
        self.0.lock().all_elsewhere = true;
    }

    /// Whose sums are to be read again because of other control planes, at most `limit` of them at a time.
    pub(super) fn take_elsewhere(&self, limit: usize) -> Elsewhere {
        let mut book = self.0.lock();
        if std::mem::take(&mut book.all_elsewhere) {
            book.elsewhere.clear();
            return Elsewhere::Unknown;
        }
        let some = std::iter::from_fn(|| book.elsewhere.pop_first());
        Elsewhere::Of(some.take(limit).collect())
    }

    /// Whether the book has an entry for this account.
    pub(super) fn knows(&self, account: AccountId) -> bool {
        self.0.lock().accounts.contains_key(&account)
    }

    /// The accounts whose period is over or whose contract was changed: their sums are others now.
    pub(super) fn outdated(&self, now: UnixMillis) -> Vec<Wanted> {
        let mut book = self.0.lock();
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

    /// Puts an account's sum in.
    pub(super) fn put(&self, wanted: Wanted, spent: u64) {
        let mut book = self.0.lock();
        let entry = Entry {
            contract_start: wanted.contract_start,
            period: wanted.period,
            spent,
            version: 0,
        };
        if let Some(old) = book.accounts.insert(wanted.account, entry) {
            book.newest.remove(&old.version);
        }
        book.touch(wanted.account);
    }

    /// Adds what a merge added, for accounts whose sum was in the book before the merge.
    pub(super) fn add(&self, spent: &Spent) {
        let mut book = self.0.lock();
        if let Some(entry) = book.accounts.get_mut(&spent.account)
            && entry.counts(spent.day)
        {
            entry.spent += spent.accepted;
            book.touch(spent.account);
        }
    }

    /// Adds what a merge added to its boot's own part.
    pub(super) fn add_own(&self, spent: &Spent) {
        let book = &mut *self.0.lock();
        let boot = Boot {
            gateway_id: spent.gateway_id.clone(),
            epoch: spent.boot_epoch,
        };
        if let Some(own) = book.boots.get_mut(&boot).and_then(|own| own.counted.as_mut())
            && book
                .accounts
                .get(&spent.account)
                .is_some_and(|entry| entry.counts(spent.day))
        {
            *own.entry(spent.account).or_default() += spent.accepted;
        }
    }

    /// A stream of this boot has begun. Nothing is told to it until its own part was put in.
    pub(super) fn open_boot(&self, boot: &Boot) {
        self.0.lock().boots.entry(boot.clone()).or_default().streams += 1;
    }

    /// Sets what a boot with a stream counted, by account and day.
    pub(super) fn put_boot(&self, boot: &Boot, counted: &[(AccountId, i64, u64)]) {
        let book = &mut *self.0.lock();
        let mut own = HashMap::new();
        for (account, day, accepted) in counted {
            if book.accounts.get(account).is_some_and(|entry| entry.counts(*day)) {
                *own.entry(*account).or_default() += accepted;
            }
        }
        if let Some(kept) = book.boots.get_mut(boot) {
            kept.counted = Some(own);
        }
    }

    /// The boots whose own part is kept.
    pub(super) fn boots(&self) -> Vec<Boot> {
        self.0.lock().boots.keys().cloned().collect()
    }

    /// One of its streams is gone.
    pub(super) fn close_boot(&self, boot: &Boot) {
        let mut book = self.0.lock();
        if let Some(own) = book.boots.get_mut(boot) {
            own.streams = own.streams.saturating_sub(1);
            if own.streams == 0 {
                book.boots.remove(boot);
            }
        }
    }

    /// What to tell a boot's stream of accounts changed after `seen`, at most `limit` of them, oldest change
    /// first; and what it has seen then.
    pub(super) fn changed(&self, boot: &Boot, seen: u64, limit: usize) -> (Vec<feed::QuotaUsage>, u64) {
        let book = self.0.lock();
        let Some(own) = book.boots.get(boot).and_then(|own| own.counted.as_ref()) else {
            return (Vec::new(), seen);
        };
        let mut last = seen;
        let mut changed = Vec::new();
        for (version, account) in book.newest.range(seen + 1..).take(limit) {
            last = *version;
            if let Some(entry) = book.accounts.get(account) {
                let own = own.get(account).copied().unwrap_or_default();
                changed.push(feed::QuotaUsage {
                    account_id: account.as_uuid().as_bytes().to_vec(),
                    period_start_ms: entry.period.start.0,
                    used_elsewhere: entry.spent.saturating_sub(own),
                    ..feed::QuotaUsage::default()
                });
            }
        }
        (changed, last)
    }
}

impl Book {
    fn touch(&mut self, account: AccountId) {
        self.version += 1;
        let version = self.version;
        if let Some(entry) = self.accounts.get_mut(&account) {
            self.newest.remove(&entry.version);
            entry.version = version;
            self.newest.insert(version, account);
        }
    }
}

impl Entry {
    fn counts(&self, day: i64) -> bool {
        let start = UnixMillis(day.saturating_mul(86_400_000));
        self.period.start <= start && start < self.period.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_768_824_000_000); // 2026-01-19

    fn boot(id: &str) -> Boot {
        Boot {
            gateway_id: id.into(),
            epoch: 1,
        }
    }

    fn spent(account: AccountId, gateway: &str, accepted: u64) -> Spent {
        Spent {
            account,
            gateway_id: gateway.into(),
            boot_epoch: 1,
            day: NOW.0 / 86_400_000,
            accepted,
        }
    }

    #[test]
    fn each_boot_is_told_what_the_others_spent() {
        let (book, account) = (QuotaBook::default(), AccountId::new());
        book.put(Wanted::new(account, None, NOW), 100);
        book.open_boot(&boot("a"));
        book.open_boot(&boot("b"));
        assert_eq!(book.changed(&boot("a"), 0, 10), (vec![], 0));
        book.put_boot(&boot("a"), &[(account, NOW.0 / 86_400_000, 30)]);
        book.put_boot(&boot("b"), &[]);
        let (told, seen) = book.changed(&boot("a"), 0, 10);
        assert_eq!(told[0].used_elsewhere, 70);
        for spent in [spent(account, "a", 5), spent(account, "b", 7)] {
            book.add(&spent);
            book.add_own(&spent);
        }
        let (told, _) = book.changed(&boot("a"), seen, 10);
        assert_eq!((told.len(), told[0].used_elsewhere), (1, 77));
        let (told, seen) = book.changed(&boot("b"), seen, 10);
        assert_eq!(told[0].used_elsewhere, 105);
        assert_eq!(book.changed(&boot("b"), seen, 10).0, []);
    }

    #[test]
    fn a_boots_own_part_outlives_a_stream_that_ends_after_the_next_began() {
        let (book, account) = (QuotaBook::default(), AccountId::new());
        book.put(Wanted::new(account, None, NOW), 100);
        book.open_boot(&boot("a"));
        book.open_boot(&boot("a"));
        book.put_boot(&boot("a"), &[(account, NOW.0 / 86_400_000, 30)]);
        book.close_boot(&boot("a"));
        assert_eq!(book.changed(&boot("a"), 0, 10).0[0].used_elsewhere, 70);
        book.close_boot(&boot("a"));
        assert_eq!(book.boots(), []);
    }

    #[test]
    fn what_lies_outside_the_period_is_not_counted() {
        let (book, account) = (QuotaBook::default(), AccountId::new());
        book.put(Wanted::new(account, None, NOW), 100);
        book.open_boot(&boot("a"));
        book.put_boot(&boot("a"), &[]);
        let late = Spent {
            day: 20_000,
            ..spent(account, "a", 9)
        };
        book.add(&late);
        assert_eq!(book.changed(&boot("a"), 0, 10).0[0].used_elsewhere, 100);
    }

    #[test]
    fn a_period_that_is_over_or_a_changed_contract_is_noticed() {
        let (book, account) = (QuotaBook::default(), AccountId::new());
        book.put(Wanted::new(account, None, NOW), 100);
        assert_eq!(book.outdated(NOW), []);
        let next_year = UnixMillis(NOW.0 + 365 * 86_400_000);
        assert_eq!(book.outdated(next_year), [Wanted::new(account, None, next_year)]);
        let start = Some(UnixMillis(NOW.0 - 86_400_000));
        book.contract_changed(account, start);
        assert_eq!(book.outdated(NOW), [Wanted::new(account, start, NOW)]);
    }
}
