//! The limiter's side of a lease: what to ask for, and what an answer brings.

use std::sync::atomic::Ordering;

use keyward_buckets::{Charged, Known, LeaseAnswer, LeaseAsk};
use keyward_contract::Limits;

use super::seen::Sight;
use super::{
    Book, FEW, HORIZON_MS, Intent, LEASE_MS, Lease, MARGIN_MS, Review, TOKEN, capacity, packed, unpacked,
};

impl Lease {
    /// What to ask now. What it says is held may shrink meanwhile, never grow.
    /// `connection`: which one it will go over. Over another one than the last answer came by, the server may be a
    /// replica that took over with an older copy: then what was known holds whatever the copy says.
    pub(in crate::limits) fn ask(&self, now_ms: u64, intent: Intent, connection: u32) -> LeaseAsk {
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
    pub(in crate::limits) fn answer(&self, answer: LeaseAnswer, asked_ms: u64, now_ms: u64, connection: u32) {
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
    pub(in crate::limits) fn charged(&self, charged: Charged, now_ms: u64, connection: u32) {
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
    pub(in crate::limits) fn unanswered(&self, ask: &LeaseAsk) {
        self.debt.fetch_add(ask.debt, Ordering::Relaxed);
    }

    /// What is to be done about it without being asked: `None` when it holds nothing any more and can be let go.
    pub(in crate::limits) fn review(&self, now_ms: u64) -> Option<Review> {
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
    pub(in crate::limits) fn list(&self) -> bool {
        !std::mem::replace(&mut self.book.lock().is_listed, true)
    }

    pub(in crate::limits) fn unlist(&self) {
        self.book.lock().is_listed = false;
    }

    /// What a single call's question says of this bucket.
    pub(in crate::limits) fn charge_ask(
        &self,
        now_ms: u64,
        limits: Limits,
        wanted: u64,
        connection: u32,
    ) -> LeaseAsk {
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
