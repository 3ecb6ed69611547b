//! Tokens that this gateway took from a shared bucket before it spends them, and what it knows of the rest.
//!
//! A call spends by one atomic operation. Everything else (how much to ask for, what an answer brings) happens on
//! the limiter's thread. Leased tokens end a second after the question that brought or renewed them was sent: the
//! shared bucket forgets them no earlier, so none is ever spent twice. Amounts are thousandths of a token, instants
//! the gateway's monotonic milliseconds.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering, fence};

use keyward_buckets::{BucketName, Charged, Known, LeaseAnswer, LeaseAsk};
use keyward_contract::Limits;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::bucket::{Bucket, Level, Taken};
use super::demand::Demand;

/// A lease lasts so long, counted from before its question was sent.
pub const LEASE_MS: u64 = 1_000;
/// A call may have read the clock so long ago.
const MARGIN_MS: u64 = 50;
/// So much of the expected demand is held.
const HORIZON_MS: u64 = 250;
/// So little is not handed back while calls come.
const FEW: u64 = 5 * TOKEN;
const TOKEN: u64 = 1_000;

/// This gateway's part of one shared bucket.
#[derive(Debug)]
pub struct Lease {
    name: BucketName,
    tokens: AtomicU64,
    until_ms: AtomicU64,
    /// With fewer left, more is asked for.
    low: AtomicU64,
    is_queued: AtomicBool,
    /// What calls wanted and did not get since the last question; of one call the most.
    unmet: AtomicU64,
    need: AtomicU64,
    /// What calls wanted since then that nobody has.
    refused: AtomicU64,
    /// Spent while the bucket could not be reached, and not yet told.
    debt: AtomicU64,
    limits: AtomicU64,
    seen: Seen,
    share: Mutex<Share>,
    book: Mutex<Book>,
    answered: Notify,
}

/// The limiter's own part.
#[derive(Debug, Default)]
struct Book {
    demand: Demand,
    /// What was held after the last question or answer.
    before: u64,
    /// When it was last spent from.
    spent_at_ms: u64,
    asked_at_ms: u64,
    is_listed: bool,
    /// The connection that the last answer came over.
    connection: u32,
}

/// The bucket that stands in while the shared one is away.
#[derive(Debug, Default)]
struct Share {
    bucket: Bucket,
    /// Which outage it was made for.
    outage: u64,
    began_ms: u64,
    /// Something was spent from it that no answer has settled.
    is_open: bool,
}

/// How the shared bucket stood when it was last heard of. One writer at a time (who has the lease's book); a reader that meets a write reads again.
#[derive(Debug, Default)]
struct Seen {
    version: AtomicU32,
    level: AtomicI64,
    held_elsewhere: AtomicU64,
    born: AtomicU64,
    at_ms: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    level: i64,
    held_elsewhere: u64,
    /// 0: never heard of.
    born: u64,
    at_ms: u64,
}

impl Seen {
    fn write(&self, sight: Sight) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.level.store(sight.level, Ordering::Relaxed);
        self.held_elsewhere.store(sight.held_elsewhere, Ordering::Relaxed);
        self.born.store(sight.born, Ordering::Relaxed);
        self.at_ms.store(sight.at_ms, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    fn read(&self) -> Sight {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let sight = Sight {
                level: self.level.load(Ordering::Relaxed),
                held_elsewhere: self.held_elsewhere.load(Ordering::Relaxed),
                born: self.born.load(Ordering::Relaxed),
                at_ms: self.at_ms.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return sight;
            }
            std::hint::spin_loop();
        }
    }
}

impl Sight {
    /// What is in the shared bucket now if nobody took anything since.
    fn level(&self, now_ms: u64, limits: Limits) -> i64 {
        let capacity = capacity(limits);
        if self.born == 0 {
            return capacity as i64;
        }
        let elapsed = now_ms.saturating_sub(self.at_ms);
        let gained = i64::try_from(elapsed.saturating_mul(u64::from(limits.rate))).unwrap_or(i64::MAX);
        // What others held then has ended by now, or they have it still.
        let held = if elapsed < LEASE_MS {
            self.held_elsewhere
        } else {
            0
        };
        let most = capacity.saturating_sub(held) as i64;
        self.level.saturating_add(gained).min(most)
    }
}

