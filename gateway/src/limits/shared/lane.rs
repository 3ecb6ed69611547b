//! One lane's loop: what waits is asked in one batch, one batch at a time. So while an answer is under way the next
//! batch grows by itself, and there is never more than one question about a bucket.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keyward_buckets::{Answer, Ask, BucketsError, Link};

use super::link::Connected;
use super::{Item, Lane, Question, SharedLimits, Urgency};
use crate::limits::lease::{Intent, LEASE_MS, Lease, Review};
use crate::limits::quota::Quota;

/// What no call waits for is asked together so often.
const WINDOW: Duration = Duration::from_millis(50);
/// Questions of one batch.
const BATCH: usize = 512;
/// How often leases are looked at that nobody asked about.
const REVIEW: Duration = Duration::from_millis(125);
/// How long an answer is waited for in all: leases that came with it have ended by then.
const LATE: Duration = Duration::from_millis(LEASE_MS);
/// A node that failed is asked again after so long.
const AGAIN: Duration = Duration::from_millis(50);
/// How long handing back may take when the gateway stops.
const LAST: Duration = Duration::from_millis(300);

/// What this lane watches: whoever holds something.
#[derive(Default)]
struct Watched {
    leases: Vec<Arc<Lease>>,
    quotas: Vec<Arc<Quota>>,
}

pub(super) struct Runner<'l> {
    pub(super) limits: &'l SharedLimits,
    pub(super) lane: &'l Lane,
    pub(super) connected: &'l Connected,
    watched: Watched,
}

impl<'l> Runner<'l> {
    pub(super) fn new(limits: &'l SharedLimits, lane: &'l Lane, connected: &'l Connected) -> Self {
        Self {
            limits,
            lane,
            connected,
            watched: Watched::default(),
        }
    }

