//! The yearly quota of one account at this gateway.
//!
//! Validations are spent from a *room* by one atomic operation. The room is filled in one of two ways. *Leased*: by
//! the quota that all gateways share in Redis, so that no number of them accepts more than the limit. *Alone*, in
//! local mode and while Redis is away: by this gateway's share of what is left by the control plane's last count and
//! its own.
//!
//! Spent = what the room was given − what is left in it. The control plane leaves this gateway's own present count out
//! of what it tells, so nothing is counted twice however late a message comes.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use keyward_buckets::Rebuild;
use keyward_contract::{AccountId, AccountRecord, QuotaPeriod, UnixMillis, feed};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::demand::Demand;
use super::lease::LEASE_MS;

mod question;

/// A call may have read the clock so long ago.
const MARGIN_MS: u64 = 50;
/// So much of the expected demand is held.
const HORIZON_MS: u64 = 250;
/// The demand is kept in thousandths, to be exact at low rates.
const UNIT: u64 = 1_000;
/// A quota that had none is believed for so long.
const REFUSED_MS: u64 = 100;
/// The room is this gateway's share, and ends with the reason for it.
const ALONE: u64 = u64::MAX;

/// One account's quota in its present period.
#[derive(Debug)]
pub struct Quota {
    account: AccountId,
    start_ms: AtomicI64,
    end_ms: AtomicI64,
    room: AtomicU64,
    /// Until when the room may be spent, monotonic; [`ALONE`]: it is a share.
    room_until_ms: AtomicU64,
    /// With less room, more is asked for.
    low: AtomicU64,
    /// The limit of the last call.
    limit: AtomicU64,
    /// Among how many gateways the room was shared out when it last was.
    sharers: AtomicU64,
    unmet: AtomicU64,
    is_queued: AtomicBool,
    /// Until then the shared quota grants nothing: it was made anew and hears what everyone spent.
    rebuilding_until_ms: AtomicU64,
    books: Mutex<Books>,
    answered: Notify,
}

#[derive(Debug, Default)]
struct Books {
    /// All that the room was given in this period, less what was taken out of it unspent.
    given: u64,
    /// By the control plane: spent by all others, or before this start.
    elsewhere: u64,
    used_here_before: u64,
    rebuild: Rebuild,
    /// By the shared quota: taken by all other gateways, and held by them.
    shared_elsewhere: u64,
    /// What was said last in [`QuotaSpent::Since`].
    said: u64,
    demand: Demand,
    before: u64,
    spent_at_ms: u64,
    asked_at_ms: u64,
    is_listed: bool,
    /// The shared quota had none; until then it is not asked again for a call that waits.
    refused_until_ms: u64,
}

/// The quota at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaLevel {
    /// Validations in this period, grants included.
    pub limit: u64,
    /// Spent, as far as is known here.
    pub used: u64,
    /// The first instant of the next period.
    pub resets_at: UnixMillis,
}

impl QuotaLevel {
    /// What is left; never negative.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// How what is left is shared out when nobody can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The last ones go to several rather than to nobody.
    Generous(u32),
    /// All shares together are never more than what is left.
    Strict(u32),
}

impl Sharing {
    fn share(self, left: u64) -> u64 {
        match self {
            Self::Generous(sharers) => left.div_ceil(u64::from(sharers.max(1))),
            Self::Strict(sharers) => left / u64::from(sharers.max(1)),
        }
    }

    fn word(self) -> u64 {
        match self {
            Self::Generous(sharers) => u64::from(sharers.max(1)),
            Self::Strict(sharers) => u64::from(sharers.max(1)) | 1 << 32,
        }
    }
}

impl Quota {
    /// Nothing spent, nothing heard.
    #[must_use]
    pub fn new(account: AccountId) -> Self {
        Self {
            account,
            start_ms: AtomicI64::default(),
            end_ms: AtomicI64::default(),
            room: AtomicU64::default(),
            room_until_ms: AtomicU64::default(),
            low: AtomicU64::default(),
            limit: AtomicU64::default(),
            sharers: AtomicU64::default(),
            unmet: AtomicU64::default(),
            is_queued: AtomicBool::default(),
            rebuilding_until_ms: AtomicU64::default(),
            books: Mutex::default(),
            answered: Notify::new(),
        }
    }