/// What a lease asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// What its demand calls for.
    Use,
    /// Nothing: it hands back all it has.
    Leave,
}

impl Lease {
    /// Of this bucket, holding nothing.
    #[must_use]
    pub fn new(name: BucketName) -> Self {
        Self {
            name,
            tokens: AtomicU64::new(0),
            until_ms: AtomicU64::new(0),
            low: AtomicU64::new(0),
            is_queued: AtomicBool::new(false),
            unmet: AtomicU64::new(0),
            need: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            debt: AtomicU64::new(0),
            limits: AtomicU64::new(0),
            seen: Seen::default(),
            share: Mutex::default(),
            book: Mutex::default(),
            answered: Notify::new(),
        }
    }

    /// Wakes the calls that wait for it.
    #[must_use]
    pub fn answered(&self) -> &Notify {
        &self.answered
    }

    /// Which bucket it is of.
    #[must_use]
    pub fn name(&self) -> BucketName {
        self.name
    }

    /// Spends leased tokens, or nothing when so many aren't there. One atomic operation.
    pub fn take(&self, now_ms: u64, limits: Limits, wanted: u64) -> Option<Spent> {
        if now_ms >= self.until_ms.load(Ordering::Acquire) {
            return None;
        }
        let most = capacity(limits);
        let taken = self
            .tokens
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |left| {
                left.min(most).checked_sub(wanted)
            });
        let left = taken.ok()?.min(most) - wanted;
        Some(Spent {
            runs_low: left < self.low.load(Ordering::Relaxed),
        })
    }

    /// Puts back what a call took that was refused elsewhere or never reached an upstream.
    pub fn give_back(&self, tokens: u64) {
        // Should the lease have ended, they are void with the rest of it.
        self.tokens.fetch_add(tokens, Ordering::AcqRel);
    }

    /// Whether so much can be spent now.
    #[must_use]
    pub fn has(&self, now_ms: u64, wanted: u64) -> bool {
        self.usable(now_ms) >= wanted
    }

    fn usable(&self, now_ms: u64) -> u64 {
        if now_ms < self.until_ms.load(Ordering::Acquire) {
            self.tokens.load(Ordering::Acquire)
        } else {
            0
        }
    }

    /// A call wants so much and it isn't here. `true` when the shared bucket may have it.
    pub fn want(&self, now_ms: u64, limits: Limits, wanted: u64) -> bool {
        self.limits.store(packed(limits), Ordering::Relaxed);
        let there = self.seen.read().level(now_ms, limits).max(0).unsigned_abs();
        if there.saturating_add(self.usable(now_ms)) < wanted {
            // It counts as demand; but a token for it would come too late, and be missed elsewhere.
            self.refused.fetch_add(wanted, Ordering::Relaxed);
            return false;
        }
        self.unmet.fetch_add(wanted, Ordering::Relaxed);
        self.need.fetch_max(wanted, Ordering::Relaxed);
        true
    }

    /// Puts it on the list of what is to be asked; `false` when it is there.
    pub fn enlist(&self, limits: Limits) -> bool {
        self.limits.store(packed(limits), Ordering::Relaxed);
        !self.is_queued.load(Ordering::Relaxed) && !self.is_queued.swap(true, Ordering::AcqRel)
    }

    /// [`Self::enlist`], for whoever knows no newer limits.
    pub(super) fn enlist_again(&self) -> bool {
        !self.is_queued.load(Ordering::Relaxed) && !self.is_queued.swap(true, Ordering::AcqRel)
    }

    /// Whether its demand is too low to hold tokens ahead of need.
    pub(super) fn holds_nothing_ahead(&self) -> bool {
        self.low.load(Ordering::Relaxed) == 0
    }

    /// Whether a call wanted more than was at hand since the last question.
    pub(super) fn is_wanted(&self) -> bool {
        self.unmet.load(Ordering::Relaxed) > 0
    }

    /// What is left for callers as far as is known: here and in the shared bucket.
    #[must_use]
    pub fn level(&self, now_ms: u64, limits: Limits) -> Level {
        let there = self.seen.read().level(now_ms, limits);
        let here = i64::try_from(self.usable(now_ms)).unwrap_or(i64::MAX);
        let debt = i64::try_from(self.debt.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let level = there.saturating_add(here).saturating_sub(debt);
        Level {
            millitokens: level.max(0).unsigned_abs().min(capacity(limits)),
            limits,
        }
    }

    /// Spends from the bucket that stands in for the shared one: of this gateway's share of rate and burst. It begins
    /// with this gateway's share of what the shared one was last known to hold.
    pub fn take_share(&self, now_ms: u64, limits: Limits, wanted: u64, outage: Outage) -> Option<Stake> {
        let stake = Stake::new(wanted, limits, outage.sharers);
        let mut share = self.share.lock();
        if share.outage != outage.number {
            let level = self.seen.read().level(now_ms, limits);
            let owed = i64::try_from(self.debt.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
            share.bucket = Bucket::holding(now_ms, level.saturating_sub(owed).max(0).unsigned_abs());
            share.outage = outage.number;
            share.began_ms = now_ms;
        }
        match share.bucket.take(now_ms, stake.limits, stake.tokens) {
            Taken::Yes(_) => {
                share.is_open = true;
                self.owe(wanted);
                Some(stake)
            }
            Taken::Empty(_) => None,
        }
    }

    /// How its share stands, in whole shares of this gateway.
    #[must_use]
    pub fn share_level(&self, now_ms: u64, limits: Limits, outage: Outage) -> Level {
        let share = self.share.lock();
        let level = if share.outage == outage.number {
            share.bucket.level(now_ms, limits).millitokens
        } else {
            self.level(now_ms, limits).millitokens
        };
        let sharers = outage.sharers.max(1);
        Level {
            millitokens: level / u64::from(sharers) + self.usable(now_ms),
            limits: Limits {
                rate: (limits.rate / sharers).max(1),
                burst: limits.burst,
            },
        }
    }

    /// Gives back what a share gave.
    pub fn give_back_share(&self, stake: Stake, wanted: u64) {
        self.share.lock().bucket.give_back(stake.limits, stake.tokens);
        self.owe_less(wanted);
    }

    /// A call that owed so much never reached an upstream.
    pub fn owe_less(&self, tokens: u64) {
        let _ = self
            .debt
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |debt| {
                Some(debt.saturating_sub(tokens))
            });
    }

    /// Something was spent that the shared bucket did not give.
    pub fn owe(&self, tokens: u64) {
        self.debt.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Whether it owes the shared bucket anything.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.debt.load(Ordering::Relaxed) > 0
    }

    /// Whether it says nothing that a fresh one would not say.
    #[must_use]
    pub fn is_idle(&self, now_ms: u64) -> bool {
        let limits = unpacked(self.limits.load(Ordering::Relaxed));
        self.usable(now_ms) == 0
            && !self.owes()
            && !self.is_queued.load(Ordering::Relaxed)
            && self.seen.read().level(now_ms, limits) >= capacity(limits) as i64
    }
}

