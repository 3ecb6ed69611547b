//! An open-loop load: calls are due at times that were decided before, whether earlier ones were answered or not.
//!
//! Every gateway has a lane of its own: a pace and a few kept connections, each with one call at a time. When all
//! of them wait for answers, the next call is late, and its latency counts from when it was due. A gateway that is
//! away costs one failed attempt a call. Everything that was heard is kept, 64 bytes a call, so that any question
//! can be asked afterwards; a call costs two system calls and a timer.

mod connection;
mod pace;
mod stillness;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::JoinSet;

use self::connection::Connection;
pub use self::pace::{Pace, Phase};
use self::stillness::Stillness;
pub use self::stillness::Stretch;
use crate::histogram::Histogram;
use crate::requests::Requests;

/// After the last call was sent, so long at most until all are answered.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// The load on one gateway.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Where to.
    pub target: SocketAddr,
    /// When.
    pub pace: Pace,
    /// On how many connections.
    pub connections: NonZeroUsize,
}

/// A load on several gateways at once.
#[derive(Clone)]
pub struct Paced {
    /// One for each gateway.
    pub lanes: Vec<Lane>,
    /// What is sent: one request for each caller, in turn. The lanes begin at different places.
    pub callers: Arc<Requests>,
    /// No call is due later than this after the start.
    pub duration: Duration,
}

/// What came of one call. Times count from the start of the load.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// On which lane.
    pub lane: usize,
    /// Which of the callers it was.
    pub caller: usize,
    /// When it should have been sent. When a connection was waiting for that moment, it is when it was sent: the
    /// timer's millisecond is no matter of the gateway's.
    pub due: Duration,
    /// When its first byte was sent.
    pub sent: Duration,
    /// When the last byte of its answer came, or it failed.
    pub ended: Duration,
    /// What was answered.
    pub answer: Answer,
}

impl Call {
    /// How long it took from when it was due.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.ended.saturating_sub(self.due)
    }

    /// Whether it was accepted.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.answer == Answer::Accepted
    }
}

/// An answer, as far as limits are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// 2xx.
    Accepted,
    /// 429, and which limit it was.
    Limited(Limit),
    /// 403 `QUOTA_EXCEEDED`.
    QuotaExceeded,
    /// Any other status.
    Status(u16),
    /// None that could be read.
    Nothing,
}

/// `details.limit` of a 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// The account's.
    Account,
    /// The end customer's.
    Customer,
    /// The route's.
    Route,
    /// It doesn't say.
    Unsaid,
}

/// All that was heard of a load.
#[derive(Clone, Debug)]
pub struct Heard {
    /// When it started: before the first call was sent.
    pub started: Instant,
    /// From then until after the last answer.
    pub elapsed: Duration,
    /// All calls, in the order in which they ended on each connection.
    pub calls: Vec<Call>,
    /// When the machine itself stood still, for longer than any scheduler lets a thread wait.
    pub still: Vec<Stretch>,
}

impl Heard {
    /// The stretches of this time in which the machine stood still.
    pub fn still_between(&self, from: Duration, until: Duration) -> impl Iterator<Item = Duration> {
        let within = self
            .still
            .iter()
            .map(move |still| (still.0.max(from), still.1.min(until)));
        let within = within.map(|(began, ended)| ended.saturating_sub(began));
        within.filter(|lasted| !lasted.is_zero())
    }

    /// How many calls were accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.count(Call::accepted)
    }

    /// How many calls are of this kind.
    #[must_use]
    pub fn count(&self, kind: impl Fn(&Call) -> bool) -> u64 {
        self.calls.iter().filter(|call| kind(call)).count() as u64
    }

    /// The calls that were due in this time.
    pub fn due(&self, from: Duration, until: Duration) -> impl Iterator<Item = &Call> {
        self.calls
            .iter()
            .filter(move |call| (from..until).contains(&call.due))
    }

    /// How many calls were accepted and ended in this time.
    #[must_use]
    pub fn accepted_between(&self, from: Duration, until: Duration) -> u64 {
        self.count(|call| call.accepted() && (from..until).contains(&call.ended))
    }

    /// How often each answer came.
    #[must_use]
    pub fn answers(&self) -> std::collections::BTreeMap<Answer, u64> {
        let mut answers = std::collections::BTreeMap::new();
        for call in &self.calls {
            *answers.entry(call.answer).or_default() += 1;
        }
        answers
    }
}