    /// Asks for ever.
    pub(super) async fn run(&mut self) {
        let mut review = tokio::time::interval(REVIEW);
        review.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.lane.hurry.notified() => {}
                () = self.lane.wake.notified() => self.wait_for_more().await,
                _ = review.tick() => self.review(),
            }
            while !self.lane.is_empty() {
                let link = match self.connected.present() {
                    Some(link) => link,
                    None => {
                        self.limits.went_away(self.lane);
                        self.connected.link().await
                    }
                };
                let is_full = self.exchange(&link, Intent::Use).await;
                if !is_full {
                    break;
                }
            }
        }
    }

    /// Whoever asks in the next moments is asked for with the first, unless a call waits.
    async fn wait_for_more(&self) {
        let _ = tokio::time::timeout(WINDOW, self.lane.hurry.notified()).await;
    }

    /// Asks one batch and puts the answers in force. `true` when more may be waiting at once.
    async fn exchange(&mut self, link: &Rc<Link>, intent: Intent) -> bool {
        let asked_ms = self.limits.now_ms();
        let questions = self.questions(asked_ms, intent);
        if questions.is_empty() {
            return false;
        }
        let is_full = questions.len() >= BATCH;
        let asks: Vec<Ask> = questions.iter().map(|question| question.ask.clone()).collect();
        let counts = &self.limits.counts;
        counts.batches.fetch_add(1, Ordering::Relaxed);
        counts.asks.fetch_add(asks.len() as u64, Ordering::Relaxed);

        self.lane.is_asking.store(true, Ordering::Relaxed);
        let answers = self.answers(link, &asks).await;
        self.lane.is_asking.store(false, Ordering::Relaxed);
        match answers {
            Some(answers) => self.settle(link, questions, answers, asked_ms).await,
            None => {
                questions
                    .into_iter()
                    .for_each(|question| self.unanswered(question));
                if !self.limits.is_cluster() {
                    self.connected.give_up(link);
                }
            }
        }
        is_full
    }

    /// The answers, also late ones: by then the lane is away, and they bring it back.
    async fn answers(&self, link: &Link, asks: &[Ask]) -> Option<Vec<Result<Answer, BucketsError>>> {
        let mut answers = std::pin::pin!(link.ask_each(asks));
        if let Ok(answers) = tokio::time::timeout(self.limits.config.timeout, &mut answers).await {
            return Some(answers);
        }
        self.limits.went_away(self.lane);
        tokio::time::timeout(LATE, answers).await.ok()
    }

    fn questions(&mut self, now_ms: u64, intent: Intent) -> Vec<Question> {
        let knows_past = self.limits.knows_past();
        let sharers = self.limits.sharers();
        let mut items = self.lane.take(BATCH);
        // A quota's number is absolute: it must not undo a charge of the same batch.
        items.sort_by_key(|item| !matches!(item, Item::Quota(_)));
        let questions = items.into_iter().filter_map(|item| {
            let ask = match &item {
                Item::Lease(lease) => {
                    let intent = intent_of(lease, now_ms, intent);
                    Ask::Lease(lease.ask(now_ms, intent, self.limits.connection()))
                }
                Item::Quota(quota) => {
                    let leaves = intent == Intent::Leave || quota.review(now_ms) == Some(Review::Leave);
                    Ask::Quota(quota.ask(now_ms, knows_past, sharers, leaves))
                }
                // Nobody waits any more: the call went by its fallback.
                Item::Charge(waiting) if waiting.answer.is_closed() => return None,
                Item::Charge(waiting) => Ask::Charge(waiting.ask.clone()),
                Item::Refund(refund) => Ask::Refund(refund.clone()),
            };
            Some(Question { item, ask })
        });
        questions.collect()
    }

    async fn settle(
        &mut self,
        link: &Rc<Link>,
        questions: Vec<Question>,
        answers: Vec<Result<Answer, BucketsError>>,
        asked_ms: u64,
    ) {
        let now_ms = self.limits.now_ms();
        let (mut is_answered, mut failure) = (false, None);
        for (question, answer) in questions.into_iter().zip(answers) {
            match answer {
                Ok(answer) => {
                    is_answered = true;
                    self.answered(question, answer, asked_ms, now_ms);
                }
                Err(error) => {
                    failure = Some(error);
                    self.unanswered(question);
                }
            }
        }
        match failure {
            None => self.limits.came_back(self.lane),
            Some(error) => self.failed(link, &error, is_answered).await,
        }
    }

    /// Some questions failed: the lane is away until all of a batch are answered.
    async fn failed(&mut self, link: &Rc<Link>, error: &BucketsError, is_answered: bool) {
        if !self.lane.is_away.load(Ordering::Relaxed) {
            tracing::warn!(%error, "Redis failed; limits go by their fallback");
        }
        self.limits.went_away(self.lane);
        if error.is_connection_lost() {
            self.connected.give_up(link);
        }
        if !is_answered {
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn answered(&mut self, question: Question, answer: Answer, asked_ms: u64, now_ms: u64) {
        match (question.item, question.ask, answer) {
            (Item::Lease(lease), Ask::Lease(_), Answer::Lease(answer)) => {
                lease.answer(answer, asked_ms, now_ms, self.limits.connection());
                // What one call asked for is spent at once: while the bucket takes it for held, it fills no further.
                if answer.granted > 0 && lease.holds_nothing_ahead() && lease.enlist_again() {
                    self.lane.push(Item::Lease(Arc::clone(&lease)), Urgency::Soon);
                }
                if answer.granted > 0 && lease.list() {
                    self.watched.leases.push(lease);
                }
            }
            (Item::Quota(quota), Ask::Quota(asked), Answer::Quota(answer)) => {
                quota.answer(answer, &asked, asked_ms, now_ms);
                if answer.granted > 0 && quota.list() {
                    self.watched.quotas.push(quota);
                }
            }
            (Item::Charge(waiting), Ask::Charge(asked), Answer::Charge(answer)) => {
                let is_metered = match (answer.quota, &asked.quota) {
                    (Some(quota), Some(asked)) => {
                        waiting.quota.charged(quota, asked, answer.charged, now_ms);
                        answer.charged
                    }
                    _ => false,
                };
                let unheard = waiting.answer.send(answer);
                if unheard.is_err() && answer.charged {
                    // The call went by its fallback.
                    self.lane.push(Item::Refund(refund_of(&asked)), Urgency::Soon);
                    if is_metered {
                        waiting.quota.give_back();
                    }
                }
            }
            // Refunds say nothing; answers are of the kind of their questions.
            _ => {}
        }
    }

    fn unanswered(&self, question: Question) {
        self.limits.counts.failures.fetch_add(1, Ordering::Relaxed);
        match (question.item, question.ask) {
            (Item::Lease(lease), Ask::Lease(asked)) => {
                lease.unanswered(&asked);
                // What it owes must be told.
                if lease.owes() && lease.enlist_again() {
                    self.lane.push(Item::Lease(lease), Urgency::Soon);
                }
            }
            (Item::Quota(quota), Ask::Quota(_)) if quota.enlist() => {
                self.lane.push(Item::Quota(quota), Urgency::Soon);
            }
            // Whoever waits for a charge hears that its sender is gone. Whether the quota was charged is found out by
            // saying how much was taken in all.
            (Item::Charge(waiting), Ask::Charge(asked))
                if asked.quota.is_some() && waiting.quota.enlist() =>
            {
                let quota = Arc::clone(&waiting.quota);
                self.lane.push(Item::Quota(quota), Urgency::Soon);
            }
            _ => {}
        }
    }

    /// Looks at all that hold something: what ends soon is renewed, what nobody uses is handed back.
    fn review(&mut self) {
        let now_ms = self.limits.now_ms();
        let lane = self.lane;
        lane.holding
            .store(self.watched.leases.len() as u64, Ordering::Relaxed);
        self.watched.leases.retain(|lease| match lease.review(now_ms) {
            None => {
                lease.unlist();
                false
            }
            Some(Review::Wait) => true,
            Some(Review::Renew | Review::Leave) => {
                if lease.enlist_again() {
                    lane.push(Item::Lease(Arc::clone(lease)), Urgency::Soon);
                }
                true
            }
        });
        self.watched.quotas.retain(|quota| match quota.review(now_ms) {
            None => {
                quota.unlist();
                false
            }
            Some(Review::Wait) => true,
            Some(Review::Renew | Review::Leave) => {
                if quota.enlist() {
                    lane.push(Item::Quota(Arc::clone(quota)), Urgency::Soon);
                }
                true
            }
        });
    }

    /// Hands everything back.
    pub(super) async fn leave(&mut self) {
        for lease in std::mem::take(&mut self.watched.leases) {
            if lease.enlist_again() {
                self.lane.push(Item::Lease(lease), Urgency::Soon);
            }
        }
        for quota in std::mem::take(&mut self.watched.quotas) {
            if quota.enlist() {
                self.lane.push(Item::Quota(quota), Urgency::Soon);
            }
        }
        let all = async {
            while let Some(link) = self.connected.present() {
                if !self.exchange(&link, Intent::Leave).await {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(LAST, all).await;
    }
}

fn intent_of(lease: &Lease, now_ms: u64, intent: Intent) -> Intent {
    match lease.review(now_ms) {
        Some(Review::Leave) if !lease.is_wanted() => Intent::Leave,
        _ => intent,
    }
}

fn refund_of(ask: &keyward_buckets::ChargeAsk) -> keyward_buckets::RefundAsk {
    let buckets = std::iter::once(&ask.account).chain(&ask.customer);
    keyward_buckets::RefundAsk {
        buckets: buckets.map(|bucket| (bucket.bucket, bucket.limits)).collect(),
        thousandths: ask.account.most,
    }
}