/// The limiter's side.
impl Lease {
    /// What to ask now. What it says is held may shrink meanwhile, never grow.
    /// `connection`: which one it will go over. Over another one than the last answer came by, the server may be a
    /// replica that took over with an older copy: then what was known holds whatever the copy says.
    pub(super) fn ask(&self, now_ms: u64, intent: Intent, connection: u32) -> LeaseAsk {
        // First: what is wanted from here on puts it on the list again.
        self.is_queued.store(false, Ordering::Release);
        let limits = unpacked(self.limits.load(Ordering::Relaxed));
        let mut book = self.book.lock();
        let book = &mut *book;
        let unmet = self.unmet.swap(0, Ordering::Relaxed);
        let need = self.need.swap(0, Ordering::Relaxed);
        let refused = self.refused.swap(0, Ordering::Relaxed);
        // What waits counts as demand when it is spent.
        let mut holding = self.collect(now_ms, book, refused);
        if unmet > 0 {
            book.spent_at_ms = now_ms;
        }
        let expected = book.demand.expected(HORIZON_MS).min(capacity(limits));
        // Under one token nothing is held ahead: a call asks.
        let target = if expected < TOKEN {
            0
        } else {
            expected.next_multiple_of(TOKEN)
        };
        let keeps = match intent {
            Intent::Use => target.max(need).saturating_mul(2).max(FEW),
            Intent::Leave => 0,
        };
        let returning = self.hand_back(holding.saturating_sub(keeps));
        holding -= returning;
        book.before = holding;
        book.asked_at_ms = now_ms;
        self.low.store(target / 2, Ordering::Relaxed);
        let most = match intent {
            Intent::Use if holding <= target / 2 || holding < need => target
                .max(unmet.min(capacity(limits)))
                .max(need)
                .saturating_sub(holding),
            Intent::Use | Intent::Leave => 0,
        };
        let (known, debt) = self.account(now_ms, limits, book.connection == connection);
        LeaseAsk {
            bucket: self.name,
            limits,
            holding,
            returning,
            debt,
            least: if most > 0 { TOKEN } else { 0 },
            most: most.next_multiple_of(TOKEN),
            known,
        }
    }