/// How long these calls took.
pub fn latencies<'a>(calls: impl IntoIterator<Item = &'a Call>) -> Histogram {
    let mut histogram = Histogram::default();
    calls
        .into_iter()
        .for_each(|call| histogram.record(call.latency()));
    histogram
}

/// What all connections of a load share.
struct Shared {
    plan: Paced,
    started: Instant,
    stopped: AtomicBool,
    sent: AtomicU64,
    /// The next call of each lane.
    next: Vec<AtomicU64>,
    /// For each connection, when the call that it waits for was sent, in microseconds; [`IDLE`]: none.
    waiting: Vec<AtomicU64>,
}

const IDLE: u64 = u64::MAX;

impl Shared {
    /// Which connections wait for an answer, and since when.
    fn unanswered(&self) -> Vec<(usize, Duration)> {
        let waiting = self.waiting.iter().map(|sent| sent.load(Ordering::Relaxed));
        let since = waiting.enumerate().filter(|(_, sent)| *sent != IDLE);
        since
            .map(|(number, sent)| (number, Duration::from_micros(sent)))
            .collect()
    }
}

/// A load that goes on.
pub struct Running {
    shared: Arc<Shared>,
    connections: JoinSet<Vec<Call>>,
    stillness: Stillness,
}

impl Paced {
    /// Opens all connections, then starts, on the caller's runtime.
    ///
    /// # Errors
    /// When a gateway can't be connected to, or no thread can be made.
    pub async fn start(self) -> anyhow::Result<Running> {
        let mut streams = Vec::new();
        for (number, lane) in self.lanes.iter().enumerate() {
            for _ in 0..lane.connections.get() {
                let stream = connection::open(lane.target).await;
                let stream = stream.with_context(|| format!("could not connect to {}", lane.target))?;
                streams.push((number, stream));
            }
        }
        let shared = Arc::new(Shared {
            next: self.lanes.iter().map(|_| AtomicU64::new(0)).collect(),
            plan: self,
            started: Instant::now(),
            stopped: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            waiting: streams.iter().map(|_| AtomicU64::new(IDLE)).collect(),
        });
        let stillness = Stillness::watch(shared.started).context("could not make a thread")?;
        let mut connections = JoinSet::new();
        for (number, (lane, stream)) in streams.into_iter().enumerate() {
            let connection = Connection::new(Arc::clone(&shared), (number, lane), stream);
            connections.spawn(connection.drive());
        }
        Ok(Running {
            shared,
            connections,
            stillness,
        })
    }

    /// Starts, and waits for the last answer.
    ///
    /// # Errors
    /// When a gateway can't be connected to, or a call is never answered.
    pub async fn run(self) -> anyhow::Result<Heard> {
        self.start().await?.heard().await
    }
}

impl Running {
    /// How long it has been going on.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Waits until it has been going on for so long.
    pub async fn reached(&self, moment: Duration) {
        tokio::time::sleep_until((self.shared.started + moment).into()).await;
    }

    /// How many calls were sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Sends no more calls, and waits for the answers to those that were sent.
    ///
    /// # Errors
    /// When a call is never answered.
    pub async fn stop(self) -> anyhow::Result<Heard> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.heard().await
    }

    /// Waits until the time is over and all calls are answered.
    ///
    /// # Errors
    /// When a call is never answered.
    pub async fn heard(mut self) -> anyhow::Result<Heard> {
        let mut calls = Vec::new();
        let all_ended = async {
            while let Some(part) = self.connections.join_next().await {
                calls.extend(part.context("a connection's task ended early")?);
            }
            anyhow::Ok(())
        };
        let left = self
            .shared
            .plan
            .duration
            .saturating_sub(self.shared.started.elapsed());
        tokio::time::timeout(left + LONGEST_CALL, all_ended)
            .await
            .with_context(|| format!("never answered: {:?}", self.shared.unanswered()))??;
        Ok(Heard {
            started: self.shared.started,
            elapsed: self.shared.started.elapsed(),
            calls,
            still: self.stillness.seen(),
        })
    }
}