    /// Spends a validation of this gateway's share. Two or three atomic operations; when the share is used up, a
    /// lock.
    ///
    /// # Errors
    /// When there is none left.
    pub fn take_alone(&self, record: &AccountRecord, sharing: Sharing) -> Result<(), QuotaLevel> {
        let limit = self.limit_of(record);
        let is_current = || {
            self.room_until_ms.load(Ordering::Acquire) == ALONE
                && self.limit.load(Ordering::Relaxed) == limit
                && self.sharers.load(Ordering::Relaxed) == sharing.word()
        };
        if is_current() && self.spend() {
            return Ok(());
        }
        let mut books = self.books.lock();
        // A share that is used up stays so until something new is known: else each gateway would in the end take all.
        if !is_current() {
            self.share_out(&mut books, limit, sharing);
        }
        if self.spend() {
            Ok(())
        } else {
            Err(self.level_in(&books, limit))
        }
    }

    /// Spends a leased validation; `None` when there is none at hand. Whether more should be asked for comes back.
    pub fn take_leased(&self, now_ms: u64, record: &AccountRecord) -> Option<bool> {
        let until = self.room_until_ms.load(Ordering::Acquire);
        if until == ALONE || now_ms >= until || self.limit.load(Ordering::Relaxed) != self.limit_of(record) {
            return None;
        }
        self.spend()
            .then(|| self.room.load(Ordering::Relaxed) < self.low.load(Ordering::Relaxed))
    }

    /// A validation that the shared quota gave to one call alone, or that no limit held back.
    pub fn add_spent(&self) {
        self.books.lock().given += 1;
    }