    /// What was known of the bucket, and what is owed to it.
    ///
    /// After a short outage all that was spent without it is owed. In a long one the bucket gained nothing beyond its
    /// burst, while every gateway spent its share of what came: what this gateway's share would make of the whole is then
    /// the most that it holds, whatever it says of itself, and nothing more is owed.
    fn account(&self, now_ms: u64, limits: Limits, is_same_server: bool) -> (Option<Known>, u64) {
        let debt = self.debt.swap(0, Ordering::Relaxed);
        let share = self.share.lock();
        if share.is_open && now_ms.saturating_sub(share.began_ms) >= LEASE_MS {
            let left = share.bucket.level(now_ms, limits).millitokens;
            let known = Known {
                born: 0,
                level: i64::try_from(left).unwrap_or(i64::MAX),
            };
            return (Some(known), 0);
        }
        let sight = self.seen.read();
        let known = (sight.born != 0).then(|| Known {
            born: if is_same_server { sight.born } else { 0 },
            level: sight.level(now_ms, limits),
        });
        (known, debt)
    }

    /// What is held now; notes what was spent since the last question. What ended is void.
    fn collect(&self, now_ms: u64, book: &mut Book, refused: u64) -> u64 {
        let has_ended = now_ms >= self.until_ms.load(Ordering::Acquire);
        let left = if has_ended {
            self.tokens.swap(0, Ordering::AcqRel)
        } else {
            self.tokens.load(Ordering::Acquire)
        };
        let spent = book.before.saturating_sub(left);
        if spent > 0 || refused > 0 {
            book.spent_at_ms = now_ms;
        }
        book.demand.note(now_ms, spent.saturating_add(refused));
        if has_ended { 0 } else { left }
    }

