//! The limiter's side of a quota: what to ask for, and what an answer brings.

use std::sync::atomic::Ordering;

use keyward_buckets::{QuotaAnswer, QuotaAsk, QuotaName, QuotaSpent};
use keyward_contract::{AccountRecord, QuotaPeriod};

use super::{ALONE, Books, HORIZON_MS, LEASE_MS, MARGIN_MS, Quota, REFUSED_MS, UNIT};
use crate::limits::lease::Review;

impl Quota {
    /// What to ask now. `knows_past`: the control plane has all that earlier starts of this gateway counted.
    pub(in crate::limits) fn ask(
        &self,
        now_ms: u64,
        knows_past: bool,
        sharers: u32,
        leaves: bool,
    ) -> QuotaAsk {
        self.is_queued.store(false, Ordering::Release);
        let mut books = self.books.lock();
        let books = &mut *books;
        let unmet = self.unmet.swap(0, Ordering::Relaxed);
        let mut held = self.collect(now_ms, books, unmet);
        let expected = books.demand.expected(HORIZON_MS) / UNIT;
        let need = unmet / UNIT;
        let keeps = if leaves {
            0
        } else {
            expected.max(need).saturating_mul(2)
        };
        held -= self.hand_back(books, held.saturating_sub(keeps));
        books.before = held;
        books.asked_at_ms = now_ms;
        self.low.store(expected.div_ceil(2), Ordering::Relaxed);
        let most = if leaves || (held > expected / 2 && held >= need) {
            0
        } else {
            expected.max(need).saturating_sub(held)
        };
        QuotaAsk {
            quota: self.name(),
            limit: self.limit.load(Ordering::Relaxed),
            spent: Self::said(books, knows_past),
            least: u64::from(most > 0),
            most,
            sharers: sharers.max(1),
            rebuild: books.rebuild.clone(),
        }
    }

    /// What a single call's question says of this quota.
    pub(in crate::limits) fn charge_ask(&self, record: &AccountRecord) -> QuotaAsk {
        let limit = self.limit_of(record);
        self.limit.store(limit, Ordering::Relaxed);
        let mut books = self.books.lock();
        let books = &mut *books;
        // Single calls hold nothing, and no share any more.
        self.room_until_ms.store(0, Ordering::Release);
        self.hand_back(books, u64::MAX);
        QuotaAsk {
            quota: self.name(),
            limit,
            // Others may be under way: an absolute number would undo them.
            spent: Self::said(books, false),
            least: 1,
            most: 1,
            sharers: 1,
            rebuild: books.rebuild.clone(),
        }
    }

    fn name(&self) -> QuotaName {
        let QuotaPeriod { start, end } = self.period();
        QuotaName {
            account: self.account,
            period_start: start,
            period_end: end,
        }
    }

    fn said(books: &mut Books, knows_past: bool) -> QuotaSpent {
        let taken = books.given;
        let before = std::mem::replace(&mut books.said, taken);
        if knows_past {
            return QuotaSpent::InAll(books.used_here_before.saturating_add(taken));
        }
        let more = i64::try_from(taken).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(i64::MAX);
        QuotaSpent::Since(more)
    }

    /// What is held by lease; a share, and what ended, goes out of the room first.
    fn collect(&self, now_ms: u64, books: &mut Books, unmet: u64) -> u64 {
        let until = self.room_until_ms.load(Ordering::Acquire);
        let is_leased = until != ALONE && now_ms < until;
        let spent;
        let held = if is_leased {
            let room = self.room.load(Ordering::Acquire);
            spent = books.before.saturating_sub(room);
            room
        } else {
            self.room_until_ms.store(0, Ordering::Release);
            let room = self.room.swap(0, Ordering::AcqRel);
            books.given = books.given.saturating_sub(room);
            spent = if until == ALONE {
                0
            } else {
                books.before.saturating_sub(room)
            };
            0
        };
        if spent > 0 || unmet > 0 {
            books.spent_at_ms = now_ms;
        }
        books.demand.note(now_ms, (spent * UNIT).saturating_add(unmet));
        held
    }