    fn spend(&self) -> bool {
        let spent = self
            .room
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |room| room.checked_sub(1));
        spent.is_ok()
    }

    /// Gives back what a call took that was refused for another reason, or that no upstream got.
    pub fn give_back(&self) {
        self.room.fetch_add(1, Ordering::AcqRel);
    }

    /// Fills the room anew with this gateway's share of what is left.
    fn share_out(&self, books: &mut Books, limit: u64, sharing: Sharing) {
        // Whatever is spent meanwhile is spent from an empty room: it waits for this lock.
        let room = self.room.swap(0, Ordering::AcqRel);
        books.given = books.given.saturating_sub(room);
        let left = limit.saturating_sub(books.used());
        let share = sharing.share(left);
        books.given += share;
        self.limit.store(limit, Ordering::Relaxed);
        self.sharers.store(sharing.word(), Ordering::Relaxed);
        self.room_until_ms.store(ALONE, Ordering::Release);
        self.room.store(share, Ordering::Release);
    }

    /// Whether a leased validation is at hand.
    #[must_use]
    pub fn has(&self, now_ms: u64) -> bool {
        let until = self.room_until_ms.load(Ordering::Acquire);
        until != ALONE && now_ms < until && self.room.load(Ordering::Acquire) > 0
    }

    /// A validation is wanted and none is at hand: the next question asks for it. `true` when it may bring one.
    pub fn want(&self, record: &AccountRecord, now_ms: u64) -> bool {
        let limit = self.limit_of(record);
        let is_known_limit = self.limit.swap(limit, Ordering::Relaxed) == limit;
        self.unmet.fetch_add(UNIT, Ordering::Relaxed);
        let books = self.books.lock();
        // Others may hold some that they will hand back: asking now and then is how to know.
        let was_refused_just_now = is_known_limit && now_ms < books.refused_until_ms;
        !was_refused_just_now && self.spent_here(&books).saturating_add(books.elsewhere) < limit
    }

    /// Puts it on the list of what is to be asked; `false` when it is there.
    pub fn enlist(&self) -> bool {
        !self.is_queued.load(Ordering::Relaxed) && !self.is_queued.swap(true, Ordering::AcqRel)
    }

    /// Wakes calls that wait for validations.
    #[must_use]
    pub fn answered(&self) -> &Notify {
        &self.answered
    }

    /// Whether the shared quota is being made anew, so that shares hold meanwhile.
    #[must_use]
    pub fn is_rebuilding(&self, now_ms: u64) -> bool {
        now_ms < self.rebuilding_until_ms.load(Ordering::Relaxed)
    }

    /// How the quota stands.
    #[must_use]
    pub fn level(&self, now: UnixMillis, record: &AccountRecord) -> QuotaLevel {
        self.turn(now, record.contract.start);
        let limit = self.limit_of(record);
        self.level_in(&self.books.lock(), limit)
    }

    /// [`Self::level`] in the present period.
    #[must_use]
    pub fn level_now(&self, record: &AccountRecord) -> QuotaLevel {
        let limit = self.limit_of(record);
        self.level_in(&self.books.lock(), limit)
    }

    fn level_in(&self, books: &Books, limit: u64) -> QuotaLevel {
        QuotaLevel {
            limit,
            used: self.spent_here(books).saturating_add(books.used_elsewhere()),
            resets_at: UnixMillis(self.end_ms.load(Ordering::Relaxed)),
        }
    }

    fn spent_here(&self, books: &Books) -> u64 {
        books.given.saturating_sub(self.room.load(Ordering::Acquire))
    }

    fn limit_of(&self, record: &AccountRecord) -> u64 {
        if record.grants.is_empty() {
            return record.annual_limit;
        }
        record.quota_in(self.period())
    }

    fn period(&self) -> QuotaPeriod {
        QuotaPeriod {
            start: UnixMillis(self.start_ms.load(Ordering::Relaxed)),
            end: UnixMillis(self.end_ms.load(Ordering::Relaxed)),
        }
    }

    /// Takes over what the control plane says, when it speaks of the present period.
    pub fn hear(&self, told: &feed::QuotaUsage) {
        let mut books = self.books.lock();
        if self.start_ms.load(Ordering::Relaxed) != told.period_start_ms {
            return;
        }
        books.elsewhere = told.used_elsewhere;
        books.used_here_before = told.used_here_before;
        books.rebuild = Rebuild {
            others: told.used_by_others,
            gateways: told
                .gateways
                .iter()
                .map(|gateway| (gateway.gateway_id.clone(), gateway.used))
                .collect(),
        };
        // A share is made out of what is left: of another remainder it is another.
        if self.room_until_ms.load(Ordering::Acquire) == ALONE {
            self.room_until_ms.store(0, Ordering::Release);
        }
    }

    /// Whether this gateway counted nothing in this period, and holds nothing.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        let books = self.books.lock();
        self.spent_here(&books) == 0 && !self.is_queued.load(Ordering::Relaxed)
    }

    /// Begins a new period when the present one is over. Two loads when it isn't.
    pub fn turn(&self, now: UnixMillis, contract_start: Option<UnixMillis>) {
        let (start, end) = (
            self.start_ms.load(Ordering::Relaxed),
            self.end_ms.load(Ordering::Relaxed),
        );
        if start <= now.0 && now.0 < end {
            return;
        }
        let mut books = self.books.lock();
        let period = QuotaPeriod::at(now, contract_start);
        let start = self.start_ms.load(Ordering::Relaxed);
        // A wall clock that was set back must not clear what the later period has counted.
        if self.end_ms.load(Ordering::Relaxed) == 0 || period.start.0 > start {
            *books = Books {
                is_listed: books.is_listed,
                ..Books::default()
            };
            self.room_until_ms.store(0, Ordering::Release);
            self.room.store(0, Ordering::Release);
            self.rebuilding_until_ms.store(0, Ordering::Relaxed);
            self.start_ms.store(period.start.0, Ordering::Relaxed);
            self.end_ms.store(period.end.0, Ordering::Relaxed);
        }
    }
}

impl Books {
    fn used_elsewhere(&self) -> u64 {
        self.elsewhere.max(self.shared_elsewhere)
    }

    /// Known to be spent, when the room is empty.
    fn used(&self) -> u64 {
        self.given.saturating_add(self.used_elsewhere())
    }
}

#[cfg(test)]
mod tests;