    /// Takes so many off what calls can spend, or what there is of them.
    fn hand_back(&self, surplus: u64) -> u64 {
        let surplus = surplus - surplus % TOKEN;
        if surplus == 0 {
            return 0;
        }
        let taken = self
            .tokens
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(surplus))
            });
        taken.map_or(0, |left| left.min(surplus))
    }

    /// Puts an answer in force. `asked_ms`: before the question was sent.
    pub(super) fn answer(&self, answer: LeaseAnswer, asked_ms: u64, now_ms: u64, connection: u32) {
        self.share.lock().is_open = false;
        let mut book = self.book.lock();
        book.connection = connection;
        self.see(answer.level, answer.held_elsewhere, answer.born, now_ms);
        let until = (asked_ms + LEASE_MS).saturating_sub(MARGIN_MS);
        if until > now_ms {
            if now_ms >= self.until_ms.load(Ordering::Acquire) {
                self.tokens.swap(0, Ordering::AcqRel);
                book.before = 0;
            }
            book.before = book.before.saturating_add(answer.granted);
            self.tokens.fetch_add(answer.granted, Ordering::AcqRel);
            self.until_ms.store(until, Ordering::Release);
        }
        drop(book);
        self.answered.notify_waiters();
    }

    /// An answer to a charge brought news. Any worker may hear it.
    pub(super) fn charged(&self, charged: Charged, now_ms: u64, connection: u32) {
        self.share.lock().is_open = false;
        let mut book = self.book.lock();
        book.connection = connection;
        self.see(charged.level, charged.held, charged.born, now_ms);
    }

    /// To be called with the book in hand.
    fn see(&self, level: i64, held_elsewhere: u64, born: u64, at_ms: u64) {
        self.seen.write(Sight {
            level,
            held_elsewhere,
            born,
            at_ms,
        });
    }

    /// Nobody knows whether a question arrived. What it handed back stays lost; what it owed it owes still.
    pub(super) fn unanswered(&self, ask: &LeaseAsk) {
        self.debt.fetch_add(ask.debt, Ordering::Relaxed);
    }

    /// What is to be done about it without being asked: `None` when it holds nothing any more and can be let go.
    pub(super) fn review(&self, now_ms: u64) -> Option<Review> {
        let book = self.book.lock();
        if self.usable(now_ms) == 0 && !self.owes() {
            return None;
        }
        // Spending that no question has noted yet.
        let is_spent_from = self.tokens.load(Ordering::Relaxed) < book.before;
        let idle_ms = now_ms.saturating_sub(book.spent_at_ms);
        Some(match now_ms.saturating_sub(book.asked_at_ms) {
            _ if !is_spent_from && idle_ms >= HORIZON_MS => Review::Leave,
            age if age >= LEASE_MS / 2 => Review::Renew,
            _ => Review::Wait,
        })
    }

    /// Marks it as watched by the limiter; `false` when it was.
    pub(super) fn list(&self) -> bool {
        !std::mem::replace(&mut self.book.lock().is_listed, true)
    }

    pub(super) fn unlist(&self) {
        self.book.lock().is_listed = false;
    }

    /// What a single call's question says of this bucket.
    pub(super) fn charge_ask(&self, now_ms: u64, limits: Limits, wanted: u64, connection: u32) -> LeaseAsk {
        self.limits.store(packed(limits), Ordering::Relaxed);
        let is_same_server = self.book.lock().connection == connection;
        let (known, debt) = self.account(now_ms, limits, is_same_server);
        LeaseAsk {
            bucket: self.name,
            limits,
            holding: 0,
            returning: 0,
            debt,
            least: wanted,
            most: wanted,
            known,
        }
    }
}

/// What became of the lease when a call spent from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Whether more should be asked for.
    pub runs_low: bool,
}

/// What the limiter should do about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Review {
    /// Nothing yet.
    Wait,
    /// Ask, before it ends.
    Renew,
    /// Hand it back: nobody uses it.
    Leave,
}

/// Which time without Redis it is, and how many gateways share meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Another outage has another number.
    pub number: u64,
    /// Gateways that were live when last heard, at least 1.
    pub sharers: u32,
}

/// What a call took from a share. A share of 1/N is kept whole and every call costs N times as much, so that no rate
/// is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stake {
    limits: Limits,
    tokens: u32,
}

impl Stake {
    fn new(wanted: u64, limits: Limits, sharers: u32) -> Self {
        let tokens = u32::try_from(wanted / TOKEN).unwrap_or(u32::MAX);
        let tokens = tokens.saturating_mul(sharers.max(1));
        Self {
            limits: Limits {
                rate: limits.rate,
                // A share smaller than one call would never let it pass.
                burst: limits.burst.max(tokens),
            },
            tokens,
        }
    }
}

fn capacity(limits: Limits) -> u64 {
    u64::from(limits.burst) * TOKEN
}

fn packed(limits: Limits) -> u64 {
    u64::from(limits.rate) << 32 | u64::from(limits.burst)
}

fn unpacked(word: u64) -> Limits {
    Limits {
        rate: ((word >> 32) as u32).max(1),
        burst: (word as u32).max(1),
    }
}

#[cfg(test)]
mod tests;