    fn hand_back(&self, books: &mut Books, surplus: u64) -> u64 {
        if surplus == 0 {
            return 0;
        }
        let taken = self
            .room
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |room| {
                Some(room.saturating_sub(surplus))
            });
        let returned = taken.map_or(0, |room| room.min(surplus));
        books.given = books.given.saturating_sub(returned);
        returned
    }

    /// Puts an answer in force. `asked_ms`: before the question was sent.
    pub(in crate::limits) fn answer(
        &self,
        answer: QuotaAnswer,
        asked: &QuotaAsk,
        asked_ms: u64,
        now_ms: u64,
    ) {
        let mut books = self.books.lock();
        if asked.quota.period_start.0 == self.start_ms.load(Ordering::Relaxed) {
            self.see(&mut books, answer, asked);
            if answer.rebuilding {
                self.rebuilding_until_ms
                    .store(now_ms + LEASE_MS, Ordering::Relaxed);
            } else {
                self.rebuilding_until_ms.store(0, Ordering::Relaxed);
                self.take_in(&mut books, answer.granted, asked_ms, now_ms);
                if asked.most > 0 && answer.granted == 0 {
                    books.refused_until_ms = now_ms + REFUSED_MS;
                }
            }
        }
        drop(books);
        self.answered.notify_waiters();
    }

    fn take_in(&self, books: &mut Books, granted: u64, asked_ms: u64, now_ms: u64) {
        let until = (asked_ms + LEASE_MS).saturating_sub(MARGIN_MS);
        if until <= now_ms {
            // Too late to be spent; the next question says so.
            return;
        }
        let present = self.room_until_ms.load(Ordering::Acquire);
        if present == ALONE || now_ms >= present {
            let room = self.room.swap(0, Ordering::AcqRel);
            books.given = books.given.saturating_sub(room);
            books.before = 0;
        }
        books.given += granted;
        books.before += granted;
        self.room_until_ms.store(until, Ordering::Release);
        self.room.fetch_add(granted, Ordering::AcqRel);
    }

    fn see(&self, books: &mut Books, answer: QuotaAnswer, asked: &QuotaAsk) {
        // What this gateway itself had taken stands in the sum.
        if let QuotaSpent::InAll(own) = asked.spent {
            let own = own.saturating_add(answer.granted);
            let here = own.saturating_sub(books.used_here_before);
            books.shared_elsewhere = answer.taken.saturating_sub(here);
        }
    }

    /// An answer to a single call's question.
    pub(in crate::limits) fn charged(
        &self,
        answer: QuotaAnswer,
        asked: &QuotaAsk,
        is_charged: bool,
        now_ms: u64,
    ) {
        let mut books = self.books.lock();
        if asked.quota.period_start.0 != self.start_ms.load(Ordering::Relaxed) {
            return;
        }
        self.see(&mut books, answer, asked);
        let until = if answer.rebuilding { now_ms + LEASE_MS } else { 0 };
        self.rebuilding_until_ms.store(until, Ordering::Relaxed);
        if is_charged {
            books.given += 1;
            books.said += 1;
        }
    }

    /// What is to be done about it without being asked; `None`: nothing, it can be let go.
    pub(in crate::limits) fn review(&self, now_ms: u64) -> Option<Review> {
        let until = self.room_until_ms.load(Ordering::Acquire);
        let books = self.books.lock();
        let room = self.room.load(Ordering::Acquire);
        if until == ALONE || now_ms >= until || room == 0 {
            return None;
        }
        let idle_ms = now_ms.saturating_sub(books.spent_at_ms);
        Some(match now_ms.saturating_sub(books.asked_at_ms) {
            _ if room >= books.before && idle_ms >= HORIZON_MS => Review::Leave,
            age if age >= LEASE_MS / 2 => Review::Renew,
            _ => Review::Wait,
        })
    }

    pub(in crate::limits) fn list(&self) -> bool {
        !std::mem::replace(&mut self.books.lock().is_listed, true)
    }

    pub(in crate::limits) fn unlist(&self) {
        self.books.lock().is_listed = false;
    }
}
